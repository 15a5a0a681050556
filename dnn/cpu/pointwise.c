/* Activation, sum, concat, dropout, global pooling. */
#include <string.h>

#include "core/bf16.h"
#include "dnn/cpu/cpu_impl.h"
#include "dnn/dropout.h"

static void keep_nothing(atr_step *step)
{
    step->needs_x = step->needs_y = false;
    step->saved_bytes = step->scratch_bytes = 0;
}

atr_status atr_cpu_plain_prepare(atr_backend *backend, atr_step *step)
{
    (void)backend;
    keep_nothing(step);
    return atr_cpu_check_types(step);
}

/* The sign of act' is read off y, so that y may lie over x. */
atr_status atr_cpu_act_prepare(atr_backend *backend, atr_step *step)
{
    const atr_status status = atr_cpu_plain_prepare(backend, step);

    step->needs_y = step->training;
    return status;
}

atr_status atr_cpu_act_forward(atr_backend *backend, atr_step *step)
{
    const atr_cpu_kernels *kernels = atr_cpu_kernels_for(backend, step->x[0].type);
    const atr_tensor *x = &step->x[0], *y = &step->y;

#pragma omp parallel for schedule(static)
    for (int part = 0; part < backend->threads; part++) {
        const atr_cpu_range range = atr_cpu_share(atr_cpu_pixels(y), backend->threads, part);
        kernels->clamp(atr_cpu_pixel(x, range.first), x->strides[2], atr_cpu_pixel(y, range.first),
                       y->strides[2], range.end - range.first, y->dims[3], atr_cpu_clamp_of(step->act));
    }
    return ATR_OK;
}

atr_status atr_cpu_act_backward(atr_backend *backend, atr_step *step)
{
    const atr_cpu_kernels *kernels = atr_cpu_kernels_for(backend, step->x[0].type);
    const atr_tensor *y = &step->y, *dy = &step->dy, *dx = &step->dx[0];

    if (!step->wants_dx[0])
        return ATR_OK;
#pragma omp parallel for schedule(static)
    for (int part = 0; part < backend->threads; part++) {
        const atr_cpu_range range = atr_cpu_share(atr_cpu_pixels(dy), backend->threads, part);
        kernels->clamp_gradient(atr_cpu_pixel(y, range.first), y->strides[2], atr_cpu_pixel(dy, range.first),
                                dy->strides[2], atr_cpu_pixel(dx, range.first), dx->strides[2],
                                range.end - range.first, dy->dims[3], atr_cpu_clamp_of(step->act));
    }
    return ATR_OK;
}

atr_status atr_cpu_add_forward(atr_backend *backend, atr_step *step)
{
    const atr_cpu_kernels *kernels = atr_cpu_kernels_for(backend, step->x[0].type);
    const atr_tensor *a = &step->x[0], *b = &step->x[1], *y = &step->y;

#pragma omp parallel for schedule(static)
    for (int part = 0; part < backend->threads; part++) {
        const atr_cpu_range range = atr_cpu_share(atr_cpu_pixels(y), backend->threads, part);
        kernels->add(atr_cpu_pixel(a, range.first), a->strides[2], atr_cpu_pixel(b, range.first),
                     b->strides[2], atr_cpu_pixel(y, range.first), y->strides[2], range.end - range.first,
                     y->dims[3]);
    }
    return ATR_OK;
}

atr_status atr_cpu_concat_forward(atr_backend *backend, atr_step *step)
{
    atr_tensor slice = step->y;

    for (int i = 0; i < step->input_count; i++) {
        slice.dims[3] = step->x[i].dims[3];
        atr_cpu_copy(backend, &step->x[i], &slice);
        slice.data = (char *)slice.data + slice.dims[3] * atr_cpu_element_bytes(&slice);
    }
    return ATR_OK;
}

/* ---- dropout ------------------------------------------------------------------------------------------------------------ */

/* to = kept ? from / (1-p) : 0. A part's pixels may reach over several samples, each with its key. */
static void drop(const atr_backend *backend, const atr_step *step, const atr_tensor *from,
                 const atr_tensor *to)
{
    const atr_cpu_kernels *kernels = atr_cpu_kernels_for(backend, step->x[0].type);
    const int64_t sample = to->dims[1] * to->dims[2], channels = to->dims[3];

#pragma omp parallel for schedule(static)
    for (int part = 0; part < backend->threads; part++) {
        const atr_cpu_range range = atr_cpu_share(atr_cpu_pixels(to), backend->threads, part);
        for (int64_t p = range.first, end; p < range.end; p = end) {
            const int64_t n = p / sample;
            const atr_cpu_dropout how = {atr_dropout_key(step->sample_keys[n], step->stream),
                                         atr_dropout_threshold(step->dropout),
                                         atr_dropout_scale(step->dropout)};
            end = atr_cpu_min(range.end, (n + 1) * sample);
            kernels->dropout(atr_cpu_pixel(from, p), from->strides[2], atr_cpu_pixel(to, p), to->strides[2],
                             end - p, channels, &how, (p - n * sample) * channels);
        }
    }
}

