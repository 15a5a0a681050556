#ifndef ATR_DIST_MONITOR_H
#define ATR_DIST_MONITOR_H

#include "dist/comm.h"

/* What every rank is doing, and a thread in each that watches it beside MPI.
 *
 * A rank that is killed, hangs or is stopped leaves the others in a collective call that never ends, and MPI does not say whom they
 * wait for. So each rank notes what it does (atr_comm_enter), and a thread of it tells rank 0 so, and every second that it is still there, over a TCP connection of
 * its own, which works between nodes and needs nothing of MPI. From that rank 0's thread knows
 *
 *   - that a rank has ended: the system closes its connection, and no goodbye came before (R01 at once);
 *   - that a rank's node is gone, or the network to it: its system no longer answers, as it does for a process that is stopped
 *     (R01 after the lost timeout);
 *   - that a rank has failed and cannot tell it in an agreement, because the others are elsewhere (R01 after some seconds);
 *   - that nothing moves: the ranks that are furthest behind have done nothing new for the stall timeout. They are the late ones;
 *     what they are doing, and whether they still give signs of life, says why (R01).
 *
 * Then it tells all ranks to end, says why, and ends its process; the others end theirs. The other ranks watch rank 0 in the same way.
 * A rank without a connection (a firewall) trains as any other, and after the stall timeout says what itself waits for.
 *
 * Time in which a whole process did not run (a suspended job) does not count. One thread and one connection for each rank, 136 bytes
 * for a report; with many ranks each reports less often, so that rank 0 reads 10,000 reports a second at most. */

typedef enum atr_activity {
    ATR_DOING_START, /* reading, setting up */
    ATR_DOING_DATA,  /* waiting for the loader's batch */
    ATR_DOING_AGREEMENT, /* where ranks meet: counting pixels as a step begins, sums of a loss, the outcome of what one rank did */
    ATR_DOING_FORWARD,    /* network, this rank's sums of a loss */
    ATR_DOING_BACKWARD,   /* loss, gradients */
    ATR_DOING_ALL_REDUCE, /* sums of gradients */
    ATR_DOING_UPDATE,     /* optimiser */
    ATR_DOING_CHECKPOINT, /* taking a copy, waiting until one is written */
    ATR_DOING_EVALUATION,
    ATR_DOING_END, /* all is done */
    ATR_ACTIVITIES
} atr_activity;

/* "all-reduce"; static. */
const char *atr_activity_name(atr_activity activity);

typedef struct atr_watch_options {
    double stall_timeout; /* seconds without progress after which the job is ended; 0: never */
    double lost_timeout;  /* seconds without an answer of a rank's node after which it is lost; 0: never */
    /* Called by the watching thread when the job has to end: first, by the rank whose turn it is, `say` with the reason, then `end`, which
     * must end the process and not return. The thread that trains may be anywhere, with any lock held. */
    void (*say)(void *user, const char *message);
    void (*end)(void *user, int code);
    /* NULL, or called before `end` where a node is lost: a launcher that waits for its own part there has to be told. */
    void (*lost)(void *user);
    void *user;
    int code; /* that a job ends with when a rank has failed */
} atr_watch_options;

/* Collective, agreed. Begins to watch; ended by atr_comm_close(). On one rank: only its own stalls are watched. */
atr_status atr_comm_watch(atr_comm *comm, const atr_watch_options *options);

/* Not collective, but all ranks note the same activities in the same order: who has noted fewer is behind. `step`: 0 before the first.
 * Without atr_comm_watch() only the faults of core/fault.h happen here, of which ATR_ERR_MEMORY is returned. */
atr_status atr_comm_enter(atr_comm *comm, atr_activity activity, int64_t step);

/* Progress within an activity, which other ranks need not have. */
void atr_comm_beat(atr_comm *comm);

#endif
