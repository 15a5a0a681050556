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
 * In bf16 (where oneDNN multiplies it) products are of bf16 and all sums f32: y is made in f32 scratch memory and rounded once. So it is
 * where y is in 8-bit integers; then by rows of tiles of b's convolution, so that this memory is small (in f32 that gains no time). */
#include <string.h>

#include "core/bf16.h"
#include "dnn/cpu/resized_conv_impl.h"

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
    if (state->narrow || state->bytes)
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
    if (state->narrow)
        state->narrow_bytes = atr_align_up((size_t)products * sizeof(uint16_t));
    if (state->band > 0)
        state->band_bytes = atr_align_up((size_t)(state->band * step->y.dims[2] * out) * sizeof(float));
    else if (state->narrow || state->bytes)
        state->wide_bytes = atr_align_up((size_t)(atr_cpu_pixels(&step->y) * out) * sizeof(float));
    step->scratch_bytes = state->op_bytes + state->products_bytes +
                          (size_t)backend->threads * (state->row_bytes + state->band_bytes) +
                          state->narrow_bytes + state->wide_bytes;
}

/* Rows of tiles of `side` that are made at once, where there are enough of them for all threads. */
static int64_t band_of(const atr_backend *backend, const atr_step *step)
{
    const int64_t m = atr_cpu_winograd_tile(&step->conv, step->y.dims);
    const int64_t bands = step->y.dims[0] * (step->y.dims[1] / m);

    return step->y.type == ATR_U8 && step->winograd && bands >= 2 * (int64_t)backend->threads ? m : 0;
}

