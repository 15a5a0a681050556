/* Convolutions in 8-bit integers (CONV_INT8) on kernels of our own, and the step into them (QUANTIZE). Formulas: dnn/int8.h.
 *
 * Dense ones are a product of matrices: a block of output pixels is gathered, tap by tap, as 16-bit numbers without their zero, which
 * costs little beside the product with all output channels. Rows of taps that no pixel of a block finds inside the map are left
 * out. Sums are exact, so neither blocks nor threads nor the batch change any result. */
#include <string.h>

#include "dnn/cpu/int8_impl.h"

enum {
    BLOCK_BYTES =
        128 * 1024,  /* of gathered pixels: stays in the second-level cache beside a strip of weights */
    BLOCK_ROWS = 16, /* at most so many blocks of the kernel */
    PADDING = 16     /* channels: the widest vector */
};

typedef struct int8_state {
    atr_int8_form form;
    int16_t *weights;             /* dense: [strips][ky][row_pairs][strip][2], or in the form of the filter */
    atr_cpu_int8_filter *filter;  /* dense: minimal filtering is wanted */
    bool filtered;                /* and these weights allow it */
    int64_t row_pairs;            /* pairs of (kx, i) in a row of taps */
    int64_t block;                /* dense: pixels gathered at once */
    int32_t *tap_weights, *start; /* depthwise: [pairs][padded], [padded] */
    uint8_t *outside;             /* depthwise: a row of zeros, as long as one of x */
    int64_t padded;
    float *inverse; /* QUANTIZE: [C] */
} int8_state;

static int64_t taps_of(const atr_conv_attr *conv)
{
    return conv->kernel * conv->kernel;
}

static int64_t round_up(int64_t count, int64_t unit)
{
    return (count + unit - 1) / unit * unit;
}

static int64_t strips_of(const atr_cpu_kernels *kernels, int64_t channels)
{
    return round_up(channels, kernels->int8_strip) / kernels->int8_strip;
}

/* ---- preparing ---------------------------------------------------------------------------------------------------------- */

/* One thread's. */
static size_t gathered_bytes(const int8_state *state, const atr_conv_attr *conv)
{
    return atr_align_up((size_t)(state->block * conv->kernel * state->row_pairs * 2) * sizeof(int16_t));
}

static atr_status prepare_dense(const atr_backend *backend, atr_step *step, int8_state *state)
{
    const atr_cpu_kernels *kernels = atr_cpu_kernels_of(backend);
    const atr_conv_attr *conv = &step->conv;
    const int64_t rows = kernels->int8_rows;
    atr_status status = ATR_OK;

    state->row_pairs = (conv->kernel * conv->in_channels + 1) / 2;
    const int64_t pairs = conv->kernel * state->row_pairs, bytes = pairs * 2 * (int64_t)sizeof(int16_t);
    state->block = rows * atr_cpu_max(1, atr_cpu_min(BLOCK_ROWS, BLOCK_BYTES / (rows * bytes)));
    int64_t weights = strips_of(kernels, conv->out_channels) * pairs * kernels->int8_strip * 2;
    atr_cpu_reserve(step, (size_t)backend->threads * gathered_bytes(state, conv));
    if (step->winograd) {
        ATR_TRY(atr_cpu_int8_filter_create(backend, step, &state->filter));
        weights = atr_cpu_max(weights, atr_cpu_int8_filter_weights(state->filter));
    }
    ATR_TRY(atr_step_packed(step, weights, sizeof *state->weights, &state->weights));
done:
    return status;
}

static atr_status prepare_depthwise(atr_step *step, int8_state *state)
{
    const int64_t pairs = (taps_of(&step->conv) + 1) / 2;
    const int64_t row = step->y.dims[2] * step->conv.stride * step->x[0].strides[2];
    atr_status status = ATR_OK;

    state->padded = round_up(step->conv.out_channels, PADDING);
    ATR_TRY(atr_step_packed(step, pairs * state->padded, sizeof *state->tap_weights, &state->tap_weights));
    ATR_TRY(ATR_NEW(state->padded, &state->start));
    ATR_TRY(ATR_NEW(row, &state->outside));
    memset(state->outside, step->int8.x_zero, (size_t)row);
done:
    return status;
}

atr_status atr_cpu_int8_prepare(atr_backend *backend, atr_step *step)
{
    const bool depthwise = atr_cpu_is_depthwise(&step->conv);
    atr_status status = ATR_OK;
    int8_state *state = NULL;

    if ((step->conv.groups > 1 && !depthwise) || taps_of(&step->conv) > ATR_CPU_MAX_TAPS)
        return atr_fail(ATR_ERR_UNSUPPORTED, "%s: a kernel that int8 has no code for", step->name);
    ATR_TRY(ATR_NEW(1, &state));
    step->state = state;
    ATR_TRY(atr_int8_form_create(step, &state->form));
    atr_cpu_reserve(step, (size_t)(step->conv.out_channels * atr_conv_filter(&step->conv)) * sizeof(int8_t));
    ATR_TRY(depthwise ? prepare_depthwise(step, state) : prepare_dense(backend, step, state));
done:
    return status;
}

