/* Batch norm with the activation behind it (formulas: dnn/ref/norm.c). Forward with batch statistics reads x twice, once for
 * the statistics and once to normalise; backward reads x and dy twice, finds the activation's mask again from x, and writes dx. */
#include <math.h>
#include <string.h>

#include "dnn/cpu/cpu_impl.h"

/* Per channel, f32 [C] each, kept for backward: z = (x - mean) scale + shift with scale = g rstd. The mean is rounded to f32;
 * what rounding took off, `rest`, goes into `shift`. */
typedef struct kept {
    float *mean, *scale, *shift, *rstd, *rest;
} kept;

enum { KEPT = 5 };

static kept kept_of(const atr_step *step)
{
    float *at = step->training ? step->saved : step->scratch;
    const int64_t c = step->norm.channels;

    return (kept){at, at + c, at + 2 * c, at + 3 * c, at + 4 * c};
}

static atr_cpu_affine affine_of(const atr_step *step)
{
    const kept k = kept_of(step);

    return (atr_cpu_affine){k.mean, k.scale, k.shift, atr_cpu_clamp_of(step->act)};
}

enum { SUMS = 3, WORK = 2 }; /* doubles and floats per channel that a part's row of the scratch holds */

static int64_t row_doubles(int64_t channels)
{
    return atr_cpu_row((SUMS + WORK / 2) * channels);
}

atr_status atr_cpu_norm_prepare(atr_backend *backend, atr_step *step)
{
    const size_t channels = (size_t)step->norm.channels;
    const size_t keep = atr_align_up(KEPT * channels * sizeof(float));
    const size_t totals = atr_align_up(SUMS * channels * sizeof(double));
    const size_t rows = (size_t)(backend->threads * row_doubles(step->norm.channels)) * sizeof(double);

    if (atr_cpu_check_types(step) != ATR_OK)
        return ATR_ERR_UNSUPPORTED;
    if (step->batch_stats && step->norm_pixels < 2)
        return atr_fail(ATR_ERR_SHAPE, "%s: one value per channel has no batch statistics", step->name);
    step->needs_x = step->training;
    step->needs_y = false;
    step->saved_bytes = step->training ? keep : 0;
    step->scratch_bytes = keep + totals + rows;
    return ATR_OK;
}

/* Behind `kept` (or backward's coefficients) in the scratch: sums over all pixels [SUMS,C], then one row per part. */
static double *totals_of(const atr_step *step)
{
    return (double *)((char *)step->scratch +
                      atr_align_up(KEPT * (size_t)step->norm.channels * sizeof(float)));
}

static double *rows_of(const atr_step *step)
{
    return (double *)((char *)totals_of(step) +
                      atr_align_up(SUMS * (size_t)step->norm.channels * sizeof(double)));
}

/* Rows of parts -> totals, in the order of parts. */
static void add_rows(const atr_backend *backend, const atr_step *step)
{
    const int64_t count = SUMS * step->norm.channels, row = row_doubles(step->norm.channels);
    const double *rows = rows_of(step);
    double *totals = totals_of(step);

    memcpy(totals, rows, (size_t)count * sizeof *totals);
    for (int part = 1; part < backend->threads; part++)
        for (int64_t i = 0; i < count; i++)
            totals[i] += rows[part * row + i];
}

/* Sums are over tiles: pieces of one picture, cut in the same way whatever batch it stands in and however many threads and ranks
 * there are. What f32 rounds off in a tile is then the same too, and only the f64 sums over tiles have an order. */
typedef struct tiling {
    int64_t pixels, tile, each; /* of a picture; of a tile; tiles of a picture */
} tiling;

static tiling tiling_of(const atr_tensor *x)
{
    enum {
        MOST = 64
    }; /* pixels that are summed in f32: few, for what a norm rounds may tip the activation behind it */
    const int64_t pixels = x->dims[1] * x->dims[2], tile = atr_cpu_min(MOST, atr_cpu_tile(x->dims[3]));

    return (tiling){pixels, tile, (pixels + tile - 1) / tile};
}

/* First pixel of tile `index` of the batch, and `*count` of them. */
static int64_t tile_at(const tiling *t, int64_t index, int64_t *count)
{
    const int64_t within = index % t->each * t->tile;

    *count = atr_cpu_min(t->tile, t->pixels - within);
    return index / t->each * t->pixels + within;
}

