/* Batch norm: sums over pixels per channel, and the pointwise maps. Included once per instruction level and type of element.
 *
 * Sums run over a tile of pixels in f32 (few terms) and over tiles in double. The deviations of a tile are taken from the
 * tile's own mean in a second pass over it, while it is in cache: no cancellation, and no second pass over memory.
 * Sums of dz are compensated: what a norm takes away backward must cancel over all pixels, and the gradient of a layer in
 * front whose shift it removes is what does not. The additions cost nothing beside the reads. */

#include "dnn/cpu/kernels_impl.h"
#include "dnn/cpu/element_impl.h"

enum { NORM_VECTORS = 4 };

/* *sum += x, with what rounding lost carried along (Kahan, CACM 1965). */
ATR_INLINE void add_compensated(vec *sum, vec *lost, vec x)
{
    const vec term = x - *lost, total = *sum + term;

    *lost = (total - *sum) - term;
    *sum = total;
}

/* to[v] = sum over pixels of x, `vectors` vectors of channels. Even and odd pixels are summed apart: shorter chains. */
ATR_INLINE void sum_pixels(const elem *x, int64_t stride, int64_t pixels, int vectors, int64_t part, vec *to)
{
    vec odd[NORM_VECTORS];
    int64_t p = 0;

    for (int v = 0; v < vectors; v++)
        to[v] = odd[v] = vec_zero();
    for (; p + 2 <= pixels; p += 2, x += 2 * stride)
        for (int v = 0; v < vectors; v++) {
            to[v] = to[v] + elem_load_part(x + v * LANES, part);
            odd[v] = odd[v] + elem_load_part(x + stride + v * LANES, part);
        }
    for (int v = 0; v < vectors && p < pixels; v++)
        to[v] = to[v] + elem_load_part(x + v * LANES, part);
    for (int v = 0; v < vectors; v++)
        to[v] = to[v] + odd[v];
}

ATR_INLINE void moments_block(const elem *x, int64_t stride, int64_t pixels, int vectors, int64_t part,
                              float *sum, float *m2)
{
    const vec share = vec_set(1.0f / (float)pixels);
    vec mean[NORM_VECTORS], even[NORM_VECTORS], odd[NORM_VECTORS];
    int64_t p = 0;

    sum_pixels(x, stride, pixels, vectors, part, mean);
    for (int v = 0; v < vectors; v++) {
        vec_store_part(sum + v * LANES, mean[v], part);
        mean[v] = mean[v] * share;
        even[v] = odd[v] = vec_zero();
    }
    for (; p + 2 <= pixels; p += 2, x += 2 * stride)
        for (int v = 0; v < vectors; v++) {
            const vec a = elem_load_part(x + v * LANES, part) - mean[v];
            const vec b = elem_load_part(x + stride + v * LANES, part) - mean[v];
            even[v] = vec_fma(a, a, even[v]);
            odd[v] = vec_fma(b, b, odd[v]);
        }
    for (int v = 0; v < vectors; v++) {
        if (p < pixels) {
            const vec a = elem_load_part(x + v * LANES, part) - mean[v];
            even[v] = vec_fma(a, a, even[v]);
        }
        vec_store_part(m2 + v * LANES, even[v] + odd[v], part);
    }
}

static void moments(const void *from, int64_t stride, int64_t pixels, int64_t channels, float *work,
                    atr_cpu_moments *into)
{
    const double share = 1.0 / (double)pixels;
    const elem *x = from;
    float *sum = work, *m2 = work + channels;
    double *restrict all_sum = into->sum, *restrict all_squares = into->squares, *restrict all_m2 = into->m2;
    int64_t c = 0;

    for (; c + NORM_VECTORS * LANES <= channels; c += NORM_VECTORS * LANES)
        moments_block(x + c, stride, pixels, NORM_VECTORS, LANES, sum + c, m2 + c);
    for (; c + LANES <= channels; c += LANES)
        moments_block(x + c, stride, pixels, 1, LANES, sum + c, m2 + c);
    if (c < channels)
        moments_block(x + c, stride, pixels, 1, channels - c, sum + c, m2 + c);
    for (c = 0; c < channels; c++) {
        const double s = (double)sum[c];
        all_sum[c] += s;
        all_squares[c] += s * s * share;
        all_m2[c] += (double)m2[c];
    }
}

static void column_sums(const void *from, int64_t stride, int64_t pixels, int64_t channels, float *work,
                        double *sums)
{
    const elem *x = from;
    vec sum[NORM_VECTORS];
    int64_t c = 0;

    for (; c + NORM_VECTORS * LANES <= channels; c += NORM_VECTORS * LANES) {
        sum_pixels(x + c, stride, pixels, NORM_VECTORS, LANES, sum);
        for (int v = 0; v < NORM_VECTORS; v++)
            vec_store(work + c + v * LANES, sum[v]);
    }
    for (; c < channels; c += LANES) {
        const int64_t part = channels - c < LANES ? channels - c : LANES;
        sum_pixels(x + c, stride, pixels, 1, part, sum);
        vec_store_part(work + c, sum[0], part);
    }
    for (c = 0; c < channels; c++)
        sums[c] += (double)work[c];
}

