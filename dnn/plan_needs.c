/* What a plan takes. */
#include "dnn/plan_impl.h"

atr_status plan_approve(atr_plan *plan, size_t arena_bytes)
{
    atr_plan_needs *const needs = &plan->needs;

    *needs = (atr_plan_needs){.arena = arena_bytes, .scratch = plan->buffers[plan->loss_scratch].bytes};
    for (int s = 0; s < plan->step_count; s++) {
        const atr_step *step = &plan->steps[s];
        needs->packed += step->packed_bytes;
        if (step->scratch_bytes > needs->scratch)
            needs->scratch = step->scratch_bytes;
    }
    return plan->options.approve == NULL ? ATR_OK : plan->options.approve(plan->options.approve_user, needs);
}

/* An approve function that has seen enough. */
static atr_status look(void *user, const atr_plan_needs *needs)
{
    *(atr_plan_needs *)user = *needs;
    return ATR_ERR_STOPPED;
}

atr_status atr_plan_measure(const atr_graph *graph, atr_params *params, atr_backend *backend,
                            const atr_plan_options *options, atr_plan_needs *out)
{
    atr_plan_options looking = *options;
    atr_plan *plan = NULL;

    looking.approve = look;
    looking.approve_user = out;
    const atr_status status = atr_plan_create(graph, params, backend, &looking, &plan);
    return status == ATR_ERR_STOPPED ? ATR_OK : status;
}

atr_plan_needs atr_plan_needs_of(const atr_plan *plan)
{
    return plan->needs;
}

size_t atr_plan_arena_bytes(const atr_plan *plan)
{
    return atr_arena_bytes(plan->arena);
}

int atr_plan_again_count(const atr_plan *plan)
{
    int count = 0;

    for (int a = 0; a < plan->action_count; a++)
        count += plan->actions[a].kind == PLAN_AGAIN ? 1 : 0;
    return count;
}
