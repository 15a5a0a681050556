#include "apps/scaling_model.h"

#include <math.h>

const char *const atr_reduction_names[ATR_REDUCTIONS + 1] = {
    "flat", "ring", "tree", "doubling", "halving", "pairwise", "hierarchical", NULL};

const char *atr_reduction_formula(atr_reduction reduction)
{
    static const char *const texts[ATR_REDUCTIONS] = {
        "as atrous sums: halving, with bf16 on the wire pairwise; bf16: thread + n/K, n in f32",
        "2(p-1) a + 2(p-1)/p n/B; thread (p-1)/p n/C",
        "2 ceil(lg p) (a + n/B); thread ceil(lg p) n/C",
        "ceil(lg p) (a + n/B); thread ceil(lg p) n/C; p not a power of two: p = 2^floor(lg p), + 2 (a + "
        "n/B); "
        "thread + n/C",
        "2 lg p a + 2(p-1)/p n/B; thread (p-1)/p n/C; p not a power of two: p = 2^floor(lg p), + 3 a + 2 "
        "n/B; "
        "thread + n/2C",
        "2(p-1) a + 2(p-1)/p n/B; thread (p-1)/p n/C; ranks of one node do not share what they send",
        "flat over the nodes; thread + 3 r n/M + (r-1)/r n/C in each node of r ranks",
    };

    return texts[reduction];
}

/* A round in which each node's link carries `wire` bytes each way, the ranks of a node hand each other `local` ones, and a rank
 * adds `added` to its own. */
static void add_round(atr_sum_cost *cost, const atr_cluster *c, double count, double wire, double local,
                      double added)
{
    cost->wire += count * (c->latency + wire / c->bandwidth);
    cost->host += count * (local / c->memory_rate + added / c->host_rate);
}

static double lg_floor(double p)
{
    return (double)(ilogb(p));
}

static double lg_ceil(double p)
{
    return lg_floor(p) + (exp2(lg_floor(p)) < p);
}

/* Ranks lie node by node, so of a ring each node has one neighbour on either side, whatever its number of ranks. */
static void ring(const atr_cluster *c, double n, atr_sum_cost *cost)
{
    const double p = (double)(c->nodes * c->ranks), part = n / p;
    const double wire = c->nodes > 1 ? part : 0, local = c->ranks > 1 ? (double)c->ranks * part : 0;

    add_round(cost, c, p - 1, wire, local, part);
    add_round(cost, c, p - 1, wire, local, 0);
}

/* The tree's first rounds stay inside of the nodes, its others are between one rank of each. */
static void tree(const atr_cluster *c, double n, atr_sum_cost *cost)
{
    const double outside = lg_ceil((double)c->nodes), inside = lg_ceil((double)c->ranks);
    const double local = inside > 0 ? (double)(c->ranks - 1) * n / inside : 0;

    add_round(cost, c, outside, n, 0, n);
    add_round(cost, c, outside, n, 0, 0);
    add_round(cost, c, inside, 0, local, n);
    add_round(cost, c, inside, 0, local, 0);
}

/* A round of ranks that lie `distance` apart, all of which exchange n bytes with another: those of one node share its link. */
static void exchange(atr_sum_cost *cost, const atr_cluster *c, double distance, double n, double added)
{
    const double all = (double)c->ranks * n;

    if (distance < (double)c->ranks)
        add_round(cost, c, 1, 0, all, added);
    else
        add_round(cost, c, 1, all, 0, added);
}

static void doubling(const atr_cluster *c, double n, atr_sum_cost *cost)
{
    const double p = (double)(c->nodes * c->ranks), q = exp2(lg_floor(p));

    if (q < p) {
        exchange(cost, c, 1, n, n);
        exchange(cost, c, 1, n, 0);
    }
    for (double distance = 1; distance < q; distance *= 2)
        exchange(cost, c, distance, n, n);
}

