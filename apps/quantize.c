#include "apps/quantize.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

/* Everything that the parts of the work share. */
typedef struct work {
    atr_session *session;
    const atr_dataset *dataset;
    const atr_quantize_options *options;
    atr_segmenter *segmenter;
    atr_image *pictures; /* [count] */
    int64_t count;
    float **logits; /* [probes] of f32 */
    int64_t *logit_counts;
    int64_t probes;
} work;

static atr_status load_pictures(work *w)
{
    const int64_t *samples = NULL;
    const int64_t held = atr_dataset_split(w->dataset, w->options->split, &samples);
    atr_status status = ATR_OK;

    if (held == 0)
        return atr_fail(ATR_ERR_DATA, "%s has no samples in split %s to calibrate on",
                        atr_dataset_path(w->dataset), atr_split_name(w->options->split));
    if (atr_dataset_classes(w->dataset)->count != w->session->info.classes)
        return atr_fail(ATR_ERR_USAGE, "%s has %lld classes, the model %lld", atr_dataset_path(w->dataset),
                        (long long)atr_dataset_classes(w->dataset)->count,
                        (long long)w->session->info.classes);
    const int64_t wanted = w->options->pictures < held ? w->options->pictures : held;
    ATR_TRY(ATR_NEW(wanted, &w->pictures));
    for (; w->count < wanted; w->count++)
        ATR_TRY(
            atr_dataset_read_image(w->dataset, samples[w->count * held / wanted], &w->pictures[w->count]));
    w->probes = w->options->probes < wanted ? w->options->probes : wanted;
    ATR_TRY(ATR_NEW(w->probes, &w->logits));
    ATR_TRY(ATR_NEW(w->probes, &w->logit_counts));

done:
    return status;
}

static void work_free(work *w)
{
    for (int64_t i = 0; i < w->count; i++)
        atr_image_free(&w->pictures[i]);
    for (int64_t i = 0; w->logits != NULL && i < w->probes; i++)
        atr_free(w->logits[i]);
    atr_free(w->logits);
    atr_free(w->logit_counts);
    atr_free(w->pictures);
    atr_segmenter_destroy(w->segmenter);
}

/* Pictures that layers are measured on lie evenly among the others. */
static const atr_image *probe(const work *w, int64_t i)
{
    return &w->pictures[i * w->count / w->probes];
}

static atr_status run(const work *w, const atr_image *picture, atr_tensor *logits)
{
    const atr_segmentation nothing = {NULL, NULL, NULL, NULL};
    const atr_status status = atr_segmenter_run(w->segmenter, picture, &nothing);

    if (status == ATR_OK)
        *logits = atr_plan_logits(atr_segmenter_plan(w->segmenter));
    return status;
}

static atr_status keep_logits(work *w)
{
    atr_status status = ATR_OK;

    for (int64_t i = 0; i < w->probes; i++) {
        atr_tensor logits;
        ATR_TRY(run(w, probe(w, i), &logits));
        w->logit_counts[i] = atr_tensor_count(&logits);
        ATR_TRY(ATR_NEW(w->logit_counts[i], &w->logits[i]));
        memcpy(w->logits[i], logits.data, (size_t)w->logit_counts[i] * sizeof(float));
    }

done:
    return status;
}

/* How far the class scores of the probes are from those of f32 when `quant` says what runs in integers. */
static atr_status measure(const work *w, const atr_quant *quant, double *error)
{
    double distance = 0.0, size = 0.0;
    atr_status status = ATR_OK;

    atr_segmenter_set_quant(w->segmenter, quant);
    for (int64_t i = 0; i < w->probes; i++) {
        atr_tensor logits;
        ATR_TRY(run(w, probe(w, i), &logits));
        for (int64_t k = 0; k < w->logit_counts[i]; k++) {
            const double want = (double)w->logits[i][k], d = (double)((const float *)logits.data)[k] - want;
            distance += d * d;
            size += want * want;
        }
    }
    *error = size > 0.0 ? sqrt(distance / size) : 0.0;

done:
    atr_segmenter_set_quant(w->segmenter, NULL);
    return status;
}

static atr_status calibrate(work *w)
{
    atr_calibration *calibration = NULL;
    atr_status status = ATR_OK;

    ATR_TRY(atr_calibration_create(w->count, &calibration));
    atr_segmenter_watch(w->segmenter, atr_calibration_watch, calibration);
    for (int64_t i = 0; i < w->count; i++) {
        atr_tensor logits;
        ATR_TRY(run(w, &w->pictures[i], &logits));
    }
    ATR_TRY(atr_calibration_choose(calibration, atr_segmenter_plan(w->segmenter), &w->options->how,
                                   &w->session->quant));

done:
    atr_segmenter_watch(w->segmenter, NULL, NULL);
    atr_calibration_destroy(calibration);
    return status;
}

