#include <jansson.h>
#include <stdio.h>
#include <string.h>

#include "apps/bench_comm.h"
#include "apps/cli.h"

/* The steps of the same wire that hide nothing. */
static const atr_bench_overlap *base_of(const atr_bench_comm *bench, const atr_bench_overlap *way)
{
    const atr_bench_overlap *base = bench->overlaps;

    while (base->options.wire != way->options.wire || base->options.bucket_mb > 0)
        base++;
    return base;
}

/* Part of the sums' time that is hidden. */
static double overlapped(const atr_bench_comm *bench, const atr_bench_overlap *way)
{
    return 1 - way->exposed.median / base_of(bench, way)->exposed.median;
}

static void print_sums(const atr_bench_comm *bench)
{
    double mb = -1;

    printf("\nall ranks' numbers summed, slowest rank, median of %lld (MB/s: bytes of one rank / time)\n",
           (long long)bench->options->repeats);
    printf("exchange: the first and the last rank send each other as much, what the transport gives\n");
    for (int64_t i = 0; i < bench->sum_count; i++) {
        const atr_bench_sum *const sum = &bench->sums[i];
        if (sum->mb != mb)
            printf("  %g MB\n", sum->mb);
        mb = sum->mb;
        printf("    %-20s %10.3f ms %10.1f MB/s   (min %.3f ms)\n", sum->method, 1e3 * sum->seconds.median,
               mb / sum->seconds.median, 1e3 * sum->seconds.min);
    }
}

static void print_overlaps(const atr_bench_comm *bench)
{
    const atr_bench_comm_options *const o = bench->options;

    printf(
        "\ntraining step (forward, loss, backward, sums), %s, %lld x %lldx%lld a rank, %.1f MB of gradients, "
        "median of %lld\n",
        o->backbone, (long long)o->batch, (long long)bench->height, (long long)bench->width,
        bench->gradient_mb, (long long)o->repeats);
    printf("  %-64s %9s %9s %9s %9s\n", "sums of gradients", "step ms", "compute", "exposed", "hidden");
    for (int64_t i = 0; i < bench->overlap_count; i++) {
        const atr_bench_overlap *const way = &bench->overlaps[i];
        printf("  %-64s %9.1f %9.1f %9.1f", way->text, 1e3 * way->step.median, 1e3 * way->compute.median,
               1e3 * way->exposed.median);
        if (way->options.bucket_mb > 0)
            printf(" %7.0f %%\n", 100 * overlapped(bench, way));
        else
            printf(" %9s\n", "-");
    }
}

void atr_bench_comm_print(const atr_bench_comm *bench)
{
    printf("%d ranks on %d node%s, %s\n", atr_comm_size(bench->comm), bench->nodes,
           bench->nodes == 1 ? "" : "s", atr_comm_library((char[ATR_COMM_LIBRARY_BYTES]){0}));
    print_sums(bench);
    if (bench->overlap_count > 0)
        print_overlaps(bench);
}

static json_t *sums_json(const atr_bench_comm *bench)
{
    json_t *const sums = json_array();

    for (int64_t i = 0; i < bench->sum_count; i++) {
        const atr_bench_sum *const sum = &bench->sums[i];
        json_array_append_new(sums, json_pack("{s:s, s:f, s:f, s:f, s:f}", "method", sum->method, "mb",
                                              sum->mb, "min_ms", 1e3 * sum->seconds.min, "median_ms",
                                              1e3 * sum->seconds.median, "mb_per_s",
                                              sum->mb / sum->seconds.median));
    }
    return sums;
}

static json_t *buckets_json(const atr_bench_overlap *way)
{
    json_t *const buckets = json_array();

    for (int64_t i = 0; i < way->bucket_count; i++)
        json_array_append_new(buckets, json_pack("{s:f, s:f, s:f, s:f}", "mb",
                                                 1e-6 * sizeof(float) * (double)way->buckets[i].count,
                                                 "ready_ms", 1e3 * way->buckets[i].ready, "started_ms",
                                                 1e3 * way->buckets[i].started, "finished_ms",
                                                 1e3 * way->buckets[i].finished));
    return buckets;
}

static json_t *steps_json(const atr_bench_comm *bench)
{
    json_t *const steps = json_array();

    for (int64_t i = 0; i < bench->overlap_count; i++) {
        const atr_bench_overlap *const way = &bench->overlaps[i];
        json_array_append_new(
            steps, json_pack("{s:b, s:s, s:f, s:s, s:f, s:f, s:f, s:f, s:f, s:o}", "hierarchical",
                             strncmp(way->text, "hier", 4) == 0, "wire", atr_wire_names[way->options.wire],
                             "bucket_mb", way->options.bucket_mb, "progress",
                             atr_reducer_progress_names[way->options.progress], "step_ms",
                             1e3 * way->step.median, "compute_ms", 1e3 * way->compute.median, "exposed_ms",
                             1e3 * way->exposed.median, "exposed_min_ms", 1e3 * way->exposed.min, "hidden",
                             overlapped(bench, way), "buckets", buckets_json(way)));
    }
    return steps;
}

atr_status atr_bench_comm_print_json(const atr_bench_comm *bench)
{
    char library[ATR_COMM_LIBRARY_BYTES];
    json_t *const out =
        json_pack("{s:s, s:i, s:i, s:s, s:o}", "work", "comm", "ranks", atr_comm_size(bench->comm), "nodes",
                  bench->nodes, "mpi", atr_comm_library(library), "sums", sums_json(bench));

    if (bench->overlap_count > 0) {
        json_object_set_new(out, "backbone", json_string(bench->options->backbone));
        json_object_set_new(out, "batch", json_integer(bench->options->batch));
        json_object_set_new(out, "height", json_integer(bench->height));
        json_object_set_new(out, "width", json_integer(bench->width));
        json_object_set_new(out, "gradient_mb", json_real(bench->gradient_mb));
        json_object_set_new(out, "steps", steps_json(bench));
    }
    return atr_cli_json(out, 6);
}
