#ifndef ATR_DNN_INT8_H
#define ATR_DNN_INT8_H

#include "dnn/step.h"

/* What every back end computes for a convolution in 8-bit integers (CONV_INT8), so that they agree but for the last rounding:
 *
 *     sum[o] = sum over taps and i of  (x - x_zero) w[o,i,ky,kx]                  exact, in 32 bits; taps outside count nothing
 *     f      = scale[o] sum + shift[o]                                            one rounding
 *     f      = added[o] (residual - residual_zero) + f                            one rounding, where there is a residual
 *     f      = min(high[o], max(low[o], f))
 *     y      = f, or u8: f rounded to the nearest integer (ties to even) + y_zero
 *
 * x is u8; y and the residual are u8 or f32. QUANTIZE is  y = min(255, max(0, round(x / step[c]) + y_zero)),  with x / step[c] computed as
 * x times the f32 reciprocal of the step. */

/* Whether a step should become one: a CONV of inference, dense or depthwise, whose sums fit in 32 bits. Of the few channels of a
 * picture gathering takes longer than products: those stay in f32. */
bool atr_int8_can(const atr_step *step);

typedef struct atr_int8_form {
    int8_t *weights;      /* [O,I/G,k,k]; the caller's */
    int64_t *weight_sums; /* [O] sum of |w|: what bounds the sums */
    float *scale, *shift; /* [O] */
    float *added;         /* [O] */
    float *low, *high;    /* [O] */
} atr_int8_form;

/* Room for the form of `step` but its weights; atr_int8_form_free() takes half-made ones. */
atr_status atr_int8_form_create(const atr_step *step, atr_int8_form *out);
void atr_int8_form_free(atr_int8_form *form);

/* Quantises the weights of `step` with its norm folded in (as atr_conv_fold() does) to form->weights and finds the constants. */
void atr_int8_form_fill(const atr_step *step, atr_int8_form *form);

/* The largest |sum| that any picture can make. */
int64_t atr_int8_bound(const atr_step *step, const atr_int8_form *form);

/* Steps of the weights [O] of a convolution whose folded weights are `weights` [O,filter] and that reads an activation with `x_steps`
 * [I]: the largest |w x_step| of each output channel becomes 127. A channel of zeros gets 1. */
void atr_int8_weight_steps(const atr_conv_attr *conv, const float *weights, const float *x_steps,
                           float *steps);

#endif
