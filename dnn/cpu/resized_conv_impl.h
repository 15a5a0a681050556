#ifndef ATR_DNN_CPU_RESIZED_CONV_IMPL_H
#define ATR_DNN_CPU_RESIZED_CONV_IMPL_H

#include "dnn/bilinear.h"
#include "dnn/cpu/cpu_impl.h"

/* What resized_conv.c (which says how it works) and resized_conv_backward.c share. */

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
    bool bytes;                         /* y is u8 */
    float *inverse;                     /* u8: [O] of the steps of y */
    int64_t band;                       /* rows of y that are made at once; 0: all */
    uint16_t *narrow_weight;            /* bf16: `weight` rounded */
    atr_onednn_op *product, *input_product, *weight_product;
    /* Of scratch: primitives and `side`; P or its gradient; one thread's rows; bf16: the gradient of P rounded; y or dy in f32: all of it,
     * or one thread's band. */
    size_t op_bytes, products_bytes, row_bytes, narrow_bytes, wide_bytes, band_bytes;
} resized_state;

static inline int64_t picture_pixels(const atr_step *step)
{
    return step->x[0].dims[1] * step->x[0].dims[2];
}

static inline int64_t low_pixels(const atr_step *step)
{
    return atr_cpu_pixels(&step->x[0]);
}

/* Where P (or its gradient), the rounded gradient of P, y or dy in f32, and one thread's rows lie in the scratch. */
static inline float *products_of(const atr_step *step)
{
    const resized_state *state = step->state;

    return (float *)((char *)step->scratch + state->op_bytes);
}

static inline uint16_t *narrow_of(const atr_step *step)
{
    const resized_state *state = step->state;

    return (uint16_t *)((char *)products_of(step) + state->products_bytes);
}

static inline float *wide_of(const atr_step *step)
{
    const resized_state *state = step->state;

    return (float *)((char *)narrow_of(step) + state->narrow_bytes);
}

static inline float *rows_of(const atr_step *step, int part)
{
    const resized_state *state = step->state;

    return (float *)((char *)wide_of(step) + state->wide_bytes +
                     (size_t)part * (state->row_bytes + state->band_bytes));
}

static inline float *band_memory(const atr_step *step, int part)
{
    const resized_state *state = step->state;

    return (float *)((char *)rows_of(step, part) + state->row_bytes);
}

/* `side` works on the outer step's memory. */
void atr_cpu_resized_conv_lend(const atr_step *step, atr_step *side);

/* A weighted sum of rows without gaps that grows term by term; beyond TERMS it is stored and goes on from there. */
typedef struct sum {
    const float *from[TERMS];
    float weights[TERMS];
    int terms;
    int64_t pixels, channels;
    float *to;
    int64_t to_stride;
} sum;

static inline void sum_store(const atr_cpu_kernels *kernels, sum *s)
{
    kernels->weighted_sum(s->from, s->weights, s->terms, s->channels, s->pixels, s->channels, s->to,
                          s->to_stride);
    s->from[0] = s->to;
    s->weights[0] = 1;
    s->terms = 1;
}

static inline void sum_add(const atr_cpu_kernels *kernels, sum *s, const float *from, float weight)
{
    if (s->terms == TERMS)
        sum_store(kernels, s);
    s->from[s->terms] = from;
    s->weights[s->terms++] = weight;
}

#endif
