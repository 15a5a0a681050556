/* Training that makes activations again in place of keeping them: the same bits in less memory. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "dnn/model.h"
#include "tests/support/network.h"

enum { CLASSES = 5, STEPS = 2 };

typedef struct setting {
    const char *backbone, *backend;
    int threads, rewrites;
    int64_t batch, height, width;
    bool freeze_norm, frozen, frozen_statistics, grouped;
} setting;

typedef struct outcome {
    float *gradients, *buffers;
    int64_t gradient_count, buffer_count, tracked, sums; /* sums: calls of the norm group */
    size_t arena;
    int again;
} outcome;

/* A group with one more member, whose pictures are the same. */
static atr_status twice(void *user, double *values, int64_t count)
{
    ++*(int64_t *)user;
    for (int64_t i = 0; i < count; i++)
        values[i] *= 2;
    return ATR_OK;
}

static int64_t sum_tracked(const atr_params *params)
{
    int64_t sum = 0;

    for (int64_t p = 0; p < atr_params_count(params); p++)
        if (atr_params_spec(params, p)->kind == ATR_PARAM_TRACKED)
            sum += *(int64_t *)atr_params_value(params, p).data;
    return sum;
}

/* Some steps, each of which moves the running statistics and changes the weights a little. */
static void run_steps(atr_plan *plan, atr_params *params, const setting *s)
{
    const int64_t pixels = s->batch * s->height * s->width;
    const uint64_t keys[8] = {1, 2, 3, 4, 5, 6, 7, 8};
    float *images = NULL, *values = atr_params_flat_values(params);
    uint8_t *labels = NULL;
    double loss = 0;

    must(ATR_NEW(pixels * 3, &images));
    must(ATR_NEW(pixels, &labels));
    network_fill(images, pixels * 3, "images");
    for (int64_t i = 0; i < pixels; i++)
        labels[i] = (uint8_t)(i * 7 % (CLASSES + 1));
    for (int step = 0; step < STEPS; step++) {
        atr_plan_set_sample_keys(plan, keys + step);
        must(atr_plan_forward(plan, images));
        must(atr_plan_cross_entropy(plan, labels, NULL, (double)pixels, &loss));
        must(atr_plan_backward(plan, NULL, NULL));
        for (int64_t i = 0; i < atr_params_flat_count(params); i++)
            values[i] -= 0.01f * atr_params_flat_gradients(params)[i];
        atr_params_touch(params);
    }
    atr_free(images);
    atr_free(labels);
}

static outcome run(const setting *s, int rewrites, bool recompute)
{
    const atr_model_config config = {
        .classes = CLASSES, .input_channels = 3, .output_stride = 16, .dropout = {0.5, 0.1}};
    outcome o = {0};
    const atr_norm_group group = {twice, &o.sums};
    const atr_plan_options options = {.mode = ATR_TRAIN,
                                      .batch = s->batch,
                                      .height = s->height,
                                      .width = s->width,
                                      .freeze_norm = s->freeze_norm,
                                      .recompute = recompute,
                                      .rewrites = rewrites,
                                      .norm_group = s->grouped ? &group : NULL,
                                      .norm_batch = s->grouped ? 2 * s->batch : 0};
    atr_model_config named = config;
    atr_graph *graph = NULL;
    atr_params *params = NULL;
    atr_backend *backend = NULL;
    atr_plan *plan = NULL;

    snprintf(named.backbone, sizeof named.backbone, "%s", s->backbone);
    must(atr_model_build(&named, &graph));
    must(atr_backend_open(s->backend, s->threads, &backend));
    must(atr_params_create(atr_graph_param_specs(graph), atr_graph_param_count(graph), &atr_host_allocator,
                           &params));
    must(atr_model_init(params, ATR_INIT_KAIMING, 1, 1));
    atr_params_freeze(params, ATR_BACKBONE_PREFIX, s->frozen, s->frozen_statistics);
    must(atr_plan_create(graph, params, backend, &options, &plan));
    run_steps(plan, params, s);
    o.gradient_count = atr_params_flat_count(params);
    o.gradients = network_copy(atr_params_flat_gradients(params), o.gradient_count);
    o.buffer_count = atr_params_buffer_count(params);
    o.buffers = network_copy(atr_params_flat_buffers(params), o.buffer_count);
    o.tracked = sum_tracked(params);
    o.arena = atr_plan_arena_bytes(plan);
    o.again = atr_plan_again_count(plan);
    atr_plan_destroy(plan);
    atr_params_destroy(params);
    atr_backend_close(backend);
    atr_graph_destroy(graph);
    return o;
}

static void outcome_free(outcome *o)
{
    atr_free(o->gradients);
    atr_free(o->buffers);
}

/* `share` of the plain plan's memory is enough. */
static void expect_same(const setting *s, const outcome *again, const outcome *plain, double share)
{
    assert_true(again->again > 0);
    if (!((double)again->arena < share * (double)plain->arena))
        fail_msg("%s, %s: %.1f MiB where the plain plan takes %.1f", s->backbone, s->backend,
                 (double)again->arena / (1 << 20), (double)plain->arena / (1 << 20));
    assert_int_equal(again->tracked, plain->tracked);
    assert_int_equal(again->sums, plain->sums);
    assert_memory_equal(again->gradients, plain->gradients, (size_t)plain->gradient_count * sizeof(float));
    assert_memory_equal(again->buffers, plain->buffers, (size_t)plain->buffer_count * sizeof(float));
}

