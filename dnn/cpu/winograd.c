/* 3x3 convolutions with few products: minimal filtering (S. Winograd 1980; for networks: Lavin & Gray 2016).
 *
 * A tile of m x m outputs is a polynomial product in two variables. It is evaluated at (m+2)^2 points, where it costs one product
 * of channels each, instead of 9 m^2:
 *     y = A' [ (G w G') . (B' x B) ] A      summed over input channels inside the brackets,
 * where A, B and G come from the points a_i by Toom-Cook: with f_i = prod over j != i of (a_i - a_j),
 *     G[i][k] = a_i^k / f_i,   A[i][k] = a_i^k,   B' row i: coefficients of prod over j != i of (z - a_j); the last point is infinity.
 * So a convolution is: transform the input's tiles, (m+2)^2 matrix products, transform back. The gradient of the input is the same
 * with turned weights; that of the weights is the transpose: G' [ sum over tiles of (B' x B) . (A dy A') ] G.
 *
 * A convolution with dilation d is d^2 convolutions without, each on every d-th row and column.
 *
 * In floating point the error depends on the points. 0, 1, -1, 2, -2 give 2 to 5 times that of a plain sum of 256 channels for m = 4;
 * 0, 3/4, -3/4, 3/2, -3/2 give the same as a plain sum. Every output is summed by one thread in an order that depends neither on
 * the batch nor on the number of threads. */
#include <string.h>

#include "dnn/cpu/tiles_impl.h"

enum {
    TAPS = 3,
    WEIGHTS = TAPS * TAPS,
    POINTS_MOST = ATR_CPU_TILE_MOST + 2,
    DEPTH = 256,     /* input channels of one product: a strip of weights stays in the first-level cache */
    BLOCK_MOST = 48, /* tiles of one product */
    BLOCK_MOST_TRAINING =
        96, /* the same where there is memory anyway: points of weights come less often from afar */
    BLOCK_BYTES = 1 << 24, /* of points that a thread works on */
    GRADIENT_BLOCK = 128,  /* tiles that are summed in registers for gradients of weights */
    LINE = 16,             /* floats of a cache line */
    PAD = LINE,            /* floats: rows of points must not all fall into the same sets of a cache */
};

typedef struct winograd_state {
    int m, points;
    atr_cpu_tiles tiles;
    double g[POINTS_MOST][TAPS];
    float *weights,
        *turned; /* [points^2][strips][in][strip], for forward and for the gradient of the input */
    float *bias; /* [O], where a norm is folded in or there is a bias */
} winograd_state;

/* One direction: forward, or the gradient of the input with input and output swapped. */
typedef struct direction {
    const atr_tensor *from, *to;
    const float *weights;
    const float *bias;
    const atr_tensor *residual; /* NULL: none */
    atr_act act;
    int64_t first_n, first_y; /* picture and row that `to` begins with */
} direction;

static int squared(int points)
{
    return points * points;
}

/* ---- tiles -------------------------------------------------------------------------------------------------------------- */

static void find_points(winograd_state *state)
{
    static const double sets[ATR_CPU_TILE_MOST + 1][POINTS_MOST - 1] = {
        [2] = {0, 1, -1},
        [3] = {0, 1, -1, 2},
        [4] = {0, (double)ATR_CPU_POINT_A, -(double)ATR_CPU_POINT_A, (double)ATR_CPU_POINT_B,
               -(double)ATR_CPU_POINT_B}};
    const double *a = sets[state->m];
    const int finite = state->points - 1;

    for (int i = 0; i < finite; i++) {
        double f = 1.0, power = 1.0;
        for (int j = 0; j < finite; j++)
            f *= j == i ? 1.0 : a[i] - a[j];
        for (int k = 0; k < TAPS; k++, power *= a[i])
            state->g[i][k] = power / f;
    }
    for (int k = 0; k < TAPS; k++)
        state->g[finite][k] = k == TAPS - 1 ? 1.0 : 0.0;
}

/* The tile of a map whose first pixel is (y, x) of picture n. */
static atr_cpu_patch tile_at(const atr_tensor *map, int64_t d, int64_t n, int64_t y, int64_t x)
{
    atr_cpu_patch tile = {.row = d * map->strides[1], .column = d * map->strides[2]};

    tile.pixels = (float *)map->data + n * map->strides[0] + y * map->strides[1] + x * map->strides[2];
    atr_cpu_inside(y, d, map->dims[1], &tile.first_y, &tile.end_y);
    atr_cpu_inside(x, d, map->dims[2], &tile.first_x, &tile.end_x);
    return tile;
}

