#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "core/rng.h"
#include "tests/support/network.h"

/* Plans in bf16 over a whole network of drawn weights: which activations are bf16, and what a result may depend on. */

enum { SIDE = 49, BATCH = 3, CLASSES = 7, CHANNELS = 3 };

typedef struct subject {
    atr_backend *backend;
    atr_graph *graph;
    atr_params *params;
    float *images; /* [BATCH,SIDE,SIDE,3] */
    uint8_t *labels;
} subject;

static void fill(atr_params *params)
{
    for (int64_t p = 0; p < atr_params_count(params); p++) {
        const atr_param_spec *spec = atr_params_spec(params, p);
        const atr_tensor t = atr_params_value(params, p);
        const int64_t fan_in = spec->rank == 4 ? spec->dims[1] * spec->dims[2] * spec->dims[3] : 0;
        float *values = t.data;
        for (int64_t i = 0; i < atr_tensor_count(&t) && spec->kind != ATR_PARAM_TRACKED; i++) {
            const double unit = 2 * atr_rng_unit(atr_fnv1a64(spec->name), (uint64_t)i) - 1;
            values[i] = (float)(fan_in > 0 ? unit * sqrt(6.0 / (double)fan_in) : 1 + 0.3 * unit);
        }
    }
}

static void open_subject(subject *s, const char *backend, int threads, const char *backbone)
{
    atr_model_config config = atr_model_config_default();
    const int64_t pixels = (int64_t)BATCH * SIDE * SIDE;

    snprintf(config.backbone, sizeof config.backbone, "%s", backbone);
    config.classes = CLASSES;
    must(atr_backend_open(backend, threads, &s->backend));
    s->backend->precision = ATR_BF16;
    must(atr_model_build(&config, &s->graph));
    must(atr_params_create(atr_graph_param_specs(s->graph), atr_graph_param_count(s->graph),
                           &atr_host_allocator, &s->params));
    must(ATR_NEW(pixels * CHANNELS, &s->images));
    must(ATR_NEW(pixels, &s->labels));
    for (int64_t i = 0; i < pixels * CHANNELS; i++)
        s->images[i] = (float)atr_rng_unit(17, (uint64_t)i);
    for (int64_t i = 0; i < pixels; i++)
        s->labels[i] = (uint8_t)(i / 5 % (CLASSES + 1));
}

static void close_subject(subject *s)
{
    atr_params_destroy(s->params);
    atr_graph_destroy(s->graph);
    atr_backend_close(s->backend);
    atr_free(s->images);
    atr_free(s->labels);
}

static atr_plan *plan_of(const subject *s, atr_mode mode, int64_t batch, int rewrites)
{
    const atr_plan_options options = {
        .mode = mode, .batch = batch, .height = SIDE, .width = SIDE, .rewrites = rewrites};
    atr_plan *plan = NULL;

    must(atr_plan_create(s->graph, s->params, s->backend, &options, &plan));
    return plan;
}

/* ---- types -------------------------------------------------------------------------------------------------------------- */

static void check_type(const atr_step *step, const char *what, const atr_tensor *t, bool f32)
{
    if ((t->type == ATR_F32) != f32 || (t->type != ATR_F32 && t->type != ATR_BF16))
        fail_msg("%s: %s is %s", step->name, what, atr_dtype_name(t->type));
}

static bool one_pixel(const atr_tensor *t)
{
    return t->dims[1] * t->dims[2] == 1;
}

/* Pictures, class scores and maps of one pixel are f32, and so are their gradients; all else is bf16. */
static void check_types(const subject *s, atr_mode mode, int rewrites)
{
    atr_plan *plan = plan_of(s, mode, BATCH, rewrites);
    int narrow = 0;

    for (int i = 0; i < atr_plan_step_count(plan); i++) {
        const atr_step *step = atr_plan_step(plan, i);
        const bool last = strcmp(step->name, "cls_conv") == 0;
        for (int k = 0; k < step->input_count; k++) {
            const bool pictures = step->x[k].dims[3] == CHANNELS && step->x[k].dims[1] == SIDE;
            check_type(step, "x", &step->x[k], pictures || one_pixel(&step->x[k]));
            check_type(step, "dx", &step->dx[k], pictures || one_pixel(&step->x[k]));
        }
        check_type(step, "y", &step->y, last || one_pixel(&step->y));
        check_type(step, "dy", &step->dy, last || one_pixel(&step->y));
        narrow += step->y.type == ATR_BF16;
    }
    assert_true(narrow > atr_plan_step_count(plan) / 2);
    const atr_tensor logits = atr_plan_logits(plan);
    assert_int_equal(logits.type, ATR_F32);
    atr_plan_destroy(plan);
}

