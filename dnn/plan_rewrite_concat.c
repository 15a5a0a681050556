/* A concat along channels costs nothing when its inputs are written straight into their slices of its output. In NHWC a slice
 * is the same pixels with a wider pixel stride, which every kernel honours. Backward, the slices of the concat's gradient are
 * the gradients of its inputs, without a copy. */
#include "dnn/plan_impl.h"

/* An input can become a slice when a step writes it, in the concat's type, and it is no slice elsewhere, nor twice in this concat, nor
 * itself made of slices. */
static bool can_be_slices(const atr_plan *plan, int concat)
{
    const plan_link *link = &plan->links[concat];

    for (int i = 0; i < plan->steps[concat].input_count; i++) {
        const int v = link->x[i], producer = plan_producer(plan, v);
        if (producer < 0 || plan->values[v].slice_of >= 0 || plan->steps[producer].op == ATR_OP_CONCAT ||
            plan->values[v].type != plan->values[link->y].type)
            return false;
        for (int j = 0; j < i; j++)
            if (link->x[j] == v)
                return false;
    }
    return true;
}

void plan_rewrite_concat(atr_plan *plan)
{
    for (int s = 0; s < plan->step_count; s++) {
        plan_link *link = &plan->links[s];
        int64_t channel = 0;
        if (plan->steps[s].op != ATR_OP_CONCAT || !can_be_slices(plan, s))
            continue;
        link->view = true;
        for (int i = 0; i < plan->steps[s].input_count; i++) {
            plan_value *value = &plan->values[link->x[i]];
            value->slice_of = link->y;
            value->slice_channel = channel;
            channel += value->dims[3];
        }
    }
}
