#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "apps/bench_impl.h"
#include "apps/quantize.h"
#include "apps/train_options.h"
#include "core/rng.h"

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

/* Made-up pictures and classes, the same on every rank and everywhere: tests/peers makes them by the same formula. */
static atr_status make_pictures(atr_bench *b)
{
    const atr_model_info *const info = &b->session.info;
    const int64_t pixels = b->batch * b->height * b->width;
    const uint64_t key = atr_rng_key(1, ATR_RNG_TEST, 0, 0);
    atr_status status = ATR_OK;

    ATR_TRY(ATR_NEW(pixels * info->channels, &b->images));
    ATR_TRY(ATR_NEW(pixels, &b->labels));
    if (!b->training && !b->options->labels)
        ATR_TRY(ATR_NEW(pixels * info->classes, &b->scores));
    for (int64_t i = 0; i < pixels * info->channels; i++)
        b->images[i] = (float)atr_rng_unit(key, (uint64_t)i);
    for (int64_t i = 0; i < pixels; i++)
        b->labels[i] = (uint8_t)atr_rng_below(key, (uint64_t)i, (uint64_t)info->classes);

done:
    return status;
}

static atr_status check(const atr_bench *b, const char *what)
{
    const atr_bench_options *const o = b->options;

    if (!b->training && strcmp(what, "inference") != 0)
        return atr_fail(ATR_ERR_USAGE, "there is no bench '%s' (inference, train, comm, scaling)", what);
    if (b->training && o->session.precision == ATR_PRECISION_INT8)
        return atr_fail(ATR_ERR_USAGE, "--precision int8 is for prediction");
    if (o->trace != NULL && !o->against_alone && atr_comm_size(b->comm) > 1)
        return atr_fail(ATR_ERR_USAGE,
                        "a trace is of a rank without the others: --trace on several ranks needs "
                        "--against-alone");
    return ATR_OK;
}

/* An atr_plan_options.approve. In training gradients and one set of moments are still untouched. */
static atr_status ask_for_memory(void *user, const atr_plan_needs *needs)
{
    atr_bench *const b = user;
    const atr_session *const s = &b->session;
    const int64_t blocks = b->training ? 2 * atr_params_flat_count(s->params) * (int64_t)sizeof(float) : 0;
    char work[128];
    const atr_memory_request request = {.guard = &b->session.memory,
                                        .work = work,
                                        .graph = s->graph,
                                        .params = s->params,
                                        .backend = s->backend,
                                        .plan = &b->plan_options,
                                        .others = blocks,
                                        .each_pixel = s->info.channels * (int64_t)sizeof(float) + 1,
                                        .batch_step = 1,
                                        .size = "--size"};

    snprintf(work, sizeof work, "%s of %lld pictures of %lldx%lld", b->training ? "training" : "inference",
             (long long)b->batch, (long long)b->height, (long long)b->width);
    return atr_memory_ask(&request, needs, &b->planned);
}

/* A network as the options describe it, of made-up weights. */
static atr_status make_network(atr_bench *b, const double *dropout)
{
    const atr_bench_options *const o = b->options;
    atr_model_info *info = NULL;
    atr_status status = ATR_OK;

    ATR_TRY(ATR_NEW(1, &info));
    atr_session_describe(o->backbone, o->classes, atr_bench_stride(o), info);
    ATR_TRY(atr_session_build(&b->session, info, dropout));
    ATR_TRY(atr_model_init(b->session.params, ATR_INIT_KAIMING, 1, 1));

done:
    atr_free(info);
    return status;
}

/* Collective, agreed. */
static atr_status load_network(atr_bench *b, const double *dropout)
{
    atr_checkpoint_file *file = NULL;
    atr_status status = ATR_OK;

    if (!b->training)
        return atr_session_map(&b->session, b->options->model);
    if (atr_comm_rank(b->comm) == 0)
        status = atr_checkpoint_open(b->options->model, &file);
    status = atr_session_load_from(&b->session, file, status, dropout);
    atr_checkpoint_close(file);
    return status;
}

static atr_status make_plan(atr_bench *b)
{
    atr_status status = ATR_OK;

    ATR_TRY(make_pictures(b));
    if (b->session.precision == ATR_PRECISION_INT8 && b->session.quant.weights.count == 0)
        ATR_TRY(atr_quantize_roughly(&b->session, b->images, b->batch, b->height, b->width));
    b->plan_options =
        (atr_plan_options){.mode = b->training ? ATR_TRAIN : ATR_INFER,
                           .batch = b->batch,
                           .height = b->height,
                           .width = b->width,
                           .recompute = b->options->recompute,
                           .quant = b->session.quant.weights.count > 0 ? &b->session.quant : NULL,
                           .rewrites = ATR_REWRITE_ALL,
                           .approve = ask_for_memory,
                           .approve_user = b};
    ATR_TRY(
        atr_plan_create(b->session.graph, b->session.params, b->session.backend, &b->plan_options, &b->plan));

done:
    return status;
}

