#ifndef ATR_DNN_CPU_CLASSES_BODY_IMPL_H
#define ATR_DNN_CPU_CLASSES_BODY_IMPL_H

/* Softmax over the classes of interpolated pixels: probabilities, label maps. Classes are padded to whole
 * vectors with logits so low that they are nothing. Included once per instruction level. */

#include <math.h>

#include "dnn/cpu/kernels_impl.h"
#include "dnn/cpu/vec_impl.h"

enum {
    CLASSES_MOST = 256,
    CLASSES_BLOCK = 8 /* pixels side by side */
};

/* exp(x) for x <= 0, error below 2 ulp; about 1e-38 from -87 on. x = n ln 2 + r with |r| <= ln 2 / 2, ln 2 in two parts whose
 * first has few bits; exp(r) by its Taylor polynomial to r^7; times 2^n by adding n to the exponent. */
ATR_INLINE vec vec_exp(vec x)
{
    const vec bounded = vec_max(vec_set(-87.0f), x);
    const vec n = vec_round(bounded * vec_set(0x1.715476p0f));
    const vec r = vec_fma(n, vec_set(-0x1.7f7d1cp-20f), vec_fma(n, vec_set(-0x1.62e4p-1f), bounded));
    vec p = vec_set(1.0f / 5040.0f);

    p = vec_fma(p, r, vec_set(1.0f / 720.0f));
    p = vec_fma(p, r, vec_set(1.0f / 120.0f));
    p = vec_fma(p, r, vec_set(1.0f / 24.0f));
    p = vec_fma(p, r, vec_set(1.0f / 6.0f));
    p = vec_fma(p, r, vec_set(0.5f));
    p = vec_fma(p, r, vec_set(1.0f));
    p = vec_fma(p, r, vec_set(1.0f));
    return (vec)((ivec)p + (__builtin_convertvector(n, ivec) << 23));
}

/* Logits of pixel i, [padded]; returns the largest. */
ATR_INLINE float logits_at(const atr_cpu_class_row *row, int64_t i, int vectors, float *to)
{
    const atr_cpu_column column = row->columns[i];
    const float *left = row->logits + column.first * row->padded;
    const float *right = row->logits + column.second * row->padded;
    const vec weight = vec_set(column.weight);
    vec most = vec_set(-INFINITY);

    for (int v = 0; v < vectors; v++) {
        const vec a = vec_load(left + v * LANES);
        const vec l = vec_fma(weight, vec_load(right + v * LANES) - a, a);
        vec_store(to + v * LANES, l);
        most = vec_max(most, l);
    }
    return vec_largest(most);
}

/* l [padded] -> exp(l - most) in place; returns their sum. */
ATR_INLINE float exponentials_of(float *l, float most, int vectors)
{
    vec sum = vec_zero();

    for (int v = 0; v < vectors; v++) {
        const vec e = vec_exp(vec_load(l + v * LANES) - vec_set(most));
        vec_store(l + v * LANES, e);
        sum = sum + e;
    }
    return vec_sum(sum);
}

/* The logits lie in `to` until they become probabilities there. */
ATR_INLINE void softmax_pixels(const atr_cpu_class_row *row, float *to, int vectors)
{
    const int64_t padded = vectors * LANES;
    float most[CLASSES_BLOCK], sum[CLASSES_BLOCK];

    for (int64_t first = 0; first < row->count; first += CLASSES_BLOCK, to += CLASSES_BLOCK * padded) {
        const int64_t left = row->count - first, count = left < CLASSES_BLOCK ? left : CLASSES_BLOCK;
        for (int64_t i = 0; i < count; i++)
            most[i] = logits_at(row, first + i, vectors, to + i * padded);
        for (int64_t i = 0; i < count; i++)
            sum[i] = exponentials_of(to + i * padded, most[i], vectors);
        for (int64_t i = 0; i < count; i++)
            for (int v = 0; v < vectors; v++) {
                float *p = to + i * padded + v * LANES;
                vec_store(p, vec_load(p) * vec_set(1.0f / sum[i]));
            }
    }
}

static void softmax_row(const atr_cpu_class_row *row, float *to)
{
    const int vectors = (int)(row->padded / LANES);

    switch (vectors) {
    case 1:
        softmax_pixels(row, to, 1);
        break;
    case 2:
        softmax_pixels(row, to, 2);
        break;
    default:
        softmax_pixels(row, to, vectors);
    }
}

/* The first class whose score p [padded] is `largest`; class 0 where none is a number. */
ATR_INLINE int64_t first_of(const float *p, int vectors, float largest)
{
    for (int v = 0; v < vectors; v++) {
        const int lane = vec_find(vec_load(p + v * LANES), largest);
        if (lane < LANES)
            return v * LANES + lane;
    }
    return 0;
}

static void label_row(const atr_cpu_class_row *row, uint8_t *ids)
{
    const int vectors = (int)(row->padded / LANES);
    float logits[CLASSES_MOST];

    for (int64_t i = 0; i < row->count; i++) {
        const float most = logits_at(row, i, vectors, logits);
        ids[i] = (uint8_t)first_of(logits, vectors, most);
    }
}

static void vote_row(const float *upper, const float *lower, float weight, const atr_cpu_class_row *row,
                     const atr_cpu_votes *votes)
{
    const int vectors = (int)(row->padded / LANES);
    const vec down = vec_set(weight);
    float p[CLASSES_MOST];

    for (int64_t i = 0; i < row->count; i++) {
        const atr_cpu_column column = row->columns[i];
        const int64_t left = column.first * row->padded, right = column.second * row->padded;
        const vec across = vec_set(column.weight);
        vec most = vec_set(-INFINITY);
        for (int64_t k = 0; k < row->padded; k += LANES) {
            const vec a = vec_load(upper + left + k), b = vec_load(upper + right + k);
            const vec c = vec_load(lower + left + k), d = vec_load(lower + right + k);
            const vec above = vec_fma(across, b - a, a), below = vec_fma(across, d - c, c);
            const vec score = vec_fma(down, below - above, above);
            vec_store(p + k, score);
            most = vec_max(most, score);
        }
        const int64_t id = first_of(p, vectors, vec_largest(most));
        if (votes->ids != NULL)
            votes->ids[i] = (uint8_t)id;
        if (votes->confidence != NULL)
            votes->confidence[i] = p[id];
        for (int64_t k = 0; votes->probabilities != NULL && k < row->classes; k++)
            votes->probabilities[k * votes->plane + i] = p[k];
    }
}

#endif
