/* Which activations are bf16 where the back end was told so (atr_backend's precision). Gradients have the types of their
 * activations; parameters, their gradients, statistics and losses are f32 always.
 *
 * f32 stay: the pictures, which the caller lends; the class scores and with them the loss and its gradient; and maps of one pixel, as
 * behind image pooling: they cost nothing, and a batch norm of a few nearly equal values magnifies their rounding up to 316 times. */
#include "dnn/plan_impl.h"

static bool may_be_narrow(const atr_plan *plan, int value)
{
    const plan_value *v = &plan->values[value];

    return !v->images && value != plan->tap_values[ATR_TAP_LOGITS] && v->dims[1] * v->dims[2] > 1;
}

/* Backward, the summands of a sum and the inputs of a concat share their gradient's memory with its output: one type for all. */
static bool must_agree(const atr_step *step)
{
    return step->op == ATR_OP_ADD || step->op == ATR_OP_CONCAT;
}

/* Makes the values of such a step f32 where one of them is; true: something changed. */
static bool agree(atr_plan *plan, int s)
{
    const plan_link *link = &plan->links[s];
    const int inputs = plan->steps[s].input_count;
    int wide = plan->values[link->y].type == ATR_F32;
    bool changed = false;

    for (int i = 0; i < inputs; i++)
        wide += plan->values[link->x[i]].type == ATR_F32;
    if (wide == 0 || wide == inputs + 1)
        return false;
    for (int i = 0; i <= inputs; i++) {
        plan_value *value = &plan->values[i < inputs ? link->x[i] : link->y];
        changed = changed || value->type != ATR_F32;
        value->type = ATR_F32;
    }
    return changed;
}

void plan_precision(atr_plan *plan)
{
    bool changed = plan->backend->precision == ATR_BF16;

    for (int v = 0; changed && v < plan->value_count; v++)
        if (may_be_narrow(plan, v))
            plan->values[v].type = ATR_BF16;
    while (changed) {
        changed = false;
        for (int s = 0; s < plan->step_count; s++)
            changed = (must_agree(&plan->steps[s]) && agree(plan, s)) || changed;
    }
}
