/* The backward pass: for each value the memory of its gradient, for each step what it reads and writes, and where the gradients
 * of a value with several readers are summed. Nothing is computed here. */
#include <string.h>

#include "dnn/plan_impl.h"

static atr_status new_view(atr_plan *plan, int value, plan_view *out)
{
    *out = (plan_view){PLAN_NOWHERE, 0, plan->values[value].dims[3], false};
    return plan_new_buffer(plan, plan_value_bytes(plan, value), &out->buffer);
}

/* sum = a + b as a step behind the forward ones. */
static atr_status emit_sum(atr_plan *plan, int value, plan_view a, plan_view b, plan_view sum)
{
    atr_status status = ATR_OK;
    int s = -1;

    ATR_TRY(plan_new_step(plan, &s));
    atr_step *step = &plan->steps[s];
    plan_link *link = &plan->links[s];
    step->op = ATR_OP_ADD;
    step->name = "sum of gradients";
    step->input_count = 2;
    link->node = -1;
    link->x[0] = link->x[1] = link->y = value;
    link->x_view[0] = a;
    link->x_view[1] = b;
    link->y_view = sum;
    link->dy_view.buffer = link->dx_view[0].buffer = link->dx_view[1].buffer = PLAN_NOWHERE;
    ATR_TRY(plan_new_action(plan, PLAN_SUM, s));
done:
    return status;
}

/* One more gradient of `value`, lying at `g`. The second and later ones are added, into memory that nobody else reads. */
static atr_status contribute(atr_plan *plan, int value, plan_view g)
{
    atr_status status = ATR_OK;
    plan_view *current = &plan->grad_views[value];
    plan_view sum;

    if (current->buffer == PLAN_NOWHERE) {
        *current = g;
        return ATR_OK;
    }
    if (!g.shared)
        sum = g;
    else if (!current->shared)
        sum = *current;
    else
        ATR_TRY(new_view(plan, value, &sum));
    ATR_TRY(emit_sum(plan, value, *current, g, sum));
    *current = sum;
done:
    return status;
}

/* ADD and CONCAT need no work: the gradient of a sum is that of each summand, that of a concat's input is a slice. */
static atr_status backward_view(atr_plan *plan, int s)
{
    atr_status status = ATR_OK;
    plan_view g = plan->grad_views[plan->links[s].y];

    for (int i = 0; i < plan->steps[s].input_count; i++) {
        const int x = plan->links[s].x[i]; /* read each time: contribute() may move the steps */
        const plan_value *value = &plan->values[x];
        plan_view mine = g;
        mine.shared = g.shared || plan->steps[s].op == ATR_OP_ADD;
        if (value->wants_grad)
            ATR_TRY(contribute(plan, x, mine));
        if (plan->steps[s].op == ATR_OP_CONCAT)
            g.offset += value->dims[3];
    }
done:
    return status;
}

/* A pointwise step may write its gradient over the one it reads, unless others read that too or its type is another one. A slice of a concat's gradient
 * is not reused either: the convolution in front would have to read its gradient with a wide pixel stride. */
static bool runs_in_place(const atr_plan *plan, int s, plan_view dy)
{
    const atr_op op = plan->steps[s].op;
    const plan_value *x = &plan->values[plan->links[s].x[0]], *y = &plan->values[plan->links[s].y];

    return (op == ATR_OP_NORM || op == ATR_OP_ACT || op == ATR_OP_DROPOUT) && !dy.shared &&
           dy.pixel_stride == y->dims[3] && x->type == y->type;
}

static atr_status backward_step(atr_plan *plan, int s)
{
    atr_status status = ATR_OK;
    atr_step *step = &plan->steps[s];
    plan_link *link = &plan->links[s];

    link->dy_view = plan->grad_views[link->y];
    for (int i = 0; i < step->input_count; i++) {
        step->wants_dx[i] = plan->values[link->x[i]].wants_grad;
        if (!step->wants_dx[i])
            continue;
        if (runs_in_place(plan, s, link->dy_view))
            link->dx_view[i] = link->dy_view;
        else
            ATR_TRY(new_view(plan, link->x[i], &link->dx_view[i]));
    }
    ATR_TRY(plan_new_action(plan, PLAN_BACKWARD, s));
    for (int i = 0; i < plan->steps[s].input_count; i++)
        if (plan->steps[s].wants_dx[i])
            ATR_TRY(contribute(plan, plan->links[s].x[i], plan->links[s].dx_view[i]));
done:
    return status;
}

atr_status plan_backward(atr_plan *plan)
{
    atr_status status = ATR_OK;
    const int logits = plan->tap_values[ATR_TAP_LOGITS];

    ATR_TRY(plan_new_action(plan, PLAN_LOSS, -1));
    if (plan->options.mode != ATR_TRAIN)
        goto done;
    ATR_TRY(new_view(plan, logits, &plan->grad_views[logits]));
    for (int s = plan->forward_count - 1; s >= 0; s--) {
        const atr_op op = plan->steps[s].op;
        if (plan->grad_views[plan->links[s].y].buffer == PLAN_NOWHERE)
            continue;
        ATR_TRY(op == ATR_OP_ADD || op == ATR_OP_CONCAT ? backward_view(plan, s) : backward_step(plan, s));
    }
done:
    return status;
}
