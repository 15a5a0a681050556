/* atrous simulate: how long a training step takes on many nodes, from the step of one. */
#include <math.h>
#include <stddef.h>
#include <string.h>

#include "apps/cli.h"
#include "apps/network_fit.h"
#include "apps/simulate_impl.h"
#include "core/text.h"
#include "dist/reducer.h"

static const char *const figures[] = {"min", "median", NULL};

static const atr_option rows[] = {
    {.name = "nodes",
     .kind = ATR_OPTION_LIST,
     .offset = offsetof(atr_simulate_options, nodes),
     .value = "1,2,4,8,16,32,64,128,256,512,1024",
     .least = 1,
     .most = 1000000,
     .argument = "N,N,...",
     .help = "sizes of the cluster",
     .group = "Cluster"},
    {.name = "ranks-per-node",
     .kind = ATR_OPTION_INT,
     .offset = offsetof(atr_simulate_options, ranks),
     .value = "1",
     .least = 1,
     .most = 1024,
     .argument = "N",
     .help =
         "ranks on each node, each with a step as in the trace, which must come from as many on one node"},
    {.name = "speed",
     .kind = ATR_OPTION_REAL,
     .offset = offsetof(atr_simulate_options, speed),
     .value = "1",
     .least = 0.001,
     .most = 100000,
     .argument = "X",
     .help = "the cluster's nodes compute X times as fast as the traced one"},
    {.name = "spread",
     .kind = ATR_OPTION_REAL,
     .offset = offsetof(atr_simulate_options, spread),
     .least = 0,
     .most = 100,
     .argument = "PERCENT",
     .help =
         "standard deviation of a rank's step time: all wait for the slowest; not given: that of the trace "
         "(with --figure min: none)"},
    {.name = "latency-us",
     .kind = ATR_OPTION_REAL,
     .offset = offsetof(atr_simulate_options, latency_us),
     .value = "2",
     .least = 0,
     .most = 1e6,
     .argument = "US",
     .help = "of a message from node to node",
     .group = "Network"},
    {.name = "bandwidth-gbit",
     .kind = ATR_OPTION_REAL,
     .offset = offsetof(atr_simulate_options, bandwidth_gbit),
     .value = "100",
     .least = 0,
     .most = 1e6,
     .argument = "GBIT",
     .help = "of a node's link in each direction, per second; 0: infinite"},
    {.name = "network",
     .kind = ATR_OPTION_STRING,
     .offset = offsetof(atr_simulate_options, network),
     .argument = "FILE",
     .help = "latency and bandwidth as `atrous bench comm --json` measured them between two nodes, in place "
             "of the "
             "two above"},
    {.name = "host-gbyte",
     .kind = ATR_OPTION_REAL,
     .offset = offsetof(atr_simulate_options, host_gbyte),
     .value = "5",
     .least = 0,
     .most = 1e6,
     .argument = "GBYTE",
     .help = "that a rank's thread takes in and adds up per second; 0: infinite"},
    {.name = "memory-gbyte",
     .kind = ATR_OPTION_REAL,
     .offset = offsetof(atr_simulate_options, memory_gbyte),
     .value = "10",
     .least = 0,
     .most = 1e6,
     .argument = "GBYTE",
     .help = "that the ranks of a node together copy per second; 0: infinite"},
    {.name = "convert-gbyte",
     .kind = ATR_OPTION_REAL,
     .offset = offsetof(atr_simulate_options, convert_gbyte),
     .value = "1",
     .least = 0,
     .most = 1e6,
     .argument = "GBYTE",
     .help =
         "f32 gradients that a rank's thread rounds to bf16, adds and widens per second, with --wire bf16; "
         "0: infinite"},
    {.name = "allreduce",
     .kind = ATR_OPTION_LIST,
     .offset = offsetof(atr_simulate_options, reductions),
     .value = "flat,ring,tree,hierarchical",
     .argument = "NAME,...",
     .help = "ways to sum: flat, ring, tree, doubling, halving, pairwise, hierarchical",
     .group = "Sums of gradients"},
    {.name = "bucket-mb",
     .kind = ATR_OPTION_REAL,
     .offset = offsetof(atr_simulate_options, bucket_mb),
     .value = "4",
     .least = 0,
     .most = 65536,
     .argument = "MB",
     .help = "f32 gradients in a bucket; 0: all in one"},
    {.name = "edge-mb",
     .kind = ATR_OPTION_REAL,
     .offset = offsetof(atr_simulate_options, edge_mb),
     .value = "0.5",
     .least = 0,
     .most = 65536,
     .argument = "MB",
     .help = "most in the first one, which starts early, and the last one, which nothing hides; 0: no limit"},
    {.name = "wire",
     .kind = ATR_OPTION_CHOICE,
     .offset = offsetof(atr_simulate_options, wire),
     .value = "f32",
     .choices = atr_wire_names,
     .help = "type of a gradient on the wire"},
    {.name = "progress",
     .kind = ATR_OPTION_CHOICE,
     .offset = offsetof(atr_simulate_options, progress),
     .value = "poll",
     .choices = atr_reducer_progress_names,
     .help =
         "who looks after the sums: the computing thread, which loses that time, or one with a core of its "
         "own"},
    {.name = "figure",
     .kind = ATR_OPTION_CHOICE,
     .offset = offsetof(atr_simulate_options, figure),
     .value = "median",
     .choices = figures,
     .help = "which of the trace's figures count",
     .group = "Output"},
    {.name = "plot",
     .kind = ATR_OPTION_STRING,
     .offset = offsetof(atr_simulate_options, plot),
     .argument = "FILE.png",
     .help = "draw efficiency over nodes"},
    {.name = "json",
     .kind = ATR_OPTION_FLAG,
     .offset = offsetof(atr_simulate_options, json),
     .help = "one JSON object on standard output"},
    {.name = NULL}};