/* p - q ranks first halve their part with a neighbour, who then acts for both, and at the end get the result from it. */
static void halving(const atr_cluster *c, double n, atr_sum_cost *cost)
{
    const double p = (double)(c->nodes * c->ranks), q = exp2(lg_floor(p));
    double part = n / 2;

    if (q < p) {
        exchange(cost, c, 1, n / 2, n / 2);
        exchange(cost, c, 1, n / 2, 0);
        exchange(cost, c, 1, n, 0);
    }
    for (double distance = q / 2; distance >= 1; distance /= 2, part /= 2) {
        exchange(cost, c, distance, part, part);
        exchange(cost, c, distance, part, 0);
    }
}

/* All-to-all, then all-gather, of pieces of n/p. A rank sends of them inside of its node. */
static void pairwise(const atr_cluster *c, double n, atr_sum_cost *cost)
{
    const double p = (double)(c->nodes * c->ranks), r = (double)c->ranks, part = n / p;
    const double local = (r - 1) * r * part, wire = (p - r) * r * part;

    for (int half = 0; half < 2; half++) {
        cost->wire += (p - 1) * c->latency + wire / c->bandwidth;
        cost->host += local / c->memory_rate;
    }
    cost->host += (p - 1) * part / c->host_rate;
}

/* `n` and `full`: bytes on the wire and in memory. */
static void flat(const atr_cluster *c, double n, double full, atr_sum_cost *cost)
{
    if (n < full)
        pairwise(c, n, cost);
    else
        halving(c, n, cost);
}

/* dist/reducer_node.c: each rank copies its values to memory that all see, adds up its share of them, and copies the sum back. */
static void hierarchical(const atr_cluster *c, double n, double full, atr_sum_cost *cost)
{
    const double r = (double)c->ranks;
    atr_cluster leaders = *c;

    leaders.ranks = 1;
    if (c->ranks > 1)
        cost->host += 3 * r * full / c->memory_rate + (r - 1) / r * full / c->host_rate;
    if (c->nodes > 1) {
        atr_sum_cost between = {0};
        flat(&leaders, n, full, &between);
        cost->wire += between.wire;
        cost->host += between.host;
    }
}

atr_sum_cost atr_reduction_cost(atr_reduction reduction, const atr_cluster *cluster, double count,
                                int wire_bytes)
{
    const double full = count * (double)sizeof(float), n = count * wire_bytes;
    static void (*const plain[ATR_REDUCTIONS])(const atr_cluster *, double,
                                               atr_sum_cost *) = {[ATR_REDUCTION_RING] = ring,
                                                                  [ATR_REDUCTION_TREE] = tree,
                                                                  [ATR_REDUCTION_DOUBLING] = doubling,
                                                                  [ATR_REDUCTION_HALVING] = halving,
                                                                  [ATR_REDUCTION_PAIRWISE] = pairwise};
    atr_sum_cost cost = {0};

    if (cluster->nodes * cluster->ranks <= 1)
        return cost;
    if (plain[reduction] != NULL)
        plain[reduction](cluster, n, &cost);
    else if (reduction == ATR_REDUCTION_HIERARCHICAL)
        hierarchical(cluster, n, full, &cost);
    else
        flat(cluster, n, full, &cost);
    if (n < full && (reduction != ATR_REDUCTION_HIERARCHICAL || cluster->nodes > 1))
        cost.convert = full / cluster->convert_rate;
    return cost;
}

/* Inverse of the normal distribution function, by bisection: enough for a table. */
static double normal_quantile(double probability)
{
    double low = -10, high = 10;

    for (int i = 0; i < 100; i++) {
        const double middle = (low + high) / 2;
        if (0.5 * erfc(-middle / sqrt(2)) < probability)
            low = middle;
        else
            high = middle;
    }
    return low;
}

double atr_normal_largest(double count)
{
    return count > 1 ? normal_quantile((count - 0.375) / (count + 0.25)) : 0;
}

/* A small collective call goes by whichever way is fastest, as libraries choose. */
static double small_seconds(const atr_cluster *cluster, const double *bytes, int count)
{
    static const atr_reduction ways[] = {ATR_REDUCTION_DOUBLING, ATR_REDUCTION_HALVING, ATR_REDUCTION_RING};
    double seconds = 0;

    for (int i = 0; i < count; i++) {
        double least = INFINITY;
        for (size_t k = 0; k < sizeof ways / sizeof ways[0]; k++) {
            const atr_sum_cost cost =
                atr_reduction_cost(ways[k], cluster, bytes[i] / (double)sizeof(float), sizeof(float));
            least = fmin(least, atr_sum_seconds(cost));
        }
        seconds += least;
    }
    return seconds;
}

