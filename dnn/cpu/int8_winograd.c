/* 3x3 convolutions in integers with few products: minimal filtering as in winograd.c, with the points 0, 1, -1 (2, -2) and infinity, at
 * which the input's tiles and, without their denominators, the weights are integers of 16 bits:
 *     f^2 sum = A' [ (f/f_i f/f_j) (W w W') . (B' x B) ] A,     W[i][k] = a_i^k,   f = 2, 6, 24 for tiles of 2, 3, 4.
 * Products and sums are made modulo 2^32, in which the odd part of f^2 has an inverse; so sum comes out exact where |sum| < 2^31 over the
 * power of two in f^2 (4, 4, 64): its bits are those of the plain sum. Whether any picture could make a larger sum is known from the
 * weights; where one could, the layer is summed plainly. */
#include <string.h>

#include "dnn/cpu/int8_impl.h"
#include "dnn/cpu/tiles_impl.h"

enum {
    TAPS = 3,
    POINTS_MOST = ATR_CPU_TILE_MOST + 2,
    BLOCK_MOST = 48,       /* tiles of one product */
    BLOCK_BYTES = 1 << 23, /* of points that a thread works on */
    LINE = 64,
};

struct atr_cpu_int8_filter {
    atr_cpu_tiles tiles;
    int points;
    int64_t pairs;               /* of input channels, with those that fill up a vector */
    int64_t channels;            /* of the output, with those that fill up a strip */
    int64_t block;               /* tiles */
    int64_t in_plane, out_plane; /* numbers from one point of a block's tiles to the next */
};

static int64_t squared(int points)
{
    return (int64_t)points * points;
}

static int64_t row_of(const atr_cpu_int8_filter *filter)
{
    return filter->pairs * 2;
}

/* Few enough for the cache, equal shares for all threads. */
static int64_t block_of(const atr_backend *backend, const atr_cpu_int8_filter *filter)
{
    const int64_t bytes = squared(filter->points) * (row_of(filter) * (int64_t)sizeof(int16_t) +
                                                     filter->channels * (int64_t)sizeof(int32_t));
    const int64_t share = atr_cpu_ceil_div(filter->tiles.count, backend->threads);
    const int64_t most = atr_cpu_max(1, atr_cpu_min(BLOCK_MOST, BLOCK_BYTES / bytes));

    return atr_cpu_ceil_div(share, atr_cpu_ceil_div(share, most));
}

static int64_t thread_bytes(const atr_cpu_int8_filter *filter)
{
    return squared(filter->points) *
               (filter->in_plane * (int64_t)sizeof(int16_t) + filter->out_plane * (int64_t)sizeof(int32_t)) +
           LINE;
}

atr_status atr_cpu_int8_filter_create(const atr_backend *backend, atr_step *step, atr_cpu_int8_filter **out)
{
    const atr_cpu_kernels *kernels = atr_cpu_kernels_of(backend);
    atr_cpu_int8_filter *filter = NULL;
    atr_status status = ATR_OK;

    ATR_TRY(ATR_NEW(1, &filter));
    *out = filter;
    const int m = atr_cpu_winograd_tile(&step->conv, step->y.dims);
    filter->points = m + TAPS - 1;
    ATR_TRY(atr_cpu_tiles_create(&step->conv, step->y.dims, m, &filter->tiles));
    filter->pairs = atr_cpu_round_up(step->conv.in_channels, 2 * (int64_t)kernels->lanes) / 2;
    filter->channels = atr_cpu_round_up(step->conv.out_channels, kernels->int8_strip);
    filter->block = block_of(backend, filter);
    const int64_t rows = atr_cpu_round_up(filter->block, kernels->int8_rows);
    filter->in_plane =
        atr_cpu_plane(rows * row_of(filter) * (int64_t)sizeof(int16_t)) / (int64_t)sizeof(int16_t);
    filter->out_plane =
        atr_cpu_plane(filter->block * filter->channels * (int64_t)sizeof(int32_t)) / (int64_t)sizeof(int32_t);
    const size_t bytes = (size_t)backend->threads * atr_align_up((size_t)thread_bytes(filter));
    atr_cpu_reserve(step, bytes);
done:
    return status;
}

void atr_cpu_int8_filter_free(atr_cpu_int8_filter *filter)
{
    if (filter == NULL)
        return;
    atr_cpu_tiles_free(&filter->tiles);
    atr_free(filter);
}

/* ---- weights ------------------------------------------------------------------------------------------------------------ */

/* Of one point, [strips][pairs][strip][2]. */
static int64_t weight_plane(const atr_cpu_int8_filter *filter)
{
    return filter->channels * row_of(filter);
}

int64_t atr_cpu_int8_filter_weights(const atr_cpu_int8_filter *filter)
{
    return squared(filter->points) * weight_plane(filter);
}

static int64_t least_too_large(const atr_cpu_int8_filter *filter)
{
    return (int64_t)1 << (filter->tiles.m == 4 ? 31 - 6 : 31 - 2);
}