void atr_cpu_int8_release(atr_step *step)
{
    int8_state *state = step->state;

    if (state == NULL)
        return;
    atr_int8_form_free(&state->form);
    atr_cpu_int8_filter_free(state->filter);
    atr_free(state->weights);
    atr_free(state->tap_weights);
    atr_free(state->start);
    atr_free(state->outside);
    atr_free(state->inverse);
    atr_free(state);
    step->state = NULL;
}

/* ---- weights ------------------------------------------------------------------------------------------------------------ */

static void pack_dense(const atr_backend *backend, const atr_step *step, int8_state *state)
{
    const int64_t strip = atr_cpu_kernels_of(backend)->int8_strip, in = step->conv.in_channels;
    const int64_t kernel = step->conv.kernel, taps = kernel * kernel, pairs = kernel * state->row_pairs;

#pragma omp parallel for schedule(static)
    for (int64_t o = 0; o < step->conv.out_channels; o++) {
        int16_t *to = state->weights + o / strip * pairs * strip * 2 + o % strip * 2;
        for (int64_t t = 0; t < taps; t++)
            for (int64_t i = 0; i < in; i++) {
                const int64_t k = t / kernel * state->row_pairs * 2 + t % kernel * in + i;
                to[k / 2 * strip * 2 + k % 2] = state->form.weights[(o * in + i) * taps + t];
            }
    }
}

static void pack_depthwise(const atr_step *step, int8_state *state)
{
    const int64_t taps = taps_of(&step->conv), pairs = (taps + 1) / 2;

    for (int64_t c = 0; c < step->conv.out_channels; c++) {
        const int8_t *w = state->form.weights + c * taps;
        int32_t sum = 0;
        for (int64_t t = 0; t < taps; t++)
            sum += w[t];
        state->start[c] = -sum * step->int8.x_zero;
        for (int64_t k = 0; k < pairs; k++) {
            const uint16_t low = (uint16_t)(int16_t)w[2 * k];
            const uint16_t high = (uint16_t)(int16_t)(2 * k + 1 < taps ? w[2 * k + 1] : 0);
            state->tap_weights[k * state->padded + c] = (int32_t)((uint32_t)high << 16 | low);
        }
    }
}

atr_status atr_cpu_int8_refresh(atr_backend *backend, atr_step *step)
{
    int8_state *state = step->state;

    state->form.weights = step->scratch; /* until they are packed */
    atr_int8_form_fill(step, &state->form);
    state->filtered = state->filter != NULL &&
                      atr_cpu_int8_filter_pack(backend, step, state->filter, &state->form, state->weights);
    if (state->weights == NULL)
        pack_depthwise(step, state);
    else if (!state->filtered)
        pack_dense(backend, step, state);
    state->form.weights = NULL;
    return ATR_OK;
}

/* ---- running ------------------------------------------------------------------------------------------------------------ */

static const uint8_t *byte_pixel(const atr_tensor *tensor, int64_t index)
{
    return (const uint8_t *)tensor->data + index * tensor->strides[2];
}

atr_cpu_int8_end atr_cpu_int8_end_at(const atr_step *step, const atr_int8_form *form, int64_t p)
{
    const bool bytes = step->y.type == ATR_U8, residual_bytes = step->x[1].type == ATR_U8;

    return (atr_cpu_int8_end){
        .scale = form->scale,
        .shift = form->shift,
        .added = form->added,
        .low = form->low,
        .high = form->high,
        .residual_bytes = step->residual && residual_bytes ? byte_pixel(&step->x[1], p) : NULL,
        .residual = step->residual && !residual_bytes ? atr_cpu_pixel(&step->x[1], p) : NULL,
        .residual_stride = step->residual ? step->x[1].strides[2] : 0,
        .residual_zero = (float)step->int8.residual_zero,
        .bytes = bytes ? (uint8_t *)step->y.data + p * step->y.strides[2] : NULL,
        .floats = bytes ? NULL : atr_cpu_pixel(&step->y, p),
        .stride = step->y.strides[2],
        .zero = step->int8.y_zero,
    };
}

