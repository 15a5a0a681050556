/* Bilinear interpolation of rows of pixels, and its transpose. Included once per instruction level. */

#include "dnn/cpu/kernels_impl.h"
#include "dnn/cpu/vec_impl.h"

/* a + w (b - a): exact where a == b. */
ATR_INLINE vec vec_lerp(vec a, vec b, vec w)
{
    return vec_fma(w, b - a, a);
}

static void interpolate(const float *upper, const float *lower, int64_t stride, float weight,
                        const atr_cpu_column *columns, int64_t count, int64_t channels, float *to,
                        int64_t to_stride)
{
    const vec down = vec_set(weight);

    for (int64_t i = 0; i < count; i++, to += to_stride) {
        const float *a = upper + columns[i].first * stride, *b = upper + columns[i].second * stride;
        const float *c = lower + columns[i].first * stride, *d = lower + columns[i].second * stride;
        const vec right = vec_set(columns[i].weight);
        for (int64_t k = 0; k < channels; k += LANES) {
            const int64_t part = channels - k;
            const vec above = vec_lerp(vec_load_part(a + k, part), vec_load_part(b + k, part), right);
            const vec below = vec_lerp(vec_load_part(c + k, part), vec_load_part(d + k, part), right);
            vec_store_part(to + k, vec_lerp(above, below, down), part);
        }
    }
}

static void blend_rows(const float *upper, const float *lower, int64_t stride, float weight, int64_t pixels,
                       int64_t channels, float *to, int64_t to_stride)
{
    const vec down = vec_set(weight);

    for (int64_t p = 0; p < pixels; p++, upper += stride, lower += stride, to += to_stride)
        for (int64_t k = 0; k < channels; k += LANES) {
            const int64_t part = channels - k;
            vec_store_part(
                to + k, vec_lerp(vec_load_part(upper + k, part), vec_load_part(lower + k, part), down), part);
        }
}

static void weighted_sum(const float *const *from, const float *weights, int64_t terms, int64_t stride,
                         int64_t pixels, int64_t channels, float *to, int64_t to_stride)
{
    for (int64_t p = 0; p < pixels; p++, to += to_stride)
        for (int64_t k = 0; k < channels; k += LANES) {
            const int64_t part = channels - k;
            vec sum = vec_zero();
            for (int64_t i = 0; i < terms; i++)
                sum = vec_fma(vec_load_part(from[i] + p * stride + k, part), vec_set(weights[i]), sum);
            vec_store_part(to + k, sum, part);
        }
}
