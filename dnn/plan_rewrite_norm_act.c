/* Training: batch norm and the activation behind it become one step: one read and one write forward; backward finds the
 * activation's mask from what the norm keeps anyway. */
#include "dnn/plan_impl.h"

void plan_rewrite_norm_act(atr_plan *plan)
{
    for (int i = 0; i < plan->step_count; i++) {
        int reader = -1;
        if (plan->steps[i].op != ATR_OP_NORM || plan->steps[i].act != ATR_ACT_NONE ||
            plan_readers(plan, plan->links[i].y, &reader) != 1 || plan->steps[reader].op != ATR_OP_ACT)
            continue;
        plan->steps[i].act = plan->steps[reader].act;
        plan->links[i].y = plan->links[reader].y;
        plan->links[i].node = plan->links[reader].node;
        plan->links[reader].removed = true;
    }
    plan_compact(plan);
}