/* Sums of x over all pixels into totals: of tiles' sums, of their squares over their sizes, of deviations within tiles. */
static void sum_moments(const atr_backend *backend, const atr_step *step)
{
    const atr_cpu_kernels *kernels = atr_cpu_kernels_for(backend, step->x[0].type);
    const atr_tensor *x = &step->x[0];
    const int64_t channels = x->dims[3], row = row_doubles(channels);
    const tiling tiles = tiling_of(x);
    double *rows = rows_of(step);

#pragma omp parallel for schedule(static)
    for (int part = 0; part < backend->threads; part++) {
        const atr_cpu_range range = atr_cpu_share(x->dims[0] * tiles.each, backend->threads, part);
        double *mine = rows + part * row;
        atr_cpu_moments sums = {mine, mine + channels, mine + 2 * channels};
        memset(mine, 0, (size_t)(SUMS * channels) * sizeof *mine);
        for (int64_t i = range.first; i < range.end; i++) {
            int64_t count = 0;
            const int64_t p = tile_at(&tiles, i, &count);
            kernels->moments(atr_cpu_pixel(x, p), x->strides[2], count, channels,
                             (float *)(mine + SUMS * channels), &sums);
        }
    }
    add_rows(backend, step);
}

static float blend(float running, double batch, double momentum)
{
    return (float)((1.0 - momentum) * (double)running + momentum * batch);
}

static void keep_channel(const atr_step *step, kept k, int64_t c, double mean, double var)
{
    const double rstd = 1.0 / sqrt(var + step->norm.eps), scale = rstd * (double)step->weight[c];

    k.mean[c] = (float)mean;
    k.rstd[c] = (float)rstd;
    k.scale[c] = (float)scale;
    k.rest[c] = (float)(mean - (double)k.mean[c]);
    k.shift[c] = (float)((double)step->bias[c] - (mean - (double)k.mean[c]) * scale);
}

/* With T tiles of n_t pixels and sums S_t:  sum (x - mean)^2 = sum M2_t + sum S_t^2 / n_t - S^2 / M. Other members of a group
 * bring further tiles. One value alone has no variance to share with the running ones. */
static atr_status use_batch_stats(const atr_backend *backend, const atr_step *step, kept k)
{
    const int64_t channels = step->norm.channels;
    const double pixels = (double)step->norm_pixels, momentum = step->norm.momentum;
    double *const sum = totals_of(step), *squares = sum + channels, *m2 = squares + channels;
    atr_status status = ATR_OK;

    sum_moments(backend, step);
    ATR_TRY(atr_norm_group_sum(step->group, sum, SUMS * channels));
    for (int64_t c = 0; c < channels; c++) {
        const double mean = sum[c] / pixels;
        const double var = fmax(0.0, (m2[c] + (squares[c] - sum[c] * mean)) / pixels);
        keep_channel(step, k, c, mean, var);
        if (pixels < 2)
            continue;
        step->running_mean[c] = blend(step->running_mean[c], mean, momentum);
        step->running_var[c] = blend(step->running_var[c], var * pixels / (pixels - 1.0), momentum);
    }

done:
    return status;
}

/* Mean and scale of each channel, from the batch or from what runs along. */
static atr_status find_statistics(const atr_backend *backend, const atr_step *step)
{
    if (step->num_tracked != NULL)
        ++*step->num_tracked;
    if (step->batch_stats && (step->group != NULL || atr_cpu_pixels(&step->x[0]) > 0))
        return use_batch_stats(backend, step, kept_of(step));
    for (int64_t c = 0; !step->batch_stats && c < step->norm.channels; c++)
        keep_channel(step, kept_of(step), c, (double)step->running_mean[c], (double)step->running_var[c]);
    return ATR_OK;
}

atr_status atr_cpu_norm_forward(atr_backend *backend, atr_step *step)
{
    const atr_cpu_kernels *kernels = atr_cpu_kernels_for(backend, step->x[0].type);
    const atr_tensor *x = &step->x[0], *y = &step->y;
    const atr_cpu_affine affine = affine_of(step);
    atr_status status = ATR_OK;

    if (!step->again)
        ATR_TRY(find_statistics(backend, step));
#pragma omp parallel for schedule(static)
    for (int part = 0; part < backend->threads; part++) {
        const atr_cpu_range range = atr_cpu_share(atr_cpu_pixels(y), backend->threads, part);
        kernels->normalise(atr_cpu_pixel(x, range.first), x->strides[2], atr_cpu_pixel(y, range.first),
                           y->strides[2], range.end - range.first, y->dims[3], &affine);
    }

done:
    return status;
}

