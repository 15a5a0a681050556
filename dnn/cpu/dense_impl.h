#ifndef ATR_DNN_CPU_DENSE_IMPL_H
#define ATR_DNN_CPU_DENSE_IMPL_H

#include "dnn/cpu/cpu_impl.h"

/* Inside of the convolutions that run on oneDNN. */

/* A oneDNN convolution, its weights in the form it likes, and the tensors that it wants without gaps between pixels. */
typedef struct atr_cpu_conv_op {
    atr_onednn_op *op;
    atr_onednn_op *packer; /* weights <-> packed */
    void *packed;          /* owned; NULL for weight gradients, which are packed in scratch memory */
    bool copy_x, copy_y, copy_residual;
} atr_cpu_conv_op;

typedef struct atr_cpu_dense {
    atr_onednn_window window; /* taps that meet the picture, from tap (first_y, first_x) on */
    int64_t first_y, first_x;
    atr_cpu_conv_op forward, data, weight; /* without an op: not wanted, or (weight) own kernels */
    float *bias;                           /* [O], where a norm is folded in or oneDNN adds one */
} atr_cpu_dense;

/* dweight and dbias of a convolution without groups, by kernels of our own; scratch memory: so many bytes. */
size_t atr_cpu_weight_gradient_bytes(const atr_backend *backend, const atr_step *step);
void atr_cpu_weight_gradient(const atr_backend *backend, const atr_step *step);

#endif