/* z of channels c .. c+part-1 of one pixel. */
ATR_INLINE vec affine_at(const atr_cpu_affine *a, const elem *x, int64_t c, int64_t part)
{
    return vec_fma(elem_load_part(x + c, part) - vec_load_part(a->mean + c, part),
                   vec_load_part(a->scale + c, part), vec_load_part(a->shift + c, part));
}

static void normalise(const void *from, int64_t x_stride, void *to, int64_t y_stride, int64_t pixels,
                      int64_t channels, const atr_cpu_affine *affine)
{
    const atr_cpu_affine a = *affine; /* a copy: stores to y cannot change it */
    const vec low = vec_set(a.clamp.low), high = vec_set(a.clamp.high);
    const elem *x = from;
    elem *y = to;

    for (int64_t p = 0; p < pixels; p++, x += x_stride, y += y_stride) {
        int64_t c = 0;
        for (; c + LANES <= channels; c += LANES)
            elem_store(y + c, vec_act(affine_at(&a, x, c, LANES), low, high));
        if (c < channels)
            elem_store_part(y + c, vec_act(affine_at(&a, x, c, channels - c), low, high), channels - c);
    }
}

ATR_INLINE void norm_sums_block(const elem *x, int64_t x_stride, const elem *dy, int64_t dy_stride,
                                int64_t pixels, const atr_cpu_affine *a, int64_t c, int vectors, int64_t part,
                                float *sums, float *products)
{
    const vec low = vec_set(a->clamp.low), high = vec_set(a->clamp.high);
    vec mean[NORM_VECTORS], scale[NORM_VECTORS], shift[NORM_VECTORS], sum[NORM_VECTORS], lost[NORM_VECTORS],
        product[NORM_VECTORS];

    for (int v = 0; v < vectors; v++) {
        mean[v] = vec_load_part(a->mean + c + v * LANES, part);
        scale[v] = vec_load_part(a->scale + c + v * LANES, part);
        shift[v] = vec_load_part(a->shift + c + v * LANES, part);
        sum[v] = lost[v] = product[v] = vec_zero();
    }
    for (int64_t p = 0; p < pixels; p++)
        for (int v = 0; v < vectors; v++) {
            const vec h = elem_load_part(x + p * x_stride + c + v * LANES, part) - mean[v];
            const vec dz = vec_keep_between(elem_load_part(dy + p * dy_stride + c + v * LANES, part),
                                            vec_fma(h, scale[v], shift[v]), low, high);
            add_compensated(&sum[v], &lost[v], dz);
            product[v] = vec_fma(dz, h, product[v]);
        }
    for (int v = 0; v < vectors; v++) {
        vec_store_part(sums + c + v * LANES, sum[v], part);
        vec_store_part(products + c + v * LANES, product[v], part);
    }
}

static void norm_sums(const void *from, int64_t x_stride, const void *from_dy, int64_t dy_stride,
                      int64_t pixels, int64_t channels, const atr_cpu_affine *affine, float *work,
                      double *sums, double *products)
{
    enum { VECTORS = 2 };
    const elem *x = from, *dy = from_dy;
    float *sum = work, *product = work + channels;
    int64_t c = 0;

    for (; c + VECTORS * LANES <= channels; c += VECTORS * LANES)
        norm_sums_block(x, x_stride, dy, dy_stride, pixels, affine, c, VECTORS, LANES, sum, product);
    for (; c + LANES <= channels; c += LANES)
        norm_sums_block(x, x_stride, dy, dy_stride, pixels, affine, c, 1, LANES, sum, product);
    if (c < channels)
        norm_sums_block(x, x_stride, dy, dy_stride, pixels, affine, c, 1, channels - c, sum, product);
    for (c = 0; c < channels; c++) {
        sums[c] += (double)sum[c];
        products[c] += (double)product[c];
    }
}

ATR_INLINE void norm_gradient_at(const atr_cpu_affine *a, const float *slope, const float *offset,
                                 const float *offset_rest, const elem *x, const elem *dy, elem *dx, int64_t c,
                                 int64_t part)
{
    const vec low = vec_set(a->clamp.low), high = vec_set(a->clamp.high);
    const vec h = elem_load_part(x + c, part) - vec_load_part(a->mean + c, part);
    const vec scale = vec_load_part(a->scale + c, part);
    const vec z = vec_fma(h, scale, vec_load_part(a->shift + c, part));
    const vec dz = vec_keep_between(elem_load_part(dy + c, part), z, low, high);
    const vec rest = vec_fma(h, vec_load_part(slope + c, part), vec_load_part(offset_rest + c, part)) +
                     vec_load_part(offset + c, part);

    elem_store_part(dx + c, vec_fma(dz, scale, rest), part);
}

static void norm_gradient(const void *from, int64_t x_stride, const void *from_dy, int64_t dy_stride,
                          void *to, int64_t dx_stride, int64_t pixels, int64_t channels,
                          const atr_cpu_affine *affine, const float *slope, const float *offset)
{
    const atr_cpu_affine a = *affine;
    const elem *x = from, *dy = from_dy;
    elem *dx = to;

    for (int64_t p = 0; p < pixels; p++, x += x_stride, dy += dy_stride, dx += dx_stride) {
        int64_t c = 0;
        for (; c + LANES <= channels; c += LANES)
            norm_gradient_at(&a, slope, offset, offset + channels, x, dy, dx, c, LANES);
        if (c < channels)
            norm_gradient_at(&a, slope, offset, offset + channels, x, dy, dx, c, channels - c);
    }
}
