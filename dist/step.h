#ifndef ATR_DIST_STEP_H
#define ATR_DIST_STEP_H

#include "dist/plans.h"
#include "dist/reducer.h"
#include "dnn/optim.h"
#include "dnn/plan.h"

/* One data-parallel training step: N ranks with batch b give the same gradient as one rank with batch N b (batch norm's
 * statistics aside, unless the ranks share them: dist/norm_ranks.h), because every rank's loss is settled by what all ranks' pixels are: divided by the weight of all valid
 * pixels, and, where the loss needs them, with sums over all ranks before any gradient (dnn/loss.h). */

/* What a step works on; all borrowed. A plain value. */
typedef struct atr_parallel {
    atr_comm *comm;
    atr_backend *backend;
    atr_params *params;
    atr_plan *plan;         /* training, of this rank's batch; NULL where there are `plans` */
    const atr_plans *plans; /* of whatever size passes have; NULL: all have the plan's */
    atr_optim *optim;
    atr_reducer *reducer;
    int64_t classes;
    atr_loss *loss;   /* of so many classes */
    bool freeze_norm; /* as the plan's: running statistics do not change */
    int64_t
        parts; /* the plan's batch is 1/parts of this rank's: gradients of so many passes are summed. 0: 1 */
    float *
        sums; /* with several parts: [atr_params_flat_count], from the back end's allocator; not kept between steps */
    double clip; /* gradients are scaled down to this norm where it is larger; 0: never */
    atr_grad_ready_fn
        watch; /* told of each slice of gradients that is final, before the reducer is; or NULL */
    void *watch_user;
    const atr_norm_ranks *norm_ranks; /* who shares the plan's batch norms; NULL: each rank for itself */
} atr_parallel;

/* This rank's part of the step's samples. */
typedef struct atr_parallel_batch {
    int64_t count, height,
        width; /* N = parts times that of the plan, or what `plans` were made for, perhaps 0; H, W of the plan */
    const float *images;    /* [N,H,W,C] f32 */
    const uint8_t *labels;  /* [N,H,W], values >= classes are ignored */
    const uint64_t *keys;   /* [N], for dropout */
    const int64_t *samples; /* [N] numbers in the data set, for messages */
    int64_t global_count;   /* with `plans`: pictures of the step over all ranks */
} atr_parallel_batch;

typedef enum atr_phase {
    ATR_PHASE_COUNT,    /* counting valid pixels; waiting for slower ranks */
    ATR_PHASE_FORWARD,  /* network, the loss's sums */
    ATR_PHASE_BACKWARD, /* loss, gradients */
    ATR_PHASE_REDUCE,   /* sums of gradients, agreement, running statistics */
    ATR_PHASE_UPDATE,   /* finiteness, optimiser */
    ATR_PHASES
} atr_phase;

const char *atr_phase_name(atr_phase phase);

typedef struct atr_parallel_result {
    double loss;          /* of the whole step, over all ranks */
    double f_score;       /* likewise: see atr_loss_f_score() */
    double gradient_norm; /* L2, over all parameters that are not frozen, before clipping */
    int64_t valid_pixels; /* over all ranks */
    bool stop;            /* some rank wants to stop after this step */
    double seconds[ATR_PHASES];
} atr_parallel_result;

/* Collective. Forward, loss, backward (of one part of the batch after the other), sum of gradients, update with rate `lr`, mean of
 * the running statistics over the ranks, by how many pictures each had. Losses of all parts have one divisor, so their summed gradient is that of the whole batch at once; only
 * batch norm's statistics are those of each part.
 * `ready` is the status of what this rank did since the last step (loading the batch): the failure of one rank stops all here,
 * before any work. `stop`: this rank was asked to stop. `number` counts steps, for messages.
 * A rank without a picture, or one that fails on the way, takes part in everything that the others wait for.
 * The status is agreed: equal on all ranks. ATR_ERR_NUMERIC (T01) when loss or gradient is not finite; then values and moments
 * are as before the step. */
atr_status atr_parallel_step(const atr_parallel *parallel, const atr_parallel_batch *batch, atr_status ready,
                             bool stop, int64_t number, double lr, atr_parallel_result *out);

#endif
