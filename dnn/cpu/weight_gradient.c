/* Weight gradients of dense convolutions, any kernel, stride and dilation:
 *
 *     dw[o,i,t] = sum over pixels p that tap t finds inside the picture of  dy[p,o] x[p + t,i]
 *
 * as sums of outer products (kernels' outer()). One side's channels lie along vectors, the other's are broadcast; whichever
 * fills vectors better is b. The work is cut into tiles of a and b; a part of a tile's rows and columns of the picture is
 * swept for all its taps while it is in cache. Taps that lie outside cost nothing, so wide dilations are fast.
 *
 * In front of a batch norm dy adds up to nothing while the x of an activation has a mean, so in a 1x1 kernel's gradient large sums cancel: what a sweep
 * adds is added with compensation there. (With several taps that would cost a tenth of the time, and they are ten times as exact without.) No sweep goes
 * over the end of a picture: its sums are the same in whatever batch, on whatever rank it stands.
 *
 * oneDNN's own reaches half of this speed for 3x3 kernels, and refuses dilations wider than the picture. */
#include <string.h>

#include "dnn/cpu/dense_impl.h"

typedef struct gradient_job {
    const atr_cpu_kernels *kernels;
    const atr_step *step;
    bool swapped;             /* b is dy: vectors run along output channels */
    int64_t a_count, b_count; /* channels */
    int64_t a_tiles, b_tiles;
    int64_t pitch, plane;            /* elements of sums: row of one tap and a-channel, one tap */
    int64_t pictures, height, width; /* of dy */
    int64_t in_height, in_width;
    int64_t rows;     /* of dy that are swept at once */
    bool few;         /* weights: all sums fit in the cache, so that threads share out pixels and not tiles */
    int slices;       /* parts of the pixels, each with sums of its own */
    float *sums;      /* [slices][taps][a_count][pitch] */
    bool compensated; /* as many again of what rounding took from them stand behind them */
} gradient_job;

static int64_t ceil_div(int64_t a, int64_t b)
{
    return (a + b - 1) / b;
}

static int64_t taps_of(const atr_step *step)
{
    return step->conv.kernel * step->conv.kernel;
}

/* Do output channels fill vectors better than input channels? Between equals the larger number goes along vectors: the other
 * side, which is read once for each strip of it, is the smaller one. */
static bool is_swapped(const atr_conv_attr *conv, int64_t lanes)
{
    const int64_t in = conv->in_channels, out = conv->out_channels;
    const int64_t in_fill = 1000 * in / (ceil_div(in, lanes) * lanes);
    const int64_t out_fill = 1000 * out / (ceil_div(out, lanes) * lanes);

    return out_fill > in_fill || (out_fill == in_fill && out > in);
}

static gradient_job make_job(const atr_backend *backend, const atr_step *step)
{
    enum { PIXELS = 256, FEW = 64 * 1024 };
    const atr_conv_attr *conv = &step->conv;
    const atr_cpu_kernels *kernels = atr_cpu_kernels_of(backend);
    const int64_t lanes = kernels->lanes;
    const int64_t *in = step->x[0].dims, *out = step->dy.dims;
    gradient_job job = {
        .kernels = kernels, .step = step, .sums = step->scratch, .compensated = conv->kernel == 1};

    job.swapped = is_swapped(conv, lanes);
    job.a_count = job.swapped ? conv->in_channels : conv->out_channels;
    job.b_count = job.swapped ? conv->out_channels : conv->in_channels;
    job.a_tiles = ceil_div(job.a_count, kernels->outer_rows);
    job.b_tiles = ceil_div(job.b_count, lanes * kernels->outer_vectors);
    job.pitch = ceil_div(job.b_count, lanes) * lanes;
    job.plane = job.a_count * job.pitch;
    job.pictures = out[0];
    job.height = out[1];
    job.in_height = in[1];
    job.width = out[2];
    job.in_width = in[2];
    job.rows = atr_cpu_max(1, atr_cpu_min(job.height, PIXELS / job.width));
    job.few = taps_of(step) * job.plane <= FEW;
    job.slices = job.few ? backend->threads : 1;
    return job;
}

static int64_t sum_count(const gradient_job *job)
{
    return job->slices * taps_of(job->step) * job->plane;
}

