#include "dnn/widen.h"

#include <math.h>
#include <string.h>

#include "core/bf16.h"

/* ---- weights ------------------------------------------------------------------------------------------------------------ */

void atr_conv_fold(const atr_step *step, float *weights, float *bias)
{
    const atr_conv_attr *conv = &step->conv;
    const int64_t filter = atr_conv_filter(conv);

    for (int64_t o = 0; o < conv->out_channels; o++) {
        double scale = 1.0, shift = step->bias != NULL ? (double)step->bias[o] : 0.0;
        if (step->folded) {
            scale = (double)step->norm_weight[o] / sqrt((double)step->running_var[o] + step->norm.eps);
            shift = (shift - (double)step->running_mean[o]) * scale + (double)step->norm_bias[o];
        }
        bias[o] = (float)shift;
        for (int64_t i = 0; i < filter; i++)
            weights[o * filter + i] = (float)((double)step->weight[o * filter + i] * scale);
    }
}

static bool is_conv(const atr_step *step)
{
    return step->op == ATR_OP_CONV || step->op == ATR_OP_CONV_RESIZED || step->op == ATR_OP_CONV_POOLED;
}

bool atr_step_rounds_weights(const atr_step *step)
{
    const atr_conv_attr *conv = &step->conv;
    const bool depthwise =
        conv->groups > 1 && conv->groups == conv->in_channels && conv->groups == conv->out_channels;

    return is_conv(step) && !depthwise && step->x[0].type == ATR_BF16;
}

bool atr_step_is_narrow(const atr_step *step)
{
    for (int i = 0; i < step->input_count; i++)
        if (step->x[i].type == ATR_BF16)
            return true;
    return step->y.type == ATR_BF16;
}

/* ---- copies ------------------------------------------------------------------------------------------------------------- */

typedef struct widened {
    void *state;          /* of the kernel inside */
    size_t bytes;         /* of scratch that it takes; the copies come behind it */
    float *weight, *bias; /* rounded [O,I/G,k,k], and [O]; NULL: those of the step do */
} widened;

static atr_tensor without_gaps(const atr_tensor *t, void *data)
{
    return atr_tensor_nhwc(ATR_F32, t->dims[0], t->dims[1], t->dims[2], t->dims[3], data);
}

static size_t copy_bytes(const atr_tensor *t)
{
    return t->type == ATR_BF16 ? atr_align_up((size_t)atr_tensor_count(t) * sizeof(float)) : 0;
}

/* The tensor itself, or room for its copy at `*at`. */
static atr_tensor as_f32(const atr_tensor *t, char **at)
{
    const atr_tensor copy = t->type == ATR_BF16 ? without_gaps(t, *at) : *t;

    *at += copy_bytes(t);
    return copy;
}

static int64_t pixels_of(const atr_tensor *t)
{
    return t->dims[0] * t->dims[1] * t->dims[2];
}

static uint16_t *narrow_pixel(const atr_tensor *t, int64_t index)
{
    return (uint16_t *)t->data + index * t->strides[2];
}

void atr_widen(const atr_tensor *from, const atr_tensor *to)
{
    const int64_t channels = from->dims[3];

#pragma omp parallel for schedule(static)
    for (int64_t p = 0; p < pixels_of(from); p++)
        atr_bf16_widen(narrow_pixel(from, p), channels, (float *)to->data + p * channels);
}

void atr_narrow(const atr_tensor *from, const atr_tensor *to)
{
    const int64_t channels = to->dims[3];

#pragma omp parallel for schedule(static)
    for (int64_t p = 0; p < pixels_of(to); p++)
        atr_bf16_narrow((const float *)from->data + p * channels, channels, narrow_pixel(to, p));
}

/* Where a tensor has a copy. */
static void into_copy(const atr_tensor *t, const atr_tensor *copy)
{
    if (t->type == ATR_BF16)
        atr_widen(t, copy);
}

static void out_of_copy(const atr_tensor *copy, const atr_tensor *t)
{
    if (t->type == ATR_BF16)
        atr_narrow(copy, t);
}

