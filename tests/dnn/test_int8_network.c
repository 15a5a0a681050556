#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>

#include "core/rng.h"
#include "dnn/calibrate.h"
#include "tests/support/network.h"

/* A whole network in integers, calibrated on its own pictures: near to f32, the same on both back ends, in any batch, on any number of
 * threads, for pictures of any size. */

/* Sizes that no stride divides. */
static const parity_case small = {"int8", "mobilenet", 16, 5, 3, 67, 45, 7, 1.0, 0.0};

static atr_plan *make_plan(const network *net, int64_t batch, int64_t height, int64_t width, int rewrites,
                           const atr_quant *quant)
{
    const atr_plan_options options = {.mode = ATR_INFER,
                                      .batch = batch,
                                      .height = height,
                                      .width = width,
                                      .quant = quant,
                                      .rewrites = rewrites};
    atr_plan *plan = NULL;

    must(atr_plan_create(net->graph, net->params, net->backend, &options, &plan));
    return plan;
}

static void calibrate(const network *net, const atr_calibration_how *how, atr_quant *quant)
{
    atr_calibration *calibration = NULL;
    atr_plan *plan = make_plan(net, net->c.batch, net->c.height, net->c.width,
                               ATR_REWRITE_ALL & ~ATR_REWRITE_CONCAT, NULL);

    must(atr_calibration_create(1, &calibration));
    atr_plan_watch(plan, atr_calibration_watch, calibration);
    must(atr_plan_forward(plan, net->images));
    must(atr_calibration_choose(calibration, plan, how, quant));
    must(atr_quant_check(quant, net->graph));
    atr_plan_destroy(plan);
    atr_calibration_destroy(calibration);
}

static float *copy_logits(const atr_plan *plan)
{
    const atr_tensor logits = atr_plan_logits(plan);
    float *copy = NULL;

    must(ATR_NEW(atr_tensor_count(&logits), &copy));
    memcpy(copy, logits.data, (size_t)atr_tensor_count(&logits) * sizeof *copy);
    return copy;
}

static int integers_in(const atr_plan *plan)
{
    int count = 0;

    for (int i = 0; i < atr_plan_step_count(plan); i++)
        count += atr_plan_step(plan, i)->op == ATR_OP_CONV_INT8;
    return count;
}

/* Class scores of `images` in integers, on a back end; to be freed. */
static float *run(const char *backend, int threads, const atr_quant *quant, int64_t batch, int64_t height,
                  int64_t width, const float *images, int64_t *count, int *integers)
{
    network net;

    network_open_on(&net, &small, backend, threads, -1);
    atr_plan *plan = make_plan(&net, batch, height, width, ATR_REWRITE_ALL, quant);
    must(atr_plan_forward(plan, images));
    const atr_tensor logits = atr_plan_logits(plan);
    float *copy = copy_logits(plan);
    *count = atr_tensor_count(&logits);
    *integers = integers_in(plan);
    atr_plan_destroy(plan);
    network_close(&net);
    return copy;
}

static void a_network_in_integers_is_near_to_f32(void **state)
{
    static const atr_calibration_how ways[] = {{ATR_CLIP_MSE, ATR_EQUALISE_CHANNEL},
                                               {ATR_CLIP_MAX, ATR_EQUALISE_NONE},
                                               {ATR_CLIP_PERCENTILE, ATR_EQUALISE_BALANCE}};
    network net;

    (void)state;
    network_open_on(&net, &small, "cpu", 2, -1);
    for (size_t i = 0; i < sizeof ways / sizeof ways[0]; i++) {
        atr_quant quant = {{0}, {0}};
        calibrate(&net, &ways[i], &quant);
        atr_plan *plain = make_plan(&net, 3, 67, 45, ATR_REWRITE_ALL, NULL);
        atr_plan *plan = make_plan(&net, 3, 67, 45, ATR_REWRITE_ALL, &quant);
        must(atr_plan_forward(plain, net.images));
        must(atr_plan_forward(plan, net.images));
        const atr_tensor want = atr_plan_logits(plain), got = atr_plan_logits(plan);
        const double distance = network_relative(got.data, want.data, atr_tensor_count(&want));
        print_message("way %d: %d layers in integers, distance %.4f\n", (int)i, integers_in(plan), distance);
        assert_true(integers_in(plan) >= 50);
        assert_int_equal(integers_in(plain), 0);
        assert_true(distance < 0.15 && distance > 1e-6);
        atr_plan_destroy(plan);
        atr_plan_destroy(plain);
        atr_quant_free(&quant);
    }
    network_close(&net);
}

/* One integer that is rounded the other way is worth about 1/255 of one activation. */
static void back_ends_agree_and_batches_and_threads_change_nothing(void **state)
{
    const atr_calibration_how how = {ATR_CLIP_MAX, ATR_EQUALISE_BEST};
    atr_quant quant = {{0}, {0}};
    network net;
    int64_t all = 0, one = 0;
    int integers = 0, of_ref = 0;

    (void)state;
    network_open_on(&net, &small, "cpu", 2, -1);
    calibrate(&net, &how, &quant);
    float *want = run("ref", 2, &quant, 1, 67, 45, net.images, &one, &of_ref);
    float *alone = run("cpu", 1, &quant, 1, 67, 45, net.images, &one, &integers);
    const double distance = network_relative(alone, want, one);
    print_message("cpu and ref: distance %.2e\n", distance);
    assert_true(distance < 5e-3);
    assert_true(integers >= 50 && of_ref == integers);
    for (int threads = 1; threads <= 3; threads++) {
        float *batch = run("cpu", threads, &quant, 3, 67, 45, net.images, &all, &integers);
        assert_int_equal(all, 3 * one);
        assert_memory_equal(batch, alone, (size_t)one * sizeof *alone);
        atr_free(batch);
    }
    atr_free(alone);
    atr_free(want);
    atr_quant_free(&quant);
    network_close(&net);
}

