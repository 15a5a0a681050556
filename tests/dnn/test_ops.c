#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "dnn/dropout.h"
#include "tests/dnn/ops_cases.h"
#include "tests/dnn/tolerance.h"

/* Every operation on every back end of this build, measured against `ref`; and `ref` itself against formulas that are
 * computed here a second time, as plainly as can be. */

enum { THREADS = 2, SEED = 77 };

static void compare(const rig *got, const rig *want, tolerance bound)
{
    rig_result a[RIG_RESULTS], b[RIG_RESULTS];
    const int count = rig_results(want, b);

    assert_int_equal(rig_results(got, a), count);
    for (int i = 0; i < count; i++) {
        const double l2 = rig_relative_l2(&a[i].buffer->view, &b[i].buffer->view);
        const double most = rig_relative_max(&a[i].buffer->view, &b[i].buffer->view);
        if (!(l2 <= bound.relative_l2 && most <= bound.max))
            fail_msg("op %d '%s' on %s: %s is off by %.2g (relative L2), %.2g (largest)", got->spec->op,
                     got->spec->label, got->backend->table->name, a[i].name, l2, most);
    }
    assert_int_equal(got->num_tracked, want->num_tracked);
}

static void every_back_end_computes_what_ref_computes(void **state)
{
    atr_backend *backends[RIG_BACKENDS];
    const int count = rig_open_backends(THREADS, backends);

    (void)state;
    for (int i = 0; i < OPS_CASES; i++)
        for (int b = 0; b < count - 1; b++) {
            rig want, got;
            rig_create(&want, &ops_cases[i], backends[count - 1], SEED);
            rig_create(&got, &ops_cases[i], backends[b], SEED);
            rig_run(&want);
            rig_run(&got);
            compare(&got, &want, tolerances[ATR_F32]);
            rig_run(
                &got); /* once more: nothing is left over from the first run (running statistics move on) */
            rig_run(&want);
            if (!ops_cases[i].in_place)
                compare(&got, &want, tolerances[ATR_F32]);
            rig_destroy(&want);
            rig_destroy(&got);
        }
    rig_close_backends(backends, count);
}

static void changed_weights_are_seen_after_refresh(void **state)
{
    atr_backend *backends[RIG_BACKENDS];
    const int count = rig_open_backends(THREADS, backends);

    (void)state;
    for (int i = 0; i < OPS_CASES; i++)
        for (int b = 0; b < count && ops_cases[i].op == ATR_OP_CONV; b++) {
            rig want, got;
            rig_create(&want, &ops_cases[i], backends[count - 1], SEED);
            rig_create(&got, &ops_cases[i], backends[b], SEED);
            rig_run(&got);
            rig *const both[] = {&want, &got};
            for (int k = 0; k < 2; k++) {
                rig_fill(&both[k]->weight.view, 5, 0.3, 0.0);
                if (both[k]->step.folded)
                    rig_fill(&both[k]->running_var.view, 6, 0.1, 2.0);
                rig_run(both[k]);
            }
            compare(&got, &want, tolerances[ATR_F32]);
            rig_destroy(&want);
            rig_destroy(&got);
        }
    rig_close_backends(backends, count);
}

/* ---- `ref` against formulas ---------------------------------------------------------------------------------------------- */

static double at(const atr_tensor *t, int64_t n, int64_t y, int64_t x, int64_t c)
{
    if (y < 0 || y >= t->dims[1] || x < 0 || x >= t->dims[2])
        return 0.0;
    return (double)((const float *)t->data)[n * t->strides[0] + y * t->strides[1] + x * t->strides[2] + c];
}

/* Four sums of a convolution, straight from the definition, over tensors of doubles in the layout of the step's views. */
typedef struct sums {
    double *y, *dx, *dw, *db;
} sums;

