#ifndef ATR_DIST_PLANS_H
#define ATR_DIST_PLANS_H

#include "dist/norm_ranks.h"
#include "dnn/plan.h"

/* A plan has one size; the passes of a step have several: pictures are dealt to passes and ranks as equally as they can be, and an
 * epoch's last batch is short. This holds one plan for each size that this rank meets, all in the memory of the largest. Which
 * pass has which size follows from the number of pictures alone, so the ranks of a group agree. */
typedef struct atr_plans atr_plans;

typedef struct atr_plans_config {
    /* Borrowed. */
    const atr_graph *graph;
    atr_params *params;
    atr_backend *backend;
    const atr_norm_ranks *norm_ranks; /* NULL: each rank for itself */
    atr_plan_options plan;            /* batch, norm_group, norm_batch and memory are filled in */
    int64_t batch, parts;             /* a step of so many pictures over all ranks takes so many passes */
    int64_t steps[2]; /* pictures of the steps that there will be: `batch`, those of a short one; 0: none */
    int rank, ranks;
} atr_plans_config;

/* Compiles. Not collective. Errors: as atr_plan_create(). */
atr_status atr_plans_create(const atr_plans_config *config, atr_plans **out);
void atr_plans_destroy(atr_plans *plans);

/* One pass of a step, on this rank. */
typedef struct atr_pass {
    atr_plan *plan; /* of `count` pictures; of one where that is 0: for its absent passes */
    int64_t first;  /* of this rank's pictures of the step */
    int64_t count;  /* 0: this rank has none */
} atr_pass;

/* Passes of a step of `count` pictures over all ranks, one of `steps`. */
int64_t atr_plans_passes(const atr_plans *plans, int64_t count);
/* ATR_ERR_INTERNAL where no plan fits. */
atr_status atr_plans_pass(const atr_plans *plans, int64_t count, int64_t pass, atr_pass *out);

/* The largest. */
atr_plan *atr_plans_largest(const atr_plans *plans);
/* atr_plan_norm_alone() for all of them. */
void atr_plans_norm_alone(const atr_plans *plans, bool alone);

#endif
