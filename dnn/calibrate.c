#include "dnn/calibrate.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "core/rng.h"
#include "dnn/int8.h"
#include "dnn/widen.h"

enum { SAMPLES = 512, TENSORS_MAX = 4096 };

/* What is known of one activation. */
typedef struct record {
    char name[ATR_NAME_BYTES];
    int64_t channels, count; /* samples taken */
    float *samples;          /* [SAMPLES,channels] pixels from here and there */
    float *most;             /* [channels] largest magnitude */
    bool has_negative;
} record;

struct atr_calibration {
    int64_t share; /* samples of a pass */
    record *records;
    int64_t count, room;
    atr_status status;
};

/* ---- collecting --------------------------------------------------------------------------------------------------------- */

atr_status atr_calibration_create(int64_t pictures, atr_calibration **out)
{
    const atr_status status = ATR_NEW(1, out);

    if (status == ATR_OK)
        (*out)->share = pictures < SAMPLES ? SAMPLES / (pictures > 0 ? pictures : 1) : 1;
    return status;
}

void atr_calibration_destroy(atr_calibration *calibration)
{
    if (calibration == NULL)
        return;
    for (int64_t i = 0; i < calibration->count; i++) {
        atr_free(calibration->records[i].samples);
        atr_free(calibration->records[i].most);
    }
    atr_free(calibration->records);
    atr_free(calibration);
}

static record *find(const atr_calibration *c, const char *name)
{
    for (int64_t i = 0; i < c->count; i++)
        if (strcmp(c->records[i].name, name) == 0)
            return &c->records[i];
    return NULL;
}

static atr_status add_record(atr_calibration *c, const char *name, int64_t channels, record **out)
{
    atr_status status = ATR_OK;

    if (c->count == c->room) {
        const int64_t room = c->room == 0 ? 128 : 2 * c->room;
        ATR_TRY(atr_grow(c->count, room, sizeof *c->records, (void **)&c->records));
        c->room = room;
    }
    record *r = &c->records[c->count++];
    strncpy(r->name, name, sizeof r->name - 1);
    r->channels = channels;
    ATR_TRY(ATR_NEW(SAMPLES * channels, &r->samples));
    ATR_TRY(ATR_NEW(channels, &r->most));
    *out = r;

done:
    return status;
}

static const float *pixel(const atr_tensor *tensor, int64_t index)
{
    return (const float *)tensor->data + index * tensor->strides[2];
}

static void note_extremes(record *r, const atr_tensor *value, int64_t pixels)
{
    for (int64_t p = 0; p < pixels; p++) {
        const float *x = pixel(value, p);
        for (int64_t c = 0; c < r->channels; c++) {
            r->most[c] = fmaxf(r->most[c], fabsf(x[c]));
            r->has_negative = r->has_negative || x[c] < 0;
        }
    }
}

/* One pixel out of each of `share` equal stretches, anywhere in it. */
static void note_samples(const atr_calibration *c, record *r, const atr_tensor *value, int64_t pixels)
{
    const uint64_t key = atr_rng_key(1, ATR_RNG_TEST, 0, (uint64_t)r->count);

    for (int64_t i = 0; i < c->share && r->count < SAMPLES; i++) {
        const int64_t first = pixels * i / c->share, end = pixels * (i + 1) / c->share;
        const int64_t at =
            first + (end > first ? (int64_t)atr_rng_below(key, (uint64_t)i, (uint64_t)(end - first)) : 0);
        memcpy(r->samples + r->count++ * r->channels, pixel(value, at), (size_t)r->channels * sizeof(float));
    }
}

void atr_calibration_watch(void *calibration, const char *name, const atr_tensor *value)
{
    atr_calibration *c = calibration;
    const int64_t pixels = value->dims[0] * value->dims[1] * value->dims[2];
    record *r = find(c, name);

    if (c->status == ATR_OK && r == NULL && c->count < TENSORS_MAX)
        c->status = add_record(c, name, value->dims[3], &r);
    if (c->status != ATR_OK || r == NULL || r->channels != value->dims[3])
        return;
    note_extremes(r, value, pixels);
    note_samples(c, r, value, pixels);
}