/* ---- memory ------------------------------------------------------------------------------------------------------------- */

/* Floats from one tile's channels to the next tile's. */
static int64_t pitch_of(int64_t channels, int64_t strip)
{
    return atr_cpu_round_up(channels, strip) + PAD;
}

/* Floats from one point of all tiles to the next. */
static int64_t plane_of(int64_t tiles, int64_t pitch)
{
    return atr_cpu_plane(tiles * pitch * (int64_t)sizeof(float)) / (int64_t)sizeof(float);
}

/* Tiles of one block: few enough for the cache, equal shares for all threads. */
static int64_t block_of(const atr_backend *backend, const atr_step *step)
{
    const winograd_state *state = step->state;
    const int64_t strip = atr_cpu_kernels_of(backend)->strip;
    const int64_t floats = squared(state->points) * (pitch_of(step->conv.in_channels, strip) +
                                                     pitch_of(step->conv.out_channels, strip));
    const int64_t share = atr_cpu_ceil_div(state->tiles.count, backend->threads);
    const int64_t fits = BLOCK_BYTES / (floats * (int64_t)sizeof(float));
    const int64_t most = atr_cpu_max(1, atr_cpu_min(step->training ? BLOCK_MOST_TRAINING : BLOCK_MOST, fits));

    return atr_cpu_ceil_div(share, atr_cpu_ceil_div(share, most));
}

/* One thread's points of a block: of the inputs, then of the outputs. */
static int64_t thread_floats(const atr_backend *backend, const atr_step *step)
{
    const winograd_state *state = step->state;
    const int64_t strip = atr_cpu_kernels_of(backend)->strip;

    const int64_t block = block_of(backend, step);

    return squared(state->points) * (plane_of(block, pitch_of(step->conv.in_channels, strip)) +
                                     plane_of(block, pitch_of(step->conv.out_channels, strip)));
}

static int64_t weight_floats(const atr_backend *backend, const winograd_state *state, int64_t in, int64_t out)
{
    return squared(state->points) * in * atr_cpu_round_up(out, atr_cpu_kernels_of(backend)->strip);
}

/* Gradients of weights: points of a block of inputs and of dy, sums [points^2][strips][in][strip], then sums of dy. A strip is what
 * outer() takes at once. */
typedef struct gradient_memory {
    float *inputs, *outputs, *sums;
    double *bias;
    void *columns;
    int64_t in_pitch, out_pitch, in_plane, out_plane, strip, strips, sum_plane;
    size_t bytes;
} gradient_memory;

static void *piece(char *base, size_t *at, size_t bytes)
{
    void *here = base == NULL ? NULL : base + *at;

    *at += atr_align_up(bytes);
    return here;
}

static gradient_memory gradient_memory_of(const atr_backend *backend, const atr_step *step)
{
    const winograd_state *state = step->state;
    const int64_t in = step->conv.in_channels, out = step->conv.out_channels;
    const atr_cpu_kernels *kernels = atr_cpu_kernels_of(backend);
    const size_t points = (size_t)squared(state->points);
    gradient_memory m = {.in_pitch = pitch_of(in, kernels->lanes),
                         .out_pitch = pitch_of(out, kernels->lanes),
                         .strip = (int64_t)kernels->outer_vectors * kernels->lanes};
    char *base = step->scratch;

    m.strips = atr_cpu_ceil_div(out, m.strip);
    m.sum_plane = in * m.strips * m.strip;
    m.in_plane = plane_of(GRADIENT_BLOCK, m.in_pitch);
    m.out_plane = plane_of(GRADIENT_BLOCK, m.out_pitch);
    m.inputs = piece(base, &m.bytes, points * (size_t)m.in_plane * sizeof(float));
    m.outputs = piece(base, &m.bytes, points * (size_t)m.out_plane * sizeof(float));
    m.sums = piece(base, &m.bytes, points * (size_t)m.sum_plane * sizeof(float));
    m.bias = piece(base, &m.bytes, (size_t)out * sizeof(double));
    m.columns = piece(base, &m.bytes, atr_cpu_column_sums_bytes(backend, out));
    return m;
}

static void reserve(atr_step *step, size_t bytes)
{
    atr_cpu_reserve(step, bytes);
}

