#ifndef ATR_DIST_REDUCER_H
#define ATR_DIST_REDUCER_H

#include "dist/comm.h"

/* Sums the flat gradient block over the ranks, beside the backward pass. Parameters lie in reverse graph order, so gradients become
 * final front to back, and whatever is final so far is a contiguous slice. The block is cut into buckets (Li et al. 2020,
 * "PyTorch Distributed", section 3.2); each is on its way as soon as backward has finished it.
 *
 *     atr_reducer_begin(reducer);
 *     atr_plan_backward(plan, atr_reducer_ready, reducer);
 *     atr_reducer_wait(reducer);          always, also when this rank's backward failed: the others wait for it
 *
 * Between begin and wait the gradients that were reported as ready belong to the reducer. */
typedef struct atr_reducer atr_reducer;

/* Who sums with whom. */
typedef enum atr_allreduce {
    ATR_ALLREDUCE_AUTO, /* hierarchical where a node has several ranks and enough shared memory, else flat */
    ATR_ALLREDUCE_FLAT, /* all ranks over MPI */
    ATR_ALLREDUCE_HIERARCHICAL /* ranks of a node through memory they share; one of each node over MPI */
} atr_allreduce;

/* What goes between nodes (flat: between ranks). */
typedef enum atr_wire {
    ATR_WIRE_F32,
    ATR_WIRE_BF16 /* half of the bytes; sums are made in f32; what rounding took is added in the next step (error feedback,
                   * Seide et al. 2014) */
} atr_wire;

/* Open MPI moves nothing while no thread is in it. */
typedef enum atr_reducer_progress {
    ATR_PROGRESS_POLL, /* the computing thread looks after the sums after each step of the plan that finishes gradients */
    ATR_PROGRESS_THREAD /* a thread of its own does, and sleeps in between; MPI must allow it (MPI_THREAD_SERIALIZED) */
} atr_reducer_progress;

/* Names as on the command line, NULL at the end. */
extern const char *const atr_allreduce_names[], *const atr_wire_names[], *const atr_reducer_progress_names[];

typedef struct atr_reducer_options {
    atr_allreduce allreduce;
    atr_wire wire;
    atr_reducer_progress progress;
    double bucket_mb; /* MB (10^6 bytes) of f32; 0: nothing is sent before atr_reducer_wait() */
} atr_reducer_options;

/* The first bucket, which starts early, and the last, which nothing hides, are not larger than ATR_EDGE_MB. */
#define ATR_BUCKET_MB 4.0
#define ATR_EDGE_MB   0.5

/* Collective, agreed. Borrows `comm` and `params`; NULL: the defaults. Takes memory for one more gradient block, or (hierarchical) for
 * one in shared memory, and one of each node; with bf16 for two more. ATR_ERR_UNSUPPORTED: no thread, not enough shared memory. */
atr_status atr_reducer_create(atr_comm *comm, atr_params *params, const atr_reducer_options *options,
                              atr_reducer **out);
/* Collective. Takes NULL. */
void atr_reducer_destroy(atr_reducer *reducer);

/* A new backward starts. */
void atr_reducer_begin(atr_reducer *reducer);

/* An atr_grad_ready_fn; `user` is the reducer. Elements [offset, offset+count) are final.
 * ATR_ERR_INTERNAL when the calls go back or leave the block. */
atr_status atr_reducer_ready(void *user, int64_t offset, int64_t count);

/* Collective. Afterwards the gradients of all parameters that are not frozen hold the sum over all ranks, the same bits on all, and in
 * every run of the same job with the same options. */
atr_status atr_reducer_wait(atr_reducer *reducer);

/* One slice and when it was seen, in s after atr_reducer_begin(): final, begun to be sent, summed. */
typedef struct atr_reducer_bucket {
    int64_t offset, count; /* of the flat block */
    double ready, started, finished;
} atr_reducer_bucket;

/* Buckets of the last backward, after atr_reducer_wait(). Borrowed; 0 and NULL on one rank alone. */
int64_t atr_reducer_buckets(const atr_reducer *reducer, const atr_reducer_bucket **out);

/* Seconds that this rank's thread spent in rounding to bf16, adding and widening in the last backward, after atr_reducer_wait(). */
double atr_reducer_converting(const atr_reducer *reducer);

/* What rounding to bf16 took from the gradients up to now, and the next steps bring: a block [flat] for each rank that sends (hierarchical: of
 * each node), in their order. For checkpoints, between two steps: with the same ranks a run goes on with the same bits. */

/* How many blocks atr_reducer_unsent_get() gives: 0 where nothing is rounded, one (their sum) where they would be more than `most`. The same
 * on all ranks. */
int64_t atr_reducer_unsent_blocks(const atr_reducer *reducer, int64_t most);
/* Collective. `blocks` [so many, flat] f32 on rank 0, nothing on the others (NULL). */
atr_status atr_reducer_unsent_get(atr_reducer *reducer, int64_t most, float *blocks);
/* Collective. `blocks` [count, flat] on rank 0, the same count on all ranks. From another number of senders: nothing is lost, rank 0 brings
 * the sum. Nothing where nothing is rounded. */
atr_status atr_reducer_unsent_set(atr_reducer *reducer, const float *blocks, int64_t count);

/* Bytes this rank has taken, its own part of shared memory included. */
int64_t atr_reducer_bytes(const atr_reducer *reducer);

/* "hierarchical over 4 nodes, f32, buckets of 4 MB, polled" into `text`; returns `text`. */
enum { ATR_REDUCER_TEXT_BYTES = 128 };
char *atr_reducer_text(const atr_reducer *reducer, char *text);

#endif
