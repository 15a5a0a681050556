/* A network with a frozen backbone: the gradients of the rest are what they were, and nothing of the backbone is computed backward,
 * kept for it, or moved. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "tests/support/network.h"

static const parity_case tight = {
    .group = "freeze",
    .backbone = "mobilenet",
    .output_stride = 16,
    .classes = 5,
    .batch = 3,
    .height = 49,
    .width = 41,
    .seed = 2030,
    .norm_weight_offset = 1,
    .norm_bias_offset = 2,
};

static const char backbone[] = "backbone.";

enum { CANARY = 12345 };

static bool is_backbone(const char *name)
{
    return strncmp(name, backbone, sizeof backbone - 1) == 0;
}

typedef struct result {
    float *gradients, *buffers; /* flat blocks after one forward and backward */
    double loss;
    size_t arena;
    int steps;
} result;

static void result_free(result *r)
{
    atr_free(r->gradients);
    atr_free(r->buffers);
}

/* Backward must not touch a frozen step, and forward must keep nothing for it. */
static void check_frozen_steps(const atr_plan *plan)
{
    for (int s = 0; s < atr_plan_step_count(plan); s++) {
        const atr_step *const step = atr_plan_step(plan, s);
        if (!is_backbone(step->name))
            continue;
        assert_false(step->training || step->wants_dw);
        assert_true(step->saved_bytes == 0 && step->dy.data == NULL);
        for (int i = 0; i < step->input_count; i++)
            assert_false(step->wants_dx[i]);
    }
}

typedef struct ready_log {
    const network *net;
    int64_t end; /* of what was announced so far */
} ready_log;

static atr_status note_ready(void *user, int64_t offset, int64_t count)
{
    ready_log *const log = user;

    assert_true(offset >= log->end);
    log->end = offset + count;
    return ATR_OK;
}

/* `norms`: the backbone's batch norms use their running statistics (frozen, or by a plan without any batch statistics). */
static result run(const char *backend, bool frozen, bool statistics, int rewrites)
{
    network net;
    double loss = 0;

    network_open(&net, &tight, backend, -1);
    if (frozen || statistics)
        atr_params_freeze(net.params, backbone, frozen, statistics);
    const int64_t count = atr_params_flat_count(net.params);
    float *const gradients = atr_params_flat_gradients(net.params);
    for (int64_t i = 0; i < count; i++)
        gradients[i] = CANARY;
    atr_plan *plan = network_plan(&net, ATR_TRAIN, rewrites, false);
    ready_log log = {&net, 0};
    must(atr_plan_forward(plan, net.images));
    must(atr_plan_cross_entropy(plan, net.labels, NULL, net.valid, &loss));
    must(atr_plan_backward(plan, note_ready, &log));
    if (frozen)
        check_frozen_steps(plan);
    for (int64_t i = 0; i < atr_params_count(net.params); i++) {
        const atr_tensor g = atr_params_gradient(net.params, i);
        if (g.data != NULL && frozen && is_backbone(atr_params_spec(net.params, i)->name))
            assert_true(((const float *)g.data)[0] == CANARY &&
                        log.end <= atr_params_flat_offset(net.params, i));
    }
    const result r = {network_copy(gradients, count),
                      network_copy(atr_params_flat_buffers(net.params), atr_params_buffer_count(net.params)),
                      loss, atr_plan_arena_bytes(plan), atr_plan_step_count(plan)};
    atr_plan_destroy(plan);
    network_close(&net);
    return r;
}

/* Elements of the flat values that are not the backbone's: those in front of its last parameter. */
static int64_t trained_elements(int64_t *buffers, int64_t *backbone_buffers)
{
    network net;
    atr_span span = {0, 0}, moving = {0, 0};

    network_open(&net, &tight, "ref", -1);
    atr_params_freeze(net.params, backbone, true, true);
    assert_true(atr_params_next_span(net.params, false, &span));
    assert_true(atr_params_next_span(net.params, true, &moving));
    assert_int_equal(span.offset, 0);
    *buffers = atr_params_buffer_count(net.params);
    *backbone_buffers = moving.offset;
    assert_int_equal(moving.offset + moving.count, *buffers);
    assert_false(atr_params_next_span(net.params, false, &(atr_span){span.offset, span.count}));
    network_close(&net);
    return span.count;
}