atr_status atr_cpu_winograd_prepare(atr_backend *backend, atr_step *step)
{
    const int64_t in = step->conv.in_channels, out = step->conv.out_channels;
    atr_status status = ATR_OK;
    winograd_state *state = NULL;

    ATR_TRY(ATR_NEW(1, &state));
    step->state = state;
    state->m = atr_cpu_winograd_tile(&step->conv, step->y.dims);
    state->points = state->m + TAPS - 1;
    find_points(state);
    ATR_TRY(atr_cpu_tiles_create(&step->conv, step->y.dims, state->m, &state->tiles));
    ATR_TRY(atr_step_packed(step, weight_floats(backend, state, in, out), sizeof(float), &state->weights));
    if (step->folded || step->bias != NULL)
        ATR_TRY(ATR_NEW(out, &state->bias));
    step->scratch_bytes =
        atr_align_up((size_t)thread_floats(backend, step) * sizeof(float)) * (size_t)backend->threads;
    if (step->training && step->wants_dx[0])
        ATR_TRY(atr_step_packed(step, weight_floats(backend, state, out, in), sizeof(float), &state->turned));
    if (step->training && step->wants_dw)
        reserve(step, gradient_memory_of(backend, step).bytes);
    if (step->folded)
        reserve(step, (size_t)(out * in * WEIGHTS) * sizeof(float));
done:
    return status;
}

void atr_cpu_winograd_release(atr_step *step)
{
    winograd_state *state = step->state;

    if (state == NULL)
        return;
    atr_cpu_tiles_free(&state->tiles);
    atr_free(state->weights);
    atr_free(state->turned);
    atr_free(state->bias);
    atr_free(state);
    step->state = NULL;
}

/* ---- weights ------------------------------------------------------------------------------------------------------------ */

/* Points of weights for products that sum over `in`: weights [out][in] as they lie, or turned: the taps in reverse, and input
 * and output swapped. */
static void transform_weights(const atr_backend *backend, const atr_step *step, const float *weights,
                              bool turned, float *to)
{
    const atr_cpu_kernels *kernels = atr_cpu_kernels_of(backend);
    const winograd_state *state = step->state;
    const int64_t o_step = step->conv.in_channels * WEIGHTS, strip = kernels->strip;
    const int64_t in = turned ? step->conv.out_channels : step->conv.in_channels;
    const int64_t out = turned ? step->conv.in_channels : step->conv.out_channels;
    const int64_t in_step = turned ? o_step : WEIGHTS, out_step = turned ? WEIGHTS : o_step;

#pragma omp parallel for schedule(static)
    for (int64_t s = 0; s < atr_cpu_ceil_div(out, strip); s++) {
        const atr_cpu_filter filter = {.g = state->g,
                                       .inputs = in,
                                       .outputs = atr_cpu_min(strip, out - s * strip),
                                       .weights = weights + s * strip * out_step,
                                       .in_step = in_step,
                                       .out_step = out_step,
                                       .turned = turned,
                                       .points = to + s * in * strip,
                                       .plane = in * atr_cpu_round_up(out, strip),
                                       .pitch = strip};
        kernels->filter_points(state->points, &filter);
    }
}

atr_status atr_cpu_winograd_refresh(atr_backend *backend, atr_step *step)
{
    winograd_state *state = step->state;
    const int64_t out = step->conv.out_channels;
    const float *weights = step->weight;

    if (step->folded) {
        float *const folded = step->scratch; /* OIHW, until they are transformed */
        atr_conv_fold(step, folded, state->bias);
        weights = folded;
    } else if (state->bias != NULL) {
        memcpy(state->bias, step->bias, (size_t)out * sizeof(float));
    }
    transform_weights(backend, step, weights, false, state->weights);
    if (state->turned != NULL)
        transform_weights(backend, step, weights, true, state->turned);
    return ATR_OK;
}

/* ---- forward, and the gradient of the input ----------------------------------------------------------------------------- */

/* All products of a block: points of the inputs [points^2][block][in pitch] to those of the outputs. */
static void multiply(const atr_cpu_kernels *kernels, const winograd_state *state, const direction *way,
                     const float *inputs, float *outputs, int64_t block, int64_t rows)
{
    const int64_t in = way->from->dims[3], out = way->to->dims[3], strip = kernels->strip;
    const int64_t in_pitch = pitch_of(in, strip), out_pitch = pitch_of(out, strip);

    for (int p = 0; p < squared(state->points); p++) {
        const float *weights = way->weights + p * in * atr_cpu_round_up(out, strip);
        for (int64_t k = 0; k < in; k += DEPTH)
            for (int64_t s = 0; s * strip < out; s++) {
                const float *here = weights + (s * in + k) * strip;
                kernels->product(inputs + p * plane_of(block, in_pitch) + k, in_pitch, rows,
                                 atr_cpu_min(DEPTH, in - k), here, here + in * strip,
                                 outputs + p * plane_of(block, out_pitch) + s * strip, out_pitch, k > 0);
            }
    }
}