/* ---- choosing ----------------------------------------------------------------------------------------------------------- */

/* A step that reads an activation: as a convolution's input, or as a residual. */
typedef struct reader {
    const atr_step *step;
    const float *weights; /* folded [O,filter]; NULL: a residual */
    double energy;        /* E[y^2] of a pixel, over all channels */
} reader;

enum { READERS_MAX = 16 };

typedef struct choice {
    const record *record;
    reader readers[READERS_MAX];
    int reader_count;
    double *squares, *errors; /* [channels] E[x^2], E[e^2] */
    float *shape, *steps;     /* [channels] */
    float *best;              /* [channels] */
    float *weight_steps;      /* room for those of the widest reader */
    double score;             /* of `best` */
} choice;

static double energy_of(const record *r)
{
    double sum = 0.0;

    for (int64_t i = 0; r != NULL && i < r->count * r->channels; i++)
        sum += (double)r->samples[i] * (double)r->samples[i];
    return r != NULL && r->count > 0 ? sum / (double)r->count : 0.0;
}

/* Nearest integer, ties to even, of |x| < 2^22: the sum has no room for a fraction. */
static float nearest(float x)
{
    const float magic = 0x1.8p23f;

    return (x + magic) - magic;
}

/* errors[c] = mean over samples of (x - its integer)^2 */
static void measure_errors(choice *c)
{
    const record *r = c->record;
    const float low = r->has_negative ? -128.0f : 0.0f, high = r->has_negative ? 127.0f : 255.0f;

    memset(c->errors, 0, (size_t)r->channels * sizeof *c->errors);
    for (int64_t i = 0; i < r->count; i++)
        for (int64_t k = 0; k < r->channels; k++) {
            const float x = r->samples[i * r->channels + k];
            const float q = nearest(fminf(high, fmaxf(low, x / c->steps[k])));
            const double e = (double)(x - q * c->steps[k]);
            c->errors[k] += e * e;
        }
    for (int64_t k = 0; k < r->channels; k++)
        c->errors[k] /= (double)r->count;
}

static double conv_error(const choice *c, const reader *from)
{
    const atr_conv_attr *conv = &from->step->conv;
    const int64_t filter = atr_conv_filter(conv), taps = conv->kernel * conv->kernel,
                  group_in = conv->in_channels / conv->groups;
    double sum = 0.0;

    atr_int8_weight_steps(conv, from->weights, c->steps, c->weight_steps);
    for (int64_t o = 0; o < conv->out_channels; o++) {
        const int64_t first = o / (conv->out_channels / conv->groups) * group_in;
        for (int64_t i = 0; i < filter; i++) {
            const int64_t k = first + i / taps;
            const float w = from->weights[o * filter + i], unit = c->weight_steps[o] / c->steps[k];
            const double d = (double)(nearest(w / unit) * unit - w);
            sum += (double)w * (double)w * c->errors[k] + d * d * c->squares[k];
        }
    }
    return sum;
}

/* Expected error of all readers, each as a share of what it makes. */
static double score(choice *c)
{
    double sum = 0.0;

    measure_errors(c);
    for (int i = 0; i < c->reader_count; i++) {
        const reader *from = &c->readers[i];
        double error = 0.0;
        if (from->weights != NULL)
            error = conv_error(c, from);
        else
            for (int64_t k = 0; k < c->record->channels; k++)
                error += c->errors[k];
        sum += error / fmax(from->energy, 1e-30);
    }
    return sum;
}

/* Largest |weight| that meets channel k, over all readers. */
static double largest_weight(const choice *c, int64_t k)
{
    double most = 0.0;

    for (int r = 0; r < c->reader_count; r++) {
        const atr_conv_attr *conv = &c->readers[r].step->conv;
        const int64_t filter = atr_conv_filter(conv), taps = conv->kernel * conv->kernel,
                      group_in = conv->in_channels / conv->groups,
                      group_out = conv->out_channels / conv->groups;
        if (c->readers[r].weights == NULL)
            continue;
        for (int64_t o = k / group_in * group_out; o < (k / group_in + 1) * group_out; o++)
            for (int64_t t = 0; t < taps; t++)
                most = fmax(most, fabs((double)c->readers[r].weights[o * filter + k % group_in * taps + t]));
    }
    return most;
}

