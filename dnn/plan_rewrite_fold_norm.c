/* Inference, and frozen parts in training: a convolution takes over the batch norm, the residual sum and the activation behind it, so that
 *     y = act(norm(conv(x) + bias) + residual)
 * is one step. Batch norm with running statistics is a fixed affine map per channel, so this is exact. */
#include "dnn/plan_impl.h"

static void take_over(atr_plan *plan, int conv, int reader)
{
    plan->links[conv].y = plan->links[reader].y;
    plan->links[conv].node = plan->links[reader].node;
    plan->links[reader].removed = true;
}

/* Whether backward will never come to a step. */
static bool forward_only(const atr_plan *plan, int s)
{
    return !plan->steps[s].training;
}

static bool fold_norm(atr_plan *plan, int conv, int reader)
{
    atr_step *step = &plan->steps[conv];
    const atr_step *norm = &plan->steps[reader];

    if (norm->op != ATR_OP_NORM || norm->batch_stats || step->folded || step->residual ||
        step->act != ATR_ACT_NONE)
        return false;
    step->folded = true;
    step->norm = norm->norm;
    step->norm_weight = norm->weight;
    step->norm_bias = norm->bias;
    step->running_mean = norm->running_mean;
    step->running_var = norm->running_var;
    take_over(plan, conv, reader);
    return true;
}

static bool fold_act(atr_plan *plan, int conv, int reader)
{
    if (plan->steps[reader].op != ATR_OP_ACT || plan->steps[conv].act != ATR_ACT_NONE)
        return false;
    plan->steps[conv].act = plan->steps[reader].act;
    take_over(plan, conv, reader);
    return true;
}

/* The other summand may be made after this convolution: the merged step runs where the sum stood. Returns its new place, or -1. */
static int fold_add(atr_plan *plan, int conv, int reader)
{
    const plan_link *add = &plan->links[reader];

    if (plan->steps[reader].op != ATR_OP_ADD || plan->steps[conv].act != ATR_ACT_NONE ||
        plan->steps[conv].residual || add->x[0] == add->x[1])
        return -1;
    const int other = add->x[0] == plan->links[conv].y ? add->x[1] : add->x[0];
    const int sum = add->y, node = add->node;
    plan->steps[reader] = plan->steps[conv];
    plan->links[reader] = plan->links[conv];
    plan->links[conv].removed = true;
    plan->steps[reader].residual = true;
    plan->steps[reader].input_count = 2;
    plan->links[reader].x[1] = other;
    plan->links[reader].y = sum;
    plan->links[reader].node = node;
    return reader;
}

void plan_rewrite_fold_norm(atr_plan *plan)
{
    for (int i = 0; i < plan->step_count; i++) {
        int conv = i, reader = -1;
        if (plan->links[i].removed || plan->steps[i].op != ATR_OP_CONV || !forward_only(plan, i))
            continue;
        while (plan_readers(plan, plan->links[conv].y, &reader) == 1 && forward_only(plan, reader)) {
            if (fold_norm(plan, conv, reader) || fold_act(plan, conv, reader))
                continue;
            const int moved = fold_add(plan, conv, reader);
            if (moved < 0)
                break;
            conv = moved;
        }
    }
    plan_compact(plan);
}
