/* Softmax over the classes of interpolated pixels: loss and gradient, probabilities, label maps. Classes are padded to whole
 * vectors with logits so low that they are nothing. Included once per instruction level. */

#include <math.h>

#include "dnn/cpu/kernels_impl.h"
#include "dnn/cpu/vec_impl.h"

enum { CLASSES_MOST = 256 };

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

/* The exponentials exp(l - most) of the classes of pixel `i`, [padded], whose largest logit is `most`. */
typedef struct pixel_softmax {
    float exponentials[CLASSES_MOST];
    float most, sum;
    float own; /* logit of the class asked for */
} pixel_softmax;

ATR_INLINE void softmax_at(const atr_cpu_class_row *row, int64_t i, int64_t own, int vectors,
                           pixel_softmax *to)
{
    const atr_cpu_column column = row->columns[i];
    const float *left = row->logits + column.first * row->padded;
    const float *right = row->logits + column.second * row->padded;
    const vec weight = vec_set(column.weight);
    vec most = vec_set(-INFINITY), sum = vec_zero();

    for (int v = 0; v < vectors; v++) {
        const vec a = vec_load(left + v * LANES);
        const vec l = vec_fma(weight, vec_load(right + v * LANES) - a, a);
        vec_store(to->exponentials + v * LANES, l);
        most = vec_max(most, l);
    }
    to->most = vec_largest(most);
    to->own = to->exponentials[own];
    for (int v = 0; v < vectors; v++) {
        const vec e = vec_exp(vec_load(to->exponentials + v * LANES) - vec_set(to->most));
        vec_store(to->exponentials + v * LANES, e);
        sum = sum + e;
    }
    to->sum = vec_sum(sum);
}

/* gradient += transposed horizontal interpolation of weight (softmax - [k = label]) of pixel i. */
ATR_INLINE void add_gradient(const atr_cpu_class_row *row, int64_t i, int64_t label, float weight,
                             int vectors, const pixel_softmax *softmax, float *gradient)
{
    const atr_cpu_column column = row->columns[i];
    float *left = gradient + column.first * row->padded, *right = gradient + column.second * row->padded;
    const vec share = vec_set(weight / softmax->sum), to_right = vec_set(column.weight);
    const ivec own = (ivec){0} + (int32_t)label;

    for (int v = 0; v < vectors; v++) {
        const ivec is_own = vec_iota() + v * LANES == own;
        const vec target = (vec)((ivec)vec_set(weight) & is_own);
        const vec dl = vec_load(softmax->exponentials + v * LANES) * share - target;
        const vec rest = dl * to_right;
        vec_store(left + v * LANES, vec_load(left + v * LANES) + (dl - rest));
        vec_store(right + v * LANES, vec_load(right + v * LANES) + rest);
    }
}

ATR_INLINE double loss_pixels(const atr_cpu_class_row *row, const uint8_t *labels, const double *weights,
                              float *gradient, int vectors)
{
    double loss = 0.0;
    pixel_softmax softmax;

    for (int64_t i = 0; i < row->count; i++) {
        const int64_t label = labels[i];
        if (label >= row->classes)
            continue;
        softmax_at(row, i, label, vectors, &softmax);
        loss += weights[label] * ((double)softmax.most - (double)softmax.own + log((double)softmax.sum));
        if (gradient != NULL)
            add_gradient(row, i, label, (float)weights[label], vectors, &softmax, gradient);
    }
    return loss;
}

/* Few vectors are common: their loops are unrolled. */
static double loss_row(const atr_cpu_class_row *row, const uint8_t *labels, const double *weights,
                       float *gradient)
{
    const int vectors = (int)(row->padded / LANES);

    switch (vectors) {
    case 1:
        return loss_pixels(row, labels, weights, gradient, 1);
    case 2:
        return loss_pixels(row, labels, weights, gradient, 2);
    default:
        return loss_pixels(row, labels, weights, gradient, vectors);
    }
}

ATR_INLINE void softmax_pixels(const atr_cpu_class_row *row, float *to, int vectors)
{
    pixel_softmax softmax;

    for (int64_t i = 0; i < row->count; i++, to += row->padded) {
        softmax_at(row, i, 0, vectors, &softmax);
        const vec share = vec_set(1.0f / softmax.sum);
        for (int v = 0; v < vectors; v++)
            vec_store(to + v * LANES, vec_load(softmax.exponentials + v * LANES) * share);
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

/* The first of the largest of p [padded]; class 0 where all are NaN. */
ATR_INLINE int64_t first_largest(const float *p, int vectors, float *largest)
{
    vec most = vec_set(-INFINITY);

    for (int v = 0; v < vectors; v++)
        most = vec_max(most, vec_load(p + v * LANES));
    *largest = vec_largest(most);
    for (int v = 0; v < vectors; v++) {
        const int lane = vec_find(vec_load(p + v * LANES), *largest);
        if (lane < LANES)
            return v * LANES + lane;
    }
    return 0;
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
        float largest;
        for (int64_t k = 0; k < row->padded; k += LANES) {
            const vec a = vec_load(upper + left + k), b = vec_load(upper + right + k);
            const vec c = vec_load(lower + left + k), d = vec_load(lower + right + k);
            const vec above = vec_fma(across, b - a, a), below = vec_fma(across, d - c, c);
            vec_store(p + k, vec_fma(down, below - above, above));
        }
        const int64_t id = first_largest(p, vectors, &largest);
        if (votes->ids != NULL)
            votes->ids[i] = (uint8_t)id;
        if (votes->confidence != NULL)
            votes->confidence[i] = p[id];
        for (int64_t k = 0; votes->probabilities != NULL && k < row->classes; k++)
            votes->probabilities[k * votes->plane + i] = p[k];
    }
}
