#ifndef ATR_APPS_BENCH_IMPL_H
#define ATR_APPS_BENCH_IMPL_H

#include "apps/bench_profile.h"
#include "apps/reducer_options.h"
#include "apps/session.h"
#include "apps/step_trace.h"
#include "core/timer.h"
#include "dist/step.h"

/* The parts of `atrous bench`. */

/* Whether a training step's backbone is frozen, and what its batch norms use. */
typedef enum atr_bench_frozen {
    ATR_BENCH_FROZEN_NO,
    ATR_BENCH_FROZEN_RUNNING,
    ATR_BENCH_FROZEN_BATCH,
} atr_bench_frozen;

typedef struct atr_bench_options {
    atr_session_options session;
    const char *model; /* NULL: made-up weights of the network that the rows below it describe */
    const char *backbone, *size, *trace;
    int64_t batch, classes, repeats, warmup;
    int stride; /* index: atr_bench_stride() */
    int frozen; /* atr_bench_frozen */
    bool json, profile, against_alone, labels, dropout, recompute;
    atr_reducer_choice reducer;
} atr_bench_options;

int64_t atr_bench_stride(const atr_bench_options *options);

/* What a step's slices are told to, besides the reducer. */
typedef struct atr_bench_watch {
    atr_step_recorder *recorder; /* NULL: this step is not recorded */
    double first, last;          /* atr_seconds() at the first slice and the last one; first < 0: none yet */
} atr_bench_watch;

/* The steps of a training bench, of this rank with the others and by itself. */
typedef struct atr_bench_train {
    atr_comm *alone;
    atr_reducer *reducer, *alone_reducer;
    atr_optim *optim;
    atr_loss *loss;
    uint64_t *keys;   /* [batch] */
    int64_t *samples; /* [batch] */
    atr_parallel together, by_itself;
    atr_step_recorder *recorder; /* NULL: no trace is wanted */
    atr_bench_watch watch;
    double *seconds, *seconds_alone, *phases; /* [repeats], [repeats], [ATR_PHASES, repeats] */
    double *backward, *backward_alone;        /* [repeats] s from first slice to last */
    double *converting;                       /* [repeats] s: atr_reducer_converting() */
} atr_bench_train;

typedef struct atr_bench {
    const atr_bench_options *options;
    bool training;
    atr_comm *comm; /* NULL for inference */
    atr_session session;
    atr_plan_options plan_options;
    atr_plan *plan;
    atr_bench_profile *profile; /* NULL: not asked for */
    int64_t batch, height, width;
    int64_t planned; /* bytes that were to be held in all, as said before they were taken */
    float *images;
    uint8_t *labels;   /* [batch,height,width]: training's truth; what prediction found, with --labels */
    float *scores;     /* [batch,classes,height,width], inference without --labels */
    double loss;       /* of the last training step */
    double cold_start; /* s from the start of the process to the first result */
    atr_samples times; /* s; of training, the slowest rank's for each step */
    atr_bench_train train;
    double alone_min, alone_median; /* s, mean over the ranks, with --against-alone */
    double host;    /* s by which backward is longer where it looks after sums: mean over the ranks */
    double convert; /* s that rounding to bf16 and back takes in a step: mean over the ranks */
    double phase_medians[ATR_PHASES]; /* s, of this rank, of training */
} atr_bench;

/* Sets up network, pictures, plan; `what` is "inference" or "train". Collective over b->comm, agreed. */
atr_status atr_bench_open(atr_bench *b, const char *what);
/* Runs and times it. Collective, agreed. */
atr_status atr_bench_measure(atr_bench *b);
void atr_bench_close(atr_bench *b);

/* Training's part of these. */
atr_status atr_bench_train_open(atr_bench *b);
atr_status atr_bench_train_step(atr_bench *b, bool alone, atr_parallel_result *out);
atr_status atr_bench_train_measure(atr_bench *b);
void atr_bench_train_close(atr_bench_train *train);

/* Where --profile is given: measures the machine and begins to gather. */
atr_status atr_bench_profile_wanted(atr_bench *b);

/* What was measured, on standard output. */
atr_status atr_bench_print(const atr_bench *b);

/* `atrous bench scaling`. */
int atr_bench_scaling(int argc, char **argv);

#endif
