/* Networks of any number of input channels and classes on pictures of any size: `cpu` computes what `ref` does, forward and backward. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "dnn/model.h"
#include "tests/support/network.h"

static const struct shape {
    const char *backbone;
    int64_t channels, classes, output_stride, batch, height, width;
} shapes[] = {
    {"mobilenetv2", 1, 1, 16, 2, 33, 50}, /* grey, one class */
    {"mobilenetv2", 2, 2, 8, 2, 17, 9},
    {"mobilenetv2", 4, 255, 16, 2, 5, 64}, /* as many classes as there can be, a strip */
    {"mobilenetv2", 16, 3, 16, 1, 24, 31}, /* as many channels as climate data have, one picture */
    {"mobilenetv2", 5, 7, 8, 3, 1, 1},     /* one pixel */
    {"mobilenetv2", 33, 12, 16, 2, 40, 3}, /* more channels than the first layer gives */
    {"xception", 1, 6, 16, 1, 9, 14},
    {"xception", 6, 2, 8, 2, 9, 1},
};

typedef struct outcome {
    float *predicted, *gradients;
    double loss;
    int64_t scores, parameters;
} outcome;

/* Norms whose biases let nearly all values pass the activations, as in the golden `_tight` cases: rounding then moves none across a kink. */
static void open_activations(atr_params *params)
{
    for (int64_t p = 0; p < atr_params_count(params); p++) {
        const atr_param_spec *spec = atr_params_spec(params, p);
        float *values = atr_params_value(params, p).data;
        if (spec->kind == ATR_PARAM_NORM_BIAS)
            for (int64_t i = 0; i < spec->dims[0]; i++)
                values[i] = 2;
    }
    atr_params_touch(params);
}

static float *predict(const struct shape *s, const atr_graph *graph, atr_params *params, atr_backend *backend,
                      const float *images)
{
    const atr_plan_options options = {.mode = ATR_INFER,
                                      .batch = s->batch,
                                      .height = s->height,
                                      .width = s->width,
                                      .rewrites = ATR_REWRITE_ALL};
    const int64_t one = s->classes * s->height * s->width;
    atr_plan *plan = NULL;
    float *scores = NULL;

    must(atr_plan_create(graph, params, backend, &options, &plan));
    must(atr_plan_forward(plan, images));
    must(ATR_NEW(s->batch * one, &scores));
    for (int64_t n = 0; n < s->batch; n++)
        must(atr_plan_enlarge(plan, n, scores + n * one));
    atr_plan_destroy(plan);
    return scores;
}

static void train(const struct shape *s, const atr_graph *graph, atr_params *params, atr_backend *backend,
                  const float *images, double *loss)
{
    const atr_plan_options options = {.mode = ATR_TRAIN,
                                      .batch = s->batch,
                                      .height = s->height,
                                      .width = s->width,
                                      .freeze_norm = true, /* a norm over one pixel has no statistics */
                                      .rewrites = ATR_REWRITE_ALL};
    const int64_t pixels = s->batch * s->height * s->width;
    atr_plan *plan = NULL;
    uint8_t *labels = NULL;

    must(ATR_NEW(pixels, &labels));
    for (int64_t i = 0; i < pixels; i++)
        labels[i] = (uint8_t)(i * 7 % s->classes);
    must(atr_plan_create(graph, params, backend, &options, &plan));
    must(atr_plan_forward(plan, images));
    must(atr_plan_cross_entropy(plan, labels, NULL, (double)pixels, loss));
    must(atr_plan_backward(plan, NULL, NULL));
    atr_plan_destroy(plan);
    atr_free(labels);
}

static outcome run(const struct shape *s, const char *name)
{
    atr_model_config config = {
        .classes = s->classes, .input_channels = s->channels, .output_stride = s->output_stride};
    const int64_t count = s->batch * s->height * s->width * s->channels;
    outcome o = {.scores = s->batch * s->classes * s->height * s->width};
    atr_graph *graph = NULL;
    atr_params *params = NULL;
    atr_backend *backend = NULL;
    float *images = NULL;

    snprintf(config.backbone, sizeof config.backbone, "%s", s->backbone);
    must(atr_model_build(&config, &graph));
    must(atr_backend_open(name, 2, &backend));
    must(atr_params_create(atr_graph_param_specs(graph), atr_graph_param_count(graph),
                           atr_backend_allocator(backend), &params));
    must(atr_model_init(params, ATR_INIT_KAIMING, 1, 3));
    open_activations(params);
    must(ATR_NEW(count, &images));
    network_fill(images, count, "images");
    o.predicted = predict(s, graph, params, backend, images);
    train(s, graph, params, backend, images, &o.loss);
    o.parameters = atr_params_flat_count(params);
    o.gradients = network_copy(atr_params_flat_gradients(params), o.parameters);
    atr_free(images);
    atr_params_destroy(params);
    atr_backend_close(backend);
    atr_graph_destroy(graph);
    return o;
}

static void outcome_free(outcome *o)
{
    atr_free(o->predicted);
    atr_free(o->gradients);
}

static double relative(const float *a, const float *b, int64_t count)
{
    double difference = 0, size = 0;

    for (int64_t i = 0; i < count; i++) {
        difference += ((double)a[i] - b[i]) * ((double)a[i] - b[i]);
        size += (double)b[i] * b[i];
    }
    return size > 0 ? sqrt(difference / size) : sqrt(difference);
}

static void cpu_computes_what_ref_does(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof shapes / sizeof *shapes; i++) {
        const struct shape *s = &shapes[i];
        outcome cpu = run(s, "cpu"), ref = run(s, "ref");
        const double scores = relative(cpu.predicted, ref.predicted, ref.scores);
        const double gradients = relative(cpu.gradients, ref.gradients, ref.parameters);
        double size = 0;

        for (int64_t k = 0; k < ref.parameters; k++)
            size += fabs((double)ref.gradients[k]);
        printf("%s: %lld channels, %lld classes, stride %lld, %lld of %lldx%lld: scores %.1e, "
               "gradients "
               "%.1e, loss %.4f\n",
               s->backbone, (long long)s->channels, (long long)s->classes, (long long)s->output_stride,
               (long long)s->batch, (long long)s->height, (long long)s->width, scores, gradients, ref.loss);
        assert_true(scores < 1e-5);
        assert_true(s->classes == 1 || size > 0); /* one class is always right: nothing to learn */
        assert_true(gradients < 1e-4); /* a flipped ReLU may cost so much, a wrong formula costs more */
        assert_true(fabs(cpu.loss - ref.loss) < 1e-5 * (1 + ref.loss));
        outcome_free(&cpu);
        outcome_free(&ref);
    }
}

static void what_cannot_be_is_refused(void **state)
{
    atr_graph *graph = NULL;
    atr_model_config config = atr_model_config_default();

    (void)state;
    config.input_channels = 0;
    assert_int_equal(atr_model_build(&config, &graph), ATR_ERR_SHAPE);
    config = atr_model_config_default();
    config.classes = 0;
    assert_int_equal(atr_model_build(&config, &graph), ATR_ERR_SHAPE);
    config.classes = 256;
    assert_int_equal(atr_model_build(&config, &graph), ATR_ERR_SHAPE);
    assert_null(graph);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(cpu_computes_what_ref_does),
        cmocka_unit_test(what_cannot_be_is_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