/* The plain plan, the one that makes outputs of batch norms again unless `norms` is 0, and the one that makes all again that it can. */
static void compare(const setting *s, double norms, double all)
{
    outcome plain = run(s, s->rewrites & ~ATR_REWRITE_NORM_AGAIN, false);
    outcome again = run(s, s->rewrites, true);

    assert_int_equal(plain.again, 0);
    assert_true((plain.sums > 0) == s->grouped);
    expect_same(s, &again, &plain, all);
    outcome_free(&again);
    if (norms > 0) {
        again = run(s, s->rewrites, false);
        expect_same(s, &again, &plain, norms);
        outcome_free(&again);
    }
    outcome_free(&plain);
}

static setting small(const char *backbone, const char *backend, int threads)
{
    return (setting){.backbone = backbone,
                     .backend = backend,
                     .threads = threads,
                     .rewrites = ATR_REWRITE_ALL,
                     .batch = 2,
                     .height = 64,
                     .width = 48};
}

static void gradients_and_statistics_have_the_same_bits(void **state)
{
    setting s = small("mobilenetv2", "cpu", 3);

    (void)state;
    s.batch = 3;
    compare(&s, 0.95, 0.8);
    s = small("mobilenetv2", "cpu", 1);
    s.rewrites = 0;
    compare(&s, 0, 0.85);
    s = small("xception", "cpu", 2);
    compare(&s, 0, 0.9);
}

static void the_plain_kernels_too(void **state)
{
    setting s = small("mobilenetv2", "ref", 2);

    (void)state;
    s.height = 17;
    s.width = 33;
    compare(&s, 0, 0.9);
}

static void frozen_parts_are_not_made_again(void **state)
{
    setting s = small("mobilenetv2", "cpu", 2);

    (void)state;
    s.freeze_norm = true;
    compare(&s, 0, 0.9);
    s.freeze_norm = false;
    s.frozen = true;
    for (int statistics = 0; statistics < 2; statistics++) {
        s.frozen_statistics = statistics != 0;
        compare(&s, 0, 1);
    }
}

static void a_group_shares_its_statistics_once(void **state)
{
    setting s = small("mobilenetv2", "cpu", 2);

    (void)state;
    s.grouped = true;
    compare(&s, 1, 0.85);
}

/* Kernels of the back end work while it is asked, so that "before it is taken" is true. */
static atr_status refuse(void *user, const atr_plan_needs *needs)
{
    *(atr_plan_needs *)user = *needs;
    return atr_fail(ATR_ERR_MEMORY, "no");
}

static void a_plan_is_asked_for_before_it_takes_its_arena(void **state)
{
    const setting s = {.backbone = "mobilenetv2"};
    atr_model_config config = {.classes = CLASSES, .input_channels = 3, .output_stride = 16};
    atr_plan_needs asked = {0}, measured = {0};
    atr_plan_options options = {
        .mode = ATR_INFER, .batch = 1, .height = 4096, .width = 4096, .rewrites = -1, .approve = refuse};
    atr_graph *graph = NULL;
    atr_params *params = NULL;
    atr_backend *backend = NULL;
    atr_plan *plan = NULL;

    (void)state;
    snprintf(config.backbone, sizeof config.backbone, "%s", s.backbone);
    must(atr_model_build(&config, &graph));
    must(atr_backend_open("cpu", 2, &backend));
    must(atr_params_create(atr_graph_param_specs(graph), atr_graph_param_count(graph), &atr_host_allocator,
                           &params));
    options.approve_user = &asked;
    assert_int_equal(atr_plan_create(graph, params, backend, &options, &plan), ATR_ERR_MEMORY);
    assert_null(plan);
    must(atr_plan_measure(graph, params, backend, &options, &measured));
    assert_true(asked.arena > (size_t)1 << 30 && asked.scratch > 0 && asked.scratch <= asked.arena);
    assert_true(asked.packed > (size_t)1 << 20);
    assert_memory_equal(&asked, &measured, sizeof asked);
    options.height = options.width = 64;
    options.approve = NULL;
    must(atr_plan_measure(graph, params, backend, &options, &measured));
    must(atr_plan_create(graph, params, backend, &options, &plan));
    asked = atr_plan_needs_of(plan);
    assert_memory_equal(&asked, &measured, sizeof asked);
    assert_int_equal(asked.arena, atr_plan_arena_bytes(plan));
    atr_plan_destroy(plan);
    atr_params_destroy(params);
    atr_backend_close(backend);
    atr_graph_destroy(graph);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(gradients_and_statistics_have_the_same_bits),
        cmocka_unit_test(the_plain_kernels_too),
        cmocka_unit_test(frozen_parts_are_not_made_again),
        cmocka_unit_test(a_group_shares_its_statistics_once),
        cmocka_unit_test(a_plan_is_asked_for_before_it_takes_its_arena),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
