#ifndef ATR_APPS_BENCH_SCALING_IMPL_H
#define ATR_APPS_BENCH_SCALING_IMPL_H

#include "core/options.h"
#include "core/timer.h"

/* The parts of `atrous bench scaling`. */

typedef enum atr_sweep {
    ATR_SWEEP_WEAK,  /* the batch of a rank stays */
    ATR_SWEEP_STRONG /* the batch of all ranks stays */
} atr_sweep;

typedef struct atr_scaling_options {
    atr_list ranks, sweeps;
    const char *launcher, *plot;
    int64_t batch, global_batch, threads, rounds, repeats, warmup;
    bool json;
} atr_scaling_options;

/* What one run of `atrous bench train --json` says, in s. */
typedef struct atr_scaling_run {
    double min, median, alone_min, alone_median;
} atr_scaling_run;

/* One row of a table: a number of ranks, over all rounds. */
typedef struct atr_scaling_point {
    atr_sweep sweep;
    int64_t ranks, batch;  /* batch of one rank */
    atr_scaling_run *runs; /* [rounds] */
    atr_scaling_run best;  /* least of the minima, medians of the medians */
    /* By minima and by medians. Weak: against the same number of ranks, each by itself at the same time. Strong: against the sweep's
     * smallest number of ranks. */
    double efficiency[2];
    double against_first[2]; /* both: time of the smallest number of ranks (times batches) over this one's */
} atr_scaling_point;

typedef struct atr_scaling {
    const atr_scaling_options *options;
    int64_t pass_count;
    const char **pass; /* [pass_count] arguments for each run, borrowed */
    int64_t point_count;
    atr_scaling_point *points; /* [point_count], sweep by sweep */
    char *title;               /* what the runs say they did */
} atr_scaling;

/* "weak", "strong". */
const char *atr_sweep_name(atr_sweep sweep);

/* One run on the point's ranks, by the launcher. ATR_ERR_REMOTE with the last words of a run that failed, ATR_ERR_STOPPED. */
atr_status atr_scaling_run_once(atr_scaling *scaling, const atr_scaling_point *point, atr_scaling_run *out);

/* Tables or one JSON object on standard output. */
atr_status atr_scaling_print(const atr_scaling *scaling);
/* Efficiencies over ranks as a PNG. */
atr_status atr_scaling_plot(const atr_scaling *scaling, const char *path);

#endif