static void plain_convolution(const atr_step *step, sums out)
{
    const atr_conv_attr *conv = &step->conv;
    const atr_tensor *x = &step->x[0], *y = &step->y;
    const int64_t k = conv->kernel, ig = conv->in_channels / conv->groups,
                  og = conv->out_channels / conv->groups;

    for (int64_t i = 0; i < atr_tensor_count(y); i++) {
        const int64_t o = i % y->dims[3], ox = i / y->dims[3] % y->dims[2],
                      oy = i / (y->dims[3] * y->dims[2]) % y->dims[1];
        const int64_t n = i / (y->dims[3] * y->dims[2] * y->dims[1]);
        const double dy = at(&step->dy, n, oy, ox, o);
        out.y[i] = step->bias != NULL ? (double)step->bias[o] : 0.0;
        out.db[o] += dy;
        for (int64_t t = 0; t < k * k * ig; t++) {
            const int64_t in = t / (k * k), c = o / og * ig + in;
            const int64_t iy = oy * conv->stride + t / k % k * conv->dilation - conv->pad;
            const int64_t ix = ox * conv->stride + t % k * conv->dilation - conv->pad;
            const int64_t w = o * ig * k * k + t;
            if (iy < 0 || iy >= x->dims[1] || ix < 0 || ix >= x->dims[2])
                continue;
            out.y[i] += at(x, n, iy, ix, c) * (double)step->weight[w];
            out.dw[w] += dy * at(x, n, iy, ix, c);
            out.dx[((n * x->dims[1] + iy) * x->dims[2] + ix) * x->dims[3] + c] +=
                dy * (double)step->weight[w];
        }
    }
}

static void compare_doubles(const rig *r, const char *what, const atr_tensor *got, const double *want)
{
    const int64_t count = atr_tensor_count(got);
    double most = 0.0, top = 0.0;

    for (int64_t i = 0; i < count; i++) {
        const int64_t c = i % got->dims[3], pixel = i / got->dims[3];
        most = fmax(most, fabs((double)((float *)got->data)[pixel * got->strides[2] + c] - want[i]));
        top = fmax(top, fabs(want[i]));
    }
    if (!(most <= 1e-7 * top)) /* rounding to f32 alone */
        fail_msg("'%s': %s is off by %.2g of %.2g", r->spec->label, what, most, top);
}

static void ref_convolution_is_the_definition_to_f32_rounding(void **state)
{
    atr_backend *backends[RIG_BACKENDS];
    const int count = rig_open_backends(THREADS, backends);

    (void)state;
    for (int i = 0; i < OPS_CASES; i++) {
        rig r;
        sums want = {NULL, NULL, NULL, NULL};
        if (ops_cases[i].op != ATR_OP_CONV || ops_cases[i].infer)
            continue;
        rig_create(&r, &ops_cases[i], backends[count - 1], SEED);
        assert_int_equal(ATR_NEW(atr_tensor_count(&r.y.view), &want.y), ATR_OK);
        assert_int_equal(ATR_NEW(atr_tensor_count(&r.x[0].view), &want.dx), ATR_OK);
        assert_int_equal(ATR_NEW(r.weight.count, &want.dw), ATR_OK);
        assert_int_equal(ATR_NEW(r.step.conv.out_channels, &want.db), ATR_OK);
        rig_run(&r);
        plain_convolution(&r.step, want);
        compare_doubles(&r, "y", &r.y.view, want.y);
        if (r.step.wants_dx[0])
            compare_doubles(&r, "dx", &r.dx[0].view, want.dx);
        if (r.step.wants_dw)
            compare_doubles(&r, "dweight", &r.dweight.view, want.dw);
        if (r.step.wants_dw && r.step.bias != NULL)
            compare_doubles(&r, "dbias", &r.dbias.view, want.db);
        rig_destroy(&r);
        atr_free(want.y);
        atr_free(want.dx);
        atr_free(want.dw);
        atr_free(want.db);
    }
    rig_close_backends(backends, count);
}

