/* A 3x3 convolution of the concat of an enlarged map and another one, as in the decoder: the enlarged part is computed at its low
 * resolution (dnn/cpu/resized_conv.c says how), so that neither the enlarged map nor the concat is made. Only where the back end has
 * a kernel for it: `ref` keeps to the plain steps, and is what this rewrite is proven against. */
#include "dnn/plan_impl.h"

static bool fits(const atr_conv_attr *conv)
{
    return conv->kernel == 3 && conv->stride == 1 && conv->dilation == 1 && conv->pad == 1 &&
           conv->groups == 1;
}

/* The only reader of a value that nobody else needs, or -1. */
static int only_reader(const atr_plan *plan, int value)
{
    int reader = -1;

    return plan_readers(plan, value, &reader) == 1 ? reader : -1;
}

/* The concat in front of convolution `s` if it is [resize(a), b] and made for this convolution alone, else -1. */
static int find_concat(const atr_plan *plan, int s)
{
    const int concat = plan_producer(plan, plan->links[s].x[0]);

    if (concat < 0 || plan->steps[concat].op != ATR_OP_CONCAT || plan->steps[concat].input_count != 2 ||
        only_reader(plan, plan->links[s].x[0]) != s)
        return -1;
    const int enlarged = plan->links[concat].x[0], resize = plan_producer(plan, enlarged);
    if (resize < 0 || plan->steps[resize].op != ATR_OP_RESIZE || only_reader(plan, enlarged) != concat)
        return -1;
    const int64_t *low = plan->values[plan->links[resize].x[0]].dims, *high = plan->values[enlarged].dims;
    return 2 * low[1] * low[2] <= high[1] * high[2] && low[1] <= high[1] && low[2] <= high[2] ? concat : -1;
}

void plan_rewrite_resized(atr_plan *plan)
{
    if (plan->backend->table->op[ATR_OP_CONV_RESIZED].forward == NULL)
        return;
    for (int s = 0; s < plan->step_count; s++) {
        atr_step *step = &plan->steps[s];
        plan_link *link = &plan->links[s];
        if (step->op != ATR_OP_CONV || step->residual || !fits(&step->conv))
            continue;
        const int concat = find_concat(plan, s), reader = only_reader(plan, link->y);
        if (concat < 0 || (reader >= 0 && plan->steps[reader].op == ATR_OP_CONCAT))
            continue;
        const int resize = plan_producer(plan, plan->links[concat].x[0]);
        step->op = ATR_OP_CONV_RESIZED;
        step->input_count = 2;
        link->x[0] = plan->links[resize].x[0];
        link->x[1] = plan->links[concat].x[1];
        plan->links[concat].removed = plan->links[resize].removed = true;
    }
    plan_compact(plan);
}
