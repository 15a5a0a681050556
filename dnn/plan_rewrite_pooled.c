/* Image pooling: pool -> 1x1 -> norm -> act -> broadcast -> concat -> 1x1. To the last convolution the broadcast map is one vector per
 * picture, the same at each pixel: its product is a bias of that picture, so that neither the broadcast map nor its part of the
 * concat is made, and its share of the products is done once and not at each pixel. Only where the back end has a kernel for it:
 * `ref` keeps to the plain steps, and is what this rewrite is proven against. */
#include "dnn/plan_impl.h"

static bool fits(const atr_step *step)
{
    const atr_conv_attr *conv = &step->conv;

    return step->op == ATR_OP_CONV && !step->residual && conv->kernel == 1 && conv->stride == 1 &&
           conv->pad == 0 && conv->groups == 1;
}

static bool read_once(const atr_plan *plan, int value)
{
    int reader = -1;

    return plan_readers(plan, value, &reader) == 1;
}

/* The resize that broadcasts one pixel into the last input of the concat in front of convolution `s`, else -1. `*concat` is that
 * concat; two inputs at least must be left to it. */
static int find_broadcast(const atr_plan *plan, int s, int *concat)
{
    const int joined = plan->links[s].x[0];
    const int64_t *y = plan->values[joined].dims;

    *concat = plan_producer(plan, joined);
    if (*concat < 0 || plan->steps[*concat].op != ATR_OP_CONCAT || plan->steps[*concat].input_count < 3 ||
        !read_once(plan, joined) || y[1] * y[2] == 1)
        return -1;
    const int last = plan->links[*concat].x[plan->steps[*concat].input_count - 1];
    const int resize = plan_producer(plan, last);
    if (resize < 0 || plan->steps[resize].op != ATR_OP_RESIZE || !read_once(plan, last))
        return -1;
    const int64_t *pooled = plan->values[plan->links[resize].x[0]].dims;
    return pooled[1] * pooled[2] == 1 ? resize : -1;
}

void plan_rewrite_pooled(atr_plan *plan)
{
    if (plan->backend->table->op[ATR_OP_CONV_POOLED].forward == NULL)
        return;
    for (int s = 0; s < plan->step_count; s++) {
        int concat = -1;
        const int resize = fits(&plan->steps[s]) ? find_broadcast(plan, s, &concat) : -1;
        if (resize < 0)
            continue;
        const int pooled = plan->links[resize].x[0];
        plan->steps[concat].input_count--;
        plan->values[plan->links[concat].y].dims[3] -= plan->values[pooled].dims[3];
        plan->steps[s].op = ATR_OP_CONV_POOLED;
        plan->steps[s].input_count = 2;
        plan->links[s].x[1] = pooled;
        plan->links[resize].removed = true;
    }
    plan_compact(plan);
}