/* Output positions o in [first, end) with 0 <= o stride + shift < in. */
static atr_cpu_range meeting(int64_t shift, int64_t stride, int64_t in, int64_t first, int64_t end)
{
    const int64_t least = shift >= 0 ? 0 : ceil_div(-shift, stride);
    const int64_t most = shift >= in ? 0 : (in - 1 - shift) / stride + 1;
    const int64_t from = atr_cpu_max(first, least);

    return (atr_cpu_range){from, atr_cpu_max(from, atr_cpu_min(end, most))};
}

/* One tap over rows first_row .. end_row-1 of picture n, for the channels that `o` names. */
static void sweep_tap(const gradient_job *job, int64_t tap, int64_t n, int64_t first_row, int64_t end_row,
                      const float *dy, const float *x, atr_cpu_outer *o)
{
    const atr_conv_attr *conv = &job->step->conv;
    const int64_t dy_pixel = job->step->dy.strides[2], x_pixel = job->step->x[0].strides[2];
    const int64_t shift_y = tap / conv->kernel * conv->dilation - conv->pad;
    const int64_t shift_x = tap % conv->kernel * conv->dilation - conv->pad;
    const atr_cpu_range rows = meeting(shift_y, conv->stride, job->in_height, first_row, end_row);
    const atr_cpu_range columns = meeting(shift_x, conv->stride, job->in_width, 0, job->width);
    const float *from_dy = dy + ((n * job->height + rows.first) * job->width + columns.first) * dy_pixel;
    const float *from_x = x + ((n * job->in_height + rows.first * conv->stride + shift_y) * job->in_width +
                               columns.first * conv->stride + shift_x) *
                                  x_pixel;

    o->rows = rows.end - rows.first;
    o->pixels = columns.end - columns.first;
    if (o->rows == 0 || o->pixels == 0)
        return;
    o->a = job->swapped ? from_x : from_dy;
    o->b = job->swapped ? from_dy : from_x;
    job->kernels->outer(o);
}

/* Rows that are swept at once end within a picture. */
static int64_t sweep_end(const gradient_job *job, int64_t row, int64_t end)
{
    const int64_t picture_end = (row / job->height + 1) * job->height;

    return atr_cpu_min(atr_cpu_min(row + job->rows, end), picture_end);
}

/* One strip of b and some of its tiles, over some rows of all pictures, with the sums of one slice. Rows are taken a few at a
 * time, so that they and the sums of the strip stay in the second-level cache. */
static void sweep_strip(const gradient_job *job, int64_t b_tile, atr_cpu_range a_tiles, atr_cpu_range rows,
                        int slice)
{
    const atr_step *step = job->step;
    const int64_t lanes = job->kernels->lanes, vectors = job->pitch / lanes;
    const int64_t b_first = vectors * b_tile / job->b_tiles * lanes;
    const int64_t b_end = atr_cpu_min(job->b_count, vectors * (b_tile + 1) / job->b_tiles * lanes);
    const int64_t dy_pixel = step->dy.strides[2], x_pixel = step->x[0].strides[2];
    const int64_t x_step = x_pixel * step->conv.stride;
    const int64_t dy_row = job->width * dy_pixel, x_row = job->in_width * x_step;
    float *sums = job->sums + slice * taps_of(step) * job->plane;
    atr_cpu_outer o = {.a_pixel = job->swapped ? x_step : dy_pixel,
                       .b_pixel = job->swapped ? dy_pixel : x_step,
                       .a_row = job->swapped ? x_row : dy_row,
                       .b_row = job->swapped ? dy_row : x_row,
                       .b_count = b_end - b_first,
                       .pitch = job->pitch};

    for (int64_t row = rows.first, end; row < rows.end; row = end) {
        const int64_t n = row / job->height;
        end = sweep_end(job, row, rows.end);
        for (int64_t tile = a_tiles.first; tile < a_tiles.end; tile++) {
            const int64_t a_first = tile * job->kernels->outer_rows;
            const float *dy = (const float *)step->dy.data + (job->swapped ? b_first : a_first);
            const float *x = (const float *)step->x[0].data + (job->swapped ? a_first : b_first);
            o.a_count = atr_cpu_min(job->kernels->outer_rows, job->a_count - a_first);
            for (int64_t tap = 0; tap < taps_of(step); tap++) {
                o.sums = sums + tap * job->plane + a_first * job->pitch + b_first;
                o.lost = job->compensated ? o.sums + sum_count(job) : NULL;
                sweep_tap(job, tap, n, row - n * job->height, end - n * job->height, dy, x, &o);
            }
        }
    }
}