static atr_status agree(const atr_bench *b, atr_status status)
{
    return b->comm != NULL ? atr_comm_agree(b->comm, status) : status;
}

atr_status atr_bench_open(atr_bench *b, const char *what)
{
    const atr_bench_options *const o = b->options;
    const double usual[2] = {0.5, 0.1}, *const dropout = b->training && o->dropout ? usual : NULL;
    atr_status status = ATR_OK;

    ATR_TRY(agree(b, check(b, what)));
    ATR_TRY(agree(b, atr_size_parse(o->size, &b->height, &b->width)));
    b->batch = o->batch > 0 ? o->batch : b->training ? 2 : 1;
    ATR_TRY(atr_session_open(&o->session, b->comm, &b->session));
    ATR_TRY(o->model != NULL ? load_network(b, dropout) : agree(b, make_network(b, dropout)));
    atr_params_freeze(b->session.params, ATR_BACKBONE_PREFIX, o->frozen != ATR_BENCH_FROZEN_NO,
                      o->frozen == ATR_BENCH_FROZEN_RUNNING);
    ATR_TRY(agree(b, make_plan(b)));
    if (b->training)
        ATR_TRY(atr_bench_train_open(b));

done:
    return status;
}

void atr_bench_close(atr_bench *b)
{
    atr_bench_train_close(&b->train);
    atr_bench_profile_destroy(b->profile);
    atr_plan_destroy(b->plan);
    atr_session_close(&b->session);
    atr_free(b->images);
    atr_free(b->labels);
    atr_free(b->scores);
}

atr_status atr_bench_profile_wanted(atr_bench *b)
{
    atr_bench_limits limits;
    atr_status status = ATR_OK;

    if (!b->options->profile)
        return ATR_OK;
    ATR_TRY(atr_bench_limits_measure(b->session.backend, &limits));
    ATR_TRY(atr_bench_profile_create(b->plan, &limits, &b->profile));

done:
    return status;
}

/* Float tensor to class scores, or to class ids, of every pixel. */
static atr_status predict(atr_bench *b)
{
    const int64_t pixels = b->height * b->width;
    atr_status status = ATR_OK;

    ATR_TRY(atr_plan_forward(b->plan, b->images));
    for (int64_t n = 0; n < b->batch; n++) {
        const atr_segment_args args = {.box_h = b->height,
                                       .box_w = b->width,
                                       .out_h = b->height,
                                       .out_w = b->width,
                                       .ids = b->labels + n * pixels};
        if (b->options->labels)
            ATR_TRY(atr_plan_segment(b->plan, n, &args));
        else
            ATR_TRY(atr_plan_enlarge(b->plan, n, b->scores + n * b->session.info.classes * pixels));
    }

done:
    return status;
}

static atr_status measure_inference(atr_bench *b)
{
    const atr_bench_options *const o = b->options;
    double *seconds = NULL;
    atr_status status = ATR_OK;

    ATR_TRY(ATR_NEW(o->repeats, &seconds));
    ATR_TRY(predict(b));
    b->cold_start = process_age();
    for (int64_t i = 1; i < o->warmup; i++)
        ATR_TRY(predict(b));
    ATR_TRY(atr_bench_profile_wanted(b));
    for (int64_t i = 0; i < o->repeats; i++) {
        if (b->profile != NULL)
            atr_bench_profile_begin(b->profile);
        const double start = atr_seconds();
        ATR_TRY(predict(b));
        seconds[i] = atr_seconds() - start;
        if (b->profile != NULL)
            atr_bench_profile_end(b->profile, 0, 0, seconds[i]);
    }
    b->times = atr_samples_of(seconds, o->repeats);

done:
    atr_free(seconds);
    return status;
}

/* A step's status is agreed already. */
static atr_status measure_training(atr_bench *b)
{
    atr_parallel_result result;
    atr_status status = ATR_OK;

    ATR_TRY(atr_bench_train_step(b, false, &result));
    b->cold_start = process_age();
    for (int64_t i = 1; i < b->options->warmup; i++)
        ATR_TRY(atr_bench_train_step(b, false, &result));
    ATR_TRY(agree(b, atr_bench_profile_wanted(b)));
    ATR_TRY(atr_bench_train_measure(b));

done:
    return status;
}

atr_status atr_bench_measure(atr_bench *b)
{
    return b->training ? measure_training(b) : measure_inference(b);
}
