/* Activation, sum, concat, dropout, global pooling. */
#include "dnn/dropout.h"

#include "dnn/cpu/cpu_impl.h"

atr_status atr_cpu_plain_prepare(atr_backend *backend, atr_step *step)
{
    (void)backend;
    step->needs_x = step->needs_y = false;
    step->saved_bytes = step->scratch_bytes = 0;
    return ATR_OK;
}

/* The sign of act' is read off y, so that y may lie over x. */
atr_status atr_cpu_act_prepare(atr_backend *backend, atr_step *step)
{
    atr_cpu_plain_prepare(backend, step);
    step->needs_y = step->training;
    return ATR_OK;
}

atr_status atr_cpu_act_forward(atr_backend *backend, atr_step *step)
{
    const atr_cpu_kernels *kernels = atr_cpu_kernels_of(backend);
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
    const atr_cpu_kernels *kernels = atr_cpu_kernels_of(backend);
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
    const atr_cpu_kernels *kernels = atr_cpu_kernels_of(backend);
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
        slice.data = (float *)slice.data + slice.dims[3];
    }
    return ATR_OK;
}

/* ---- dropout ------------------------------------------------------------------------------------------------------------ */

/* to = kept ? from / (1-p) : 0. A part's pixels may reach over several samples, each with its key. */
static void drop(const atr_backend *backend, const atr_step *step, const atr_tensor *from,
                 const atr_tensor *to)
{
    const atr_cpu_kernels *kernels = atr_cpu_kernels_of(backend);
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

atr_status atr_cpu_pool_prepare(atr_backend *backend, atr_step *step)
{
    return atr_cpu_plain_prepare(backend, step);
}

/* Channels first .. first+count-1 of the mean of picture n. */
static void pool_channels(const atr_cpu_kernels *kernels, const atr_step *step, int64_t n, int64_t first,
                          int64_t count)
{
    const atr_tensor *x = &step->x[0];
    const int64_t pixels = x->dims[1] * x->dims[2], tile = atr_cpu_tile(POOL_CHANNELS);
    double sums[POOL_CHANNELS] = {0.0};
    float work[POOL_CHANNELS];

    for (int64_t p = 0; p < pixels; p += tile)
        kernels->column_sums(atr_cpu_pixel(x, n * pixels + p) + first, x->strides[2],
                             atr_cpu_min(tile, pixels - p), count, work, sums);
    for (int64_t c = 0; c < count; c++)
        atr_cpu_pixel(&step->y, n)[first + c] = (float)(sums[c] / (double)pixels);
}

atr_status atr_cpu_pool_forward(atr_backend *backend, atr_step *step)
{
    const atr_cpu_kernels *kernels = atr_cpu_kernels_of(backend);
    const int64_t channels = step->x[0].dims[3];

#pragma omp parallel for collapse(2) schedule(static)
    for (int64_t n = 0; n < step->x[0].dims[0]; n++)
        for (int64_t first = 0; first < channels; first += POOL_CHANNELS)
            pool_channels(kernels, step, n, first, atr_cpu_min(POOL_CHANNELS, channels - first));
    return ATR_OK;
}

/* dx = dy / (H W) */
atr_status atr_cpu_pool_backward(atr_backend *backend, atr_step *step)
{
    const atr_cpu_kernels *kernels = atr_cpu_kernels_of(backend);
    const atr_tensor *dx = &step->dx[0];
    const int64_t pixels = step->x[0].dims[1] * step->x[0].dims[2];
    const float share = (float)(1.0 / (double)pixels);

    if (!step->wants_dx[0])
        return ATR_OK;
#pragma omp parallel for schedule(static)
    for (int part = 0; part < backend->threads; part++) {
        const atr_cpu_range range = atr_cpu_share(atr_cpu_pixels(dx), backend->threads, part);
        for (int64_t p = range.first; p < range.end; p++) {
            const float *dy = atr_cpu_pixel(&step->dy, p / pixels);
            kernels->weighted_sum(&dy, &share, 1, 0, 1, dx->dims[3], atr_cpu_pixel(dx, p), 0);
        }
    }
    return ATR_OK;
}