static void folded_convolution_is_convolution_then_norm_then_add_then_act(void **state)
{
    const rig_case folded = {.label = "folded",
                             .op = ATR_OP_CONV,
                             .n = 2,
                             .h = 5,
                             .w = 7,
                             .c = 16,
                             .infer = true,
                             .folded = true,
                             .residual = true,
                             .act = ATR_ACT_RELU,
                             .conv = {24, 3, 1, 1, 1, 1, true}};
    rig_case plain = folded;
    atr_backend *backends[RIG_BACKENDS];
    const int count = rig_open_backends(THREADS, backends);
    rig want, got;

    (void)state;
    plain.folded = plain.residual = false;
    plain.act = ATR_ACT_NONE;
    for (int b = 0; b < count; b++) {
        rig_create(&got, &folded, backends[b], SEED);
        rig_create(&want, &plain, backends[count - 1], SEED);
        rig_run(&got);
        rig_run(&want);
        for (int64_t i = 0; i < want.y.count; i++) {
            const int64_t c = i % 24;
            const double rstd = 1.0 / sqrt((double)got.running_var.block[c] + 1e-5);
            const double h = ((double)want.y.block[i] - (double)got.running_mean.block[c]) * rstd;
            const double z = h * (double)got.norm_weight.block[c] + (double)got.norm_bias.block[c];
            want.y.block[i] = (float)fmax(0.0, z + (double)got.x[1].block[i]);
        }
        assert_true(rig_relative_max(&got.y.view, &want.y.view) < 2e-6);
        rig_destroy(&got);
        rig_destroy(&want);
    }
    rig_close_backends(backends, count);
}

static void batch_norm_divides_by_the_biased_and_remembers_the_unbiased_variance(void **state)
{
    const rig_case norm = {
        .label = "norm", .op = ATR_OP_NORM, .n = 4, .h = 1, .w = 1, .c = 1, .batch_stats = true};
    const float x[] = {1.0f, 3.0f, 5.0f, 7.0f}; /* mean 4, variance 5 biased, 20/3 unbiased */
    atr_backend *backends[RIG_BACKENDS];
    const int count = rig_open_backends(THREADS, backends);

    (void)state;
    for (int b = 0; b < count; b++) {
        rig r;
        rig_create(&r, &norm, backends[b], SEED);
        memcpy(r.x[0].block, x, sizeof x);
        r.weight.block[0] = 2.0f;
        r.bias.block[0] = 0.5f;
        r.running_mean.block[0] = 10.0f;
        r.running_var.block[0] = 3.0f;
        rig_forward(&r);
        for (int i = 0; i < 4; i++)
            rig_assert_near(r.y.block[i], 2.0 * ((double)x[i] - 4.0) / sqrt(5.0 + 1e-5) + 0.5, 1e-6);
        rig_assert_near(r.running_mean.block[0], 0.9 * 10.0 + 0.1 * 4.0, 1e-5);
        rig_assert_near(r.running_var.block[0], 0.9 * 3.0 + 0.1 * 20.0 / 3.0, 1e-5);
        assert_int_equal(r.num_tracked, 1);
        rig_destroy(&r);
    }
    rig_close_backends(backends, count);
}

static void frozen_norm_leaves_running_statistics_alone(void **state)
{
    const rig_case norm = {.label = "norm", .op = ATR_OP_NORM, .n = 2, .h = 3, .w = 3, .c = 5};
    atr_backend *backends[RIG_BACKENDS];
    const int count = rig_open_backends(THREADS, backends);

    (void)state;
    for (int b = 0; b < count; b++) {
        rig r;
        float before[10];
        rig_create(&r, &norm, backends[b], SEED);
        memcpy(before, r.running_mean.block, 5 * sizeof(float));
        memcpy(before + 5, r.running_var.block, 5 * sizeof(float));
        rig_run(&r);
        assert_memory_equal(before, r.running_mean.block, 5 * sizeof(float));
        assert_memory_equal(before + 5, r.running_var.block, 5 * sizeof(float));
        assert_int_equal(r.num_tracked, 0);
        rig_destroy(&r);
    }
    rig_close_backends(backends, count);
}

