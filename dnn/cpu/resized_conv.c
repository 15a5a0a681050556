/* A 3x3 convolution of [resize(a), b] without ever enlarging a (CONV_RESIZED in core/graph.h).
 *
 * The bilinear resize U acts on positions and a product with the weights of one tap on channels, so they commute:
 *     conv(W, [U a, b])(p) = sum over taps t of [U (W_t a)](p + t)  +  conv(W_b, b)(p),
 * positions p + t outside the map counting nothing. Forward:
 *     P = a W          one product at the low resolution, all nine taps side by side: [N h w][3][3][O]
 *     Q[i][ky][X]      the three taps of a row, interpolated along x: rows of [W][O] for each low row i
 *     y[Y] += sum over ky of Q at row Y + ky - 1, interpolated along y
 * and b takes the usual way. For 256 channels enlarged four times this is a ninth of the work. Backward is the transpose, row by
 * row in gather form. Every output is summed by one thread in a fixed order.
 *
 * In bf16 (where oneDNN multiplies it) products are of bf16 and all sums f32: y is made in f32 scratch memory and rounded once. */
#include <string.h>

#include "core/bf16.h"
#include "dnn/bilinear.h"
#include "dnn/cpu/cpu_impl.h"

enum { K = 3, TAPS = K * K, SLOTS = 4, TERMS = 16 };

/* One axis: where each position of the enlarged map reads, and which positions read each low index. */
typedef struct axis {
    int64_t low, high;
    atr_bilinear_tap *taps; /* [high] */
    int64_t *begin, *end;   /* [low] readers of index i: begin[i] .. end[i]-1 */
} axis;

typedef struct resized_state {
    atr_step side; /* the convolution of b */
    axis rows, columns;
    float *bias;                        /* [O], where a norm is folded in or there is one */
    float *side_weight, *side_gradient; /* [O,Cb,3,3] */
    float *weight, *gradient;           /* [Ca][3][3][O] */
    bool narrow;                        /* bf16 activations */
    uint16_t *narrow_weight;            /* bf16: `weight` rounded */
    atr_onednn_op *product, *input_product, *weight_product;
    /* Of scratch: primitives and `side`; P or its gradient; one thread's rows; bf16: the gradient of P rounded; y or dy in f32. */
    size_t op_bytes, products_bytes, row_bytes, narrow_bytes, wide_bytes;
} resized_state;

static atr_status axis_create(int64_t low, int64_t high, axis *out)
{
    atr_status status = ATR_OK;

    out->low = low;
    out->high = high;
    ATR_TRY(ATR_NEW(high, &out->taps));
    ATR_TRY(ATR_NEW(low, &out->begin));
    ATR_TRY(ATR_NEW(low, &out->end));
    for (int64_t i = 0; i < low; i++)
        out->begin[i] = high;
    for (int64_t r = 0; r < high; r++) {
        const atr_bilinear_tap tap = out->taps[r] = atr_bilinear_corners(r, low, high);
        for (int64_t i = tap.first; i <= tap.second; i++) {
            out->begin[i] = atr_cpu_min(out->begin[i], r);
            out->end[i] = r + 1;
        }
    }
done:
    return status;
}

static void axis_free(axis *a)
{
    atr_free(a->taps);
    atr_free(a->begin);
    atr_free(a->end);
}

/* How much position `r` reads of low index `i`. */
static float share(const axis *a, int64_t r, int64_t i)
{
    const atr_bilinear_tap *tap = &a->taps[r];

    return (float)((tap->first == i ? 1 - tap->weight : 0) + (tap->second == i ? tap->weight : 0));
}

static int64_t picture_pixels(const atr_step *step)
{
    return step->x[0].dims[1] * step->x[0].dims[2];
}

static int64_t low_pixels(const atr_step *step)
{
    return atr_cpu_pixels(&step->x[0]);
}

/* ---- preparing ---------------------------------------------------------------------------------------------------------- */

