/* Passes of a plan that has nothing to compute, for the other members of its norm group. */
#include "dnn/plan_impl.h"

static void empty(atr_tensor *tensor)
{
    tensor->dims[0] = 0;
}

/* A norm on no picture. The step itself stays as it is. */
static atr_status run_empty(atr_plan *plan, const plan_action *action)
{
    plan_bind(plan, *action);
    atr_step step = plan->steps[action->step];

    if (step.op != ATR_OP_NORM || (!step.batch_stats && step.num_tracked == NULL))
        return ATR_OK;
    empty(&step.x[0]);
    empty(&step.y);
    empty(&step.dy);
    empty(&step.dx[0]);
    step.wants_dw = false;
    return action->kind == PLAN_FORWARD    ? step.kernel->forward(plan->backend, &step)
           : action->kind == PLAN_BACKWARD ? step.kernel->backward(plan->backend, &step)
                                           : ATR_OK;
}

static atr_status run_absent(atr_plan *plan, int from, int end)
{
    atr_status status = ATR_OK;

    atr_backend_enter(plan->backend);
    plan->have_loss = false;
    for (plan->reached = from; plan->reached < end; plan->reached++)
        ATR_TRY(run_empty(plan, &plan->actions[plan->reached]));
done:
    return status;
}

atr_status atr_plan_forward_absent(atr_plan *plan)
{
    return run_absent(plan, plan->reached, plan->forward_actions);
}

atr_status atr_plan_backward_absent(atr_plan *plan)
{
    const int first = plan->forward_actions + 1;
    const atr_status status =
        run_absent(plan, plan->reached > first ? plan->reached : first, plan->action_count);

    plan->reached = 0;
    return status;
}

void atr_plan_norm_alone(atr_plan *plan, bool alone)
{
    plan->reached = 0;
    for (int s = 0; s < plan->forward_count; s++) {
        atr_step *const step = &plan->steps[s];
        if (step->op != ATR_OP_NORM || !step->batch_stats)
            continue;
        step->group = alone ? NULL : plan->options.norm_group;
        step->norm_pixels = plan_norm_pixels(plan, step->x[0].dims, alone);
    }
}