static void activations_stop_the_gradient_at_their_kinks_and_let_nan_through(void **state)
{
    const float x[] = {-1.0f, 0.0f, 3.0f, 6.0f, 7.0f, NAN};
    const float y[][5] = {{0, 0, 3, 6, 7}, {0, 0, 3, 6, 6}};
    const float passes[][5] = {{0, 0, 1, 1, 1}, {0, 0, 1, 0, 0}};
    atr_backend *backends[RIG_BACKENDS];
    const int count = rig_open_backends(THREADS, backends);

    (void)state;
    for (int b = 0; b < count; b++)
        for (int k = 0; k < 2; k++) {
            const rig_case act = {.label = "act",
                                  .op = ATR_OP_ACT,
                                  .n = 1,
                                  .h = 1,
                                  .w = 1,
                                  .c = 6,
                                  .act = k == 0 ? ATR_ACT_RELU : ATR_ACT_RELU6};
            rig r;
            rig_create(&r, &act, backends[b], SEED);
            memcpy(r.x[0].block, x, sizeof x);
            rig_run(&r);
            for (int i = 0; i < 5; i++) {
                assert_true(r.y.block[i] == y[k][i]);
                assert_true(r.dx[0].block[i] == passes[k][i] * r.dy.block[i]);
            }
            assert_true(isnan(r.y.block[5]));
            rig_destroy(&r);
        }
    rig_close_backends(backends, count);
}

static void resize_keeps_corners_and_planes(void **state)
{
    const rig_case resize = {
        .label = "plane", .op = ATR_OP_RESIZE, .n = 1, .h = 4, .w = 3, .c = 1, .out_h = 10, .out_w = 9};
    atr_backend *backends[RIG_BACKENDS];
    const int count = rig_open_backends(THREADS, backends);

    (void)state;
    for (int b = 0; b < count; b++) {
        rig r;
        rig_create(&r, &resize, backends[b], SEED);
        for (int i = 0; i < 12; i++) /* 30 y + 8 x: linear, so bilinear interpolation is exact */
            r.x[0].block[i] = (float)(30 * (i / 3) + 8 * (i % 3));
        rig_forward(&r);
        for (int i = 0; i < 90; i++)
            rig_assert_near(r.y.block[i], 30.0 * (i / 9) / 3.0 + 8.0 * (i % 9) / 4.0, 1e-5);
        rig_destroy(&r);
    }
    rig_close_backends(backends, count);
}

/* ---- dropout ------------------------------------------------------------------------------------------------------------- */

static void dropout_drops_its_share_and_scales_the_rest(void **state)
{
    const rig_case drop = {
        .label = "drop", .op = ATR_OP_DROPOUT, .n = 2, .h = 31, .w = 33, .c = 64, .dropout = 0.1};
    atr_backend *backends[RIG_BACKENDS];
    const int count = rig_open_backends(THREADS, backends);

    (void)state;
    for (int b = 0; b < count; b++) {
        rig r;
        int64_t dropped = 0;
        rig_create(&r, &drop, backends[b], SEED);
        rig_run(&r);
        for (int64_t i = 0; i < r.y.count; i++) {
            const bool kept = r.y.block[i] != 0.0f;
            dropped += !kept;
            if (kept)
                rig_assert_near(r.y.block[i], (double)r.x[0].block[i] / 0.9, 1e-6);
            rig_assert_near(r.dx[0].block[i], kept ? (double)r.dy.block[i] / 0.9 : 0.0, 1e-6);
        }
        rig_assert_near((double)dropped / (double)r.y.count, 0.1, 0.003); /* 4 standard deviations */
        rig_destroy(&r);
    }
    rig_close_backends(backends, count);
}