/* The step as the kernel inside sees it: activations in f32, rounded weights with nothing left to fold. */
static atr_step inside(const atr_step *step)
{
    const widened *own = step->state;
    atr_step inner = *step;
    char *at = step->scratch == NULL ? NULL : (char *)step->scratch + own->bytes;

    inner.kernel = step->inner;
    inner.state = own->state;
    inner.scratch_bytes = own->bytes;
    for (int i = 0; i < step->input_count; i++)
        inner.x[i] = as_f32(&step->x[i], &at);
    inner.y = as_f32(&step->y, &at);
    inner.dy = step->training ? as_f32(&step->dy, &at)
                              : inner.y; /* gradients that nobody touches have a type, too */
    for (int i = 0; i < step->input_count; i++)
        inner.dx[i] = step->wants_dx[i] ? as_f32(&step->dx[i], &at) : inner.x[i];
    if (own->weight != NULL) {
        inner.weight = own->weight;
        inner.bias = own->bias != NULL ? own->bias : step->bias;
        inner.folded = false;
    }
    return inner;
}

static size_t all_copies(const atr_step *step)
{
    size_t bytes = copy_bytes(&step->y) + (step->training ? copy_bytes(&step->dy) : 0);

    for (int i = 0; i < step->input_count; i++)
        bytes += copy_bytes(&step->x[i]) + (step->wants_dx[i] ? copy_bytes(&step->dx[i]) : 0);
    return bytes;
}

/* ---- the kernel --------------------------------------------------------------------------------------------------------- */

static atr_status prepare(atr_backend *backend, atr_step *step)
{
    const atr_conv_attr *conv = &step->conv;
    atr_status status = ATR_OK;
    widened *own = NULL;

    ATR_TRY(ATR_NEW(1, &own));
    step->state = own;
    if (atr_step_rounds_weights(step)) {
        ATR_TRY(
            atr_step_packed(step, conv->out_channels * atr_conv_filter(conv), sizeof(float), &own->weight));
        if (step->folded || step->bias != NULL)
            ATR_TRY(ATR_NEW(conv->out_channels, &own->bias));
    }
    atr_step inner = inside(step);
    if (step->inner->prepare != NULL)
        status = step->inner->prepare(backend, &inner);
    own->state = inner.state;
    own->bytes = atr_align_up(inner.scratch_bytes);
    step->needs_x = inner.needs_x;
    step->needs_y = inner.needs_y;
    step->saved_bytes = inner.saved_bytes;
    step->packed_bytes = inner.packed_bytes;
    step->scratch_bytes = own->bytes + all_copies(step);
done:
    return status;
}

static atr_status refresh(atr_backend *backend, atr_step *step)
{
    const widened *own = step->state;
    atr_step inner = inside(step);

    if (own->weight != NULL) {
        const int64_t count = step->conv.out_channels * atr_conv_filter(&step->conv);
        if (own->bias != NULL)
            atr_conv_fold(step, own->weight, own->bias);
        atr_bf16_round(own->bias != NULL ? own->weight : step->weight, count, own->weight);
    }
    return step->inner->refresh == NULL ? ATR_OK : step->inner->refresh(backend, &inner);
}

static atr_status forward(atr_backend *backend, atr_step *step)
{
    atr_step inner = inside(step);

    for (int i = 0; i < step->input_count; i++)
        into_copy(&step->x[i], &inner.x[i]);
    const atr_status status = step->inner->forward(backend, &inner);
    out_of_copy(&inner.y, &step->y);
    return status;
}

static atr_status backward(atr_backend *backend, atr_step *step)
{
    atr_step inner = inside(step);

    if (step->inner->backward == NULL)
        return ATR_OK;
    for (int i = 0; i < step->input_count && step->needs_x; i++)
        into_copy(&step->x[i], &inner.x[i]);
    if (step->needs_y)
        into_copy(&step->y, &inner.y);
    into_copy(&step->dy, &inner.dy);
    const atr_status status = step->inner->backward(backend, &inner);
    for (int i = 0; i < step->input_count; i++)
        if (step->wants_dx[i])
            out_of_copy(&inner.dx[i], &step->dx[i]);
    return status;
}

static void release(atr_step *step)
{
    widened *own = step->state;

    if (own == NULL)
        return;
    atr_step inner = inside(step);
    if (step->inner->release != NULL)
        step->inner->release(&inner);
    atr_free(own->weight);
    atr_free(own->bias);
    atr_free(own);
    step->state = NULL;
}

const atr_kernel atr_widened = {prepare, refresh, forward, backward, release};