/* Where the run of slices that begins at `first` ends: parameters begin at whole lines, what lies further apart is frozen between. */
static int64_t span_end(const atr_step_trace *trace, int64_t first)
{
    enum { LINE = ATR_ALIGN / sizeof(float) };
    int64_t i = first + 1;

    while (i < trace->slice_count &&
           trace->slices[i].offset < trace->slices[i - 1].offset + trace->slices[i - 1].count + LINE)
        i++;
    return i;
}

/* The sums, one after the other. */
typedef struct line {
    const atr_step_trace *trace;
    atr_trace_figure figure;
    const atr_cluster *cluster;
    const atr_reduction_plan *plan;
    int64_t slice; /* behind which nothing is asked for any more */
    double end;    /* s from the start of backward, of the last sum */
    double delay;  /* s by which backward is late because its thread looked after sums */
    atr_forecast *out;
} line;

/* The bucket [from, to) of the flat block. It waits for the slice that its last value is in. */
static void add_bucket(line *l, int64_t from, int64_t to)
{
    const atr_reduction_plan *const plan = l->plan;
    const double backward = l->trace->backward[l->figure];
    const atr_sum_cost cost =
        atr_reduction_cost(plan->reduction, l->cluster, (double)(to - from), plan->wire_bytes);

    while (l->slice + 1 < l->trace->slice_count &&
           l->trace->slices[l->slice].offset + l->trace->slices[l->slice].count < to)
        l->slice++;
    const double ready = plan->overlap ? l->trace->slices[l->slice].at[l->figure] : backward;
    const double start = fmax(ready + l->delay, l->end);
    const double seconds = atr_sum_seconds(cost);

    l->end = start + seconds;
    if (plan->overlap && !plan->thread && start < backward + l->delay)
        l->delay += cost.host + cost.convert;
    l->out->sums += seconds;
    l->out->buckets++;
}

static int64_t at_most(int64_t value, int64_t most)
{
    return value < most ? value : most;
}

/* The last bucket gives up its front, so that what nothing hides is short. */
static void reduce_buckets(line *l)
{
    const atr_reduction_plan *const plan = l->plan;
    const atr_trace_slice *const slices = l->trace->slices;
    const int64_t whole = plan->bucket > 0 ? plan->bucket : INT64_MAX,
                  edge = at_most(plan->edge > 0 ? plan->edge : whole, whole);

    for (int64_t first = 0, end; first < l->trace->slice_count; first = end) {
        end = span_end(l->trace, first);
        const int64_t stop = slices[end - 1].offset + slices[end - 1].count;
        for (int64_t at = slices[first].offset, size; at < stop; at += size) {
            size = at_most(stop - at, l->out->buckets == 0 ? edge : whole);
            if (end == l->trace->slice_count && at + size == stop && size > edge) {
                add_bucket(l, at, stop - edge);
                add_bucket(l, stop - edge, stop);
            } else {
                add_bucket(l, at, at + size);
            }
        }
    }
}

void atr_forecast_step(const atr_step_trace *trace, atr_trace_figure figure, const atr_cluster *cluster,
                       const atr_reduction_plan *plan, atr_forecast *out)
{
    const double backward = trace->backward[figure];

    *out = (atr_forecast){0};
    out->compute = trace->forward[figure] + backward + trace->update[figure];
    out->waiting = cluster->spread * atr_normal_largest((double)(cluster->nodes * cluster->ranks));
    line sums = {.trace = trace, .figure = figure, .cluster = cluster, .plan = plan, .out = out};
    reduce_buckets(&sums);
    out->exposed = fmax(sums.end, backward + sums.delay) - backward +
                   small_seconds(cluster, trace->before, trace->before_count) +
                   small_seconds(cluster, trace->after, trace->after_count);
    out->step = out->compute + out->waiting + out->exposed;
}