static void describe_side(const atr_step *step, resized_state *state)
{
    atr_step *side = &state->side;

    side->op = ATR_OP_CONV;
    side->name = step->name;
    side->conv = step->conv;
    side->conv.in_channels = step->x[1].dims[3];
    side->training = step->training;
    side->wants_dw = step->wants_dw;
    side->winograd = step->winograd;
    side->x[0] = step->x[1];
    side->dx[0] = step->dx[1];
    side->wants_dx[0] = step->wants_dx[1];
    side->input_count = 1;
    side->y = step->y;
    if (state->narrow)
        side->y = atr_tensor_nhwc(ATR_F32, step->y.dims[0], step->y.dims[1], step->y.dims[2], step->y.dims[3],
                                  NULL);
    side->dy = step->dy;
    side->weight = state->side_weight;
    side->dweight = state->side_gradient;
    side->bias = state->bias;
    side->dbias = step->dbias;
}

static atr_status create_products(const atr_backend *backend, const atr_step *step, resized_state *state)
{
    atr_status status = ATR_OK;
    atr_onednn *dnn = atr_cpu_engine_of(backend)->dnn;
    const int64_t all = low_pixels(step), m = picture_pixels(step), c = step->x[0].dims[3],
                  n = TAPS * step->conv.out_channels;
    const int64_t ld = step->x[0].strides[2], ld_gradient = step->dx[0].strides[2];
    /* Picture by picture, as in dense.c: the batch, and so the number of ranks, must not change how oneDNN rounds. */
    const atr_dtype type = step->x[0].type;
    const atr_onednn_matmul forward = {.layer = step->name,
                                       .type = type,
                                       .y_type = ATR_F32,
                                       .m = m,
                                       .n = n,
                                       .k = c,
                                       .x_strides = {ld, 1},
                                       .w_strides = {n, 1},
                                       .y_strides = {n, 1}};
    const atr_onednn_matmul input = {.layer = step->name,
                                     .type = type,
                                     .y_type = type,
                                     .m = m,
                                     .n = c,
                                     .k = n,
                                     .x_strides = {n, 1},
                                     .w_strides = {1, n},
                                     .y_strides = {ld_gradient, 1}};
    const atr_onednn_matmul weight = {.layer = step->name,
                                      .type = type,
                                      .y_type = ATR_F32,
                                      .m = c,
                                      .n = n,
                                      .k = all,
                                      .x_strides = {1, ld},
                                      .w_strides = {n, 1},
                                      .y_strides = {n, 1}};
    atr_onednn_op *const *ops[] = {&state->product, &state->input_product, &state->weight_product};

    ATR_TRY(atr_onednn_matmul_create(dnn, &forward, &state->product));
    if (step->training && step->wants_dx[0])
        ATR_TRY(atr_onednn_matmul_create(dnn, &input, &state->input_product));
    if (step->training && step->wants_dw)
        ATR_TRY(atr_onednn_matmul_create(dnn, &weight, &state->weight_product));
    state->op_bytes = state->side.scratch_bytes;
    for (int i = 0; i < 3; i++)
        if (*ops[i] != NULL && atr_onednn_scratch_bytes(*ops[i]) > state->op_bytes)
            state->op_bytes = atr_onednn_scratch_bytes(*ops[i]);
    state->op_bytes = atr_align_up(state->op_bytes);
done:
    return status;
}

static void size_scratch(const atr_backend *backend, atr_step *step)
{
    resized_state *state = step->state;
    const int64_t out = step->conv.out_channels, products = low_pixels(step) * TAPS * out;

    state->products_bytes = atr_align_up((size_t)products * sizeof(float));
    state->row_bytes = atr_align_up((size_t)((SLOTS * K + 1) * step->y.dims[2] * out) * sizeof(float));
    if (state->narrow) {
        state->narrow_bytes = atr_align_up((size_t)products * sizeof(uint16_t));
        state->wide_bytes = atr_align_up((size_t)(atr_cpu_pixels(&step->y) * out) * sizeof(float));
    }
    step->scratch_bytes = state->op_bytes + state->products_bytes +
                          (size_t)backend->threads * state->row_bytes + state->narrow_bytes +
                          state->wide_bytes;
}

