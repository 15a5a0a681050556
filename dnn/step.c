#include "dnn/step.h"

bool atr_step_is_conv(const atr_step *step)
{
    return step->op == ATR_OP_CONV || step->op == ATR_OP_CONV_RESIZED || step->op == ATR_OP_CONV_POOLED ||
           step->op == ATR_OP_CONV_BANDS || step->op == ATR_OP_CONV_INT8;
}

/* Of a chain only the first convolution, a 1x1, works at the input's size. */
int64_t atr_step_macs(const atr_step *step)
{
    const int64_t *x = step->x[0].dims, *y = step->y.dims;
    int64_t macs = 0;

    if (step->op != ATR_OP_CONV_BANDS)
        return atr_step_is_conv(step) ? atr_conv_macs(&step->conv, y) : 0;
    for (int i = 0; i < ATR_CHAIN; i++) {
        const atr_conv_attr *conv = &step->chain[i].conv;
        const int64_t out[4] = {y[0], i == 0 ? x[1] : y[1], i == 0 ? x[2] : y[2], conv->out_channels};
        macs += atr_conv_macs(conv, out);
    }
    return macs;
}
