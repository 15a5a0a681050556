#include <math.h>
#include <string.h>

#include "apps/bench_impl.h"
#include "core/cpu.h"

/* What a rank needs for itself. */
static atr_status create_parts(atr_bench *b)
{
    const atr_reducer_options how = atr_reducer_options_from(&b->options->reducer);
    const atr_optim_config sgd = {ATR_OPTIM_SGD, 0.9, 0, 0, 1e-4, true};
    const int64_t repeats = b->options->repeats;
    atr_session *const session = &b->session;
    atr_bench_train *const t = &b->train;
    atr_loss_config loss;
    atr_status status = ATR_OK;

    atr_loss_defaults(&loss);
    ATR_TRY(atr_loss_create(&loss, b->session.info.classes, &t->loss));
    ATR_TRY(atr_optim_create(&sgd, session->params, session->backend, &t->optim));
    ATR_TRY(atr_comm_alone(&t->alone));
    ATR_TRY(atr_reducer_create(t->alone, session->params, &how, &t->alone_reducer));
    ATR_TRY(ATR_NEW(b->batch, &t->keys));
    ATR_TRY(ATR_NEW(b->batch, &t->samples));
    ATR_TRY(ATR_NEW(repeats, &t->seconds));
    ATR_TRY(ATR_NEW(repeats, &t->seconds_alone));
    ATR_TRY(ATR_NEW(repeats, &t->backward));
    ATR_TRY(ATR_NEW(repeats, &t->backward_alone));
    ATR_TRY(ATR_NEW(repeats, &t->converting));
    ATR_TRY(ATR_NEW(ATR_PHASES * repeats, &t->phases));
    if (b->options->trace != NULL)
        ATR_TRY(atr_step_recorder_create(repeats, &t->recorder));

done:
    return status;
}

/* An atr_grad_ready_fn. */
static atr_status watch_slice(void *user, int64_t offset, int64_t count)
{
    atr_bench_watch *const w = user;

    w->last = atr_seconds();
    if (w->first < 0)
        w->first = w->last;
    return w->recorder != NULL ? atr_step_recorder_ready(w->recorder, offset, count) : ATR_OK;
}

atr_status atr_bench_train_open(atr_bench *b)
{
    const atr_reducer_options how = atr_reducer_options_from(&b->options->reducer);
    atr_bench_train *const t = &b->train;
    atr_status status = ATR_OK;

    ATR_TRY(atr_comm_agree(b->comm, create_parts(b)));
    ATR_TRY(atr_reducer_create(b->comm, b->session.params, &how, &t->reducer));
    t->together = (atr_parallel){.comm = b->comm,
                                 .backend = b->session.backend,
                                 .params = b->session.params,
                                 .plan = b->plan,
                                 .optim = t->optim,
                                 .reducer = t->reducer,
                                 .classes = b->session.info.classes,
                                 .loss = t->loss,
                                 .watch = watch_slice,
                                 .watch_user = &t->watch};
    t->by_itself = t->together;
    t->by_itself.comm = t->alone;
    t->by_itself.reducer = t->alone_reducer;

done:
    return status;
}

/* The rate is 0: the ranks' values stay the same also through steps that each of them makes by itself. */
atr_status atr_bench_train_step(atr_bench *b, bool alone, atr_parallel_result *out)
{
    const atr_bench_train *const t = &b->train;
    const atr_parallel_batch batch = {.count = b->batch,
                                      .height = b->height,
                                      .width = b->width,
                                      .images = b->images,
                                      .labels = b->labels,
                                      .keys = t->keys,
                                      .samples = t->samples};

    return atr_parallel_step(alone ? &t->by_itself : &t->together, &batch, ATR_OK, false, 0, 0.0, out);
}

/* One step, timed from a common start: `*seconds` of it, `*backward` from the first slice of gradients to the last. A rank whose step alone fails
 * tells the others. */