/* Relative sizes of the steps of channels; none is less than a thousandth of the largest. */
static void make_shape(choice *c, atr_equalise how)
{
    const record *r = c->record;
    float largest = 0.0f;

    for (int64_t k = 0; k < r->channels; k++) {
        c->shape[k] = 1.0f;
        if (how == ATR_EQUALISE_CHANNEL)
            c->shape[k] = r->most[k];
        if (how == ATR_EQUALISE_BALANCE)
            c->shape[k] = (float)sqrt((double)r->most[k] / fmax(largest_weight(c, k), 1e-12));
        largest = fmaxf(largest, c->shape[k]);
    }
    for (int64_t k = 0; k < r->channels; k++)
        c->shape[k] = largest > 0.0f ? fmaxf(c->shape[k] / largest, 1e-3f) : 1.0f;
}

static int ascending(const void *a, const void *b)
{
    const float x = *(const float *)a, y = *(const float *)b;

    return (x > y) - (x < y);
}

/* The magnitude, in units of the shape, that all but one in 10000 samples stay below. */
static atr_status percentile(const choice *c, float *out)
{
    const record *r = c->record;
    const int64_t count = r->count * r->channels;
    atr_status status = ATR_OK;
    float *sizes = NULL;

    ATR_TRY(ATR_NEW(count, &sizes));
    for (int64_t i = 0; i < count; i++)
        sizes[i] = fabsf(r->samples[i]) / c->shape[i % r->channels];
    qsort(sizes, (size_t)count, sizeof *sizes, ascending);
    *out = sizes[(int64_t)((double)(count - 1) * 0.9999)];

done:
    atr_free(sizes);
    return status;
}

/* Steps of one shape, the largest integer at `most`; kept where they are the best so far. */
static void consider(choice *c, float most)
{
    const record *r = c->record;
    const float levels = r->has_negative ? 127.0f : 255.0f;

    for (int64_t k = 0; k < r->channels; k++)
        c->steps[k] = (most > 0.0f ? most : 1.0f) / levels * c->shape[k];
    const double found = score(c);
    if (found < c->score) {
        c->score = found;
        memcpy(c->best, c->steps, (size_t)r->channels * sizeof *c->best);
    }
}

static atr_status try_shape(choice *c, const atr_calibration_how *how, atr_equalise equalise)
{
    static const float shares[] = {1.0f, 0.9f, 0.8f, 0.7f, 0.6f, 0.5f, 0.4f, 0.3f};
    const record *r = c->record;
    atr_status status = ATR_OK;
    float most = 0.0f;

    make_shape(c, equalise);
    for (int64_t k = 0; k < r->channels; k++)
        most = fmaxf(most, r->most[k] / c->shape[k]);
    if (how->clip == ATR_CLIP_PERCENTILE)
        ATR_TRY(percentile(c, &most));
    for (size_t i = 0; i < (how->clip == ATR_CLIP_MSE ? sizeof shares / sizeof shares[0] : 1); i++)
        consider(c, most * shares[i]);

done:
    return status;
}

static void choice_free(choice *c)
{
    for (int i = 0; i < c->reader_count; i++)
        atr_free((void *)(uintptr_t)c->readers[i].weights);
    atr_free(c->squares);
    atr_free(c->errors);
    atr_free(c->shape);
    atr_free(c->steps);
    atr_free(c->best);
    atr_free(c->weight_steps);
}

static atr_status add_reader(const atr_calibration *calibration, const atr_plan *plan, int index,
                             bool residual, choice *c)
{
    const atr_step *step = atr_plan_step(plan, index);
    atr_status status = ATR_OK;
    float *weights = NULL, *bias = NULL;

    if (c->reader_count == READERS_MAX)
        return ATR_OK;
    if (!residual) {
        ATR_TRY(ATR_NEW(step->conv.out_channels * atr_conv_filter(&step->conv), &weights));
        ATR_TRY(ATR_NEW(step->conv.out_channels, &bias));
        atr_conv_fold(step, weights, bias);
    }
    c->readers[c->reader_count++] =
        (reader){step, weights, energy_of(find(calibration, atr_plan_value_name(plan, index, -1)))};
    weights = NULL;

done:
    atr_free(weights);
    atr_free(bias);
    return status;
}

