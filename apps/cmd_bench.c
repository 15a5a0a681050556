/* atrous bench: how fast this machine predicts and trains. */
#include <jansson.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <time.h>
#include <unistd.h>

#include "apps/bench_profile.h"
#include "apps/cli.h"
#include "apps/session.h"
#include "apps/train_options.h"
#include "core/cpu.h"
#include "core/rng.h"
#include "core/timer.h"
#include "dnn/plan.h"

typedef struct bench_options {
    atr_session_options session;
    const char *backbone, *size;
    int64_t batch, classes, repeats, warmup;
    int stride;
    bool json, profile;
} bench_options;

static const char *const strides[] = {"16", "8", NULL};

static const atr_option rows[] = {
    {.name = "batch",
     .letter = 'b',
     .kind = ATR_OPTION_INT,
     .offset = offsetof(bench_options, batch),
     .value = "0",
     .least = 0,
     .most = 4096,
     .argument = "N",
     .help = "pictures at once; 0: 1 for inference, 2 for train",
     .group = "Work"},
    {.name = "size",
     .kind = ATR_OPTION_STRING,
     .offset = offsetof(bench_options, size),
     .value = "512",
     .argument = "HxW",
     .help = "size of a picture"},
    {.name = "backbone",
     .kind = ATR_OPTION_STRING,
     .offset = offsetof(bench_options, backbone),
     .value = "mobilenetv2",
     .argument = "NAME",
     .help = "feature extractor: mobilenetv2 or xception; a wrong name lists "
             "those there are"},
    {.name = "output-stride",
     .kind = ATR_OPTION_CHOICE,
     .offset = offsetof(bench_options, stride),
     .value = "16",
     .choices = strides,
     .argument = "N",
     .help = "of the backbone"},
    {.name = "classes",
     .kind = ATR_OPTION_INT,
     .offset = offsetof(bench_options, classes),
     .value = "21",
     .least = 1,
     .most = 255,
     .argument = "N",
     .help = "classes told apart"},
    {.name = "repeats",
     .letter = 'n',
     .kind = ATR_OPTION_INT,
     .offset = offsetof(bench_options, repeats),
     .value = "15",
     .least = 1,
     .most = 100000,
     .argument = "N",
     .help = "measured runs",
     .group = "Measuring"},
    {.name = "warmup",
     .kind = ATR_OPTION_INT,
     .offset = offsetof(bench_options, warmup),
     .value = "3",
     .least = 0,
     .most = 1000,
     .argument = "N",
     .help = "runs before, not counted"},
    {.name = "profile",
     .kind = ATR_OPTION_FLAG,
     .offset = offsetof(bench_options, profile),
     .help = "also measure what the machine can do, and time each kind of step and each step, forward and "
             "backward: the fastest run of each"},
    {.name = "json",
     .kind = ATR_OPTION_FLAG,
     .offset = offsetof(bench_options, json),
     .help = "one JSON object on standard output"},
    {.name = NULL}};

typedef struct bench {
    const bench_options *options;
    bool training;
    atr_session session;
    atr_optim *optim;
    atr_plan *plan;
    int64_t batch, height, width;
    float *images;
    uint8_t *labels;
    double cold_start;                   /* s from the start of the process to the first result */
    atr_samples times;                   /* s */
    atr_bench_profile *profile;          /* NULL: not asked for */
    double loss_seconds, update_seconds; /* of the last run */
} bench;

/* Seconds since this process was started, to a clock tick (10 ms). */
static double process_age(void)
{
    char text[1024] = "";
    struct timespec now;
    unsigned long long start = 0;
    FILE *file = fopen("/proc/self/stat", "r");

    if (file == NULL)
        return 0;
    const size_t got = fread(text, 1, sizeof text - 1, file);
    fclose(file);
    text[got] = '\0';
    const char *field =
        strrchr(text, ')'); /* the program's name may hold anything; field 22 counts on from here */
    for (int i = 2; field != NULL && i < 22; i++)
        field = strchr(field + 1, ' ');
    if (field == NULL || sscanf(field, "%llu", &start) != 1)
        return 0;
    clock_gettime(CLOCK_BOOTTIME, &now);
    return (double)now.tv_sec + 1e-9 * (double)now.tv_nsec - (double)start / (double)sysconf(_SC_CLK_TCK);
}

/* Multiplications of one forward pass: those of its convolutions. */
static double forward_macs(const atr_plan *plan)
{
    double macs = 0;

    for (int i = 0; i < atr_plan_step_count(plan); i++) {
        const atr_step *s = atr_plan_step(plan, i);
        if (s->op == ATR_OP_CONV || s->op == ATR_OP_CONV_RESIZED || s->op == ATR_OP_CONV_POOLED)
            macs += (double)atr_conv_macs(&s->conv, s->y.dims);
    }
    return macs;
}