static atr_status timed_step(atr_bench *b, bool alone, bool record, atr_parallel_result *result,
                             double *seconds, double *backward)
{
    atr_bench_watch *const watch = &b->train.watch;
    atr_status status = ATR_OK;

    *watch = (atr_bench_watch){.recorder = record ? b->train.recorder : NULL, .first = -1};
    ATR_TRY(atr_comm_barrier(b->comm));
    if (record)
        atr_step_recorder_begin(watch->recorder);
    const double start = atr_seconds();
    status = atr_bench_train_step(b, alone, result);
    *seconds = atr_seconds() - start;
    *backward = watch->last - watch->first;
    if (status == ATR_OK && record) /* what one rank does before backward and behind it */
        status = atr_step_recorder_end(watch->recorder,
                                       result->seconds[ATR_PHASE_COUNT] + result->seconds[ATR_PHASE_FORWARD],
                                       result->seconds[ATR_PHASE_BACKWARD],
                                       result->seconds[ATR_PHASE_REDUCE] + result->seconds[ATR_PHASE_UPDATE]);
    if (alone || record)
        ATR_TRY(atr_comm_agree(b->comm, status));

done:
    return status;
}

/* The slowest rank's time for each step, on every rank. */
static atr_status take_slowest(atr_comm *comm, double *values, int64_t count)
{
    const int ranks = atr_comm_size(comm);
    double *all = NULL;
    atr_status status = ATR_OK;

    ATR_TRY(atr_comm_agree(comm, ATR_NEW(ranks * count, &all)));
    ATR_TRY(atr_comm_gather(comm, values, (size_t)count * sizeof *values, all));
    for (int r = 0; r < ranks; r++)
        for (int64_t i = 0; i < count; i++)
            values[i] = fmax(values[i], all[r * count + i]);

done:
    atr_free(all);
    return status;
}

/* The small collective calls of a step (see dist/step.c): counts of pixels and votes before forward; shares of the loss, hits and
 * misses by class, running statistics behind the sums of gradients. */
static void list_collectives(const atr_bench *b, atr_step_trace *trace)
{
    const double classes = (double)b->session.info.classes;
    atr_span span = {0, 0};

    trace->before_count = 1;
    trace->before[0] = (3 + classes) * (double)sizeof(int64_t);
    trace->after_count = 2;
    trace->after[0] = 2 * (double)sizeof(double);
    trace->after[1] = 2 * classes * (double)sizeof(int64_t);
    while (trace->after_count < ATR_TRACE_COLLECTIVES && atr_params_next_span(b->session.params, true, &span))
        trace->after[trace->after_count++] = (double)span.count * (double)sizeof(float);
}

/* All ranks take the slowest one's figures: it is what the others wait for, in sums of gradients too. On a machine whose cores do other work
 * as well ranks are uneven for seconds, which a mean would hide; chance from step to step is the forecast's affair (`spread`). */
static atr_status slowest_figures(atr_comm *comm, atr_step_trace *trace)
{
    const int ranks = atr_comm_size(comm);
    const double mine = trace->forward[ATR_TRACE_MEDIAN] + trace->backward[ATR_TRACE_MEDIAN] +
                        trace->update[ATR_TRACE_MEDIAN];
    double *all = NULL;
    int slowest = 0;
    atr_status status = ATR_OK;

    ATR_TRY(atr_comm_agree(comm, ATR_NEW(ranks, &all)));
    ATR_TRY(atr_comm_gather(comm, &mine, sizeof mine, all));
    for (int r = 1; r < ranks; r++)
        if (all[r] > all[slowest])
            slowest = r;
    ATR_TRY(atr_comm_broadcast(comm, trace->forward, sizeof trace->forward, slowest));
    ATR_TRY(atr_comm_broadcast(comm, trace->backward, sizeof trace->backward, slowest));
    ATR_TRY(atr_comm_broadcast(comm, trace->update, sizeof trace->update, slowest));
    ATR_TRY(atr_comm_broadcast(comm, &trace->spread, sizeof trace->spread, slowest));
    ATR_TRY(
        atr_comm_broadcast(comm, trace->slices, (size_t)trace->slice_count * sizeof *trace->slices, slowest));

done:
    atr_free(all);
    return status;
}

