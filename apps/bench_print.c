#include <jansson.h>
#include <stdio.h>
#include <sys/resource.h>

#include "apps/bench_impl.h"
#include "apps/cli.h"
#include "core/cpu.h"

/* Multiplications of one forward pass: those of its convolutions. */
static double forward_macs(const atr_plan *plan)
{
    double macs = 0;

    for (int i = 0; i < atr_plan_step_count(plan); i++) {
        const atr_step *s = atr_plan_step(plan, i);
        if (s->op == ATR_OP_CONV || s->op == ATR_OP_CONV_RESIZED || s->op == ATR_OP_CONV_POOLED ||
            s->op == ATR_OP_CONV_INT8)
            macs += (double)atr_conv_macs(&s->conv, s->y.dims);
    }
    return macs;
}

static double peak_rss_mib(void)
{
    struct rusage usage;

    getrusage(RUSAGE_SELF, &usage);
    return (double)usage.ru_maxrss / 1024;
}

static int rank_count(const atr_bench *b)
{
    return b->comm != NULL ? atr_comm_size(b->comm) : 1;
}

/* Of all ranks. */
static double images_per_s(const atr_bench *b)
{
    return (double)(b->batch * rank_count(b)) / b->times.median;
}

/* Bytes that each rank takes in and adds up in a second, by the time they take from backward: what `simulate` calls C; 0: none. */
static double host_rate(const atr_bench *b)
{
    const double bytes = (double)atr_params_flat_count(b->session.params) * (double)sizeof(float);
    const double ranks = rank_count(b);

    return b->host > 0 ? 1e-9 * (ranks - 1) / ranks * bytes / b->host : 0;
}

static json_t *training_json(const atr_bench *b)
{
    char text[ATR_REDUCER_TEXT_BYTES];
    json_t *const out = json_pack("{s:i}", "ranks", rank_count(b)), *const phases = json_object();

    for (int p = 0; p < ATR_PHASES; p++)
        json_object_set_new(phases, atr_phase_name((atr_phase)p), json_real(1e3 * b->phase_medians[p]));
    json_object_set_new(out, "phases_ms", phases);
    json_object_set_new(out, "reducer", json_string(atr_reducer_text(b->train.reducer, text)));
    if (b->options->against_alone)
        json_object_update_missing_new(out,
                                       json_pack("{s:f, s:f, s:f, s:f, s:f, s:f}", "alone_min_ms",
                                                 1e3 * b->alone_min, "alone_median_ms", 1e3 * b->alone_median,
                                                 "efficiency_min", b->alone_min / b->times.min,
                                                 "efficiency_median", b->alone_median / b->times.median,
                                                 "host_ms", 1e3 * b->host, "host_gbyte_per_s", host_rate(b)));
    return out;
}

static void print_training(const atr_bench *b)
{
    char text[ATR_REDUCER_TEXT_BYTES];

    printf("  ranks          %d; %s\n  phases         ", rank_count(b),
           atr_reducer_text(b->train.reducer, text));
    for (int p = 0; p < ATR_PHASES; p++)
        printf("%s%s %.1f", p > 0 ? ", " : "", atr_phase_name((atr_phase)p), 1e3 * b->phase_medians[p]);
    printf(" ms\n");
    if (b->options->against_alone)
        printf("  alone          min %.1f ms, median %.1f ms: efficiency %.3f by minima, %.3f by medians\n",
               1e3 * b->alone_min, 1e3 * b->alone_median, b->alone_min / b->times.min,
               b->alone_median / b->times.median);
    if (b->options->against_alone && rank_count(b) > 1)
        printf("  sums           make backward %.1f ms longer: %.2f GB/s\n", 1e3 * b->host, host_rate(b));
}

static atr_status print_json(const atr_bench *b)
{
    const double gflop = 2e-9 * forward_macs(b->plan) * (b->training ? 3 : 1);
    json_t *out = json_pack(
        "{s:s, s:s, s:I, s:I, s:s, s:i, s:s, s:s, s:I, s:I, s:I, s:I, s:f, s:f, s:f, s:f, s:f, s:f, s:f, "
        "s:f, s:f}",
        "work", b->training ? "train" : "inference", "backbone", b->options->backbone, "output_stride",
        (json_int_t)atr_bench_stride(b->options), "classes", (json_int_t)b->options->classes, "backend",
        b->session.backend->table->name, "threads", b->session.threads.count, "isa",
        atr_isa_name(atr_isa_level()), "precision", atr_session_precision(&b->session), "batch",
        (json_int_t)b->batch, "height", (json_int_t)b->height, "width", (json_int_t)b->width, "repeats",
        (json_int_t)b->options->repeats, "min_ms", 1e3 * b->times.min, "median_ms", 1e3 * b->times.median,
        "p95_ms", 1e3 * b->times.p95, "images_per_s", images_per_s(b), "gflop", gflop, "gflop_per_s",
        gflop / b->times.min, "cold_start_s", b->cold_start, "arena_mib",
        (double)atr_plan_arena_bytes(b->plan) / (1 << 20), "peak_rss_mib", peak_rss_mib());

    if (b->training)
        json_object_update_missing_new(out, training_json(b));
    if (b->profile != NULL)
        atr_bench_profile_json(b->profile, out);
    return atr_cli_json(out, 6);
}

static void print_text(const atr_bench *b)
{
    const double gflop = 2e-9 * forward_macs(b->plan) * (b->training ? 3 : 1);

    printf("%s, %s output stride %lld, %lld classes, %lld x %lldx%lld, %s, %s, %d threads, %s\n",
           b->training ? "training" : "inference", b->options->backbone,
           (long long)atr_bench_stride(b->options), (long long)b->options->classes, (long long)b->batch,
           (long long)b->height, (long long)b->width, atr_session_precision(&b->session),
           b->session.backend->table->name, b->session.threads.count, atr_isa_name(atr_isa_level()));
    printf("  time           min %.1f ms, median %.1f ms, p95 %.1f ms (%lld runs)\n", 1e3 * b->times.min,
           1e3 * b->times.median, 1e3 * b->times.p95, (long long)b->options->repeats);
    printf("  throughput     %.2f pictures/s, %.0f GFLOP/s (%.1f GFLOP)\n", images_per_s(b),
           gflop / b->times.min, gflop);
    if (b->training)
        print_training(b);
    printf("  first result   %.2f s after the start of the process\n", b->cold_start);
    printf("  memory         arena %.0f MiB, peak RSS %.0f MiB\n",
           (double)atr_plan_arena_bytes(b->plan) / (1 << 20), peak_rss_mib());
    if (b->profile != NULL)
        atr_bench_profile_print(b->profile);
}

atr_status atr_bench_print(const atr_bench *b)
{
    if (b->options->json)
        return print_json(b);
    print_text(b);
    return ATR_OK;
}