atr_status atr_cpu_resized_conv_prepare(atr_backend *backend, atr_step *step)
{
    atr_status status = ATR_OK;
    resized_state *state = NULL;
    const int64_t out = step->conv.out_channels, ca = step->x[0].dims[3], cb = step->x[1].dims[3];

    ATR_TRY(atr_cpu_check_types(step));
    ATR_TRY(ATR_NEW(1, &state));
    step->state = state;
    state->narrow = step->x[0].type == ATR_BF16;
    if (step->folded || step->bias != NULL)
        ATR_TRY(ATR_NEW(out, &state->bias));
    ATR_TRY(atr_step_packed(step, out * cb * TAPS, sizeof(float), &state->side_weight));
    ATR_TRY(atr_step_packed(step, out * ca * TAPS, sizeof(float), &state->weight));
    if (state->narrow)
        ATR_TRY(atr_step_packed(step, out * ca * TAPS, sizeof *state->narrow_weight, &state->narrow_weight));
    if (step->training && step->wants_dw) {
        ATR_TRY(atr_step_packed(step, out * cb * TAPS, sizeof(float), &state->side_gradient));
        ATR_TRY(atr_step_packed(step, out * ca * TAPS, sizeof(float), &state->gradient));
    }
    ATR_TRY(axis_create(step->x[0].dims[1], step->y.dims[1], &state->rows));
    ATR_TRY(axis_create(step->x[0].dims[2], step->y.dims[2], &state->columns));
    describe_side(step, state);
    ATR_TRY(atr_cpu_conv_prepare(backend, &state->side));
    step->packed_bytes += state->side.packed_bytes;
    ATR_TRY(create_products(backend, step, state));
    size_scratch(backend, step);
    const size_t folded = step->folded ? (size_t)(out * (ca + cb) * TAPS) * sizeof(float) : 0;
    step->scratch_bytes = folded > step->scratch_bytes ? folded : step->scratch_bytes;
    step->needs_x = step->training && step->wants_dw;
done:
    return status;
}

void atr_cpu_resized_conv_release(atr_step *step)
{
    resized_state *state = step->state;

    if (state == NULL)
        return;
    atr_cpu_conv_release(&state->side);
    atr_onednn_op_destroy(state->product);
    atr_onednn_op_destroy(state->input_product);
    atr_onednn_op_destroy(state->weight_product);
    axis_free(&state->rows);
    axis_free(&state->columns);
    atr_free(state->bias);
    atr_free(state->side_weight);
    atr_free(state->side_gradient);
    atr_free(state->weight);
    atr_free(state->narrow_weight);
    atr_free(state->gradient);
    atr_free(state);
    step->state = NULL;
}

/* ---- weights ------------------------------------------------------------------------------------------------------------ */

/* OIHW [O, Ca+Cb, 3, 3] into [Ca][3][3][O] and [O,Cb,3,3]. */
static void split_weights(const atr_step *step, const float *weights, float *main, float *side)
{
    const int64_t out = step->conv.out_channels, ca = step->x[0].dims[3], cb = step->x[1].dims[3],
                  filter = (ca + cb) * TAPS;

#pragma omp parallel for schedule(static)
    for (int64_t ct = 0; ct < ca * TAPS; ct++)
        for (int64_t o = 0; o < out; o++)
            main[ct * out + o] = weights[o * filter + ct];
    for (int64_t o = 0; o < out; o++)
        memcpy(side + o * cb * TAPS, weights + o * filter + ca * TAPS, (size_t)(cb * TAPS) * sizeof *side);
}

static void join_gradients(const atr_step *step, const float *main, const float *side)
{
    const int64_t out = step->conv.out_channels, ca = step->x[0].dims[3], cb = step->x[1].dims[3],
                  filter = (ca + cb) * TAPS;

#pragma omp parallel for schedule(static)
    for (int64_t o = 0; o < out; o++) {
        for (int64_t ct = 0; ct < ca * TAPS; ct++)
            step->dweight[o * filter + ct] = main[ct * out + o];
        memcpy(step->dweight + o * filter + ca * TAPS, side + o * cb * TAPS,
               (size_t)(cb * TAPS) * sizeof *side);
    }
}