static atr_status write_trace(const atr_bench *b)
{
    const atr_bench_options *const o = b->options;
    atr_step_trace trace = {.batch = b->batch};
    char text[ATR_SESSION_TEXT_BYTES];
    atr_status status = ATR_OK;

    list_collectives(b, &trace);
    ATR_TRY(atr_comm_agree(b->comm, atr_format(&trace.work, "%s, %lld x %lldx%lld, %d threads, %s",
                                               atr_session_text(&b->session, text), (long long)b->batch,
                                               (long long)b->height, (long long)b->width,
                                               b->session.threads.count, atr_isa_name(atr_isa_level()))));
    ATR_TRY(atr_comm_agree(b->comm, atr_step_recorder_figures(b->train.recorder, &trace)));
    ATR_TRY(slowest_figures(b->comm, &trace));
    ATR_TRY(atr_comm_agree(b->comm,
                           atr_comm_rank(b->comm) == 0 ? atr_step_trace_write(&trace, o->trace) : ATR_OK));

done:
    atr_step_trace_free(&trace);
    return status;
}

/* Least and median of this rank's steps alone, then their means over the ranks: what so many jobs side by side would do. And what
 * looking after sums adds to backward: by the clock, for a kernel's work for the network is on no thread's account. */
static atr_status take_alone(atr_bench *b)
{
    const int64_t repeats = b->options->repeats;
    const atr_samples own = atr_samples_of(b->train.seconds_alone, repeats);
    const double ranks = atr_comm_size(b->comm);
    double sums[3] = {own.min, own.median,
                      atr_samples_of(b->train.backward, repeats).median -
                          atr_samples_of(b->train.backward_alone, repeats).median};
    atr_status status = ATR_OK;

    ATR_TRY(atr_comm_sum_f64(b->comm, sums, 3));
    b->alone_min = sums[0] / ranks;
    b->alone_median = sums[1] / ranks;
    b->host = fmax(sums[2] / ranks, 0);

done:
    return status;
}

/* The loss is what backward's phase has besides the plan's steps. */
static void end_profile(const atr_bench *b, const atr_parallel_result *result, double seconds)
{
    double loss = result->seconds[ATR_PHASE_BACKWARD];

    for (int i = 0; i < atr_plan_step_count(b->plan); i++)
        loss -= atr_plan_seconds(b->plan, i, true);
    atr_bench_profile_end(b->profile, fmax(loss, 0), result->seconds[ATR_PHASE_UPDATE], seconds);
}

/* Steps alone and together take turns, so that both see the same machine. */
atr_status atr_bench_train_measure(atr_bench *b)
{
    const atr_bench_options *const o = b->options;
    atr_bench_train *const t = &b->train;
    const bool record = o->trace != NULL;
    atr_parallel_result result;
    atr_status status = ATR_OK;

    for (int64_t i = 0; i < o->repeats; i++) {
        if (o->against_alone)
            ATR_TRY(timed_step(b, true, record, &result, &t->seconds_alone[i], &t->backward_alone[i]));
        if (b->profile != NULL)
            atr_bench_profile_begin(b->profile);
        ATR_TRY(timed_step(b, false, record && !o->against_alone, &result, &t->seconds[i], &t->backward[i]));
        t->converting[i] = atr_reducer_converting(t->reducer);
        if (b->profile != NULL)
            end_profile(b, &result, t->seconds[i]);
        b->loss = result.loss;
        for (int p = 0; p < ATR_PHASES; p++)
            t->phases[p * o->repeats + i] = result.seconds[p];
    }
    for (int p = 0; p < ATR_PHASES; p++)
        b->phase_medians[p] = atr_samples_of(t->phases + p * o->repeats, o->repeats).median;
    b->convert = atr_samples_of(t->converting, o->repeats).median / atr_comm_size(b->comm);
    ATR_TRY(atr_comm_sum_f64(b->comm, &b->convert, 1));
    ATR_TRY(take_slowest(b->comm, t->seconds, o->repeats));
    b->times = atr_samples_of(t->seconds, o->repeats);
    if (o->against_alone)
        ATR_TRY(take_alone(b));
    if (record)
        ATR_TRY(write_trace(b));

done:
    return status;
}

void atr_bench_train_close(atr_bench_train *t)
{
    atr_step_recorder_destroy(t->recorder);
    atr_reducer_destroy(t->reducer);
    atr_reducer_destroy(t->alone_reducer);
    atr_comm_close(t->alone);
    atr_optim_destroy(t->optim);
    atr_loss_destroy(t->loss);
    atr_free(t->keys);
    atr_free(t->samples);
    atr_free(t->seconds);
    atr_free(t->seconds_alone);
    atr_free(t->backward);
    atr_free(t->backward_alone);
    atr_free(t->converting);
    atr_free(t->phases);
}