static void finish_tile(const atr_cpu_kernels *kernels, const atr_step *step, const direction *way,
                        atr_cpu_origin at, const float *points, int64_t plane)
{
    const int64_t d = step->conv.dilation;
    const atr_cpu_patch tile = tile_at(way->to, d, at.n - way->first_n, at.y - way->first_y, at.x);
    const winograd_state *state = step->state;
    atr_cpu_finish finish = {.bias = way->bias, .clamp = atr_cpu_clamp_of(way->act)};

    if (way->residual != NULL) {
        const atr_cpu_patch residual = tile_at(way->residual, d, at.n, at.y, at.x);
        finish.residual = residual.pixels;
        finish.residual_row = residual.row;
        finish.residual_column = residual.column;
    }
    kernels->tile_output(state->m, points, plane, way->to->dims[3], &tile, &finish);
}

static void run_block(const atr_backend *backend, const atr_step *step, const direction *way, int64_t first,
                      int64_t rows, int64_t block, float *inputs)
{
    const atr_cpu_kernels *kernels = atr_cpu_kernels_of(backend);
    const winograd_state *state = step->state;
    const int64_t in_pitch = pitch_of(way->from->dims[3], kernels->strip);
    const int64_t out_pitch = pitch_of(way->to->dims[3], kernels->strip), d = step->conv.dilation;
    float *const outputs = inputs + squared(state->points) * plane_of(block, in_pitch);

    for (int64_t t = 0; t < rows; t++) {
        const atr_cpu_origin at = state->tiles.origins[first + t];
        const atr_cpu_patch tile = tile_at(way->from, d, at.n, at.y - d, at.x - d);
        kernels->tile_input(state->m, &tile, way->from->dims[3], inputs + t * in_pitch,
                            plane_of(block, in_pitch));
    }
    multiply(kernels, state, way, inputs, outputs, block, rows);
    for (int64_t t = 0; t < rows; t++)
        finish_tile(kernels, step, way, state->tiles.origins[first + t], outputs + t * out_pitch,
                    plane_of(block, out_pitch));
}

static void run(const atr_backend *backend, const atr_step *step, const direction *way)
{
    const winograd_state *state = step->state;
    const int64_t block = block_of(backend, step);
    const size_t bytes = atr_align_up((size_t)thread_floats(backend, step) * sizeof(float));

#pragma omp parallel for schedule(static)
    for (int part = 0; part < backend->threads; part++) {
        const atr_cpu_range tiles = atr_cpu_share(state->tiles.count, backend->threads, part);
        float *mine = (float *)((char *)step->scratch + (size_t)part * bytes);
        for (int64_t t = tiles.first; t < tiles.end; t += block)
            run_block(backend, step, way, t, atr_cpu_min(block, tiles.end - t), block, mine);
    }
}

atr_status atr_cpu_winograd_forward(atr_backend *backend, atr_step *step)
{
    const winograd_state *state = step->state;
    const direction way = {.from = &step->x[0],
                           .to = &step->y,
                           .weights = state->weights,
                           .bias = state->bias,
                           .residual = step->residual ? &step->x[1] : NULL,
                           .act = step->act};

    run(backend, step, &way);
    return ATR_OK;
}

void atr_cpu_winograd_rows(const atr_backend *backend, const atr_step *step, int part, int64_t n, int64_t y,
                           const atr_tensor *to)
{
    const winograd_state *state = step->state;
    const int64_t m = state->m, across = atr_cpu_ceil_div(step->y.dims[2], m);
    const int64_t first = (n * atr_cpu_ceil_div(step->y.dims[1], m) + y / m) * across;
    const int64_t block = block_of(backend, step);
    const size_t bytes = atr_align_up((size_t)thread_floats(backend, step) * sizeof(float));
    const direction way = {.from = &step->x[0],
                           .to = to,
                           .weights = state->weights,
                           .bias = state->bias,
                           .act = step->act,
                           .first_n = n,
                           .first_y = y};

    for (int64_t t = 0; t < across; t += block)
        run_block(backend, step, &way, first + t, atr_cpu_min(block, across - t), block,
                  (float *)((char *)step->scratch + (size_t)part * bytes));
}

/* ---- the gradient of the weights ---------------------------------------------------------------------------------------- */