static atr_status set_up(bench *b, const char *what)
{
    atr_status status = ATR_OK;
    const bench_options *o = b->options;
    const atr_optim_config optim = {ATR_OPTIM_SGD, 0.9, 0, 0, 1e-4, true};
    const double dropout[2] = {0.5, 0.1};
    atr_model_info *info = NULL;

    b->training = strcmp(what, "train") == 0;
    if (!b->training && strcmp(what, "inference") != 0)
        return atr_fail(ATR_ERR_USAGE, "there is no bench '%s' (inference, train)", what);
    b->batch = o->batch > 0 ? o->batch : b->training ? 2 : 1;
    ATR_TRY(atr_size_parse(o->size, &b->height, &b->width));
    ATR_TRY(ATR_NEW(1, &info));
    atr_session_describe(o->backbone, o->classes, atoi(strides[o->stride]), info);
    ATR_TRY(atr_session_open(&o->session, NULL, &b->session));
    ATR_TRY(atr_session_build(&b->session, info, b->training ? dropout : NULL));
    ATR_TRY(atr_model_init(b->session.params, ATR_INIT_KAIMING, 1, 1));
    ATR_TRY(ATR_NEW(b->batch * b->height * b->width * 3, &b->images));
    ATR_TRY(ATR_NEW(b->batch * b->height * b->width, &b->labels));
    const uint64_t key = atr_rng_key(1, ATR_RNG_TEST, 0, 0);
    for (int64_t i = 0; i < b->batch * b->height * b->width * 3; i++)
        b->images[i] = (float)atr_rng_unit(key, (uint64_t)i);
    for (int64_t i = 0; i < b->batch * b->height * b->width; i++)
        b->labels[i] = (uint8_t)atr_rng_below(key, (uint64_t)i, (uint64_t)o->classes);
    const atr_plan_options plan = {.mode = b->training ? ATR_TRAIN : ATR_INFER,
                                   .batch = b->batch,
                                   .height = b->height,
                                   .width = b->width,
                                   .rewrites = ATR_REWRITE_ALL};
    ATR_TRY(atr_plan_create(b->session.graph, b->session.params, b->session.backend, &plan, &b->plan));
    if (b->training)
        ATR_TRY(atr_optim_create(&optim, b->session.params, b->session.backend, &b->optim));
done:
    atr_free(info);
    return status;
}

/* Inference: float tensor to logits at the network's output. Training: forward, loss, backward, update. */
static atr_status run_once(bench *b)
{
    atr_status status = ATR_OK;
    double loss = 0;

    ATR_TRY(atr_plan_forward(b->plan, b->images));
    if (!b->training)
        goto done;
    double start = atr_seconds();
    ATR_TRY(
        atr_plan_cross_entropy(b->plan, b->labels, NULL, (double)(b->batch * b->height * b->width), &loss));
    b->loss_seconds = atr_seconds() - start;
    ATR_TRY(atr_plan_backward(b->plan, NULL, NULL));
    start = atr_seconds();
    ATR_TRY(atr_optim_step(b->optim, 1e-4, 1));
    b->update_seconds = atr_seconds() - start;
done:
    return status;
}

static atr_status measure(bench *b)
{
    atr_status status = ATR_OK;
    const bench_options *o = b->options;
    atr_bench_limits limits;
    double *seconds = NULL;

    ATR_TRY(ATR_NEW(o->repeats, &seconds));
    ATR_TRY(run_once(b));
    b->cold_start = process_age();
    for (int64_t i = 1; i < o->warmup; i++)
        ATR_TRY(run_once(b));
    if (o->profile) {
        ATR_TRY(atr_bench_limits_measure(b->session.backend, &limits));
        ATR_TRY(atr_bench_profile_create(b->plan, &limits, &b->profile));
    }
    for (int64_t i = 0; i < o->repeats; i++) {
        if (b->profile != NULL)
            atr_bench_profile_begin(b->profile);
        const double start = atr_seconds();
        ATR_TRY(run_once(b));
        seconds[i] = atr_seconds() - start;
        if (b->profile != NULL)
            atr_bench_profile_end(b->profile, b->loss_seconds, b->update_seconds, seconds[i]);
    }
    b->times = atr_samples_of(seconds, o->repeats);
done:
    atr_free(seconds);
    return status;
}

static double peak_rss_mib(void)
{
    struct rusage usage;

    getrusage(RUSAGE_SELF, &usage);
    return (double)usage.ru_maxrss / 1024;
}

