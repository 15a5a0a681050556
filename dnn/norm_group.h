#ifndef ATR_DNN_NORM_GROUP_H
#define ATR_DNN_NORM_GROUP_H

#include <stdint.h>

#include "core/status.h"

/* Several networks, each with pictures of its own, whose batch norms take the statistics of all their pictures together
 * ("synchronised batch norm"): N members with b pictures equal one with N b. What carries sums between them is passed in, for
 * dnn knows no ranks.
 *
 * All members make the same sums in the same order: one for each norm with batch statistics on the way forward, one for each
 * whose input wants a gradient on the way back. A member that has no picture, or that failed, takes part with zeros
 * (atr_plan_forward_absent(), atr_plan_backward_absent()), so that nobody waits for it.
 *
 * Forward, each member brings three sums by channel in f64: S of x, Q of S_t^2/n_t over pieces of n_t pixels, and M of squared
 * deviations from the pieces' means. They add up over members as over pieces, and with n pixels in all
 *     mean = S/n,   var = (M + (Q - S mean))/n                   (Chan, Golub, LeVeque 1983, for any number of pieces)
 * The difference cancels where means are far larger than deviations, which f64 stands far longer than the f32 data it is of.
 * Backward: sums of dz and of dz (x - mean); gradients of the norm's own weight and bias stay each member's share. */
typedef struct atr_norm_group {
    /* Element by element sums of `values` [count] over all members, in place, the same bits on all of them. */
    atr_status (*sum)(void *user, double *values, int64_t count);
    void *user;
} atr_norm_group;

/* Nothing to do where `group` is NULL. */
static inline atr_status atr_norm_group_sum(const atr_norm_group *group, double *values, int64_t count)
{
    return group == NULL ? ATR_OK : group->sum(group->user, values, count);
}

#endif
