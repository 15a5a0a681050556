#include "apps/bench_comm.h"

/* A way to measure: one call between two meetings of all ranks. */
typedef struct measured {
    atr_comm *comm;
    atr_reducer *reducer; /* NULL: one of the two plain ways */
    bool exchange;        /* between the first and the last rank */
    float *values, *peers;
    int64_t count;
} measured;

static atr_status call(const measured *m)
{
    const int rank = atr_comm_rank(m->comm), last = atr_comm_size(m->comm) - 1;

    if (m->reducer != NULL) {
        atr_reducer_begin(m->reducer);
        return atr_reducer_wait(m->reducer);
    }
    if (!m->exchange)
        return atr_comm_sum_f32(m->comm, m->values, m->count);
    if (rank != 0 && rank != last)
        return ATR_OK;
    return atr_comm_exchange(m->comm, last - rank, m->values, m->peers, (size_t)m->count * sizeof *m->values);
}

/* The slowest rank's times. */
static atr_status measure(const measured *m, int64_t repeats, atr_samples *out)
{
    const int size = atr_comm_size(m->comm);
    double *slowest = NULL, *all = NULL;
    atr_status status = ATR_OK;

    ATR_TRY(atr_comm_agree(m->comm, ATR_NEW(repeats, &slowest)));
    ATR_TRY(atr_comm_agree(m->comm, ATR_NEW(size, &all)));
    for (int64_t i = -1; i < repeats; i++) {
        ATR_TRY(atr_comm_barrier(m->comm));
        const double start = atr_seconds();
        ATR_TRY(call(m));
        const double mine = atr_seconds() - start;
        ATR_TRY(atr_comm_gather(m->comm, &mine, sizeof mine, all));
        for (int r = 0; r < size && i >= 0; r++)
            slowest[i] = all[r] > slowest[i] ? all[r] : slowest[i];
    }
    *out = atr_samples_of(slowest, repeats);

done:
    atr_free(slowest);
    atr_free(all);
    return status;
}

static atr_status measure_plain(const atr_bench_comm *bench, bool exchange, int64_t count, atr_samples *out)
{
    measured m = {.comm = bench->comm, .exchange = exchange, .count = count};
    atr_status status = ATR_OK;

    ATR_TRY(atr_comm_agree(bench->comm, ATR_NEW(count, &m.values)));
    ATR_TRY(atr_comm_agree(bench->comm, ATR_NEW(count, &m.peers)));
    ATR_TRY(measure(&m, bench->options->repeats, out));

done:
    atr_free(m.values);
    atr_free(m.peers);
    return status;
}

/* As a step without overlap sums its gradients: all buckets at once. */
static atr_status measure_reducer(const atr_bench_comm *bench, atr_allreduce algorithm, atr_wire wire,
                                  int64_t count, atr_samples *out)
{
    const atr_param_spec spec = {"gradients", ATR_PARAM_CONV_BIAS, 1, {count}};
    const atr_reducer_options options = {.allreduce = algorithm, .wire = wire};
    measured m = {.comm = bench->comm, .count = count};
    atr_params *params = NULL;
    atr_status status = ATR_OK;

    ATR_TRY(atr_comm_agree(bench->comm, atr_params_create(&spec, 1, &atr_host_allocator, &params)));
    ATR_TRY(atr_reducer_create(bench->comm, params, &options, &m.reducer));
    ATR_TRY(measure(&m, bench->options->repeats, out));

done:
    atr_reducer_destroy(m.reducer);
    atr_params_destroy(params);
    return status;
}

static atr_status measure_size(atr_bench_comm *bench, double mb)
{
    static const struct {
        const char *name;
        atr_allreduce algorithm;
        atr_wire wire;
    } ways[] = {
        {"flat f32", ATR_ALLREDUCE_FLAT, ATR_WIRE_F32},
        {"flat bf16", ATR_ALLREDUCE_FLAT, ATR_WIRE_BF16},
        {"hierarchical f32", ATR_ALLREDUCE_HIERARCHICAL, ATR_WIRE_F32},
        {"hierarchical bf16", ATR_ALLREDUCE_HIERARCHICAL, ATR_WIRE_BF16},
    };
    const int64_t count = (int64_t)(mb * 1e6 / sizeof(float)) + 1;
    atr_bench_sum *sum = &bench->sums[bench->sum_count];
    atr_status status = ATR_OK;

    *sum = (atr_bench_sum){.method = "exchange", .mb = mb};
    ATR_TRY(measure_plain(bench, true, count, &sum++->seconds));
    *sum = (atr_bench_sum){.method = "blocking", .mb = mb};
    ATR_TRY(measure_plain(bench, false, count, &sum++->seconds));
    for (size_t i = 0; i < sizeof ways / sizeof ways[0]; i++) {
        const bool hierarchical = ways[i].algorithm == ATR_ALLREDUCE_HIERARCHICAL;
        if (hierarchical && bench->nodes == atr_comm_size(bench->comm))
            continue; /* one rank a node */
        if (hierarchical && bench->nodes == 1 && ways[i].wire == ATR_WIRE_BF16)
            continue; /* nothing goes over the wire */
        *sum = (atr_bench_sum){.method = ways[i].name, .mb = mb};
        ATR_TRY(measure_reducer(bench, ways[i].algorithm, ways[i].wire, count, &sum++->seconds));
    }
    bench->sum_count = sum - bench->sums;

done:
    return status;
}

atr_status atr_bench_comm_sums(atr_bench_comm *bench)
{
    enum { WAYS = 6 };
    double mb[ATR_BENCH_LISTED];
    atr_status status = ATR_OK;

    ATR_TRY(atr_bench_comm_numbers("mb", &bench->options->mb, mb));
    ATR_TRY(atr_comm_agree(bench->comm, ATR_NEW(bench->options->mb.count * WAYS, &bench->sums)));
    for (int64_t i = 0; i < bench->options->mb.count; i++)
        ATR_TRY(measure_size(bench, mb[i]));

done:
    return status;
}