/* Few weights: a slice of the pixels for all tiles, so that each pixel comes from memory once. */
static void sweep_pixels(const gradient_job *job, int parts, int part)
{
    const atr_cpu_range rows = atr_cpu_share(job->pictures * job->height, parts, part);

    for (int64_t row = rows.first, end; row < rows.end; row = end) {
        end = sweep_end(job, row, rows.end);
        for (int64_t b_tile = 0; b_tile < job->b_tiles; b_tile++)
            sweep_strip(job, b_tile, (atr_cpu_range){0, job->a_tiles}, (atr_cpu_range){row, end}, part);
    }
}

/* Many weights: a share of the tiles over all pixels; no sums to add up in the end. */
static void sweep_tiles(const gradient_job *job, int parts, int part)
{
    const atr_cpu_range tiles = atr_cpu_share(job->a_tiles * job->b_tiles, parts, part);

    for (int64_t tile = tiles.first, end; tile < tiles.end; tile = end) {
        const int64_t b_tile = tile / job->a_tiles, start = b_tile * job->a_tiles;
        end = atr_cpu_min(tiles.end, start + job->a_tiles);
        sweep_strip(job, b_tile, (atr_cpu_range){tile - start, end - start},
                    (atr_cpu_range){0, job->pictures * job->height}, 0);
    }
}

/* sums [slices][taps][a][b] -> dweight [O,I,taps], output channels first .. end-1. */
static void scatter(const gradient_job *job, atr_cpu_range channels)
{
    const int64_t in = job->step->conv.in_channels, taps = taps_of(job->step);
    const int64_t o_step = job->swapped ? 1 : job->pitch, i_step = job->swapped ? job->pitch : 1;

    for (int64_t o = channels.first; o < channels.end; o++)
        for (int64_t i = 0; i < in; i++)
            for (int64_t t = 0; t < taps; t++) {
                const float *from = job->sums + t * job->plane + o * o_step + i * i_step;
                double sum = 0;
                for (int slice = 0; slice < job->slices; slice++) {
                    const float *at = from + slice * taps * job->plane;
                    sum += (double)at[0] - (job->compensated ? (double)at[sum_count(job)] : 0);
                }
                job->step->dweight[(o * in + i) * taps + t] = (float)sum;
            }
}

/* Sums for the bias come behind those of the weights. */
static size_t sums_bytes(const gradient_job *job)
{
    return atr_align_up((size_t)((job->compensated ? 2 : 1) * sum_count(job)) * sizeof(float));
}

size_t atr_cpu_weight_gradient_bytes(const atr_backend *backend, const atr_step *step)
{
    const gradient_job job = make_job(backend, step);
    const int64_t channels = step->conv.out_channels;

    return sums_bytes(&job) + atr_align_up((size_t)channels * sizeof(double)) +
           atr_cpu_column_sums_bytes(backend, channels);
}

static void bias_gradient(const atr_backend *backend, const gradient_job *job)
{
    const atr_step *step = job->step;
    const int64_t channels = step->conv.out_channels;
    double *sums = (double *)((char *)step->scratch + sums_bytes(job));

    atr_cpu_column_sums(backend, &step->dy, (char *)sums + atr_align_up((size_t)channels * sizeof *sums),
                        sums);
    for (int64_t c = 0; c < channels; c++)
        step->dbias[c] = (float)sums[c];
}

void atr_cpu_weight_gradient(const atr_backend *backend, const atr_step *step)
{
    const gradient_job job = make_job(backend, step);

#pragma omp parallel for schedule(static)
    for (int part = 0; part < backend->threads; part++) {
        const atr_cpu_range bytes = atr_cpu_share((int64_t)sums_bytes(&job), backend->threads, part);
        memset((char *)job.sums + bytes.first, 0, (size_t)(bytes.end - bytes.first));
    }
#pragma omp parallel for schedule(static)
    for (int part = 0; part < backend->threads; part++)
        (job.few ? sweep_pixels : sweep_tiles)(&job, backend->threads, part);
#pragma omp parallel for schedule(static)
    for (int part = 0; part < backend->threads; part++)
        scatter(&job, atr_cpu_share(step->conv.out_channels, backend->threads, part));
    if (step->bias != NULL)
        bias_gradient(backend, &job);
}