static atr_status reduction_parse(const char *name, atr_reduction *out)
{
    for (int i = 0; i < ATR_REDUCTIONS; i++)
        if (strcmp(name, atr_reduction_names[i]) == 0) {
            *out = (atr_reduction)i;
            return ATR_OK;
        }
    return atr_fail(ATR_ERR_USAGE,
                    "--allreduce: there is no '%s' (flat, ring, tree, doubling, halving, pairwise, "
                    "hierarchical)",
                    name);
}

/* Each time of the trace as a node has it that is `speed` times as fast. */
static void speed_up(atr_step_trace *trace, double speed)
{
    for (int f = 0; f < ATR_TRACE_FIGURES; f++) {
        trace->forward[f] /= speed;
        trace->backward[f] /= speed;
        trace->update[f] /= speed;
        for (int64_t i = 0; i < trace->slice_count; i++)
            trace->slices[i].at[f] /= speed;
    }
}

static double rate_of(double number, double unit)
{
    return number > 0 ? number * unit : INFINITY;
}

static double step_seconds(const atr_step_trace *trace, int figure)
{
    return trace->forward[figure] + trace->backward[figure] + trace->update[figure];
}

static atr_cluster cluster_of(const atr_simulate_options *o, const atr_step_trace *trace)
{
    return (atr_cluster){.nodes = 1,
                         .ranks = o->ranks,
                         .latency = 1e-6 * o->latency_us,
                         .bandwidth = rate_of(o->bandwidth_gbit, 1e9 / 8),
                         .host_rate = rate_of(o->host_gbyte, 1e9),
                         .memory_rate = rate_of(o->memory_gbyte, 1e9),
                         .convert_rate = rate_of(o->convert_gbyte, 1e9),
                         .spread = 0.01 * o->spread * step_seconds(trace, o->figure)};
}

static void simulate_row(const atr_simulation *s, atr_simulated *row)
{
    const atr_simulate_options *const o = s->options;
    atr_reduction_plan plan = {.reduction = row->reduction,
                               .bucket = (int64_t)(1e6 * o->bucket_mb / sizeof(float)),
                               .edge = (int64_t)(1e6 * o->edge_mb / sizeof(float)),
                               .wire_bytes = o->wire == ATR_WIRE_F32 ? 4 : 2,
                               .thread = o->progress == ATR_PROGRESS_THREAD};
    atr_cluster many = s->cluster;

    many.nodes = row->nodes;
    for (int overlap = 0; overlap < 2; overlap++) {
        atr_forecast one;
        plan.overlap = overlap == 1;
        atr_forecast_step(&s->trace, (atr_trace_figure)o->figure, &s->cluster, &plan, &one);
        atr_forecast_step(&s->trace, (atr_trace_figure)o->figure, &many, &plan, &row->forecast[overlap]);
        row->efficiency[overlap] = one.step / row->forecast[overlap].step;
        row->rate[overlap] = (double)(row->nodes * o->ranks * s->trace.batch) / row->forecast[overlap].step;
    }
}

