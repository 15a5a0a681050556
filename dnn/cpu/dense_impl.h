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

/* The weight gradient of one tap as a product of matrices: dw_t [O,I] = dy_t' x_t over the P pixels where it meets x. */
typedef struct atr_cpu_tap_product {
    atr_onednn_op *op;
    atr_cpu_range y, x;       /* rows and columns of dy that meet the picture */
    int64_t shift_y, shift_x; /* from a pixel of dy (times stride) to that of x */
    int64_t index;            /* of the tap in OIHW weights */
    bool gather;              /* the views have gaps: they are copied together first */
} atr_cpu_tap_product;

typedef struct atr_cpu_dense {
    atr_onednn_window window; /* taps that meet the picture, from tap (first_y, first_x) on */
    int64_t first_y, first_x;
    atr_cpu_conv_op forward, data, weight;
    atr_cpu_tap_product *products; /* in place of `weight`, one for each tap of the window */
    int64_t product_count;
    float *folded, *bias; /* OIHW and [O], where a norm is folded in; bias alone where oneDNN adds it */
} atr_cpu_dense;

/* Does the dilated weight gradient of this layer run as products over shifted views? oneDNN's fast code refuses taps that
 * lie further out than the picture has rows. */
bool atr_cpu_wants_products(const atr_step *step, const atr_cpu_dense *state);
/* Makes the products and raises step->scratch_bytes to what they need. */
atr_status atr_cpu_products_prepare(const atr_backend *backend, atr_step *step, atr_cpu_dense *state);
atr_status atr_cpu_products_run(const atr_backend *backend, const atr_step *step, const atr_cpu_dense *state);
void atr_cpu_products_release(atr_cpu_dense *state);

#endif
