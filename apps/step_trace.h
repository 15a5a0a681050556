#ifndef ATR_APPS_STEP_TRACE_H
#define ATR_APPS_STEP_TRACE_H

#include "core/mem.h"

/* What a training step of one rank is made of, measured over several steps: times of its phases, and the time at which backward
 * finishes each slice of the gradient block. `atrous bench train --trace` records it, `atrous simulate` reads it. */

typedef enum atr_trace_figure { ATR_TRACE_MIN, ATR_TRACE_MEDIAN, ATR_TRACE_FIGURES } atr_trace_figure;

/* Elements [offset, offset+count) of the flat gradient block are final `at` s after the start of backward (which begins with the
 * loss). Each figure is taken for itself over the steps, and so never falls from one slice to the next. */
typedef struct atr_trace_slice {
    int64_t offset, count;
    double at[ATR_TRACE_FIGURES];
} atr_trace_slice;

enum { ATR_TRACE_COLLECTIVES = 8 };

/* Starts as {0}; free with atr_step_trace_free(). */
typedef struct atr_step_trace {
    char *work;    /* one line: network, picture size, threads, instructions */
    int64_t batch; /* pictures of one rank */
    int64_t steps; /* that were measured */
    double forward[ATR_TRACE_FIGURES], backward[ATR_TRACE_FIGURES], update[ATR_TRACE_FIGURES]; /* s */
    double
        spread; /* s, standard deviation of a step's time: 1.4826 times the median distance from the median */
    int64_t slice_count;
    atr_trace_slice *slices; /* [slice_count], front to back */
    /* The step's small collective calls in bytes: before forward, and behind the sums of gradients. */
    int before_count, after_count;
    double before[ATR_TRACE_COLLECTIVES], after[ATR_TRACE_COLLECTIVES];
} atr_step_trace;

/* JSON: members as above, times in ms. Replaces the file in one stroke. */
atr_status atr_step_trace_write(const atr_step_trace *trace, const char *path);
/* ATR_ERR_DATA names what is missing or makes no sense; nothing in `out` then. */
atr_status atr_step_trace_read(const char *path, atr_step_trace *out);
void atr_step_trace_free(atr_step_trace *trace);

/* f32 gradients in all slices. */
int64_t atr_step_trace_elements(const atr_step_trace *trace);

/* Collects the times of several steps; every step must report the same slices.
 *
 *     atr_step_recorder_begin(recorder)          as a step begins
 *     atr_step_recorder_ready(recorder, …)       as an atr_grad_ready_fn, for each slice
 *     atr_step_recorder_end(recorder, …)         with the seconds of its phases */
typedef struct atr_step_recorder atr_step_recorder;

/* `steps`: most that will be recorded. */
atr_status atr_step_recorder_create(int64_t steps, atr_step_recorder **out);
void atr_step_recorder_destroy(atr_step_recorder *recorder);
void atr_step_recorder_begin(atr_step_recorder *recorder);
atr_status atr_step_recorder_ready(void *recorder, int64_t offset, int64_t count);
/* `forward`: s from the start of the step to that of backward. */
atr_status atr_step_recorder_end(atr_step_recorder *recorder, double forward, double backward, double update);
/* Figures of the steps so far into `trace`, whose other members stay. ATR_ERR_USAGE without a step. */
atr_status atr_step_recorder_figures(const atr_step_recorder *recorder, atr_step_trace *trace);

#endif
