/* Losses of a row of interpolated pixels (formulas: dnn/ref/loss.c): cross-entropy alone, any form, and the sums of a first
 * pass. Included once per instruction level. */

#include <math.h>
#include <string.h>

#include "dnn/cpu/classes_body_impl.h"

/* A few neighbouring pixels go through each phase together: chains of dependent instructions are long in a softmax, and those
 * of different pixels overlap. */
typedef struct softmax_block {
    float exponentials[CLASSES_BLOCK * CLASSES_MOST]; /* [pixels,padded]: exp(l - most) */
    float sum[CLASSES_BLOCK];                         /* of a pixel's exponentials */
    double below[CLASSES_BLOCK];                      /* most - l of the label: c = below + ln sum */
    double even[CLASSES_BLOCK];                       /* sum_k even_k (most - l_k), where wanted */
    int64_t pixels[CLASSES_BLOCK], used;
} softmax_block;

ATR_INLINE double even_below(const float *logits, float most, const float *even, int vectors)
{
    vec sum = vec_zero();

    for (int v = 0; v < vectors; v++)
        sum = vec_fma(vec_load(even + v * LANES), vec_set(most) - vec_load(logits + v * LANES), sum);
    return (double)vec_sum(sum);
}

/* Exponentials of `count` pixels from `first` on; pixels without a class are left out unless `ignored`. `even` may be NULL. */
ATR_INLINE void soften(const atr_cpu_class_row *row, int64_t first, int64_t count, const uint8_t *labels,
                       bool ignored, const float *even, int vectors, softmax_block *block)
{
    const int64_t padded = vectors * LANES;
    float most[CLASSES_BLOCK];

    block->used = 0;
    for (int64_t i = first; i < first + count; i++)
        if (labels[i] < row->classes || ignored) {
            const int64_t j = block->used++;
            float *logits = block->exponentials + j * padded;
            most[j] = logits_at(row, i, vectors, logits);
            block->below[j] = labels[i] < row->classes ? (double)most[j] - (double)logits[labels[i]] : 0.0;
            if (even != NULL)
                block->even[j] = even_below(logits, most[j], even, vectors);
            block->pixels[j] = i;
        }
    for (int64_t j = 0; j < block->used; j++)
        block->sum[j] = exponentials_of(block->exponentials + j * padded, most[j], vectors);
}

/* A pixel says the class whose probability is above 1/2: its own, or the one with the largest exponential, which is 1. */
ATR_INLINE void vote(const float *exponentials, float sum, int64_t label, int64_t classes, int vectors,
                     const atr_loss_votes *votes)
{
    if (!(sum < 2.0f))
        return;
    if (label < classes && exponentials[label] > 0.5f * sum) {
        votes->hits[label]++;
        votes->all[label]++;
    } else {
        const int64_t said = first_of(exponentials, vectors, 1.0f);
        votes->all[said] += exponentials[said] > 0.5f * sum;
    }
}

/* gradient += transposed horizontal interpolation of weight (softmax - [k = label]) of pixel i. */
ATR_INLINE void add_gradient(const atr_cpu_class_row *row, int64_t i, int64_t label, float weight,
                             int vectors, const float *exponentials, float sum, float *gradient)
{
    const atr_cpu_column column = row->columns[i];
    float *left = gradient + column.first * row->padded, *right = gradient + column.second * row->padded;
    const vec share = vec_set(weight / sum), to_right = vec_set(column.weight);
    const ivec own = (ivec){0} + (int32_t)label;

    for (int v = 0; v < vectors; v++) {
        const ivec is_own = vec_iota() + v * LANES == own;
        const vec target = (vec)((ivec)vec_set(weight) & is_own);
        const vec dl = vec_load(exponentials + v * LANES) * share - target;
        const vec rest = dl * to_right;
        vec_store(left + v * LANES, vec_load(left + v * LANES) + (dl - rest));
        vec_store(right + v * LANES, vec_load(right + v * LANES) + rest);
    }
}