/* Rows of taps first .. end-1 that output row `oy` finds inside the map; none: first >= end. */
static atr_cpu_range tap_rows(const atr_step *step, int64_t oy)
{
    const atr_conv_attr *conv = &step->conv;
    const int64_t top = oy * conv->stride - conv->pad, height = step->x[0].dims[1];
    atr_cpu_range range = {0, conv->kernel};

    while (range.first < range.end && top + range.first * conv->dilation < 0)
        range.first++;
    while (range.end > range.first && top + (range.end - 1) * conv->dilation >= height)
        range.end--;
    return range;
}

static atr_cpu_range block_tap_rows(const atr_step *step, int64_t first, int64_t end)
{
    const int64_t height = step->y.dims[1], width = step->y.dims[2];
    atr_cpu_range all = {step->conv.kernel, 0};

    for (int64_t row = first / width; row <= (end - 1) / width; row++) {
        const atr_cpu_range range = tap_rows(step, row % height);
        if (range.first >= range.end)
            continue;
        all.first = atr_cpu_min(all.first, range.first);
        all.end = atr_cpu_max(all.end, range.end);
    }
    return all.first < all.end ? all : (atr_cpu_range){0, 1};
}

/* What output pixel `p` meets with tap rows `rows`, [rows][row_pairs*2]. */
static void gather(const atr_cpu_kernels *kernels, const atr_step *step, int64_t p, atr_cpu_range rows,
                   int16_t *to)
{
    const atr_conv_attr *conv = &step->conv;
    const int8_state *state = step->state;
    const atr_tensor *x = &step->x[0];
    const int64_t in = conv->in_channels, height = step->y.dims[1], width = step->y.dims[2];
    const int64_t n = p / (height * width), top = p / width % height * conv->stride - conv->pad,
                  left = p % width * conv->stride - conv->pad;

    for (int64_t ky = rows.first; ky < rows.end; ky++, to += state->row_pairs * 2) {
        const int64_t iy = top + ky * conv->dilation;
        for (int64_t kx = 0; kx < conv->kernel; kx++) {
            const int64_t ix = left + kx * conv->dilation;
            if (iy < 0 || iy >= x->dims[1] || ix < 0 || ix >= x->dims[2])
                memset(to + kx * in, 0, (size_t)in * sizeof *to);
            else
                kernels->widen_bytes(byte_pixel(x, (n * x->dims[1] + iy) * x->dims[2] + ix), in,
                                     step->int8.x_zero, to + kx * in);
        }
        if (conv->kernel * in % 2 != 0)
            to[conv->kernel * in] = 0;
    }
}

/* The pixels that output pixels first .. end-1 of a 1x1 convolution meet lie one behind the other. */
static bool is_contiguous(const atr_step *step)
{
    const atr_conv_attr *conv = &step->conv;

    return conv->kernel == 1 && conv->stride == 1 && conv->pad == 0 && conv->in_channels % 2 == 0 &&
           step->x[0].strides[2] == conv->in_channels;
}

static void dense_block(const atr_backend *backend, const atr_step *step, int64_t first, int64_t end,
                        int16_t *gathered)
{
    const atr_cpu_kernels *kernels = atr_cpu_kernels_of(backend);
    const int8_state *state = step->state;
    const atr_cpu_range rows = block_tap_rows(step, first, end);
    const atr_cpu_int8_product product = {
        .x = gathered,
        .weights = state->weights + rows.first * state->row_pairs * kernels->int8_strip * 2,
        .pairs = (rows.end - rows.first) * state->row_pairs,
        .strip_pairs = step->conv.kernel * state->row_pairs,
        .pixels = end - first,
        .channels = step->conv.out_channels,
        .end = atr_cpu_int8_end_at(step, &state->form, first),
    };

    if (is_contiguous(step))
        kernels->widen_bytes(byte_pixel(&step->x[0], first), (end - first) * step->conv.in_channels,
                             step->int8.x_zero, gathered);
    for (int64_t p = first; !is_contiguous(step) && p < end; p++)
        gather(kernels, step, p, rows, gathered + (p - first) * product.pairs * 2);
    kernels->int8_product(&product);
}

static void dense(const atr_backend *backend, const atr_step *step)
{
    const int8_state *state = step->state;
    const size_t share = gathered_bytes(state, &step->conv);

#pragma omp parallel for schedule(static)
    for (int part = 0; part < backend->threads; part++) {
        const atr_cpu_range range = atr_cpu_share(atr_cpu_pixels(&step->y), backend->threads, part);
        int16_t *gathered = (int16_t *)((char *)step->scratch + (size_t)part * share);
        for (int64_t p = range.first; p < range.end; p += state->block)
            dense_block(backend, step, p, atr_cpu_min(p + state->block, range.end), gathered);
    }
}