/* Points of tiles first .. first+rows-1 of x and dy. */
static void transform_block(const atr_backend *backend, const atr_step *step, const gradient_memory *m,
                            int64_t first, int64_t rows)
{
    const atr_cpu_kernels *kernels = atr_cpu_kernels_of(backend);
    const winograd_state *state = step->state;
    const int64_t d = step->conv.dilation;

#pragma omp parallel for schedule(static)
    for (int64_t t = 0; t < rows; t++) {
        const atr_cpu_origin at = state->tiles.origins[first + t];
        const atr_cpu_patch x = tile_at(&step->x[0], d, at.n, at.y - d, at.x - d);
        const atr_cpu_patch dy = tile_at(&step->dy, d, at.n, at.y, at.x);
        kernels->tile_input(state->m, &x, step->conv.in_channels, m->inputs + t * m->in_pitch, m->in_plane);
        kernels->tile_spread(state->m, &dy, step->conv.out_channels, m->outputs + t * m->out_pitch,
                             m->out_plane);
    }
}

/* sums[point] += x' dy over the tiles of a block; threads share out points and strips of outputs. */
static void add_block(const atr_backend *backend, const atr_step *step, const gradient_memory *m,
                      int64_t rows)
{
    const atr_cpu_kernels *kernels = atr_cpu_kernels_of(backend);
    const winograd_state *state = step->state;
    const int64_t in = step->conv.in_channels, out = step->conv.out_channels;

#pragma omp parallel for schedule(static)
    for (int64_t job = 0; job < squared(state->points) * m->strips; job++) {
        const int64_t p = job / m->strips, s = job % m->strips, o = s * m->strip;
        const atr_cpu_outer outer = {.a = m->inputs + p * m->in_plane,
                                     .b = m->outputs + p * m->out_plane + o,
                                     .a_pixel = m->in_pitch,
                                     .b_pixel = m->out_pitch,
                                     .rows = 1,
                                     .pixels = rows,
                                     .a_count = in,
                                     .b_count = atr_cpu_min(m->strip, out - o),
                                     .sums = m->sums + p * m->sum_plane + s * in * m->strip,
                                     .pitch = m->strip};
        kernels->outer(&outer);
    }
}

/* dweight[o][i] = G' sums G */
static void gather(const atr_backend *backend, const atr_step *step, const gradient_memory *m)
{
    const atr_cpu_kernels *kernels = atr_cpu_kernels_of(backend);
    const winograd_state *state = step->state;
    const int64_t in = step->conv.in_channels, out = step->conv.out_channels, out_step = in * WEIGHTS;

#pragma omp parallel for schedule(static)
    for (int64_t s = 0; s < m->strips; s++) {
        const atr_cpu_filter filter = {.g = state->g,
                                       .inputs = in,
                                       .outputs = atr_cpu_min(m->strip, out - s * m->strip),
                                       .in_step = WEIGHTS,
                                       .out_step = out_step,
                                       .points = m->sums + s * in * m->strip,
                                       .plane = m->sum_plane,
                                       .pitch = m->strip};
        kernels->filter_gradient(state->points, &filter, step->dweight + s * m->strip * out_step);
    }
}

static void weight_gradient(const atr_backend *backend, const atr_step *step)
{
    const gradient_memory m = gradient_memory_of(backend, step);
    const winograd_state *state = step->state;
    const int64_t out = step->conv.out_channels;

#pragma omp parallel for schedule(static)
    for (int p = 0; p < squared(state->points); p++)
        memset(m.sums + p * m.sum_plane, 0, (size_t)m.sum_plane * sizeof *m.sums);
    for (int64_t t = 0; t < state->tiles.count; t += GRADIENT_BLOCK) {
        const int64_t rows = atr_cpu_min(GRADIENT_BLOCK, state->tiles.count - t);
        transform_block(backend, step, &m, t, rows);
        add_block(backend, step, &m, rows);
    }
    gather(backend, step, &m);
    if (step->bias == NULL)
        return;
    atr_cpu_column_sums(backend, &step->dy, m.columns, m.bias);
    for (int64_t o = 0; o < out; o++)
        step->dbias[o] = (float)m.bias[o];
}

atr_status atr_cpu_winograd_backward(atr_backend *backend, atr_step *step)
{
    const winograd_state *state = step->state;
    const direction way = {
        .from = &step->dy, .to = &step->dx[0], .weights = state->turned, .act = ATR_ACT_NONE};

    if (step->wants_dx[0])
        run(backend, step, &way);
    if (step->wants_dw)
        weight_gradient(backend, step);
    return ATR_OK;
}
