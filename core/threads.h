#ifndef ATR_CORE_THREADS_H
#define ATR_CORE_THREADS_H

#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>

#include "core/status.h"

/* How many threads a process should start: never more than the CPUs it was given. What gives and takes CPUs is the affinity
 * mask (taskset, cpusets, mpirun --bind-to), the CPU quota of the control group (containers, batch systems), the other
 * ranks on the node, and OMP_NUM_THREADS where the user set it. */

enum { ATR_CPU_WORDS = 64 };

/* One bit per CPU the process may run on; plain bytes, so that ranks can exchange it. */
typedef struct atr_cpu_mask {
    uint64_t words[ATR_CPU_WORDS];
} atr_cpu_mask;

typedef struct atr_threads {
    int online;    /* CPUs of the machine */
    int affinity;  /* CPUs of this process's mask */
    double quota;  /* CPUs' worth of time per second that the control group allows; 0: no limit */
    int requested; /* OMP_NUM_THREADS, 0 where unset or senseless */
    int ranks;     /* processes of the job on this node */
    int sharing;   /* those of them whose masks overlap this one's, itself included */
    int count;     /* threads to use, at least 1 */
} atr_threads;

/* Reads mask, quota and environment. `ranks`: processes of the job on this node (1 without MPI). `sharing`: how many of them,
 * itself included, have an overlapping mask (see atr_cpu_mask_sharing()); 0: all of them.
 *     count = max(1, min(affinity / sharing, ceil(quota / ranks), OMP_NUM_THREADS)) */
atr_threads atr_threads_given(int ranks, int sharing);

/* The rule alone: fills `count` from the other fields. */
void atr_threads_decide(atr_threads *threads);

/* "2 threads (2 of 64 CPUs by affinity, quota 2.0)" into `text`; returns `text`. */
enum { ATR_THREADS_TEXT_BYTES = 256 };
char *atr_threads_text(const atr_threads *threads, char *text);

/* pthread_create() of a helper that gets no signals: those are for the thread that works. 0, or an errno. */
int atr_threads_start(pthread_t *id, void *(*run)(void *), void *argument);

/* Lets the calling thread run on all CPUs of the process: a thread inherits the one place that OpenMP may have tied its maker to.
 * False where the system does not allow it; work goes on all the same, only not as smoothly. */
bool atr_threads_unbind(void);

/* Part number `index` of `parts` of a mask, in order of the CPUs' numbers; each has at least one CPU (where there are fewer CPUs than parts,
 * some share one). */
atr_cpu_mask atr_cpu_mask_part(const atr_cpu_mask *mask, int parts, int index);
/* Keeps the calling thread, and those it will make, on these CPUs. False where the system does not allow it. */
bool atr_threads_bind(const atr_cpu_mask *mask);

/* This process's mask, whatever places OpenMP ties its threads to, and the number of its CPUs. */
atr_cpu_mask atr_cpu_mask_get(void);
int atr_cpu_mask_count(const atr_cpu_mask *mask);
void atr_cpu_mask_add(atr_cpu_mask *mask, int cpu);
bool atr_cpu_mask_has(const atr_cpu_mask *mask, int cpu);
bool atr_cpu_mask_overlap(const atr_cpu_mask *a, const atr_cpu_mask *b);
/* Between a mask and a list as Linux writes it, "0-3,8". CPUs beyond the mask are left out; false for what is no list. A list too
 * long for `text` [ATR_CPU_MASK_TEXT_BYTES] ends with "..."; returns `text`. */
enum { ATR_CPU_MASK_TEXT_BYTES = 96 };
bool atr_cpu_mask_parse(const char *text, atr_cpu_mask *out);
char *atr_cpu_mask_text(const atr_cpu_mask *mask, char *text);
/* How many of `count` masks overlap number `own`, itself included. */
int atr_cpu_mask_sharing(const atr_cpu_mask *masks, int count, int own);

#endif