/* Output columns first .. end-1, for which every tap lies inside along a row or outside. */
static atr_cpu_range inner_columns(const atr_step *step)
{
    const atr_conv_attr *conv = &step->conv;
    const int64_t last = (conv->kernel - 1) * conv->dilation - conv->pad, width = step->x[0].dims[2];
    const int64_t first = (conv->pad + conv->stride - 1) / conv->stride;
    const int64_t end = last < width ? (width - 1 - last) / conv->stride + 1 : 0;

    return (atr_cpu_range){atr_cpu_min(first, step->y.dims[2]), atr_cpu_min(end, step->y.dims[2])};
}

/* Columns first .. end-1 of output row `row`; but for a single one, inner columns. */
static void depthwise_columns(const atr_backend *backend, const atr_step *step, int64_t row,
                              atr_cpu_range columns)
{
    const atr_conv_attr *conv = &step->conv;
    const int8_state *state = step->state;
    const atr_tensor *x = &step->x[0];
    const int64_t n = row / step->y.dims[1], top = row % step->y.dims[1] * conv->stride - conv->pad,
                  left = columns.first * conv->stride - conv->pad;
    atr_cpu_int8_taps taps = {
        .weights = state->tap_weights,
        .start = state->start,
        .pairs = (taps_of(conv) + 1) / 2,
        .channels = conv->out_channels,
        .padded = state->padded,
        .pixels = columns.end - columns.first,
        .step = conv->stride * x->strides[2],
        .end = atr_cpu_int8_end_at(step, &state->form, row * step->y.dims[2] + columns.first)};

    for (int64_t t = 0; t < taps_of(conv); t++) {
        const int64_t iy = top + t / conv->kernel * conv->dilation;
        const int64_t ix = left + t % conv->kernel * conv->dilation;
        const bool inside = iy >= 0 && iy < x->dims[1] && ix >= 0 && ix < x->dims[2];
        taps.taps[t] = inside ? byte_pixel(x, (n * x->dims[1] + iy) * x->dims[2] + ix) : state->outside;
    }
    if (taps_of(conv) % 2 != 0) /* its partner has no weight */
        taps.taps[taps_of(conv)] = taps.taps[taps_of(conv) - 1];
    atr_cpu_kernels_of(backend)->int8_taps(&taps);
}

static void depthwise_row(const atr_backend *backend, const atr_step *step, int64_t row)
{
    const int64_t width = step->y.dims[2];
    const atr_cpu_range inner = inner_columns(step);
    int64_t ox = 0;

    while (ox < width) {
        const bool run = ox >= inner.first && ox < inner.end;
        const int64_t end = run ? inner.end : ox + 1;
        depthwise_columns(backend, step, row, (atr_cpu_range){ox, end});
        ox = end;
    }
}

static void depthwise(const atr_backend *backend, const atr_step *step)
{
#pragma omp parallel for schedule(static)
    for (int part = 0; part < backend->threads; part++) {
        const atr_cpu_range range = atr_cpu_share(step->y.dims[0] * step->y.dims[1], backend->threads, part);
        for (int64_t row = range.first; row < range.end; row++)
            depthwise_row(backend, step, row);
    }
}

atr_status atr_cpu_int8_forward(atr_backend *backend, atr_step *step)
{
    const int8_state *state = step->state;

    if (state->filtered)
        atr_cpu_int8_filter_run(backend, step, state->filter, &state->form, state->weights);
    else if (state->weights != NULL)
        dense(backend, step);
    else
        depthwise(backend, step);
    return ATR_OK;
}

/* ---- into integers ------------------------------------------------------------------------------------------------------ */

atr_status atr_cpu_quantize_prepare(atr_backend *backend, atr_step *step)
{
    const int64_t channels = step->y.dims[3];
    atr_status status = ATR_OK;
    int8_state *state = NULL;

    (void)backend;
    ATR_TRY(ATR_NEW(1, &state));
    step->state = state;
    ATR_TRY(ATR_NEW(channels, &state->inverse));
    for (int64_t c = 0; c < channels; c++)
        state->inverse[c] = 1.0f / step->int8.y_steps[c];
done:
    return status;
}

atr_status atr_cpu_quantize_forward(atr_backend *backend, atr_step *step)
{
    const int8_state *state = step->state;
    const atr_tensor *x = &step->x[0], *y = &step->y;

#pragma omp parallel for schedule(static)
    for (int part = 0; part < backend->threads; part++) {
        const atr_cpu_range range = atr_cpu_share(atr_cpu_pixels(y), backend->threads, part);
        atr_cpu_kernels_of(backend)->quantise(
            atr_cpu_pixel(x, range.first), x->strides[2], (uint8_t *)y->data + range.first * y->strides[2],
            y->strides[2], range.end - range.first, y->dims[3], state->inverse, step->int8.y_zero);
    }
    return ATR_OK;
}