static atr_status simulate(atr_simulation *s)
{
    const atr_simulate_options *const o = s->options;
    atr_status status = ATR_OK;

    s->row_count = o->reductions.count * o->nodes.count;
    ATR_TRY(ATR_NEW(s->row_count, &s->rows));
    for (int64_t r = 0; r < o->reductions.count; r++)
        for (int64_t n = 0; n < o->nodes.count; n++) {
            atr_simulated *const row = &s->rows[r * o->nodes.count + n];
            ATR_TRY(reduction_parse(o->reductions.items[r], &row->reduction));
            if (!atr_parse_int(o->nodes.items[n], &row->nodes)) {
                status = atr_fail(ATR_ERR_USAGE, "--nodes: %s is no whole number", o->nodes.items[n]);
                goto done;
            }
            simulate_row(s, row);
        }

done:
    return status;
}

/* In the units of the options, so that output tells what was fitted. */
static atr_status measured_network(const atr_options *parsed, atr_simulate_options *o)
{
    double latency = 0, bandwidth = 0;
    atr_status status = ATR_OK;

    if (o->network == NULL)
        return ATR_OK;
    if (atr_options_given(parsed, "latency-us") || atr_options_given(parsed, "bandwidth-gbit"))
        return atr_fail(ATR_ERR_USAGE, "--network goes without --latency-us and --bandwidth-gbit");
    ATR_TRY(atr_network_fit(o->network, &latency, &bandwidth));
    o->latency_us = 1e6 * latency;
    o->bandwidth_gbit = 8e-9 * bandwidth;

done:
    return status;
}

static atr_status run(const atr_options *parsed, const char *path, atr_simulate_options *o)
{
    atr_simulation s = {.options = o, .path = path};
    atr_status status = ATR_OK;

    ATR_TRY(measured_network(parsed, o));
    ATR_TRY(atr_step_trace_read(path, &s.trace));
    if (!atr_options_given(parsed, "spread") && o->figure == ATR_TRACE_MEDIAN)
        o->spread = fmin(100, 100 * s.trace.spread / step_seconds(&s.trace, ATR_TRACE_MEDIAN));
    speed_up(&s.trace, o->speed);
    s.cluster = cluster_of(o, &s.trace);
    ATR_TRY(simulate(&s));
    ATR_TRY(atr_simulate_print(&s));
    if (o->plot != NULL)
        ATR_TRY(atr_simulate_plot(&s, o->plot));

done:
    atr_step_trace_free(&s.trace);
    atr_free(s.rows);
    return status;
}

int atr_cmd_simulate(int argc, char **argv)
{
    atr_options *options = NULL;
    atr_simulate_options chosen;
    int exit_code = ATR_EXIT_DONE;
    atr_status status = ATR_OK;

    ATR_TRY(atr_options_create(
        "atrous simulate", "TRACE.json [OPTION...]",
        "How long a training step takes on a cluster, and how much of it is waiting: a model, from the step "
        "of "
        "one rank (`atrous bench train --trace TRACE.json`) and latency and bandwidth of a network.",
        &options));
    ATR_TRY(atr_options_add(options, rows, &chosen));
    if (!atr_cli_parse(options, argc, argv, false, &exit_code))
        goto done;
    atr_cli_log();
    ATR_TRY(atr_cli_positional(options, 1, 1));
    ATR_TRY(run(options, atr_options_positional(options, 0), &chosen));

done:
    if (status != ATR_OK) {
        atr_cli_error("simulate", atr_status_message());
        exit_code = atr_cli_exit_code(status);
    }
    atr_options_destroy(options);
    return exit_code;
}