/* Where P (or its gradient), the rounded gradient of P, y or dy in f32, and one thread's rows lie in the scratch. */
static float *products_of(const atr_step *step)
{
    const resized_state *state = step->state;

    return (float *)((char *)step->scratch + state->op_bytes);
}

static uint16_t *narrow_of(const atr_step *step)
{
    const resized_state *state = step->state;

    return (uint16_t *)((char *)products_of(step) + state->products_bytes);
}

static float *wide_of(const atr_step *step)
{
    const resized_state *state = step->state;

    return (float *)((char *)narrow_of(step) + state->narrow_bytes);
}

static float *rows_of(const atr_step *step, int part)
{
    const resized_state *state = step->state;

    return (float *)((char *)wide_of(step) + state->wide_bytes + (size_t)part * state->row_bytes);
}

/* `side` works on the outer step's memory. */
static void lend_memory(const atr_step *step, atr_step *side)
{
    const resized_state *state = step->state;

    side->x[0].data = step->x[1].data;
    side->dx[0].data = step->dx[1].data;
    side->y.data = state->narrow ? wide_of(step) : step->y.data;
    side->dy.data = step->dy.data;
    side->scratch = step->scratch;
}

atr_status atr_cpu_resized_conv_refresh(atr_backend *backend, atr_step *step)
{
    resized_state *state = step->state;
    const float *weights = step->weight;

    if (step->folded) {
        atr_conv_fold(step, step->scratch, state->bias); /* OIHW, until they are split */
        weights = step->scratch;
    } else if (state->bias != NULL) {
        memcpy(state->bias, step->bias, (size_t)step->conv.out_channels * sizeof(float));
    }
    split_weights(step, weights, state->weight, state->side_weight);
    if (state->narrow)
        atr_bf16_narrow(state->weight, TAPS * step->x[0].dims[3] * step->conv.out_channels,
                        state->narrow_weight);
    lend_memory(step, &state->side);
    return atr_cpu_conv_refresh(backend, &state->side);
}

/* ---- running ------------------------------------------------------------------------------------------------------------ */

/* A weighted sum of rows without gaps that grows term by term; beyond TERMS it is stored and goes on from there. */
typedef struct sum {
    const float *from[TERMS];
    float weights[TERMS];
    int terms;
    int64_t pixels, channels;
    float *to;
    int64_t to_stride;
} sum;

static void sum_store(const atr_cpu_kernels *kernels, sum *s)
{
    kernels->weighted_sum(s->from, s->weights, s->terms, s->channels, s->pixels, s->channels, s->to,
                          s->to_stride);
    s->from[0] = s->to;
    s->weights[0] = 1;
    s->terms = 1;
}

static void sum_add(const atr_cpu_kernels *kernels, sum *s, const float *from, float weight)
{
    if (s->terms == TERMS)
        sum_store(kernels, s);
    s->from[s->terms] = from;
    s->weights[s->terms++] = weight;
}

/* Q of low row `i` of picture `n`: q [3][W][O]. */
static void interpolate_row(const atr_cpu_kernels *kernels, const atr_step *step, int64_t n, int64_t i,
                            float *q)
{
    const resized_state *state = step->state;
    const axis *x = &state->columns;
    const int64_t out = step->conv.out_channels;
    const float *p = products_of(step) + (n * state->rows.low + i) * x->low * TAPS * out;

    for (int ky = 0; ky < K; ky++)
        for (int64_t X = 0; X < x->high; X++) {
            sum s = {.pixels = 1, .channels = out, .to = q + (ky * x->high + X) * out, .to_stride = out};
            for (int kx = 0; kx < K; kx++) {
                const int64_t r = X + kx - 1;
                if (r < 0 || r >= x->high)
                    continue;
                const float *tap = p + (ky * K + kx) * out;
                sum_add(kernels, &s, tap + x->taps[r].first * TAPS * out, (float)(1 - x->taps[r].weight));
                if (x->taps[r].weight > 0)
                    sum_add(kernels, &s, tap + x->taps[r].second * TAPS * out, (float)x->taps[r].weight);
            }
            sum_store(kernels, &s);
        }
}

