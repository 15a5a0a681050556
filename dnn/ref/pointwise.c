#include <string.h>

#include "dnn/dropout.h"
#include "dnn/ref/ref_impl.h"

atr_status atr_ref_plain_prepare(atr_backend *backend, atr_step *step)
{
    (void)backend;
    step->needs_x = step->needs_y = false;
    step->saved_bytes = step->scratch_bytes = 0;
    return ATR_OK;
}

/* Activation: y = act(x), dx = dy act'(x). The sign of act' is read off y, so that y may lie over x. */
atr_status atr_ref_act_prepare(atr_backend *backend, atr_step *step)
{
    atr_ref_plain_prepare(backend, step);
    step->needs_y = step->training;
    return ATR_OK;
}

atr_status atr_ref_act_forward(atr_backend *backend, atr_step *step)
{
    (void)backend;
#pragma omp parallel for
    for (int64_t p = 0; p < atr_ref_pixels(&step->y); p++) {
        const float *x = atr_ref_pixel(&step->x[0], p);
        float *y = atr_ref_pixel(&step->y, p);
        for (int64_t c = 0; c < step->y.dims[3]; c++)
            y[c] = atr_ref_act(step->act, x[c]);
    }
    return ATR_OK;
}

atr_status atr_ref_act_backward(atr_backend *backend, atr_step *step)
{
    (void)backend;
    if (!step->wants_dx[0])
        return ATR_OK;
#pragma omp parallel for
    for (int64_t p = 0; p < atr_ref_pixels(&step->dy); p++) {
        const float *y = atr_ref_pixel(&step->y, p), *dy = atr_ref_pixel(&step->dy, p);
        float *dx = atr_ref_pixel(&step->dx[0], p);
        for (int64_t c = 0; c < step->dy.dims[3]; c++)
            dx[c] = atr_ref_act_passes(step->act, y[c]) ? dy[c] : 0.0f;
    }
    return ATR_OK;
}

/* y = x0 + x1; both gradients are dy itself. */
atr_status atr_ref_add_forward(atr_backend *backend, atr_step *step)
{
    (void)backend;
#pragma omp parallel for
    for (int64_t p = 0; p < atr_ref_pixels(&step->y); p++) {
        const float *a = atr_ref_pixel(&step->x[0], p), *b = atr_ref_pixel(&step->x[1], p);
        float *y = atr_ref_pixel(&step->y, p);
        for (int64_t c = 0; c < step->y.dims[3]; c++)
            y[c] = a[c] + b[c];
    }
    return ATR_OK;
}

/* Inputs side by side along channels; the gradient of each is its slice of dy. */
atr_status atr_ref_concat_forward(atr_backend *backend, atr_step *step)
{
    (void)backend;
#pragma omp parallel for
    for (int64_t p = 0; p < atr_ref_pixels(&step->y); p++) {
        float *y = atr_ref_pixel(&step->y, p);
        for (int i = 0; i < step->input_count; i++) {
            const int64_t channels = step->x[i].dims[3];
            memcpy(y, atr_ref_pixel(&step->x[i], p), (size_t)channels * sizeof *y);
            y += channels;
        }
    }
    return ATR_OK;
}

/* to = kept ? from / (1-p) : 0: forward from x to y, backward from dy to dx with the same mask (dnn/dropout.h). */
static void drop(const atr_step *step, const atr_tensor *from, const atr_tensor *to)
{
    const int64_t pixels = to->dims[1] * to->dims[2], channels = to->dims[3]; /* of a sample */
    const uint32_t threshold = atr_dropout_threshold(step->dropout);
    const float scale = atr_dropout_scale(step->dropout);

#pragma omp parallel for
    for (int64_t p = 0; p < atr_ref_pixels(to); p++) {
        const uint64_t key = atr_dropout_key(step->sample_keys[p / pixels], step->stream);
        const float *in = atr_ref_pixel(from, p);
        float *out = atr_ref_pixel(to, p);
        for (int64_t c = 0; c < channels; c++)
            out[c] = atr_dropout_keeps(key, p % pixels * channels + c, threshold) ? in[c] * scale : 0.0f;
    }
}

atr_status atr_ref_dropout_forward(atr_backend *backend, atr_step *step)
{
    if (!step->training) /* nothing is dropped: a copy */
        return atr_ref_concat_forward(backend, step);
    drop(step, &step->x[0], &step->y);
    return ATR_OK;
}

atr_status atr_ref_dropout_backward(atr_backend *backend, atr_step *step)
{
    (void)backend;
    if (step->wants_dx[0])
        drop(step, &step->dy, &step->dx[0]);
    return ATR_OK;
}
