/* A 1x1 convolution with what is behind it, for dnn/cpu/banded_conv.c. Included once per instruction level. */

#include "dnn/cpu/kernels_impl.h"
#include "dnn/cpu/vec_impl.h"

ATR_INLINE void layer_rows(const atr_cpu_layer *l, const float *a, const float *b, const float *bias,
                           const float *residual, float *to, int rows, int64_t part)
{
    const vec low = vec_set(l->clamp.low), high = vec_set(l->clamp.high);
    vec sums[PRODUCT_ROWS][PRODUCT_VECTORS];

    for (int i = 0; i < rows; i++)
        for (int v = 0; v < PRODUCT_VECTORS; v++)
            sums[i][v] = vec_load(bias + v * LANES);
    for (int64_t k = 0; k < l->in; k++, b += PRODUCT_VECTORS * LANES) {
        vec right[PRODUCT_VECTORS];
        for (int v = 0; v < PRODUCT_VECTORS; v++)
            right[v] = vec_load(b + v * LANES);
        for (int i = 0; i < rows; i++) {
            const vec left = vec_set(a[i * l->from_stride + k]);
            for (int v = 0; v < PRODUCT_VECTORS; v++)
                sums[i][v] = vec_fma(left, right[v], sums[i][v]);
        }
    }
    for (int i = 0; i < rows; i++)
        for (int v = 0; v < PRODUCT_VECTORS && v * LANES < part; v++) {
            const int64_t count = part - v * LANES < LANES ? part - v * LANES : LANES;
            if (residual != NULL)
                sums[i][v] = sums[i][v] + vec_load_part(residual + i * l->residual_stride + v * LANES, count);
            vec_store_part(to + i * l->to_stride + v * LANES, vec_act(sums[i][v], low, high), count);
        }
}

/* Blocks of pixels whose values stay in the first-level cache meet one strip of weights after the other. */
static void layer(const atr_cpu_layer *l)
{
    enum { STRIP = PRODUCT_VECTORS * LANES, BLOCK = 4 * PRODUCT_ROWS };

    for (int64_t first = 0; first < l->pixels; first += BLOCK) {
        const int64_t end = first + BLOCK < l->pixels ? first + BLOCK : l->pixels;
        for (int64_t o = 0; o < l->out; o += STRIP) {
            const float *b = l->weights + o * l->in, *bias = l->bias + o;
            const float *residual = l->residual == NULL ? NULL : l->residual + o;
            const int64_t part = l->out - o < STRIP ? l->out - o : STRIP;
            float *to = l->to + o;
            int64_t p = first;
            for (; p + PRODUCT_ROWS <= end; p += PRODUCT_ROWS)
                layer_rows(l, l->from + p * l->from_stride, b, bias,
                           residual == NULL ? NULL : residual + p * l->residual_stride, to + p * l->to_stride,
                           PRODUCT_ROWS, part);
            for (; p + 2 <= end; p += 2)
                layer_rows(l, l->from + p * l->from_stride, b, bias,
                           residual == NULL ? NULL : residual + p * l->residual_stride, to + p * l->to_stride,
                           2, part);
            if (p < end)
                layer_rows(l, l->from + p * l->from_stride, b, bias,
                           residual == NULL ? NULL : residual + p * l->residual_stride, to + p * l->to_stride,
                           1, part);
        }
    }
}