/* Adds row Y of picture n; the low rows it reads are made when they first appear and kept in SLOTS slots: one output row reads at
 * most three of them. `held` says which rows the slots hold. */
static void add_row(const atr_cpu_kernels *kernels, const atr_step *step, int64_t n, int64_t Y, float *slots,
                    int64_t held[SLOTS])
{
    const resized_state *state = step->state;
    const axis *y = &state->rows;
    const int64_t out = step->conv.out_channels, width = step->y.dims[2], row = width * out;
    const atr_tensor *const sums = &state->side.y; /* y, or in bf16 its f32 copy */
    float *const to = atr_cpu_pixel(sums, (n * y->high + Y) * width), *const mixed = slots + SLOTS * K * row;
    sum s = {.pixels = width, .channels = out, .to = mixed, .to_stride = out};

    for (int ky = 0; ky < K; ky++) {
        const int64_t r = Y + ky - 1;
        if (r < 0 || r >= y->high)
            continue;
        const int64_t low[2] = {y->taps[r].first, y->taps[r].second};
        for (int end = 0; end < 2; end++) {
            const float weight = (float)(end == 0 ? 1 - y->taps[r].weight : y->taps[r].weight);
            const int64_t slot = low[end] % SLOTS, wanted = n * y->low + low[end];
            if (weight == 0)
                continue;
            if (held[slot] != wanted)
                interpolate_row(kernels, step, n, low[end], slots + slot * K * row);
            held[slot] = wanted;
            sum_add(kernels, &s, slots + (slot * K + ky) * row, weight);
        }
    }
    sum_store(kernels, &s);
    kernels->add(to, sums->strides[2], mixed, out, to, sums->strides[2], width, out);
    if (step->act != ATR_ACT_NONE)
        kernels->clamp(to, sums->strides[2], to, sums->strides[2], width, out, atr_cpu_clamp_of(step->act));
    for (int64_t X = 0; state->narrow && X < width; X++)
        atr_bf16_narrow(to + X * out, out, atr_cpu_pixel(&step->y, (n * y->high + Y) * width + X));
}

static void add_rows(const atr_backend *backend, const atr_step *step)
{
    const int64_t rows = step->y.dims[0] * step->y.dims[1];

#pragma omp parallel for schedule(static)
    for (int part = 0; part < backend->threads; part++) {
        const atr_cpu_range range = atr_cpu_share(rows, backend->threads, part);
        int64_t held[SLOTS] = {-1, -1, -1, -1};
        for (int64_t row = range.first; row < range.end; row++)
            add_row(atr_cpu_kernels_of(backend), step, row / step->y.dims[1], row % step->y.dims[1],
                    rows_of(step, part), held);
    }
}

atr_status atr_cpu_resized_conv_forward(atr_backend *backend, atr_step *step)
{
    resized_state *state = step->state;
    const int64_t pixels = picture_pixels(step), results = pixels * TAPS * step->conv.out_channels;
    atr_status status = ATR_OK;

    lend_memory(step, &state->side);
    ATR_TRY(atr_cpu_conv_forward(backend, &state->side));
    for (int64_t i = 0; i < step->x[0].dims[0]; i++) {
        const atr_onednn_buffers product = {.x = atr_cpu_pixel(&step->x[0], i * pixels),
                                            .w = state->narrow ? (void *)state->narrow_weight : state->weight,
                                            .y = products_of(step) + i * results,
                                            .scratch = step->scratch};
        ATR_TRY(atr_onednn_run(atr_cpu_engine_of(backend)->dnn, state->product, &product));
    }
    add_rows(backend, step);
done:
    return status;
}

/* The gradient of P at low row `i` of picture `n`. First the rows of dy that read it, for each vertical tap: q [3][W][O]; then the
 * pixels of those that read each low pixel, for each horizontal tap. */