static void dropout_depends_on_sample_and_layer_but_not_on_the_place_in_the_batch(void **state)
{
    const rig_case drop = {
        .label = "drop", .op = ATR_OP_DROPOUT, .n = 2, .h = 5, .w = 5, .c = 16, .dropout = 0.5};
    const size_t sample = 5 * 5 * 16;
    atr_backend *backends[RIG_BACKENDS];
    const int count = rig_open_backends(THREADS, backends);

    (void)state;
    for (int b = 0; b < count; b++) {
        rig a, swapped, other_layer;
        rig *const all[] = {&a, &swapped, &other_layer};
        for (int i = 0; i < 3; i++) {
            rig_create(all[i], &drop, backends[b], SEED);
            rig_fill(&all[i]->x[0].view, 1, 0.0, 1.0);
        }
        swapped.sample_keys[0] = a.sample_keys[1];
        swapped.sample_keys[1] = a.sample_keys[0];
        other_layer.step.stream++;
        for (int i = 0; i < 3; i++)
            rig_forward(all[i]);
        assert_memory_equal(a.y.block, swapped.y.block + sample, sample * sizeof(float));
        assert_memory_equal(a.y.block + sample, swapped.y.block, sample * sizeof(float));
        assert_memory_not_equal(a.y.block, a.y.block + sample, sample * sizeof(float));
        assert_memory_not_equal(a.y.block, other_layer.y.block, sample * sizeof(float));
        for (int i = 0; i < 3; i++)
            rig_destroy(all[i]);
    }
    rig_close_backends(backends, count);
}

static void dropout_of_everything_is_zero_and_of_nothing_a_copy(void **state)
{
    (void)state;
    assert_int_equal(atr_dropout_threshold(0.0), 0);
    assert_int_equal(atr_dropout_threshold(1.0), 65536);
    assert_true(atr_dropout_scale(1.0) == 0.0f);
    for (int64_t i = 0; i < 100; i++) {
        assert_true(atr_dropout_keeps(3, i, atr_dropout_threshold(0.0)));
        assert_false(atr_dropout_keeps(3, i, atr_dropout_threshold(1.0)));
    }
}

static void ref_does_not_depend_on_the_number_of_threads(void **state)
{
    (void)state;
    for (int i = 0; i < OPS_CASES; i++) {
        rig one, three;
        rig_result a[RIG_RESULTS], b[RIG_RESULTS];
        atr_backend *single = NULL, *several = NULL;
        assert_int_equal(atr_backend_open("ref", 1, &single), ATR_OK);
        assert_int_equal(atr_backend_open("ref", 3, &several), ATR_OK);
        rig_create(&one, &ops_cases[i], single, SEED);
        rig_create(&three, &ops_cases[i], several, SEED);
        rig_run(&one);
        rig_run(&three);
        const int results = rig_results(&one, a);
        rig_results(&three, b);
        for (int k = 0; k < results; k++)
            assert_memory_equal(a[k].buffer->block, b[k].buffer->block,
                                (size_t)a[k].buffer->count * sizeof(float));
        rig_destroy(&one);
        rig_destroy(&three);
        atr_backend_close(single);
        atr_backend_close(several);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(ref_convolution_is_the_definition_to_f32_rounding),
        cmocka_unit_test(every_back_end_computes_what_ref_computes),
        cmocka_unit_test(changed_weights_are_seen_after_refresh),
        cmocka_unit_test(folded_convolution_is_convolution_then_norm_then_add_then_act),
        cmocka_unit_test(batch_norm_divides_by_the_biased_and_remembers_the_unbiased_variance),
        cmocka_unit_test(frozen_norm_leaves_running_statistics_alone),
        cmocka_unit_test(activations_stop_the_gradient_at_their_kinks_and_let_nan_through),
        cmocka_unit_test(resize_keeps_corners_and_planes),
        cmocka_unit_test(dropout_drops_its_share_and_scales_the_rest),
        cmocka_unit_test(dropout_depends_on_sample_and_layer_but_not_on_the_place_in_the_batch),
        cmocka_unit_test(dropout_of_everything_is_zero_and_of_nothing_a_copy),
        cmocka_unit_test(ref_does_not_depend_on_the_number_of_threads),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
