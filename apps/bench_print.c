#include <jansson.h>
#include <stdio.h>
#include <sys/resource.h>

#include "apps/bench_impl.h"
#include "apps/cli.h"
#include "core/cpu.h"

/* 1e9 operations of the convolutions: of those that backward comes to, three forwards. */
static double gflop_of(const atr_plan *plan)
{
    double macs = 0;

    for (int i = 0; i < atr_plan_step_count(plan); i++) {
        const atr_step *step = atr_plan_step(plan, i);
        macs += (double)atr_step_macs(step) * (step->training ? 3 : 1);
    }
    return 2e-9 * macs;
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

static double gradient_bytes(const atr_bench *b)
{
    return (double)atr_params_flat_count(b->session.params) * (double)sizeof(float);
}

/* Bytes of f32 gradients that a rank rounds to bf16, adds and widens in a second: what `simulate` calls K; 0: none. */
static double convert_rate(const atr_bench *b)
{
    return b->convert > 0 ? 1e-9 * gradient_bytes(b) / b->convert : 0;
}

/* Bytes that each rank takes in and adds up in a second, by the time they take from backward: what `simulate` calls C; 0: none. */
static double host_rate(const atr_bench *b)
{
    const double ranks = rank_count(b);

    return b->host > 0 ? 1e-9 * (ranks - 1) / ranks * gradient_bytes(b) / b->host : 0;
}

static const char *work_of(const atr_bench *b)
{
    if (b->training)
        return "training";
    return b->options->labels ? "inference to labels" : "inference to scores";
}

static json_t *training_json(const atr_bench *b)
{
    char text[ATR_REDUCER_TEXT_BYTES];
    json_t *const phases = json_object();
    json_t *const out = json_pack("{s:i, s:f}", "ranks", rank_count(b), "loss", b->loss);

    for (int p = 0; p < ATR_PHASES; p++)
        json_object_set_new(phases, atr_phase_name((atr_phase)p), json_real(1e3 * b->phase_medians[p]));
    json_object_set_new(out, "phases_ms", phases);
    json_object_set_new(out, "reducer", json_string(atr_reducer_text(b->train.reducer, text)));
    json_object_set_new(out, "convert_ms", json_real(1e3 * b->convert));
    json_object_set_new(out, "convert_gbyte_per_s", json_real(convert_rate(b)));
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
    if (b->convert > 0)
        printf("  bf16           rounded, added and widened in %.1f ms: %.2f GB/s\n", 1e3 * b->convert,
               convert_rate(b));
}

static atr_status print_json(const atr_bench *b)
{
    const atr_model_info *const info = &b->session.info;
    const double gflop = gflop_of(b->plan);
    json_t *out = json_pack(
        "{s:s, s:s, s:I, s:I, s:s, s:i, s:s, s:s, s:I, s:I, s:I, s:I, s:f, s:f, s:f, s:f, s:f, s:f, s:f, "
        "s:f, s:f, s:f}",
        "work", b->training ? "train" : "inference", "backbone", info->backbone, "output_stride",
        (json_int_t)info->output_stride, "classes", (json_int_t)info->classes, "backend",
        b->session.backend->table->name, "threads", b->session.threads.count, "isa",
        atr_isa_name(atr_isa_level()), "precision", atr_session_precision(&b->session), "batch",
        (json_int_t)b->batch, "height", (json_int_t)b->height, "width", (json_int_t)b->width, "repeats",
        (json_int_t)b->options->repeats, "min_ms", 1e3 * b->times.min, "median_ms", 1e3 * b->times.median,
        "p95_ms", 1e3 * b->times.p95, "images_per_s", images_per_s(b), "gflop", gflop, "gflop_per_s",
        gflop / b->times.min, "cold_start_s", b->cold_start, "arena_mib",
        (double)atr_plan_arena_bytes(b->plan) / (1 << 20), "planned_mib", (double)b->planned / (1 << 20),
        "peak_rss_mib", peak_rss_mib());

    if (b->training)
        json_object_update_missing_new(out, training_json(b));
    else
        json_object_set_new(out, "output", json_string(b->options->labels ? "labels" : "scores"));
    if (b->profile != NULL)
        atr_bench_profile_json(b->profile, out);
    return atr_cli_json(out, 6);
}

static void print_text(const atr_bench *b)
{
    const atr_model_info *const info = &b->session.info;
    const double gflop = gflop_of(b->plan);

    printf("%s, %s output stride %lld, %lld classes, %lld x %lldx%lld, %s, %s, %d threads, %s\n", work_of(b),
           info->backbone, (long long)info->output_stride, (long long)info->classes, (long long)b->batch,
           (long long)b->height, (long long)b->width, atr_session_precision(&b->session),
           b->session.backend->table->name, b->session.threads.count, atr_isa_name(atr_isa_level()));
    printf("  time           min %.1f ms, median %.1f ms, p95 %.1f ms (%lld runs)\n", 1e3 * b->times.min,
           1e3 * b->times.median, 1e3 * b->times.p95, (long long)b->options->repeats);
    printf("  throughput     %.2f pictures/s, %.0f GFLOP/s (%.1f GFLOP)\n", images_per_s(b),
           gflop / b->times.min, gflop);
    if (b->training)
        print_training(b);
    printf("  first result   %.2f s after the start of the process\n", b->cold_start);
    const atr_plan_needs needs = atr_plan_needs_of(b->plan);
    printf("  memory         planned %.0f MiB: arena %.0f (scratch %.0f), packed weights %.0f; peak RSS %.0f "
           "MiB\n",
           (double)b->planned / (1 << 20), (double)needs.arena / (1 << 20), (double)needs.scratch / (1 << 20),
           (double)needs.packed / (1 << 20), peak_rss_mib());
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