static atr_status find_readers(const atr_calibration *calibration, const atr_plan *plan, choice *c)
{
    int64_t widest = 1;
    atr_status status = ATR_OK;

    for (int s = 0; s < atr_plan_step_count(plan); s++) {
        const atr_step *step = atr_plan_step(plan, s);
        if (!atr_int8_can(step) || step->x[0].dims[1] * step->x[0].dims[2] == 1)
            continue; /* what is made of one pixel costs nothing, and a norm behind it magnifies errors */
        if (strcmp(atr_plan_value_name(plan, s, 0), c->record->name) == 0) {
            ATR_TRY(add_reader(calibration, plan, s, false, c));
            widest = step->conv.out_channels > widest ? step->conv.out_channels : widest;
        }
        if (step->residual && strcmp(atr_plan_value_name(plan, s, 1), c->record->name) == 0)
            ATR_TRY(add_reader(calibration, plan, s, true, c));
    }
    ATR_TRY(ATR_NEW(widest, &c->weight_steps));

done:
    return status;
}

static atr_status prepare_choice(choice *c)
{
    const record *r = c->record;
    atr_status status = ATR_OK;

    ATR_TRY(ATR_NEW(r->channels, &c->squares));
    ATR_TRY(ATR_NEW(r->channels, &c->errors));
    ATR_TRY(ATR_NEW(r->channels, &c->shape));
    ATR_TRY(ATR_NEW(r->channels, &c->steps));
    ATR_TRY(ATR_NEW(r->channels, &c->best));
    for (int64_t i = 0; i < r->count * r->channels; i++)
        c->squares[i % r->channels] += (double)r->samples[i] * (double)r->samples[i] / (double)r->count;

done:
    return status;
}

/* Adds the weight steps of everything that reads `c`. */
static atr_status add_weights(choice *c, atr_quant *out)
{
    atr_status status = ATR_OK;

    for (int i = 0; i < c->reader_count; i++) {
        const atr_step *step = c->readers[i].step;
        if (c->readers[i].weights == NULL)
            continue;
        atr_int8_weight_steps(&step->conv, c->readers[i].weights, c->best, c->weight_steps);
        ATR_TRY(atr_quant_add(&out->weights, step->name, false, c->weight_steps, step->conv.out_channels));
    }

done:
    return status;
}

static atr_status choose_one(const atr_calibration *calibration, const atr_plan *plan, const record *r,
                             const atr_calibration_how *how, atr_quant *out)
{
    choice c = {.record = r, .score = INFINITY};
    bool read = false;
    atr_status status = ATR_OK;

    ATR_TRY(find_readers(calibration, plan, &c));
    for (int i = 0; i < c.reader_count; i++)
        read = read || c.readers[i].weights != NULL;
    if (!read)
        goto done;
    ATR_TRY(prepare_choice(&c));
    for (atr_equalise e = ATR_EQUALISE_NONE; e <= ATR_EQUALISE_CHANNEL; e++)
        if (how->equalise == ATR_EQUALISE_BEST || how->equalise == e)
            ATR_TRY(try_shape(&c, how, e));
    if (!isfinite(c.score)) {
        status = atr_fail(ATR_ERR_DATA, "%s: its activations are not finite numbers", r->name);
        goto done;
    }
    ATR_TRY(atr_quant_add(&out->activations, r->name, r->has_negative, c.best, r->channels));
    ATR_TRY(add_weights(&c, out));

done:
    choice_free(&c);
    return status;
}

atr_status atr_calibration_choose(const atr_calibration *calibration, const atr_plan *plan,
                                  const atr_calibration_how *how, atr_quant *out)
{
    atr_status status = calibration->status;

    if (status == ATR_OK && calibration->count == 0)
        return atr_fail(ATR_ERR_USAGE, "no picture was seen to calibrate on");
    for (int64_t i = 0; status == ATR_OK && i < calibration->count; i++)
        status = choose_one(calibration, plan, &calibration->records[i], how, out);
    return status;
}