static void activations_are_bf16_and_pictures_scores_and_pooled_maps_f32(void **state)
{
    static const char *const backbones[] = {"mobilenetv2", "xception"}, *const backends[] = {"cpu", "ref"};

    (void)state;
    for (int b = 0; b < 2; b++)
        for (int e = 0; e < 2; e++) {
            subject s;
            open_subject(&s, backends[e], 2, backbones[b]);
            check_types(&s, ATR_INFER, ATR_REWRITE_ALL);
            check_types(&s, ATR_TRAIN, ATR_REWRITE_ALL);
            check_types(&s, ATR_TRAIN, 0);
            close_subject(&s);
        }
}

/* ---- what a result may depend on ---------------------------------------------------------------------------------------- */

/* Class scores of all pictures, `batch` at a time (BATCH is a multiple of it). To be freed. */
static float *predict(const subject *s, int64_t batch)
{
    atr_plan *plan = plan_of(s, ATR_INFER, batch, ATR_REWRITE_ALL);
    const atr_tensor logits = atr_plan_logits(plan);
    const int64_t count = atr_tensor_count(&logits);
    float *all = NULL;

    assert_true(atr_tensor_contiguous(&logits));
    must(ATR_NEW(count * BATCH / batch, &all));
    for (int64_t n = 0; n < BATCH / batch; n++) {
        must(atr_plan_forward(plan, s->images + n * batch * SIDE * SIDE * CHANNELS));
        memcpy(all + n * count, logits.data, (size_t)count * sizeof *all);
    }
    atr_plan_destroy(plan);
    return all;
}

static void prediction_depends_on_neither_batch_nor_threads(void **state)
{
    const size_t bytes = (size_t)BATCH * 13 * 13 * CLASSES * sizeof(float);
    float *want = NULL;

    (void)state;
    for (int threads = 1; threads <= 3; threads++)
        for (int64_t batch = 1; batch <= BATCH; batch += 2) {
            subject s;
            open_subject(&s, "cpu", threads, "mobilenetv2");
            fill(s.params);
            float *got = predict(&s, batch);
            if (want == NULL)
                want = got;
            else
                assert_memory_equal(got, want, bytes);
            if (got != want)
                atr_free(got);
            close_subject(&s);
        }
    atr_free(want);
}

/* A pass is the same bit by bit when it is made again, in a new plan and in the old one. */
static void training_repeats_itself(void **state)
{
    subject s;
    float *first = NULL;

    (void)state;
    open_subject(&s, "cpu", 2, "mobilenetv2");
    fill(s.params);
    const int64_t count = atr_params_flat_count(s.params);
    must(ATR_NEW(count, &first));
    for (int made = 0; made < 2; made++) {
        atr_plan *plan = plan_of(&s, ATR_TRAIN, BATCH, ATR_REWRITE_ALL);
        for (int run = 0; run < 2; run++) {
            double loss = 0;
            must(atr_plan_forward(plan, s.images));
            must(atr_plan_cross_entropy(plan, s.labels, NULL, (double)BATCH * SIDE * SIDE, &loss));
            must(atr_plan_backward(plan, NULL, NULL));
            if (made + run == 0)
                memcpy(first, atr_params_flat_gradients(s.params), (size_t)count * sizeof *first);
            else
                assert_memory_equal(first, atr_params_flat_gradients(s.params),
                                    (size_t)count * sizeof *first);
        }
        atr_plan_destroy(plan);
    }
    atr_free(first);
    close_subject(&s);
}

/* New weights are rounded anew. */
static void changed_weights_are_seen(void **state)
{
    subject s, fresh;

    (void)state;
    open_subject(&s, "cpu", 2, "mobilenetv2");
    open_subject(&fresh, "cpu", 2, "mobilenetv2");
    fill(s.params);
    fill(fresh.params);
    atr_plan *plan = plan_of(&s, ATR_INFER, BATCH, ATR_REWRITE_ALL);
    must(atr_plan_forward(plan, s.images));
    for (int k = 0; k < 2; k++) {
        atr_params *params = k == 0 ? s.params : fresh.params;
        float *values = atr_params_flat_values(params);
        for (int64_t i = 0; i < atr_params_flat_count(params); i++)
            values[i] *= 1.03f;
        atr_params_touch(params);
    }
    must(atr_plan_forward(plan, s.images));
    const atr_tensor logits = atr_plan_logits(plan);
    float *want = predict(&fresh, BATCH);
    assert_memory_equal(logits.data, want, (size_t)atr_tensor_count(&logits) * sizeof(float));
    atr_free(want);
    atr_plan_destroy(plan);
    close_subject(&s);
    close_subject(&fresh);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(activations_are_bf16_and_pictures_scores_and_pooled_maps_f32),
        cmocka_unit_test(prediction_depends_on_neither_batch_nor_threads),
        cmocka_unit_test(training_repeats_itself),
        cmocka_unit_test(changed_weights_are_seen),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
