#ifndef ATR_DIST_COMM_H
#define ATR_DIST_COMM_H

#include <stddef.h>
#include <stdint.h>

#include "core/params.h"

/* The ranks of a job: over MPI where the program was built with it and started by a launcher (mpirun, srun), else one rank
 * alone, for which every operation below is trivial. All calls come from the thread that opened it; the reducer's own thread takes
 * turns with it (MPI_THREAD_SERIALIZED).
 *
 * Words as in the MPI standard. "Collective": every rank must call it, in the same order. A rank never fails alone: what
 * may fail on one rank is followed by atr_comm_agree(), so that all go on or all stop with one message. */
typedef struct atr_comm atr_comm;

/* Collective. Starts MPI if a launcher's environment is there (without one MPI would only cost time); once per process. */
atr_status atr_comm_open(atr_comm **out);
/* One rank by itself, in whatever job this process is: no call on it is collective, none sends. For measuring what a rank does without
 * the others. */
atr_status atr_comm_alone(atr_comm **out);
/* Collective. Ends MPI if atr_comm_open() started it. Takes NULL. */
void atr_comm_close(atr_comm *comm);

/* Collective. The ranks that give the same `colour` (>= 0), in their order, as ranks of their own; to be closed by atr_comm_close()
 * before `comm`. They share no agreements with `comm`: what fails on one of them is agreed on there. */
atr_status atr_comm_split(atr_comm *comm, int colour, atr_comm **out);

/* "Open MPI v4.1.4", or "none: this program was built without MPI", into `text`; returns `text`. Not collective. */
enum { ATR_COMM_LIBRARY_BYTES = 256 };
char *atr_comm_library(char *text);

/* What MPI offers here, for `atrous doctor`: found in a process of its own, for an MPI that cannot start may end or hang the one that
 * asks. */
typedef struct atr_comm_facts {
    bool built;        /* with MPI */
    bool started;      /* it could be started; else `problem` says why not */
    char standard[16]; /* "3.1" */
    char threads[32];  /* thread level it grants: "MPI_THREAD_MULTIPLE" */
    char transports
        [256]; /* of Open MPI, those compiled in, by the names of its components: "self, tcp, vader"; "" of others */
    char problem[128];
} atr_comm_facts;

/* Not collective; outside of a job only, and before this process starts threads: it forks. Waits 20 s at most. */
void atr_comm_examine(atr_comm_facts *out);

int atr_comm_rank(const atr_comm *comm);
int atr_comm_size(const atr_comm *comm);
/* Among the ranks that share this rank's node (its memory). */
int atr_comm_node_rank(const atr_comm *comm);
int atr_comm_node_size(const atr_comm *comm);
/* Name of this rank's node; borrowed. */
const char *atr_comm_host(const atr_comm *comm);

/* Collective. Rank `root`'s bytes on all ranks. ATR_ERR_REMOTE, here and below: MPI refused, a rank or the network is gone. */
atr_status atr_comm_broadcast(atr_comm *comm, void *bytes, size_t count, int root);
/* Collective. Values, buffers and counters of rank `root` on all ranks, touched; gradients stay as they are. */
atr_status atr_comm_broadcast_params(atr_comm *comm, atr_params *params, int root);

/* Collective. Element by element sums over all ranks, in place, the same bits on every rank and in every run of the same
 * job (rank count, node layout). */
atr_status atr_comm_sum_f32(atr_comm *comm, float *values, int64_t count);
atr_status atr_comm_sum_f64(atr_comm *comm, double *values, int64_t count);
atr_status atr_comm_sum_i64(atr_comm *comm, int64_t *values, int64_t count);

/* Collective. `mine` [count] of every rank, by rank: `all` [size * count]. The node form: among the ranks of this node. */
atr_status atr_comm_gather(atr_comm *comm, const void *mine, size_t count, void *all);
atr_status atr_comm_node_gather(atr_comm *comm, const void *mine, size_t count, void *all);

/* Collective. */
atr_status atr_comm_barrier(atr_comm *comm);

/* Of this rank and of `peer`, which must call it too: `send` [count] of either becomes `recv` [count] of the other. */
atr_status atr_comm_exchange(atr_comm *comm, int peer, const void *send, void *recv, size_t count);

/* Collective. ATR_OK on all ranks if `status` is ATR_OK on all of them. Else every rank gets the status and the message of
 * the lowest rank that failed: "R01: rank 37 on node c12: ... Stopping all 64 ranks."; the bare message where every rank failed.
 * A job that has agreed to stop stays stopped: further calls give the same at once, without communication. */
atr_status atr_comm_agree(atr_comm *comm, atr_status status);

/* Not collective. Tells rank 0 beside MPI (dist/monitor.h) that this rank has failed with `status` and its message, before the agreement
 * in which the others will hear of it. Should they not come there within some seconds, the job ends with this message.
 * Nothing for ATR_OK, or where nobody watches. */
void atr_comm_announce(atr_comm *comm, atr_status status);

/* Whether all ranks know of a failure: then one of them says it for all. */
bool atr_comm_agreed_to_stop(const atr_comm *comm);

/* Not collective. Ends the processes of all other ranks, for a rank that cannot reach the next agreement; does not return then.
 * Returns on one rank alone. `code`: exit code of the job. */
void atr_comm_abort(atr_comm *comm, int code);

/* Collective. The running statistics of all batch norms that are not frozen become their mean over the ranks, each counted by its
 * `weight` >= 0, not all 0 (the pictures that it saw; `total` is their sum); counters stay; touches params.
 * The update running = (1-m) running + m batch is linear, so with equal weights averaging after every step is the same as averaging
 * once before the statistics are used, and any checkpoint is then complete with one rank's copy. */
atr_status atr_comm_average_buffers(atr_comm *comm, atr_params *params, int64_t weight, int64_t total);

#endif
