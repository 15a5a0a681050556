#ifndef ATR_DNN_WIDEN_H
#define ATR_DNN_WIDEN_H

#include "dnn/backend.h"

/* Kernels of a host that know f32 alone, on steps with bf16 activations: what they read is widened into scratch memory, what they
 * write there is rounded to bf16 (nearest, ties to even). Arithmetic in between is theirs. `ref` runs all its operations this way,
 * so that this is what bf16 means:
 *
 *     y = bf16(op(x)),   dx = bf16(gradient(x, dy)),   gradients of parameters in f32
 *
 * and a dense convolution whose input is bf16 multiplies weights rounded to bf16, after a norm was folded in; those of a depthwise one,
 * which no matrix unit multiplies, stay f32. Sums, biases, statistics are as in f32. */

/* Whether an activation of the step is bf16. */
bool atr_step_is_narrow(const atr_step *step);

/* Whether the step multiplies weights that are rounded to bf16. */
bool atr_step_rounds_weights(const atr_step *step);

/* to [N,H,W,C] f32, without gaps between pixels, = from (bf16). */
void atr_widen(const atr_tensor *from, const atr_tensor *to);
/* to (bf16) = from [N,H,W,C] f32, without gaps between pixels. */
void atr_narrow(const atr_tensor *from, const atr_tensor *to);

/* step->inner, run on f32 copies. */
extern const atr_kernel atr_widened;

/* Weights and bias of a convolution with the batch norm folded in:
 *     scale = g / sqrt(var + eps)     w' = w scale     b' = (b - mean) scale + beta
 * computed in double. Without a norm they are copies. weights [O, I/G, k, k], bias [O]; 0 where the step has none. */
void atr_conv_fold(const atr_step *step, float *weights, float *bias);

#endif