static void print_json(const bench *b)
{
    const double gflop = 2e-9 * forward_macs(b->plan) * (b->training ? 3 : 1);
    json_t *out = json_pack(
        "{s:s, s:s, s:I, s:I, s:s, s:i, s:s, s:s, s:I, s:I, s:I, s:I, s:f, s:f, s:f, s:f, s:f, s:f, s:f, "
        "s:f, s:f}",
        "work", b->training ? "train" : "inference", "backbone", b->options->backbone, "output_stride",
        (json_int_t)atoi(strides[b->options->stride]), "classes", (json_int_t)b->options->classes, "backend",
        b->session.backend->table->name, "threads", b->session.threads.count, "isa",
        atr_isa_name(atr_isa_level()), "precision", "f32", "batch", (json_int_t)b->batch, "height",
        (json_int_t)b->height, "width", (json_int_t)b->width, "repeats", (json_int_t)b->options->repeats,
        "min_ms", 1e3 * b->times.min, "median_ms", 1e3 * b->times.median, "p95_ms", 1e3 * b->times.p95,
        "images_per_s", (double)b->batch / b->times.median, "gflop", gflop, "gflop_per_s",
        gflop / b->times.min, "cold_start_s", b->cold_start, "arena_mib",
        (double)atr_plan_arena_bytes(b->plan) / (1 << 20), "peak_rss_mib", peak_rss_mib());

    if (b->profile != NULL)
        atr_bench_profile_json(b->profile, out);
    json_dumpf(out, stdout, JSON_INDENT(2) | JSON_REAL_PRECISION(6));
    putchar('\n');
    json_decref(out);
}

static void print_text(const bench *b)
{
    const double gflop = 2e-9 * forward_macs(b->plan) * (b->training ? 3 : 1);

    printf("%s, %s output stride %s, %lld classes, %lld x %lldx%lld, f32, %s, %d threads, %s\n",
           b->training ? "training" : "inference", b->options->backbone, strides[b->options->stride],
           (long long)b->options->classes, (long long)b->batch, (long long)b->height, (long long)b->width,
           b->session.backend->table->name, b->session.threads.count, atr_isa_name(atr_isa_level()));
    printf("  time           min %.1f ms, median %.1f ms, p95 %.1f ms (%lld runs)\n", 1e3 * b->times.min,
           1e3 * b->times.median, 1e3 * b->times.p95, (long long)b->options->repeats);
    printf("  throughput     %.2f pictures/s, %.0f GFLOP/s (%.1f GFLOP)\n",
           (double)b->batch / b->times.median, gflop / b->times.min, gflop);
    printf("  first result   %.2f s after the start of the process\n", b->cold_start);
    printf("  memory         arena %.0f MiB, peak RSS %.0f MiB\n",
           (double)atr_plan_arena_bytes(b->plan) / (1 << 20), peak_rss_mib());
    if (b->profile != NULL)
        atr_bench_profile_print(b->profile);
}

static atr_status run_bench(const char *what, const bench_options *o)
{
    atr_status status = ATR_OK;
    bench b = {.options = o};

    ATR_TRY(atr_isa_check());
    ATR_TRY(set_up(&b, what));
    ATR_TRY(measure(&b));
    if (o->json)
        print_json(&b);
    else
        print_text(&b);
done:
    atr_bench_profile_destroy(b.profile);
    atr_plan_destroy(b.plan);
    atr_optim_destroy(b.optim);
    atr_session_close(&b.session);
    atr_free(b.images);
    atr_free(b.labels);
    return status;
}

int atr_cmd_bench(int argc, char **argv)
{
    atr_status status = ATR_OK;
    atr_options *options = NULL;
    bench_options chosen;
    int exit_code = ATR_EXIT_DONE;

    ATR_TRY(atr_options_create(
        "atrous bench", "[inference|train] [OPTION...]",
        "Times prediction (float tensor to class scores) or a training step (forward, loss, backward, "
        "update) with made-up pictures and weights.",
        &options));
    ATR_TRY(atr_options_add(options, rows, &chosen));
    ATR_TRY(atr_options_add(options, atr_session_rows, &chosen.session));
    if (!atr_cli_parse(options, argc, argv, false, &exit_code))
        goto done;
    atr_cli_log();
    ATR_TRY(atr_cli_positional(options, 0, 1));
    ATR_TRY(run_bench(atr_options_positional_count(options) > 0 ? atr_options_positional(options, 0)
                                                                : "inference",
                      &chosen));
done:
    if (status != ATR_OK) {
        atr_cli_error("bench", atr_status_message());
        exit_code = atr_cli_exit_code(status);
    }
    atr_options_destroy(options);
    return exit_code;
}