atr_status atr_cpu_dropout_forward(atr_backend *backend, atr_step *step)
{
    if (step->training)
        drop(backend, step, &step->x[0], &step->y);
    else if (step->y.data != step->x[0].data) /* nothing is dropped */
        atr_cpu_copy(backend, &step->x[0], &step->y);
    return ATR_OK;
}

atr_status atr_cpu_dropout_backward(atr_backend *backend, atr_step *step)
{
    if (step->wants_dx[0])
        drop(backend, step, &step->dy, &step->dx[0]);
    return ATR_OK;
}

/* ---- global pooling ----------------------------------------------------------------------------------------------------- */

enum { POOL_CHANNELS = 64 }; /* channels of one picture that one task takes */

/* Sums of any type, means in f32. Backward: a pixel of dx in f32 and, behind it, in bf16. */
atr_status atr_cpu_pool_prepare(atr_backend *backend, atr_step *step)
{
    (void)backend;
    keep_nothing(step);
    if (step->y.type != ATR_F32)
        return atr_fail(ATR_ERR_UNSUPPORTED, "%s: means in bf16", step->name);
    if (step->training)
        step->scratch_bytes = (size_t)step->x[0].dims[3] * (sizeof(float) + sizeof(uint16_t));
    return ATR_OK;
}

/* Channels first .. first+count-1 of the mean of picture n. */
static void pool_channels(const atr_cpu_kernels *kernels, const atr_step *step, int64_t n, int64_t first,
                          int64_t count)
{
    const atr_tensor *x = &step->x[0];
    const int64_t pixels = x->dims[1] * x->dims[2], tile = atr_cpu_tile(POOL_CHANNELS);
    double sums[POOL_CHANNELS] = {0.0};
    float work[POOL_CHANNELS], *const y = atr_cpu_pixel(&step->y, n);

    for (int64_t p = 0; p < pixels; p += tile)
        kernels->column_sums((char *)atr_cpu_pixel(x, n * pixels + p) + first * atr_cpu_element_bytes(x),
                             x->strides[2], atr_cpu_min(tile, pixels - p), count, work, sums);
    for (int64_t c = 0; c < count; c++)
        y[first + c] = (float)(sums[c] / (double)pixels);
}

atr_status atr_cpu_pool_forward(atr_backend *backend, atr_step *step)
{
    const atr_cpu_kernels *kernels = atr_cpu_kernels_for(backend, step->x[0].type);
    const int64_t channels = step->x[0].dims[3];

#pragma omp parallel for collapse(2) schedule(static)
    for (int64_t n = 0; n < step->x[0].dims[0]; n++)
        for (int64_t first = 0; first < channels; first += POOL_CHANNELS)
            pool_channels(kernels, step, n, first, atr_cpu_min(POOL_CHANNELS, channels - first));
    return ATR_OK;
}

/* dx = dy / (H W): one pixel for all of a picture. */
static const void *pool_gradient(const atr_cpu_kernels *kernels, const atr_step *step, int64_t n)
{
    const int64_t channels = step->dx[0].dims[3];
    const float share = (float)(1.0 / (double)(step->x[0].dims[1] * step->x[0].dims[2]));
    const float *const dy = atr_cpu_pixel(&step->dy, n);
    float *const wide = step->scratch;
    uint16_t *const narrow = (uint16_t *)(wide + channels);

    kernels->weighted_sum(&dy, &share, 1, 0, 1, channels, wide, 0);
    if (step->dx[0].type != ATR_BF16)
        return wide;
    atr_bf16_narrow(wide, channels, narrow);
    return narrow;
}

atr_status atr_cpu_pool_backward(atr_backend *backend, atr_step *step)
{
    const atr_tensor *dx = &step->dx[0];
    const int64_t pixels = step->x[0].dims[1] * step->x[0].dims[2];
    const size_t bytes = (size_t)(dx->dims[3] * atr_cpu_element_bytes(dx));

    for (int64_t n = 0; step->wants_dx[0] && n < dx->dims[0]; n++) {
        const void *const pixel = pool_gradient(atr_cpu_kernels_of(backend), step, n);
#pragma omp parallel for schedule(static)
        for (int part = 0; part < backend->threads; part++) {
            const atr_cpu_range range = atr_cpu_share(pixels, backend->threads, part);
            for (int64_t p = range.first; p < range.end; p++)
                memcpy(atr_cpu_pixel(dx, n * pixels + p), pixel, bytes);
        }
    }
    return ATR_OK;
}
