#ifndef ATR_DIST_COMM_IMPL_H
#define ATR_DIST_COMM_IMPL_H

#include "dist/comm.h"

/* What carries bytes between ranks. One table per way (MPI so far); an atr_comm without one is alone. */

typedef enum atr_reduce { ATR_REDUCE_SUM, ATR_REDUCE_MIN } atr_reduce;

typedef struct atr_transport {
    void (*close)(void *state);
    atr_status (*broadcast)(void *state, void *bytes, size_t count, int root);
    atr_status (*all_reduce)(void *state, atr_dtype type, atr_reduce op, void *values, int64_t count);
    atr_status (*gather)(void *state, bool node_only, const void *mine, size_t count, void *all);
    atr_status (*barrier)(void *state);
    void (*abort)(void *state, int code);
} atr_transport;

enum { ATR_HOST_BYTES = 64, ATR_MESSAGE_BYTES = 4096 };

/* monitor_impl.h */
typedef struct atr_monitor atr_monitor;

struct atr_comm {
    int rank, size, node_rank, node_size;
    char host[ATR_HOST_BYTES];
    const atr_transport *transport; /* NULL: alone */
    void *state;                    /* the transport's */
    atr_monitor *monitor;           /* NULL: nobody watches */
    atr_status agreed;              /* not ATR_OK once the job has agreed to stop */
    char message[ATR_MESSAGE_BYTES];
};

/* Fills ranks, transport and state when this process belongs to an MPI job; leaves them alone (one rank) otherwise. */
atr_status atr_comm_connect_mpi(atr_comm *comm);

#endif
