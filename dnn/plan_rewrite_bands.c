/* Inference, and frozen parts in training: the 1x1 that widens a map, the depthwise convolution behind it and the 1x1 that narrows it again
 * become one step, which keeps the widened map in cache (dnn/cpu/banded_conv.c). The pattern is that of inverted residuals. Only where
 * the back end has a kernel for it: `ref` keeps to the plain steps, and is what this rewrite is proven against. */
#include "dnn/plan_impl.h"

/* A map that stays in a cache anyway gains nothing. Of one picture: what a picture's bits are may not depend on others beside it. */
enum { LEAST_BYTES = 1 << 22 };

static bool is_product(const atr_step *step)
{
    const atr_conv_attr *conv = &step->conv;

    return step->op == ATR_OP_CONV && !step->training && conv->kernel == 1 && conv->stride == 1 &&
           conv->pad == 0 && conv->groups == 1;
}

static bool is_depthwise(const atr_step *step)
{
    const atr_conv_attr *conv = &step->conv;

    return step->op == ATR_OP_CONV && !step->training && !step->residual && conv->kernel == 3 &&
           conv->groups > 1 && conv->groups == conv->in_channels && conv->groups == conv->out_channels;
}

/* The convolution that alone reads the output of step `s` as its input, or -1. */
static int next_of(const atr_plan *plan, int s)
{
    int reader = -1;

    if (plan_readers(plan, plan->links[s].y, &reader) != 1 || plan->links[reader].x[0] != plan->links[s].y)
        return -1;
    return reader;
}

static bool find_chain(const atr_plan *plan, int chain[ATR_CHAIN])
{
    if (!is_product(&plan->steps[chain[0]]) || plan->steps[chain[0]].residual)
        return false;
    for (int i = 1; i < ATR_CHAIN; i++)
        if ((chain[i] = next_of(plan, chain[i - 1])) < 0)
            return false;
    return is_depthwise(&plan->steps[chain[1]]) && is_product(&plan->steps[chain[2]]) &&
           plan_value_bytes(plan, plan->links[chain[0]].y) >= (size_t)(LEAST_BYTES * plan->options.batch);
}

/* The last step becomes the three: a residual that is made between them is there by then. */
static atr_status merge(atr_plan *plan, const int chain[ATR_CHAIN])
{
    atr_step *parts = NULL;
    atr_step *const last = &plan->steps[chain[ATR_CHAIN - 1]];
    atr_status status = ATR_OK;

    ATR_TRY(ATR_NEW(ATR_CHAIN, &parts));
    for (int i = 0; i < ATR_CHAIN; i++)
        parts[i] = plan->steps[chain[i]];
    last->op = ATR_OP_CONV_BANDS;
    last->chain = parts;
    plan->links[chain[ATR_CHAIN - 1]].x[0] = plan->links[chain[0]].x[0];
    for (int i = 0; i < ATR_CHAIN - 1; i++)
        plan->links[chain[i]].removed = true;
done:
    return status;
}

atr_status plan_rewrite_bands(atr_plan *plan)
{
    atr_status status = ATR_OK;

    if (plan->backend->table->op[ATR_OP_CONV_BANDS].forward == NULL)
        return ATR_OK;
    for (int s = 0; s < plan->step_count; s++) {
        int chain[ATR_CHAIN] = {s};
        if (!plan->links[s].removed && find_chain(plan, chain))
            ATR_TRY(merge(plan, chain));
    }
    plan_compact(plan);
done:
    return status;
}