/* Sums over all pixels into totals: [0] of dz, [1] of dz (x - mean). */
static void sum_gradients(const atr_backend *backend, const atr_step *step)
{
    const atr_cpu_kernels *kernels = atr_cpu_kernels_for(backend, step->x[0].type);
    const atr_tensor *x = &step->x[0], *dy = &step->dy;
    const int64_t channels = x->dims[3], row = row_doubles(channels);
    const tiling tiles = tiling_of(x);
    const atr_cpu_affine affine = affine_of(step);
    double *rows = rows_of(step);

#pragma omp parallel for schedule(static)
    for (int part = 0; part < backend->threads; part++) {
        const atr_cpu_range range = atr_cpu_share(x->dims[0] * tiles.each, backend->threads, part);
        double *mine = rows + part * row;
        memset(mine, 0, (size_t)(SUMS * channels) * sizeof *mine);
        for (int64_t i = range.first; i < range.end; i++) {
            int64_t count = 0;
            const int64_t p = tile_at(&tiles, i, &count);
            kernels->norm_sums(atr_cpu_pixel(x, p), x->strides[2], atr_cpu_pixel(dy, p), dy->strides[2],
                               count, channels, &affine, (float *)(mine + SUMS * channels), mine,
                               mine + channels);
        }
    }
    add_rows(backend, step);
}

/* dx = g r (dz - db/M - h dg/M) with h = (x - mean) r, dg = r sum dz (x - mean), db = sum dz:
 *    = scale dz + slope (x - mean) + offset,   slope = -scale r dg / M,   offset = -scale db / M
 * With running statistics slope and offset are 0.
 *
 * A layer in front whose shift this norm removes has a gradient that is the sum of all dx: zero, were it not for rounding, and
 * rounding of a constant would add up over all pixels. So x - mean is corrected by what the rounding of the mean took off, and
 * the offset comes in two parts, the larger last. */
static void input_gradient(const atr_backend *backend, const atr_step *step)
{
    const atr_cpu_kernels *kernels = atr_cpu_kernels_for(backend, step->x[0].type);
    const atr_tensor *x = &step->x[0], *dy = &step->dy, *dx = &step->dx[0];
    const int64_t channels = x->dims[3];
    const double share = 1.0 / (double)step->norm_pixels;
    const atr_cpu_affine affine = affine_of(step);
    const double *db = totals_of(step), *products = db + channels;
    float *slope = step->scratch, *offset = slope + channels, *offset_rest = offset + channels;
    const kept k = kept_of(step);

    for (int64_t c = 0; c < channels; c++) {
        const double scale = -(double)k.scale[c] * share, rstd = (double)k.rstd[c];
        const double centred = products[c] - (double)k.rest[c] * db[c];
        const double factor = step->batch_stats ? scale * rstd * rstd * centred : 0.0;
        const double constant = step->batch_stats ? scale * db[c] - factor * (double)k.rest[c] : 0.0;
        slope[c] = (float)factor;
        offset[c] = (float)constant;
        offset_rest[c] = (float)(constant - (double)offset[c]);
    }
#pragma omp parallel for schedule(static)
    for (int part = 0; part < backend->threads; part++) {
        const atr_cpu_range range = atr_cpu_share(atr_cpu_pixels(x), backend->threads, part);
        kernels->norm_gradient(atr_cpu_pixel(x, range.first), x->strides[2], atr_cpu_pixel(dy, range.first),
                               dy->strides[2], atr_cpu_pixel(dx, range.first), dx->strides[2],
                               range.end - range.first, channels, &affine, slope, offset);
    }
}

atr_status atr_cpu_norm_backward(atr_backend *backend, atr_step *step)
{
    const int64_t channels = step->norm.channels;
    double *const db = totals_of(step), *products = db + channels;
    const kept k = kept_of(step);
    atr_status status = ATR_OK;

    if (step->batch_stats || step->wants_dw)
        sum_gradients(backend, step);
    for (int64_t c = 0; step->wants_dw && c < channels; c++) {
        step->dweight[c] = (float)((products[c] - (double)k.rest[c] * db[c]) * (double)k.rstd[c]);
        step->dbias[c] = (float)db[c];
    }
    if (!step->wants_dx[0])
        goto done;
    ATR_TRY(atr_norm_group_sum(step->group, db, 2 * channels));
    input_gradient(backend, step);

done:
    return status;
}
