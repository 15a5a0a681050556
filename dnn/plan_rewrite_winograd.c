/* A 3x3 convolution of stride 1 takes fewer products by minimal filtering (dnn/cpu/winograd.c says how): 36 instead of 144 for 4x4
 * outputs. It pays where there are channels enough on both sides for products to outweigh the transforms, and where tiles fit the
 * map: a dilated convolution splits into maps so small that they may not. `ref` ignores the mark, and is what this rewrite is
 * proven against. */
#include "dnn/plan_impl.h"

enum { LEAST_CHANNELS = 32 };

/* Products of the best tile over those of the plain sum, which leaves out the taps in the padding, that are worth the transforms. */
static const double worth = 0.75;

static int64_t tiles(int64_t size, int64_t dilation, int64_t outputs)
{
    int64_t count = 0;

    for (int64_t phase = 0; phase < dilation && phase < size; phase++)
        count += ((size - phase + dilation - 1) / dilation + outputs - 1) / outputs;
    return count;
}

/* Taps along one axis that meet the map, over all outputs. */
static int64_t taps(int64_t size, int64_t dilation)
{
    return size + 2 * (size > dilation ? size - dilation : 0);
}

static double share_of_products(const int64_t y[4], int64_t dilation)
{
    const double plain = (double)(taps(y[1], dilation) * taps(y[2], dilation));
    double least = 1;

    for (int64_t m = 2; m <= 4; m++) {
        const double products =
            (double)(tiles(y[1], dilation, m) * tiles(y[2], dilation, m) * (m + 2) * (m + 2));
        least = products / plain < least ? products / plain : least;
    }
    return least;
}

static bool fits(const atr_step *step, const int64_t y[4], int64_t in)
{
    const atr_conv_attr *conv = &step->conv;

    return (step->op == ATR_OP_CONV || step->op == ATR_OP_CONV_RESIZED) && conv->kernel == 3 &&
           conv->stride == 1 && conv->pad == conv->dilation && conv->groups == 1 && in >= LEAST_CHANNELS &&
           conv->out_channels >= LEAST_CHANNELS && share_of_products(y, conv->dilation) <= worth;
}

void plan_rewrite_winograd(atr_plan *plan)
{
    for (int s = 0; s < plan->step_count; s++) {
        atr_step *step = &plan->steps[s];
        const plan_link *link = &plan->links[s];
        /* Of an enlarged map it is the other input that meets the 3x3 kernel at full size. */
        const int input = step->op == ATR_OP_CONV_RESIZED ? 1 : 0;
        step->winograd = fits(step, plan->values[link->y].dims, plan->values[link->x[input]].dims[3]);
    }
}