/* W w W' of one filter of one input channel; plane by plane. */
static void transform_filter(int points, const int8_t *w, int16_t *to, int64_t plane)
{
    static const int at[POINTS_MOST - 1] = {0, 1, -1, 2, -2};
    int powers[POINTS_MOST][TAPS], half[POINTS_MOST][TAPS];

    for (int i = 0; i < points; i++)
        for (int k = 0; k < TAPS; k++)
            powers[i][k] = i == points - 1 ? k == TAPS - 1 : k == 0 ? 1 : k == 1 ? at[i] : at[i] * at[i];
    for (int i = 0; i < points; i++)
        for (int kx = 0; kx < TAPS; kx++)
            half[i][kx] =
                powers[i][0] * w[kx] + powers[i][1] * w[TAPS + kx] + powers[i][2] * w[2 * TAPS + kx];
    for (int i = 0; i < points; i++)
        for (int j = 0; j < points; j++)
            to[(i * points + j) * plane] =
                (int16_t)(powers[j][0] * half[i][0] + powers[j][1] * half[i][1] + powers[j][2] * half[i][2]);
}

bool atr_cpu_int8_filter_pack(const atr_backend *backend, const atr_step *step,
                              const atr_cpu_int8_filter *filter, const atr_int8_form *form, int16_t *weights)
{
    const int64_t strip = atr_cpu_kernels_of(backend)->int8_strip, in = step->conv.in_channels;
    const int64_t plane = weight_plane(filter);

    if (atr_int8_bound(step, form) >= least_too_large(filter))
        return false;
    memset(weights, 0, (size_t)atr_cpu_int8_filter_weights(filter) * sizeof *weights);
#pragma omp parallel for schedule(static)
    for (int64_t o = 0; o < step->conv.out_channels; o++) {
        int16_t *to = weights + o / strip * strip * row_of(filter) + o % strip * 2;
        for (int64_t k = 0; k < in; k++)
            transform_filter(filter->points, form->weights + (o * in + k) * TAPS * TAPS,
                             to + k / 2 * strip * 2 + k % 2, plane);
    }
    return true;
}

/* ---- running ------------------------------------------------------------------------------------------------------------ */

static void tile_in(const atr_cpu_kernels *kernels, const atr_step *step, const atr_cpu_int8_filter *filter,
                    atr_cpu_origin at, int16_t *to)
{
    const atr_tensor *x = &step->x[0];
    const int64_t d = step->conv.dilation, top = at.y - d, left = at.x - d;
    atr_cpu_byte_patch patch = {.row = d * x->strides[1], .column = d * x->strides[2]};

    patch.pixels =
        (const uint8_t *)x->data + at.n * x->strides[0] + top * x->strides[1] + left * x->strides[2];
    atr_cpu_inside(top, d, x->dims[1], &patch.first_y, &patch.end_y);
    atr_cpu_inside(left, d, x->dims[2], &patch.first_x, &patch.end_x);
    kernels->int8_tile_input(filter->tiles.m, &patch, step->conv.in_channels, step->int8.x_zero, to,
                             filter->in_plane);
}

static void tile_out(const atr_cpu_kernels *kernels, const atr_step *step, const atr_cpu_int8_filter *filter,
                     const atr_int8_form *form, atr_cpu_origin at, const int32_t *from)
{
    const int64_t *y = step->y.dims, d = step->conv.dilation;
    atr_cpu_int8_tile tile = {.row = d * y[2], .column = d, .channels = y[3]};
    int64_t first = 0;

    atr_cpu_inside(at.y, d, y[1], &first, &tile.rows);
    atr_cpu_inside(at.x, d, y[2], &first, &tile.columns);
    tile.end = atr_cpu_int8_end_at(step, form, (at.n * y[1] + at.y) * y[2] + at.x);
    kernels->int8_tile_output(filter->tiles.m, from, filter->out_plane, &tile);
}

static void run_block(const atr_backend *backend, const atr_step *step, const atr_cpu_int8_filter *filter,
                      const atr_int8_form *form, const int16_t *weights, atr_cpu_range block, char *memory)
{
    const atr_cpu_kernels *kernels = atr_cpu_kernels_of(backend);
    const atr_cpu_origin *at = filter->tiles.origins + block.first;
    const int64_t rows = block.end - block.first;
    int16_t *inputs = (int16_t *)memory;
    int32_t *outputs = (int32_t *)(inputs + squared(filter->points) * filter->in_plane);

    for (int64_t t = 0; t < rows; t++)
        tile_in(kernels, step, filter, at[t], inputs + t * row_of(filter));
    for (int p = 0; p < squared(filter->points); p++) {
        const atr_cpu_int8_product product = {
            .x = inputs + p * filter->in_plane,
            .weights = weights + p * weight_plane(filter),
            .pairs = filter->pairs,
            .strip_pairs = filter->pairs,
            .pixels = rows,
            .channels = step->conv.out_channels,
            .sums = outputs + p * filter->out_plane,
            .sums_pitch = filter->channels,
        };
        kernels->int8_product(&product);
    }
    for (int64_t t = 0; t < rows; t++)
        tile_out(kernels, step, filter, form, at[t], outputs + t * filter->channels);
}

void atr_cpu_int8_filter_run(const atr_backend *backend, const atr_step *step,
                             const atr_cpu_int8_filter *filter, const atr_int8_form *form,
                             const int16_t *weights)
{
    const size_t bytes = atr_align_up((size_t)thread_bytes(filter));

#pragma omp parallel for schedule(static)
    for (int part = 0; part < backend->threads; part++) {
        const atr_cpu_range tiles = atr_cpu_share(filter->tiles.count, backend->threads, part);
        for (int64_t t = tiles.first; t < tiles.end; t += filter->block)
            run_block(backend, step, filter, form, weights,
                      (atr_cpu_range){t, atr_cpu_min(t + filter->block, tiles.end)},
                      (char *)step->scratch + (size_t)part * bytes);
    }
}
