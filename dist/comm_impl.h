#ifndef ATR_DIST_COMM_IMPL_H
#define ATR_DIST_COMM_IMPL_H

#include <pthread.h>

#include "core/machine.h"
#include "dist/comm.h"

/* What carries bytes between ranks. One table per way (MPI so far); an atr_comm without one is alone. */

typedef enum atr_reduce { ATR_REDUCE_SUM, ATR_REDUCE_MIN } atr_reduce;

/* Ranks that start collective operations and go on with their work: those of the job, or one leader of each node. Operations of one
 * lane must be started in the same order on all its ranks. A plain value; size 0: this rank is none of them. */
typedef struct atr_lane {
    uint64_t handle; /* the transport's */
    int rank, size;
} atr_lane;

/* One that was started and may not be done. */
typedef struct atr_request {
    uint64_t handle; /* the transport's */
} atr_request;

/* What can be started. `count` is that of a piece of which every rank has one, or one for each rank. */
typedef enum atr_transfer {
    ATR_TRANSFER_SUM, /* send [count] f32, recv [count] f32: sums over the ranks */
    ATR_TRANSFER_SCATTER, /* send [size, count] u16: piece r goes to rank r; recv [size, count] u16: one of each rank */
    ATR_TRANSFER_COLLECT, /* send [count] u16, recv [size, count] u16: the pieces of all ranks, everywhere */
    ATR_TRANSFER_GATHER,  /* send [count] f32, recv [size, count] f32 on rank 0: the pieces of all ranks */
    ATR_TRANSFER_DEAL     /* send [size, count] f32 on rank 0: piece r goes to rank r; recv [count] f32 */
} atr_transfer;

/* Memory that the ranks of a node share. */
typedef struct atr_shared {
    void *base;      /* in this process */
    uint64_t handle; /* the transport's */
} atr_shared;

typedef struct atr_transport {
    void (*close)(void *state);
    atr_status (*broadcast)(void *state, void *bytes, size_t count, int root);
    atr_status (*all_reduce)(void *state, atr_dtype type, atr_reduce op, void *values, int64_t count);
    atr_status (*gather)(void *state, bool node_only, const void *mine, size_t count, void *all);
    atr_status (*barrier)(void *state);
    void (*abort)(void *state, int code);
    /* Fills ranks and state of `out`: of the ranks that give the same colour, in their order. */
    atr_status (*split)(void *state, int colour, atr_comm *out);

    /* Both collective over the job. */
    atr_status (*open_lane)(void *state, bool leaders, atr_lane *out);
    void (*close_lane)(atr_lane *lane);
    /* `send` and `recv` do not overlap and are left alone until the request is done. */
    atr_status (*start)(const atr_lane *lane, atr_transfer what, const void *send, void *recv, int64_t count,
                        atr_request *out);
    atr_status (*test)(atr_request *request, bool *done);
    /* Both collective over the node. */
    atr_status (*share)(void *state, size_t bytes, atr_shared *out);
    void (*unshare)(atr_shared *shared);
    /* Not collective but for the two: `bytes` to and from `peer` at the same time. */
    atr_status (*exchange)(void *state, int peer, const void *send, void *recv, size_t bytes);
} atr_transport;

enum { ATR_MESSAGE_BYTES = 4096 };

/* monitor_impl.h */
typedef struct atr_monitor atr_monitor;

struct atr_comm {
    int rank, size, node_rank, node_size;
    char host[ATR_HOST_BYTES];
    const atr_transport *transport; /* NULL: alone */
    void *state;                    /* the transport's */
    struct atr_comm *whole;         /* what this one was split from; NULL: it is the job's. Borrowed */
    bool threads;         /* calls may come from any thread, one at a time (MPI_THREAD_SERIALIZED) */
    pthread_mutex_t turn; /* held in each call */
    bool broken;          /* a call failed: nothing may be ended that the others must end too */
    atr_monitor *monitor; /* NULL: nobody watches */
    atr_status agreed;    /* not ATR_OK once the job has agreed to stop */
    char message[ATR_MESSAGE_BYTES];
};

/* Around each call of the transport: the reducer's thread may be at work. */
void atr_comm_take_turn(atr_comm *comm);
atr_status atr_comm_give_turn(atr_comm *comm, atr_status status); /* that of the call; given back */

/* Fills ranks, transport and state when this process belongs to an MPI job; leaves them alone (one rank) otherwise. */
atr_status atr_comm_connect_mpi(atr_comm *comm);

#endif