/* Loss of `count` pixels from `first` on; ignored ones take part in nothing. */
ATR_INLINE double loss_block(const atr_cpu_class_row *row, int64_t first, int64_t count,
                             const uint8_t *labels, const double *weights, float *gradient,
                             const atr_loss_votes *votes, int vectors, softmax_block *block)
{
    const int64_t padded = vectors * LANES;
    double loss = 0.0;

    soften(row, first, count, labels, false, NULL, vectors, block);
    for (int64_t j = 0; j < block->used; j++)
        loss += weights[labels[block->pixels[j]]] * block->below[j];
    for (int64_t j = 0; j < block->used; j++)
        loss += weights[labels[block->pixels[j]]] * log((double)block->sum[j]);
    for (int64_t j = 0; j < block->used && votes->all != NULL; j++)
        vote(block->exponentials + j * padded, block->sum[j], labels[block->pixels[j]], row->classes, vectors,
             votes);
    for (int64_t j = 0; j < block->used && gradient != NULL; j++)
        add_gradient(row, block->pixels[j], labels[block->pixels[j]],
                     (float)weights[labels[block->pixels[j]]], vectors, block->exponentials + j * padded,
                     block->sum[j], gradient);
    return loss;
}

ATR_INLINE double loss_pixels(const atr_cpu_class_row *row, const uint8_t *labels, const double *weights,
                              float *gradient, const atr_loss_votes *votes, int vectors)
{
    softmax_block block;
    double loss = 0.0;

    for (int64_t first = 0; first < row->count; first += CLASSES_BLOCK) {
        const int64_t left = row->count - first;
        loss += loss_block(row, first, left < CLASSES_BLOCK ? left : CLASSES_BLOCK, labels, weights, gradient,
                           votes, vectors, &block);
    }
    return loss;
}

/* Votes of the pixels without a class, which cross-entropy does not look at. */
static void ignored_votes(const atr_cpu_class_row *row, const uint8_t *labels, const atr_loss_votes *votes)
{
    const int vectors = (int)(row->padded / LANES);
    float logits[CLASSES_MOST];

    for (int64_t i = 0; i < row->count; i++)
        if (labels[i] >= row->classes) {
            const float most = logits_at(row, i, vectors, logits);
            const float sum = exponentials_of(logits, most, vectors);
            vote(logits, sum, row->classes, row->classes, vectors, votes);
        }
}

/* Few vectors are common: their loops are unrolled. */
static double loss_row(const atr_cpu_class_row *row, const uint8_t *labels, const double *weights,
                       float *gradient, const atr_loss_votes *votes, bool ignored)
{
    const int vectors = (int)(row->padded / LANES);

    if (ignored && votes->all != NULL)
        ignored_votes(row, labels, votes);
    switch (vectors) {
    case 1:
        return loss_pixels(row, labels, weights, gradient, votes, 1);
    case 2:
        return loss_pixels(row, labels, weights, gradient, votes, 2);
    default:
        return loss_pixels(row, labels, weights, gradient, votes, vectors);
    }
}

/* ---- any form ----------------------------------------------------------------------------------------------------------- */

/* (1 - exp(-c))^gamma c, and its slope. */
static double focused(double c, double gamma, double *slope)
{
    const double rest = -expm1(-c), q = 1.0 - rest;
    const double power = gamma == 2.0 ? rest * rest : pow(rest, gamma);

    *slope = power * (1.0 + gamma * q * (rest > 0.0 ? c / rest : 1.0));
    return power * c;
}

