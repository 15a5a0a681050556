#ifndef ATR_APPS_SIMULATE_IMPL_H
#define ATR_APPS_SIMULATE_IMPL_H

#include "apps/scaling_model.h"
#include "core/options.h"

/* The parts of `atrous simulate`. */

typedef struct atr_simulate_options {
    atr_list nodes, reductions;
    int64_t ranks;
    double latency_us, bandwidth_gbit, host_gbyte, memory_gbyte, convert_gbyte; /* rates: 0 is infinite */
    double bucket_mb, edge_mb;
    double speed;  /* nodes compute so many times as fast as the traced one */
    double spread; /* percent of a step */
    int wire;      /* an atr_wire */
    int progress;  /* an atr_reducer_progress */
    int figure;    /* an atr_trace_figure */
    bool json;
    const char *plot, *network;
} atr_simulate_options;

/* One row of a table. */
typedef struct atr_simulated {
    atr_reduction reduction;
    int64_t nodes;
    atr_forecast forecast[2];      /* without and with overlap */
    double efficiency[2], rate[2]; /* step of one node / step of so many; pictures/s of all */
} atr_simulated;

typedef struct atr_simulation {
    const atr_simulate_options *options;
    const char *path;
    atr_step_trace trace; /* with the nodes' speed in it */
    atr_cluster cluster;  /* of one node */
    int64_t row_count;
    atr_simulated *rows; /* [row_count], reduction by reduction, nodes as they were given */
} atr_simulation;

/* Tables or, with --json, one object on standard output. */
atr_status atr_simulate_print(const atr_simulation *simulation);
/* Efficiency over nodes as a PNG: with overlap, and dashed without. */
atr_status atr_simulate_plot(const atr_simulation *simulation, const char *path);

#endif
