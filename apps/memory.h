#ifndef ATR_APPS_MEMORY_H
#define ATR_APPS_MEMORY_H

#include <stdatomic.h>

#include "dnn/plan.h"

/* How much memory a process may take (--memory-limit), how much it is going to, and the refusal before it does (I02).
 *
 * What is counted: all that the process holds when its first plan is about to take its arena (program, libraries, data set, weights and
 * their packed forms, batches), measured; and what it is going to touch from there on: arenas of plans, and what the caller names. */

/* Of one process. May be used by several threads. Starts as zeros but for the limit. */
typedef struct atr_memory_guard {
    int64_t limit;          /* bytes; 0: none */
    _Atomic int64_t before; /* bytes that were resident at the first question; 0: none was asked yet */
    _Atomic int64_t taken;  /* bytes that plans were allowed since */
} atr_memory_guard;

/* "500M", "8G", "1.5GiB", "2000000000", "auto" (what the control group, or the machine, has); NULL: none, 0. Units count in powers of
 * 1024. ATR_ERR_USAGE. */
atr_status atr_memory_limit_parse(const char *text, int64_t *out);

/* Bytes of this process that are in memory now. */
int64_t atr_memory_resident(void);

/* "612 MiB", "2.1 GiB" into `text`; returns it. */
enum { ATR_MEMORY_TEXT_BYTES = 32 };
char *atr_memory_text(int64_t bytes, char *text);

/* What is going to be taken for a plan. */
typedef struct atr_memory_request {
    atr_memory_guard *guard;
    const char *work; /* "a training step of 4 pictures of 512x512" */
    const atr_graph *graph;
    atr_params *params;
    atr_backend *backend;
    const atr_plan_options *plan;
    int64_t others;     /* bytes beside the plan that do not depend on batch and size: gradients, moments */
    int64_t each_pixel; /* bytes beside the plan for each pixel of a batch: input, prefetched batches */
    int64_t batch_step; /* pictures of --batch for each of the plan; 0: the batch cannot be chosen */
    const char *size;   /* option that makes pictures smaller, as it is written before HxW */
} atr_memory_request;

/* Notes what `needs` will take and lets it pass, or fails with I02: what it would need, and what would fit (fewer pictures, --recompute,
 * smaller ones), each measured. ATR_ERR_MEMORY. `*total` is then what the process will hold in all. For atr_plan_options.approve. */
atr_status atr_memory_ask(const atr_memory_request *request, const atr_plan_needs *needs, int64_t *total);

/* A plan's arena was given back. */
void atr_memory_return(atr_memory_guard *guard, size_t arena_bytes);

#endif