atr_status atr_cpu_resized_conv_prepare(atr_backend *backend, atr_step *step)
{
    atr_status status = ATR_OK;
    resized_state *state = NULL;
    const int64_t out = step->conv.out_channels, ca = step->x[0].dims[3], cb = step->x[1].dims[3];

    if (step->y.type != ATR_U8)
        ATR_TRY(atr_cpu_check_types(step));
    ATR_TRY(ATR_NEW(1, &state));
    step->state = state;
    state->narrow = step->x[0].type == ATR_BF16;
    state->bytes = step->y.type == ATR_U8;
    state->band = band_of(backend, step);
    if (state->bytes)
        ATR_TRY(ATR_NEW(out, &state->inverse));
    for (int64_t c = 0; state->bytes && c < out; c++)
        state->inverse[c] = 1.0f / step->int8.y_steps[c];
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
    atr_cpu_reserve(step, folded);
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
    atr_free(state->inverse);
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

void atr_cpu_resized_conv_lend(const atr_step *step, atr_step *side)
{
    const resized_state *state = step->state;

    side->x[0].data = step->x[1].data;
    side->dx[0].data = step->dx[1].data;
    side->y.data = state->narrow || state->bytes ? wide_of(step) : step->y.data;
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
    atr_cpu_resized_conv_lend(step, &state->side);
    return atr_cpu_conv_refresh(backend, &state->side);
}

/* ---- running ------------------------------------------------------------------------------------------------------------ */

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

/* A finished row of f32 to where it is wanted. */
static void deliver_row(const atr_cpu_kernels *kernels, const atr_step *step, const float *from,
                        int64_t pixel)
{
    const resized_state *state = step->state;
    const int64_t width = step->y.dims[2], out = step->conv.out_channels, stride = step->y.strides[2];

    if (state->bytes)
        kernels->quantise(from, out, (uint8_t *)step->y.data + pixel * stride, stride, width, out,
                          state->inverse, step->int8.y_zero);
    for (int64_t X = 0; state->narrow && X < width; X++)
        atr_bf16_narrow(from + X * out, out, atr_cpu_pixel(&step->y, pixel + X));
}

/* Adds row Y of picture n to the sums at `to`, of pixels `stride` apart; the low rows it reads are made when they first appear and kept
 * in SLOTS slots: one output row reads at most three of them. `held` says which rows the slots hold. */
static void add_row(const atr_cpu_kernels *kernels, const atr_step *step, int64_t n, int64_t Y, float *to,
                    int64_t stride, float *slots, int64_t held[SLOTS])
{
    const resized_state *state = step->state;
    const axis *y = &state->rows;
    const int64_t out = step->conv.out_channels, width = step->y.dims[2], row = width * out;
    float *const mixed = slots + SLOTS * K * row;
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
    kernels->add(to, stride, mixed, out, to, stride, width, out);
    if (step->act != ATR_ACT_NONE)
        kernels->clamp(to, stride, to, stride, width, out, atr_cpu_clamp_of(step->act));
    deliver_row(kernels, step, to, (n * y->high + Y) * width);
}

static void add_rows(const atr_backend *backend, const atr_step *step)
{
    const atr_tensor *const sums = &((const resized_state *)step->state)->side.y;
    const int64_t rows = step->y.dims[0] * step->y.dims[1], width = step->y.dims[2];

#pragma omp parallel for schedule(static)
    for (int part = 0; part < backend->threads; part++) {
        const atr_cpu_range range = atr_cpu_share(rows, backend->threads, part);
        int64_t held[SLOTS] = {-1, -1, -1, -1};
        for (int64_t row = range.first; row < range.end; row++)
            add_row(atr_cpu_kernels_of(backend), step, row / step->y.dims[1], row % step->y.dims[1],
                    atr_cpu_pixel(sums, row * width), sums->strides[2], rows_of(step, part), held);
    }
}

/* Both halves of rows Y .. of picture n. */
static void make_band(const atr_backend *backend, const atr_step *step, int part, int64_t n, int64_t Y,
                      int64_t held[SLOTS])
{
    const resized_state *state = step->state;
    const int64_t *y = step->y.dims, rows = atr_cpu_min(state->band, y[1] - Y);
    atr_tensor to = state->side.y;

    to.dims[0] = 1;
    to.dims[1] = rows;
    to.data = band_memory(step, part);
    atr_cpu_winograd_rows(backend, &state->side, part, n, Y, &to);
    for (int64_t i = 0; i < rows; i++)
        add_row(atr_cpu_kernels_of(backend), step, n, Y + i, atr_cpu_pixel(&to, i * y[2]), to.strides[2],
                rows_of(step, part), held);
}

static void make_bands(const atr_backend *backend, const atr_step *step)
{
    const int64_t band = ((const resized_state *)step->state)->band;
    const int64_t per_picture = (step->y.dims[1] + band - 1) / band;

#pragma omp parallel for schedule(static)
    for (int part = 0; part < backend->threads; part++) {
        const atr_cpu_range range = atr_cpu_share(step->y.dims[0] * per_picture, backend->threads, part);
        int64_t held[SLOTS] = {-1, -1, -1, -1};
        for (int64_t b = range.first; b < range.end; b++)
            make_band(backend, step, part, b / per_picture, b % per_picture * band, held);
    }
}

atr_status atr_cpu_resized_conv_forward(atr_backend *backend, atr_step *step)
{
    resized_state *state = step->state;
    const int64_t pixels = picture_pixels(step), results = pixels * TAPS * step->conv.out_channels;
    atr_status status = ATR_OK;

    atr_cpu_resized_conv_lend(step, &state->side);
    if (state->band == 0)
        ATR_TRY(atr_cpu_conv_forward(backend, &state->side));
    for (int64_t i = 0; i < step->x[0].dims[0]; i++) {
        const atr_onednn_buffers product = {.x = atr_cpu_pixel(&step->x[0], i * pixels),
                                            .w = state->narrow ? (void *)state->narrow_weight : state->weight,
                                            .y = products_of(step) + i * results,
                                            .scratch = step->scratch};
        ATR_TRY(atr_onednn_run(atr_cpu_engine_of(backend)->dnn, state->product, &product));
    }
    if (state->band > 0)
        make_bands(backend, step);
    else
        add_rows(backend, step);
done:
    return status;
}
