/* The way back through a 3x3 convolution of [resize(a), b] (resized_conv.c): the transpose, row by row in gather form. */
#include <string.h>

#include "core/bf16.h"
#include "dnn/cpu/resized_conv_impl.h"

/* How much position `r` reads of low index `i`. */
static float share(const axis *a, int64_t r, int64_t i)
{
    const atr_bilinear_tap *tap = &a->taps[r];

    return (float)((tap->first == i ? 1 - tap->weight : 0) + (tap->second == i ? tap->weight : 0));
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

    atr_cpu_resized_conv_lend(step, &state->side);
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