static void compare(const result *got, const result *want, double bound)
{
    int64_t buffers = 0, first = 0;
    const int64_t trained = trained_elements(&buffers, &first);

    assert_true(fabs(got->loss - want->loss) <= bound * want->loss);
    assert_true(network_relative(got->gradients, want->gradients, trained) <= bound);
    assert_true(network_relative(got->buffers, want->buffers, buffers) <= bound);
}

/* With the batch's statistics in the backbone, as the reference has it: same forward, so the same bits. */
static void gradients_behind_a_frozen_backbone_are_the_same(void **state)
{
    static const char *const backends[] = {"ref", "auto"};

    (void)state;
    for (int b = 0; b < 2; b++) {
        result whole = run(backends[b], false, false, ATR_REWRITE_ALL);
        result frozen = run(backends[b], true, false, ATR_REWRITE_ALL);
        compare(&frozen, &whole, 0);
        assert_true(frozen.arena < whole.arena);
        result_free(&whole);
        result_free(&frozen);
    }
}

/* With running statistics the backbone's norms fold into its convolutions: other arithmetic, same values. */
static void a_frozen_backbone_with_running_statistics_is_folded(void **state)
{
    int64_t buffers = 0;
    int64_t first = 0;
    network net;

    (void)state;
    trained_elements(&buffers, &first);
    network_open(&net, &tight, "ref", -1);
    result plain = run("ref", false, true, 0);
    result whole = run("auto", false, true, ATR_REWRITE_ALL);
    result frozen = run("auto", true, true, ATR_REWRITE_ALL);
    result folded = run("ref", true, true, ATR_REWRITE_ALL);
    compare(&whole, &plain, 1e-4);
    compare(&frozen, &plain, 1e-4);
    compare(&folded, &plain, 1e-5);
    result_free(&folded);
    assert_true(frozen.arena < whole.arena);
    assert_true(frozen.steps < whole.steps);
    assert_memory_equal(frozen.buffers, atr_params_flat_buffers(net.params), (size_t)first * sizeof(float));
    assert_true(memcmp(frozen.buffers + first, atr_params_flat_buffers(net.params) + first,
                       (size_t)(buffers - first) * sizeof(float)) != 0);
    result_free(&plain);
    result_free(&whole);
    result_free(&frozen);
    network_close(&net);
}

/* What is frozen may lie anywhere: gradients pass through a frozen head into the backbone. */
static void gradients_pass_through_frozen_parts(void **state)
{
    static const char *const backends[] = {"ref", "auto"};

    (void)state;
    for (int b = 0; b < 2; b++) {
        network net[2];
        for (int frozen = 0; frozen < 2; frozen++) {
            double loss = 0;
            network_open(&net[frozen], &tight, backends[b], -1);
            if (frozen) {
                atr_params_freeze(net[1].params, "aspp.", true, false);
                atr_params_freeze(net[1].params, "cat_conv.", true, false);
                atr_params_freeze(net[1].params, "cls_conv.", true, false);
            }
            atr_plan *plan = network_plan(&net[frozen], ATR_TRAIN, ATR_REWRITE_ALL, false);
            must(atr_plan_forward(plan, net[frozen].images));
            must(atr_plan_cross_entropy(plan, net[frozen].labels, NULL, net[frozen].valid, &loss));
            must(atr_plan_backward(plan, NULL, NULL));
            atr_plan_destroy(plan);
        }
        int spans = 0;
        for (atr_span span = {0, 0}; atr_params_next_span(net[1].params, false, &span); spans++)
            assert_memory_equal(atr_params_flat_gradients(net[1].params) + span.offset,
                                atr_params_flat_gradients(net[0].params) + span.offset,
                                (size_t)span.count * sizeof(float));
        assert_int_equal(spans, 2); /* shortcut_conv, backbone */
        network_close(&net[0]);
        network_close(&net[1]);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(gradients_behind_a_frozen_backbone_are_the_same),
        cmocka_unit_test(a_frozen_backbone_with_running_statistics_is_folded),
        cmocka_unit_test(gradients_pass_through_frozen_parts),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