/* Loss of what is a function of c, and its slope. */
static double loss_of_c(const atr_loss_form *form, int64_t label, double c, double *slope)
{
    double loss = 0.0, d;

    *slope = 0.0;
    if (form->parts & ATR_LOSS_PLAIN) {
        loss += form->plain[label] * c;
        *slope += form->plain[label];
    }
    if (form->parts & ATR_LOSS_FOCUSED) {
        loss += form->focus[label] * focused(form->focus_scale[label] * c, form->gamma, &d);
        *slope += form->focus[label] * form->focus_scale[label] * d;
    }
    if (form->parts & ATR_LOSS_HARD && (float)c >= form->hard_from) {
        loss += form->hard[label] * c;
        *slope += form->hard[label];
    }
    return loss;
}

/* Loss of the errors of one pixel; adds their slopes to dL/dp, [padded]. */
ATR_INLINE double ranked_errors(const float *ranked, const float *exponentials, float share, int64_t label,
                                int64_t classes, float *slopes)
{
    double loss = 0.0;

    for (int64_t k = 0; k < classes; k++) {
        const float p = exponentials[k] * share, error = k == label ? 1.0f - p : p;
        const float slope = ranked[(2 * k + (k == label)) * ATR_LOSS_BINS + atr_loss_bin(error)];
        slopes[k] += k == label ? -slope : slope;
        loss += (double)slope * (double)error;
    }
    return loss;
}

/* slopes [padded] = what the form knows of dL/dp by class. */
ATR_INLINE void class_slopes(const atr_cpu_loss_terms *terms, int64_t label, int vectors, float *slopes)
{
    const ivec own = (ivec){0} + (int32_t)label;

    for (int v = 0; v < vectors; v++) {
        const ivec is_own = vec_iota() + v * LANES == own;
        const vec rest = (vec)((ivec)vec_load(terms->own_rest + v * LANES) & is_own);
        vec_store(slopes + v * LANES, vec_load(terms->other + v * LANES) + rest);
    }
}

/* gradient += transposed horizontal interpolation of p (slopes - mean slope + pull) - even - [k = label] of_c of pixel i, where
 * pull belongs to all that is a function of c or even. */
ATR_INLINE void add_terms_gradient(const atr_cpu_class_row *row, int64_t i, int64_t label, float of_c,
                                   float pull, const float *even, const float *slopes, int vectors,
                                   const float *exponentials, float share, float *gradient)
{
    const atr_cpu_column column = row->columns[i];
    float *left = gradient + column.first * row->padded, *right = gradient + column.second * row->padded;
    const vec to_right = vec_set(column.weight), scale = vec_set(share);
    const ivec own = (ivec){0} + (int32_t)label;
    vec sum = vec_zero();

    for (int v = 0; v < vectors; v++)
        sum = vec_fma(vec_load(exponentials + v * LANES) * scale, vec_load(slopes + v * LANES), sum);
    const vec rise = vec_set(pull - vec_sum(sum));
    for (int v = 0; v < vectors; v++) {
        const ivec is_own = vec_iota() + v * LANES == own;
        const vec target = (vec)((ivec)vec_set(of_c) & is_own) + vec_load(even + v * LANES);
        const vec p = vec_load(exponentials + v * LANES) * scale;
        const vec dl = p * (vec_load(slopes + v * LANES) + rise) - target;
        const vec rest = dl * to_right;
        vec_store(left + v * LANES, vec_load(left + v * LANES) + (dl - rest));
        vec_store(right + v * LANES, vec_load(right + v * LANES) + rest);
    }
}

