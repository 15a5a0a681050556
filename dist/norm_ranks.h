#ifndef ATR_DIST_NORM_RANKS_H
#define ATR_DIST_NORM_RANKS_H

#include "dist/comm.h"
#include "dnn/norm_group.h"

/* Neighbouring ranks whose batch norms share their statistics. Its sums are the ranks' own communicator's: blocking, in the order
 * of the plan's norms, beside whatever is under way on others. */
typedef struct atr_norm_ranks {
    int first, end; /* ranks of the job that belong to this rank's group: first .. end-1 */
    bool all; /* these are all ranks of the job: running statistics are equal on all of them by themselves */
    atr_norm_group group;
    atr_comm *comm; /* owned; NULL: the group is this rank alone */
} atr_norm_ranks;

/* Collective. Groups of `count` ranks, the last one perhaps smaller; 1 or less: each rank for itself. What it fills must not move:
 * `group` points into it. */
atr_status atr_norm_ranks_open(atr_comm *job, int64_t count, atr_norm_ranks *out);
/* Collective. Takes what was not opened (all 0). */
void atr_norm_ranks_close(atr_norm_ranks *ranks);

/* For atr_plan_options: NULL where the group is this rank alone. */
const atr_norm_group *atr_norm_ranks_group(const atr_norm_ranks *ranks);

#endif
