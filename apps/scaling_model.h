#ifndef ATR_APPS_SCALING_MODEL_H
#define ATR_APPS_SCALING_MODEL_H

#include <stdbool.h>
#include <stdint.h>

#include "apps/step_trace.h"

/* How long a data-parallel step takes on many nodes: what one rank's step is made of (apps/step_trace.h) and how long each sum of
 * gradients takes on a given network. No clock and no message: pure arithmetic, for `atrous simulate`.
 *
 * A message of n bytes between two nodes takes a + n/B (Hockney 1994: latency a, bandwidth B of a node's one link, the same in both
 * directions at once), and what a rank's thread does to add n received bytes to its own, with all copies on the way, n/C (the overhead
 * of Culler et al., "LogP", 1993, by the byte). Sums over p ranks are made of rounds in which each node sends and receives; the
 * formulas are those of Thakur, Rabenseifner and Gropp, "Optimization of Collective Communication Operations in MPICH", IJHPCA 19
 * (2005), and Patarasuk and Yuan, "Bandwidth optimal all-reduce algorithms", JPDC 69 (2009) for the ring. No congestion inside of the
 * network: it is taken for one without blocking. */

typedef enum atr_reduction {
    ATR_REDUCTION_FLAT, /* all ranks at once, as dist/reducer.h does it: HALVING, with bf16 on the wire PAIRWISE */
    ATR_REDUCTION_RING,     /* 2(p-1) rounds of n/p */
    ATR_REDUCTION_TREE,     /* binomial tree up, then down: 2 lg p rounds of n */
    ATR_REDUCTION_DOUBLING, /* recursive doubling: lg p rounds of n */
    ATR_REDUCTION_HALVING, /* Rabenseifner: recursive halving, then doubling, 2 lg p rounds of n/2, n/4, … */
    ATR_REDUCTION_PAIRWISE, /* each rank sends each other one its piece, then its sum: 2(p-1) rounds of n/p */
    ATR_REDUCTION_HIERARCHICAL, /* the ranks of a node in memory they share, then FLAT with one of each node */
    ATR_REDUCTIONS
} atr_reduction;

/* "flat", "ring" …, with NULL at the end; the formula as one line of help. */
extern const char *const atr_reduction_names[ATR_REDUCTIONS + 1];
const char *atr_reduction_formula(atr_reduction reduction);

/* The machine. A plain value. */
typedef struct atr_cluster {
    int64_t nodes, ranks; /* ranks: on each node */
    double latency;       /* a, s */
    double bandwidth;     /* B, bytes/s; INFINITY: no time */
    double host_rate;   /* C, bytes/s that a rank's thread takes in and adds to its own; INFINITY: no time */
    double memory_rate; /* M, bytes/s that the ranks of one node together copy; INFINITY: no time */
    double
        convert_rate; /* K, bytes/s of f32 values that a rank rounds to bf16, adds and widens; INFINITY: no time */
    double spread; /* s, standard deviation of a rank's time for a step: all wait for the slowest of them */
} atr_cluster;

/* Where the time of a sum goes, in s. The thread takes in what arrives while more is on its way, so the sum takes the longer of
 * wire and host. While it converts, nobody moves data (dist/reducer_wire.c converts whole buckets between two calls of MPI): that time comes on
 * top. */
typedef struct atr_sum_cost {
    double wire;    /* on the links: a thread may compute meanwhile */
    double host;    /* of the thread that looks after it: adding and copying */
    double convert; /* of the same thread: to bf16 and back */
} atr_sum_cost;
static inline double atr_sum_seconds(atr_sum_cost cost)
{
    return (cost.wire > cost.host ? cost.wire : cost.host) + cost.convert;
}

/* The sum of `count` f32 values over all ranks of the cluster, `wire_bytes` (4, or 2 for bf16) each on the wire; 0 for one rank. */
atr_sum_cost atr_reduction_cost(atr_reduction reduction, const atr_cluster *cluster, double count,
                                int wire_bytes);

/* Expected largest of `count` independent standard normal values, by Blom's approximation (1958): 0 for one. */
double atr_normal_largest(double count);

/* How gradients are summed. A plain value. */
typedef struct atr_reduction_plan {
    atr_reduction reduction;
    int64_t bucket,
        edge;       /* values in a bucket; in the first and the last one, where that is less. 0: all in one */
    int wire_bytes; /* of one value on the wire: 4, or 2 for bf16 */
    bool overlap;   /* buckets start while backward goes on; else all after it */
    bool
        thread; /* a thread with a core of its own looks after them; else the computing one does, and host time is added to backward */
} atr_reduction_plan;

typedef struct atr_forecast {
    double step;    /* s */
    double compute; /* s of it that one rank alone takes */
    double waiting; /* s of it for slower ranks: `spread` */
    double sums;    /* s that the sums of gradients take, hidden or not */
    double
        exposed; /* s of the step for communication: what is not hidden, host time, the small collective calls */
    int64_t buckets;
} atr_forecast;

/* The step of `trace` (its figures of one kind: medians or minima) on the cluster. One link for each node, so buckets follow one
 * another: bucket k starts at max(ready_k, end_{k-1}). They are cut as dist/reducer.c cuts them. */
void atr_forecast_step(const atr_step_trace *trace, atr_trace_figure figure, const atr_cluster *cluster,
                       const atr_reduction_plan *plan, atr_forecast *out);

#endif
