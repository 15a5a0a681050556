#include "apps/scaling_model.h"

#include <math.h>

const char *const atr_reduction_names[ATR_REDUCTIONS + 1] = {"flat",    "ring",         "tree", "doubling",
                                                             "halving", "hierarchical", NULL};

const char *atr_reduction_formula(atr_reduction reduction)
{
    static const char *const texts[ATR_REDUCTIONS] = {
        "as MPI_Iallreduce of Open MPI 4: tree for p < 4 or less than 64 KiB, else halving",
        "2(p-1) a + 2(p-1)/p n/B + (p-1)/p n/C",
        "2 ceil(lg p) (a + n/B) + ceil(lg p) n/C",
        "ceil(lg p) (a + n/B + n/C); p not a power of two: q = 2^floor(lg p) ranks, + 2 (a + n/B) + n/C",
        "2 lg p a + 2(p-1)/p n/B + (p-1)/p n/C; p not a power of two: q = 2^floor(lg p) ranks, + 3 a + 2 n/B "
        "+ n/2C",
        "2(r-1) n/M + (r-1)/r n/C in each node of r ranks, then flat over the nodes",
    };

    return texts[reduction];
}

/* A round in which each node's link carries `wire` bytes each way, the ranks of a node hand each other `local` ones, and a rank
 * adds `added` to its own. */
static double round_seconds(const atr_cluster *c, double wire, double local, double added)
{
    return c->latency + wire / c->bandwidth + local / c->memory_rate + added / c->sum_rate;
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
static double ring(const atr_cluster *c, double n)
{
    const double p = (double)(c->nodes * c->ranks), part = n / p;
    const double wire = c->nodes > 1 ? part : 0;
    const double local = c->ranks > 1 ? (double)c->ranks * part : 0;

    return (p - 1) * (round_seconds(c, wire, local, part) + round_seconds(c, wire, local, 0));
}

/* The tree's first rounds stay inside of the nodes, its others are between one rank of each. */
static double tree(const atr_cluster *c, double n)
{
    const double outside = lg_ceil((double)c->nodes), inside = lg_ceil((double)c->ranks);
    const double local = inside > 0 ? (double)(c->ranks - 1) * n / inside : 0;

    return outside * (round_seconds(c, n, 0, n) + round_seconds(c, n, 0, 0)) +
           inside * (round_seconds(c, 0, local, n) + round_seconds(c, 0, local, 0));
}

/* A round of ranks that lie `distance` apart, all of which exchange n bytes with another: those of one node share its link. */
static double exchange(const atr_cluster *c, double distance, double n, double added)
{
    const double all = (double)c->ranks * n;

    return distance < (double)c->ranks ? round_seconds(c, 0, all, added) : round_seconds(c, all, 0, added);
}

static double doubling(const atr_cluster *c, double n)
{
    const double p = (double)(c->nodes * c->ranks), q = exp2(lg_floor(p));
    double seconds = 0;

    if (q < p)
        seconds += exchange(c, 1, n, n) + exchange(c, 1, n, 0);
    for (double distance = 1; distance < q; distance *= 2)
        seconds += exchange(c, distance, n, n);
    return seconds;
}

/* p - q ranks first halve their part with a neighbour, who then acts for both, and at the end get the result from it. */
static double halving(const atr_cluster *c, double n)
{
    const double p = (double)(c->nodes * c->ranks), q = exp2(lg_floor(p));
    double seconds = 0, part = n / 2;

    if (q < p)
        seconds += exchange(c, 1, n / 2, n / 2) + exchange(c, 1, n / 2, 0) + exchange(c, 1, n, 0);
    for (double distance = q / 2; distance >= 1; distance /= 2, part /= 2)
        seconds += exchange(c, distance, part, part) + exchange(c, distance, part, 0);
    return seconds;
}

/* Open MPI 4.1, ompi/mca/coll/libnbc/nbc_iallreduce.c, with separate send and receive blocks. */
static double flat(const atr_cluster *c, double n)
{
    enum { SMALL = 65536 };

    return c->nodes * c->ranks < 4 || n < SMALL ? tree(c, n) : halving(c, n);
}

/* Each rank of a node adds up its share of what the others have, then all read all shares. */
static double hierarchical(const atr_cluster *c, double n)
{
    const double r = (double)c->ranks;
    atr_cluster leaders = *c;

    leaders.ranks = 1;
    const double inside = 2 * (r - 1) * n / c->memory_rate + (r - 1) / r * n / c->sum_rate;
    return inside + (c->nodes > 1 ? flat(&leaders, n) : 0);
}

double atr_reduction_seconds(atr_reduction reduction, const atr_cluster *cluster, double bytes)
{
    static double (*const functions[ATR_REDUCTIONS])(const atr_cluster *, double) = {
        flat, ring, tree, doubling, halving, hierarchical};

    return cluster->nodes * cluster->ranks > 1 ? functions[reduction](cluster, bytes) : 0;
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
        for (size_t k = 0; k < sizeof ways / sizeof ways[0]; k++)
            least = fmin(least, atr_reduction_seconds(ways[k], cluster, bytes[i]));
        seconds += least;
    }
    return seconds;
}

/* Buckets are closed at the end of the slice that fills them. Gives the end of the last sum, in s from the start of backward. */
static double reduce_buckets(const atr_step_trace *trace, atr_trace_figure figure, const atr_cluster *cluster,
                             const atr_reduction_plan *plan, atr_forecast *out)
{
    double end = 0;
    int64_t filled = 0;

    for (int64_t i = 0; i < trace->slice_count; i++) {
        const int64_t wanted = out->buckets == 0 ? plan->first_bytes : plan->bucket_bytes;
        filled += trace->slices[i].count;
        if (i + 1 < trace->slice_count && (wanted == 0 || filled * (int64_t)sizeof(float) < wanted))
            continue;
        const double seconds =
            atr_reduction_seconds(plan->reduction, cluster, (double)(filled * plan->wire_bytes));
        const double ready = plan->overlap ? trace->slices[i].at[figure] : trace->backward[figure];
        end = fmax(ready, end) + seconds;
        out->sums += seconds;
        out->buckets++;
        filled = 0;
    }
    return end;
}

void atr_forecast_step(const atr_step_trace *trace, atr_trace_figure figure, const atr_cluster *cluster,
                       const atr_reduction_plan *plan, atr_forecast *out)
{
    const double backward = trace->backward[figure];

    *out = (atr_forecast){0};
    out->compute = trace->forward[figure] + backward + trace->update[figure];
    out->waiting = cluster->spread * atr_normal_largest((double)(cluster->nodes * cluster->ranks));
    const double end = reduce_buckets(trace, figure, cluster, plan, out);
    out->exposed = fmax(end, backward) - backward +
                   small_seconds(cluster, trace->before, trace->before_count) +
                   small_seconds(cluster, trace->after, trace->after_count);
    out->step = out->compute + out->waiting + out->exposed;
}