/* From one pixel on. */
static void pictures_of_any_size_run(void **state)
{
    static const int64_t sizes[][2] = {{1, 1}, {2, 3}, {17, 5}, {33, 64}, {70, 41}};
    const atr_calibration_how how = {ATR_CLIP_MAX, ATR_EQUALISE_BEST};
    atr_quant quant = {{0}, {0}};
    network net;

    (void)state;
    network_open_on(&net, &small, "cpu", 2, -1);
    calibrate(&net, &how, &quant);
    for (size_t i = 0; i < sizeof sizes / sizeof sizes[0]; i++) {
        int64_t count = 0;
        int integers = 0;
        float *want = run("ref", 2, &quant, 1, sizes[i][0], sizes[i][1], net.images, &count, &integers);
        float *got = run("cpu", 2, &quant, 1, sizes[i][0], sizes[i][1], net.images, &count, &integers);
        if (!(network_relative(got, want, count) < 2e-2))
            fail_msg("%lldx%lld: distance %g", (long long)sizes[i][0], (long long)sizes[i][1],
                     network_relative(got, want, count));
        atr_free(got);
        atr_free(want);
    }
    atr_quant_free(&quant);
    network_close(&net);
}

/* Layers that the steps leave out, and networks whose norms are not folded, stay in floats. */
static void only_what_is_known_runs_in_integers(void **state)
{
    const atr_calibration_how how = {ATR_CLIP_MAX, ATR_EQUALISE_NONE};
    atr_quant quant = {{0}, {0}};
    network net;

    (void)state;
    network_open_on(&net, &small, "cpu", 2, -1);
    calibrate(&net, &how, &quant);
    const int64_t known = quant.weights.count;
    atr_plan *plan = make_plan(&net, 1, 67, 45, ATR_REWRITE_ALL, &quant);
    const int before = integers_in(plan);
    atr_plan_destroy(plan);
    atr_quant_remove(&quant.weights, "cls_conv");
    atr_quant_remove(&quant.weights, "no such layer");
    assert_int_equal(quant.weights.count, known - 1);
    plan = make_plan(&net, 1, 67, 45, ATR_REWRITE_ALL, &quant);
    assert_int_equal(integers_in(plan), before - 1);
    atr_plan_destroy(plan);
    plan = make_plan(&net, 1, 67, 45, ATR_REWRITE_ALL & ~ATR_REWRITE_FOLD_NORM, &quant);
    assert_int_equal(integers_in(plan), 0);
    atr_plan_destroy(plan);
    atr_quant_free(&quant);
    network_close(&net);
}

static void steps_that_cannot_be_are_refused(void **state)
{
    const float good[2] = {0.5f, 1}, zero[2] = {0.5f, 0}, infinite[2] = {INFINITY, 1}, nan_step[2] = {1, NAN};
    atr_quant quant = {{0}, {0}};
    network net;

    (void)state;
    network_open_on(&net, &small, "ref", 1, -1);
    assert_int_equal(atr_quant_add(&quant.weights, "a", false, zero, 2), ATR_ERR_DATA);
    assert_int_equal(atr_quant_add(&quant.weights, "a", false, infinite, 2), ATR_ERR_DATA);
    assert_int_equal(atr_quant_add(&quant.weights, "a", false, nan_step, 2), ATR_ERR_DATA);
    assert_non_null(strstr(atr_status_message(), "channel 1"));
    assert_int_equal(atr_quant_add(&quant.weights, "a", false, good, 0), ATR_ERR_DATA);
    must(atr_quant_add(&quant.weights, "cls_conv", false, good, 2));
    assert_int_equal(atr_quant_add(&quant.weights, "cls_conv", false, good, 2), ATR_ERR_DATA);
    assert_int_equal(atr_quant_check(&quant, net.graph), ATR_ERR_DATA); /* 5 classes */
    assert_non_null(strstr(atr_status_message(), "2 int8 steps for 5 channels"));
    atr_quant_free(&quant);
    must(atr_quant_add(&quant.activations, "nobody", false, good, 2));
    assert_int_equal(atr_quant_check(&quant, net.graph), ATR_ERR_DATA);
    assert_non_null(strstr(atr_status_message(), "nobody"));
    atr_quant_free(&quant);
    network_close(&net);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_network_in_integers_is_near_to_f32),
        cmocka_unit_test(back_ends_agree_and_batches_and_threads_change_nothing),
        cmocka_unit_test(pictures_of_any_size_run),
        cmocka_unit_test(only_what_is_known_runs_in_integers),
        cmocka_unit_test(steps_that_cannot_be_are_refused),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
