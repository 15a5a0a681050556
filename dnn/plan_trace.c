#include "dnn/plan_impl.h"

/* Which layer makes the first number that is none. */

void atr_plan_trace(atr_plan *plan, bool on)
{
    plan->trace = on;
    plan->bad = -1;
}

int64_t atr_plan_first_bad(const atr_plan *plan, const char **name)
{
    *name = NULL;
    if (plan->bad == 0)
        *name = "the pictures";
    else if (plan->bad > 0)
        *name = plan->steps[plan->bad - 1].name;
    return plan->bad;
}

void plan_trace_images(atr_plan *plan, const float *images)
{
    const int64_t count =
        plan->options.batch * plan->options.height * plan->options.width * atr_plan_images_channels(plan);

    if (plan->trace && plan->bad < 0 && !atr_backend_finite(plan->backend, images, count))
        plan->bad = 0;
}

void plan_trace_step(atr_plan *plan, int step)
{
    if (plan->trace && plan->bad < 0 && !atr_backend_finite_pixels(plan->backend, &plan->steps[step].y))
        plan->bad = step + 1;
}