/* One layer in integers, all others in floats. */
static atr_status measure_alone(const work *w, atr_quant_steps *weights, double *error)
{
    const atr_quant alone = {.activations = w->session->quant.activations,
                             .weights = {.count = 1, .room = 1, .items = weights}}; /* owns nothing */

    return measure(w, &alone, error);
}

static atr_status measure_layers(const work *w, atr_quantized *out)
{
    const atr_quant_list *weights = &w->session->quant.weights;
    atr_status status = ATR_OK;

    ATR_TRY(ATR_NEW(weights->count, &out->layers));
    for (int64_t i = 0; i < weights->count; i++) {
        atr_quantized_layer *layer = &out->layers[out->count++];
        memcpy(layer->name, weights->items[i].name, sizeof layer->name);
        layer->integers = true;
        ATR_TRY(measure_alone(w, &weights->items[i], &layer->error));
        if (w->options->progress != NULL)
            w->options->progress(w->options->user, i + 1, weights->count);
    }

done:
    return status;
}

static atr_quantized_layer *worst(const atr_quantized *quantized)
{
    atr_quantized_layer *found = NULL;

    for (int64_t i = 0; i < quantized->count; i++)
        if (quantized->layers[i].integers && (found == NULL || quantized->layers[i].error > found->error))
            found = &quantized->layers[i];
    return found;
}

void atr_quantize_spare(atr_session *session, atr_quantized *quantized, int64_t count)
{
    atr_quantized_layer *layer = NULL;

    for (int64_t i = 0; i < count && (layer = worst(quantized)) != NULL; i++) {
        layer->integers = false;
        atr_quant_remove(&session->quant.weights, layer->name);
    }
}

/* Errors of layers are taken as independent: squares add up. */
static double expected_error(const atr_quantized *quantized)
{
    double sum = 0.0;

    for (int64_t i = 0; i < quantized->count; i++)
        if (quantized->layers[i].integers)
            sum += quantized->layers[i].error * quantized->layers[i].error;
    return sqrt(sum);
}

static atr_status quantize(work *w, atr_quantized *out)
{
    const atr_session *s = w->session;
    const atr_quantize_options *o = w->options;
    atr_status status = ATR_OK;

    ATR_TRY(load_pictures(w));
    ATR_TRY(atr_segmenter_create(&s->info, s->graph, s->params, s->backend, o->fit, o->height, o->width,
                                 &w->segmenter));
    ATR_TRY(calibrate(w));
    ATR_TRY(keep_logits(w));
    ATR_TRY(measure(w, &s->quant, &out->all_error));
    ATR_TRY(measure_layers(w, out));
    while (expected_error(out) > o->most_error && worst(out) != NULL)
        atr_quantize_spare(w->session, out, 1);
    ATR_TRY(measure(w, &s->quant, &out->error));

done:
    return status;
}

atr_status atr_quantize(atr_session *session, const atr_dataset *dataset, const atr_quantize_options *options,
                        atr_quantized *out)
{
    const int rewrites = session->backend->rewrites;
    work w = {.session = session, .dataset = dataset, .options = options};

    *out = (atr_quantized){0};
    atr_quant_free(&session->quant);
    session->backend->rewrites &= ~ATR_REWRITE_CONCAT; /* without slices every activation is seen */
    const atr_status status = quantize(&w, out);
    session->backend->rewrites = rewrites;
    work_free(&w);
    return status;
}

void atr_quantized_free(atr_quantized *quantized)
{
    atr_free(quantized->layers);
    *quantized = (atr_quantized){0};
}

atr_status atr_quantize_roughly(atr_session *session, const float *images, int64_t batch, int64_t height,
                                int64_t width)
{
    const atr_plan_options options = {.mode = ATR_INFER,
                                      .batch = batch,
                                      .height = height,
                                      .width = width,
                                      .rewrites = ATR_REWRITE_ALL & ~ATR_REWRITE_CONCAT};
    const atr_calibration_how how = {ATR_CLIP_MAX, ATR_EQUALISE_CHANNEL};
    atr_calibration *calibration = NULL;
    atr_plan *plan = NULL;
    atr_status status = ATR_OK;

    atr_quant_free(&session->quant);
    ATR_TRY(atr_calibration_create(1, &calibration));
    ATR_TRY(atr_plan_create(session->graph, session->params, session->backend, &options, &plan));
    atr_plan_watch(plan, atr_calibration_watch, calibration);
    ATR_TRY(atr_plan_forward(plan, images));
    ATR_TRY(atr_calibration_choose(calibration, plan, &how, &session->quant));

done:
    atr_plan_destroy(plan);
    atr_calibration_destroy(calibration);
    return status;
}