/* Pixel j of a block: its loss; its gradient is added. */
ATR_INLINE double terms_pixel(const atr_cpu_class_row *row, const atr_cpu_loss_terms *terms, int64_t label,
                              const softmax_block *block, int64_t j, int vectors, float *gradient)
{
    static const float nothing[CLASSES_MOST];
    const float *e = block->exponentials + j * vectors * LANES;
    const float share = 1.0f / block->sum[j];
    const bool valid = label < row->classes, even = valid && terms->form->parts & ATR_LOSS_EVEN;
    double loss = 0.0, of_c = 0.0;
    float slopes[CLASSES_MOST];

    if (valid) {
        const double log_sum = log((double)block->sum[j]);
        loss = loss_of_c(terms->form, label, block->below[j] + log_sum, &of_c);
        if (even)
            loss += block->even[j] + (double)terms->even_sum * log_sum;
    }
    if (terms->by_class) {
        class_slopes(terms, label, vectors, slopes);
        if (valid && terms->form->parts & ATR_LOSS_RANKED)
            loss += ranked_errors(terms->form->ranked, e, share, label, row->classes, slopes);
    }
    if (gradient != NULL)
        add_terms_gradient(row, block->pixels[j], label, (float)of_c,
                           (float)of_c + (even ? terms->even_sum : 0.0f), even ? terms->even : nothing,
                           terms->by_class ? slopes : nothing, vectors, e, share, gradient);
    return loss;
}

static double loss_terms_row(const atr_cpu_class_row *row, const uint8_t *labels,
                             const atr_cpu_loss_terms *terms, float *gradient, const atr_loss_votes *votes)
{
    const int vectors = (int)(row->padded / LANES);
    const float *even = terms->form->parts & ATR_LOSS_EVEN ? terms->even : NULL;
    softmax_block block;
    double loss = 0.0;

    for (int64_t first = 0; first < row->count; first += CLASSES_BLOCK) {
        const int64_t left = row->count - first;
        soften(row, first, left < CLASSES_BLOCK ? left : CLASSES_BLOCK, labels, terms->form->with_ignored,
               even, vectors, &block);
        for (int64_t j = 0; j < block.used; j++) {
            const int64_t label = labels[block.pixels[j]];
            if (votes->all != NULL)
                vote(block.exponentials + j * row->padded, block.sum[j], label, row->classes, vectors, votes);
            loss += terms_pixel(row, terms, label, &block, j, vectors, gradient);
        }
    }
    return loss;
}

/* ---- the first pass ----------------------------------------------------------------------------------------------------- */

/* Counts the errors of one pixel. */
static void count_errors(const float *exponentials, float share, int64_t label, int64_t classes,
                         int64_t *errors)
{
    for (int64_t k = 0; k < classes; k++) {
        const float p = exponentials[k] * share, error = k == label ? 1.0f - p : p;
        errors[(2 * k + (k == label)) * ATR_LOSS_BINS + atr_loss_bin(error)]++;
    }
}

/* Sums of f32 are kept over a block of pixels alone, those of blocks in double. */
static void loss_sums_row(const atr_cpu_class_row *row, const uint8_t *labels, const atr_loss_sums *sums,
                          double *own, double *all)
{
    const int vectors = (int)(row->padded / LANES);
    softmax_block block;
    float together[CLASSES_MOST];

    for (int64_t first = 0; first < row->count; first += CLASSES_BLOCK) {
        const int64_t left = row->count - first;
        soften(row, first, left < CLASSES_BLOCK ? left : CLASSES_BLOCK, labels, sums->with_ignored, NULL,
               vectors, &block);
        memset(together, 0, (size_t)row->padded * sizeof *together);
        for (int64_t j = 0; j < block.used; j++) {
            const float *e = block.exponentials + j * row->padded, share = 1.0f / block.sum[j];
            const int64_t label = labels[block.pixels[j]];
            for (int v = 0; v < vectors; v++)
                vec_store(together + v * LANES,
                          vec_fma(vec_load(e + v * LANES), vec_set(share), vec_load(together + v * LANES)));
            if (label >= row->classes)
                continue;
            own[label] += (double)(e[label] * share);
            sums->pixels[label]++;
            if (sums->hardness != NULL)
                sums->hardness[atr_loss_level((float)(block.below[j] + log((double)block.sum[j])),
                                              sums->certain) *
                                   row->classes +
                               label]++;
            if (sums->errors != NULL)
                count_errors(e, share, label, row->classes, sums->errors);
        }
        for (int64_t k = 0; k < row->classes; k++)
            all[k] += (double)together[k];
    }
}
