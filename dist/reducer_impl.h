#ifndef ATR_DIST_REDUCER_IMPL_H
#define ATR_DIST_REDUCER_IMPL_H

#include <stdatomic.h>

#include "dist/comm_impl.h"
#include "dist/reducer.h"

/* How far this rank is with a bucket. `flat` goes from OPEN to SUMMED at once. */
typedef enum atr_bucket_stage {
    ATR_BUCKET_OPEN,      /* not begun */
    ATR_BUCKET_ARRIVED,   /* hierarchical: this rank's gradients are in shared memory */
    ATR_BUCKET_SUMMED,    /* hierarchical: this rank's piece of the node's sum is there */
    ATR_BUCKET_SENT,      /* f32: the sum between nodes is under way; bf16: the pieces are */
    ATR_BUCKET_COLLECTED, /* bf16: the summed pieces are under way to all */
    ATR_BUCKET_DONE
} atr_bucket_stage;

typedef struct atr_bucket {
    atr_bucket_stage stage;
    atr_request request;
    int64_t piece, at; /* bf16: elements of a rank's piece; where its `size` pieces begin in the blocks */
} atr_bucket;

/* What ranks of a node share: gradients of each, the sum over nodes, and for each bucket how far everybody is. A flag is the number of
 * the backward it was last set in, so none is ever taken back. */
typedef struct atr_node {
    atr_shared shared;
    int rank, size;
    float *slots;             /* [size, flat] */
    float *result;            /* [flat] */
    atomic_uint *arrived;     /* [size, capacity] */
    atomic_uint *summed;      /* [size, capacity] */
    atomic_uint *distributed; /* [capacity] by the leader: `result` holds the sum */
} atr_node;

typedef struct atr_reducer_thread atr_reducer_thread;

struct atr_reducer {
    atr_comm *comm;
    atr_params *params;
    atr_reducer_options options;
    bool hierarchical;
    int nodes;
    int64_t flat;              /* elements of the gradient block */
    int64_t capacity;          /* most buckets there can be */
    int64_t count;             /* buckets now */
    atr_bucket *buckets;       /* [capacity] */
    atr_reducer_bucket *facts; /* [capacity] */
    double began;

    int64_t ready; /* elements at the front of the block that are final */
    int64_t full;  /* buckets that are */

    /* The rest belongs to whoever moves the buckets: atr_reducer_advance(). */
    unsigned round;          /* number of this backward */
    int64_t first;           /* buckets before it are done */
    int64_t sent, collected; /* the next bucket of each lane */
    atr_lane lanes[2];       /* of SUM and SCATTER; of COLLECT */
    atr_node node;
    float *received;               /* [flat] f32 sums that arrive; NULL where they arrive elsewhere */
    float *residual;               /* [flat] bf16: what rounding took so far */
    double converting;             /* s, of this backward: rounding, adding and widening for bf16 */
    uint16_t *outgoing, *incoming; /* bf16: [wire_count] pieces of all buckets */

    atr_reducer_thread *thread; /* NULL: polled */
};

/* reducer.c: one look at each of the first `full` buckets; `*moved`: something went on. One thread at a time. */
atr_status atr_reducer_advance(atr_reducer *reducer, int64_t full, bool *moved);
static inline bool atr_reducer_done(const atr_reducer *reducer)
{
    return reducer->first == reducer->count;
}

/* reducer_node.c */

/* Whether this node's shared memory has room. Not collective. */
bool atr_node_fits(const atr_reducer *reducer);
/* Both collective over the node. */
atr_status atr_node_open(atr_reducer *reducer);
void atr_node_close(atr_reducer *reducer);
/* Copies this rank's gradients of bucket `index` to where the others see them. */
void atr_node_arrive(atr_reducer *reducer, int64_t index);
/* Adds up this rank's piece of the bucket over the node; false: some rank's gradients are not there yet. */
bool atr_node_sum(atr_reducer *reducer, int64_t index);
/* For the leader: all pieces of the node's sum are there. */
bool atr_node_summed(const atr_reducer *reducer, int64_t index);
/* The leader tells that the bucket's result is there; the others look. */
void atr_node_distribute(atr_reducer *reducer, int64_t index);
bool atr_node_distributed(const atr_reducer *reducer, int64_t index);

/* reducer_wire.c: sums between the ranks of the lanes. */
atr_status atr_wire_open(atr_reducer *reducer);
void atr_wire_close(atr_reducer *reducer);
/* Sizes of pieces, after the buckets were cut. */
void atr_wire_cut(atr_reducer *reducer);
/* A bucket's turn has come: starts it. */
atr_status atr_wire_send(atr_reducer *reducer, int64_t index);
/* Looks after one that was sent; `*moved` as above. Its stage becomes DONE once its sum is where it belongs. */
atr_status atr_wire_advance(atr_reducer *reducer, int64_t index, bool *moved);

/* reducer_thread.c */
atr_status atr_reducer_thread_start(atr_reducer *reducer);
/* Ends the thread. */
void atr_reducer_thread_stop(atr_reducer *reducer);
/* So many buckets are full. */
void atr_reducer_thread_tell(atr_reducer *reducer, int64_t full);
/* Waits until all are done; the thread's status and message. */
atr_status atr_reducer_thread_wait(atr_reducer *reducer);

#endif