static void gather_row(const atr_cpu_kernels *kernels, const atr_step *step, const atr_tensor *dy, int64_t n,
                       int64_t i, float *q)
{
    const resized_state *state = step->state;
    const axis *y = &state->rows, *x = &state->columns;
    const int64_t out = step->conv.out_channels, row = x->high * out;
    float *const dp = products_of(step) + (n * y->low + i) * x->low * TAPS * out;

    for (int ky = 0; ky < K; ky++) {
        sum s = {.pixels = x->high, .channels = out, .to = q + ky * row, .to_stride = out};
        for (int64_t r = y->begin[i]; r < y->end[i]; r++) {
            const int64_t Y = r - ky + 1;
            if (Y >= 0 && Y < y->high && share(y, r, i) > 0)
                sum_add(kernels, &s, atr_cpu_pixel(dy, (n * y->high + Y) * x->high), share(y, r, i));
        }
        sum_store(kernels, &s);
    }
    for (int64_t j = 0; j < x->low; j++)
        for (int t = 0; t < TAPS; t++) {
            sum s = {.pixels = 1, .channels = out, .to = dp + (j * TAPS + t) * out, .to_stride = out};
            for (int64_t r = x->begin[j]; r < x->end[j]; r++) {
                const int64_t X = r - t % K + 1;
                if (X >= 0 && X < x->high && share(x, r, j) > 0)
                    sum_add(kernels, &s, q + (t / K) * row + X * out, share(x, r, j));
            }
            sum_store(kernels, &s);
        }
}

static void gather_rows(const atr_backend *backend, const atr_step *step, const atr_tensor *dy)
{
    const int64_t low = step->x[0].dims[1], rows = step->x[0].dims[0] * low;

#pragma omp parallel for schedule(static)
    for (int part = 0; part < backend->threads; part++) {
        const atr_cpu_range range = atr_cpu_share(rows, backend->threads, part);
        for (int64_t row = range.first; row < range.end; row++)
            gather_row(atr_cpu_kernels_of(backend), step, dy, row / low, row % low, rows_of(step, part));
    }
}

/* The gradient of P in bf16, which both products take. */
static void round_products(const atr_backend *backend, const atr_step *step)
{
    const int64_t count = low_pixels(step) * TAPS * step->conv.out_channels;

#pragma omp parallel for schedule(static)
    for (int part = 0; part < backend->threads; part++) {
        const atr_cpu_range range = atr_cpu_share(count, backend->threads, part);
        atr_bf16_narrow(products_of(step) + range.first, range.end - range.first,
                        narrow_of(step) + range.first);
    }
}

atr_status atr_cpu_resized_conv_backward(atr_backend *backend, atr_step *step)
{
    resized_state *state = step->state;
    atr_onednn *dnn = atr_cpu_engine_of(backend)->dnn;
    void *const dp = state->narrow ? (void *)narrow_of(step) : products_of(step);
    void *const w = state->narrow ? (void *)state->narrow_weight : state->weight;
    const atr_onednn_buffers weight = {
        .x = step->x[0].data, .w = dp, .y = state->gradient, .scratch = step->scratch};
    const int64_t pixels = picture_pixels(step), results = pixels * TAPS * step->conv.out_channels;
    const size_t result_bytes = (size_t)results * (state->narrow ? sizeof(uint16_t) : sizeof(float));
    const atr_tensor *dy = &step->dy;
    atr_status status = ATR_OK;

    lend_memory(step, &state->side);
    ATR_TRY(atr_cpu_conv_backward(backend, &state->side));
    if (state->narrow) {
        atr_widen(dy, &state->side.y);
        dy = &state->side.y;
    }
    gather_rows(backend, step, dy);
    if (state->narrow)
        round_products(backend, step);
    if (step->wants_dw) {
        ATR_TRY(atr_onednn_run(dnn, state->weight_product, &weight));
        join_gradients(step, state->gradient, state->side_gradient);
    }
    for (int64_t i = 0; step->wants_dx[0] && i < step->x[0].dims[0]; i++) {
        const atr_onednn_buffers input = {.x = (char *)dp + (size_t)i * result_bytes,
                                          .w = w,
                                          .y = atr_cpu_pixel(&step->dx[0], i * pixels),
                                          .scratch = step->scratch};
        ATR_TRY(atr_onednn_run(dnn, state->input_product, &input));
    }
done:
    return status;
}
