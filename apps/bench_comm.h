#ifndef ATR_APPS_BENCH_COMM_H
#define ATR_APPS_BENCH_COMM_H

#include "apps/session.h"
#include "core/timer.h"
#include "dist/reducer.h"

/* `atrous bench comm`: what sums over the ranks cost, and how much of it a real network's backward pass hides. */

enum { ATR_BENCH_LISTED = 16 }; /* most items of a list */

typedef struct atr_bench_comm_options {
    atr_session_options session;
    const char *backbone, *size;
    int64_t batch, classes, repeats;
    int allreduce;
    atr_list mb, bucket_mb;
    bool train, json;
} atr_bench_comm_options;

/* One way to bring numbers of all ranks together, at one size; s, the slowest rank's. */
typedef struct atr_bench_sum {
    const char *method;
    double mb;
    atr_samples seconds;
} atr_bench_sum;

/* Training steps with one way to sum the gradients; s. */
typedef struct atr_bench_overlap {
    atr_reducer_options options;
    char text[ATR_REDUCER_TEXT_BYTES];
    atr_samples step;    /* forward, loss, backward, sums: of the slowest rank */
    atr_samples compute; /* without what came after backward: of the slowest rank */
    atr_samples
        exposed; /* from the end of backward to that of the sums, of the rank that came last: nobody waits for it */
    int64_t bucket_count;
    atr_reducer_bucket *buckets; /* of the last step, on rank 0 */
} atr_bench_overlap;

typedef struct atr_bench_comm {
    const atr_bench_comm_options *options;
    atr_comm *comm;
    int nodes;
    int64_t sum_count, overlap_count;
    atr_bench_sum *sums;
    atr_bench_overlap *overlaps;
    int64_t height, width;
    double gradient_mb;
} atr_bench_comm;

/* All collective. */

/* bench_comm_sums.c: fills `sums`. */
atr_status atr_bench_comm_sums(atr_bench_comm *bench);
/* bench_comm_overlap.c: fills `overlaps`. */
atr_status atr_bench_comm_overlap(atr_bench_comm *bench);

/* bench_comm_print.c: rank 0. */
void atr_bench_comm_print(const atr_bench_comm *bench);
atr_status atr_bench_comm_print_json(const atr_bench_comm *bench);

/* The numbers of a list option; ATR_ERR_USAGE for more than ATR_BENCH_LISTED. */
atr_status atr_bench_comm_numbers(const char *name, const atr_list *list, double *out);

#endif
