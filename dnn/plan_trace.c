#include <math.h>

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

static bool finite_run(atr_plan *plan, const float *values, int64_t count)
{
    double sum = 0;

    return plan->backend->table->sum_squares(plan->backend, values, count, &sum) == ATR_OK && isfinite(sum);
}

/* A slice of a wider buffer is looked at pixel by pixel: what lies between belongs to others. */
static bool finite_tensor(atr_plan *plan, const atr_tensor *t)
{
    const int64_t channels = t->dims[3], pixels = t->dims[0] * t->dims[1] * t->dims[2];
    const float *const values = t->data;

    if (t->data == NULL || t->type != ATR_F32 || t->rank != 4)
        return true;
    if (t->strides[2] == channels)
        return finite_run(plan, values, pixels * channels);
    for (int64_t i = 0; i < pixels; i++)
        if (!finite_run(plan, values + i * t->strides[2], channels))
            return false;
    return true;
}

void plan_trace_images(atr_plan *plan, const float *images)
{
    const int64_t count =
        plan->options.batch * plan->options.height * plan->options.width * atr_plan_images_channels(plan);

    if (plan->trace && plan->bad < 0 && !finite_run(plan, images, count))
        plan->bad = 0;
}

void plan_trace_step(atr_plan *plan, int step)
{
    if (plan->trace && plan->bad < 0 && !finite_tensor(plan, &plan->steps[step].y))
        plan->bad = step + 1;
}
