#include <string.h>

#include "apps/train_impl.h"
#include "dnn/model.h"

static int64_t sample_count(const atr_trainer *trainer)
{
    const int64_t *samples = NULL;

    return atr_dataset_split(trainer->dataset, ATR_SPLIT_TRAIN, &samples);
}

int64_t atr_train_phase_steps(const atr_trainer *trainer, const atr_train_phase *phase)
{
    return atr_epoch_steps(sample_count(trainer), phase->batch, trainer->config.drop_last);
}

int64_t atr_train_phase_batch(const atr_trainer *trainer, const atr_train_phase *phase, int64_t step)
{
    const bool last = step == atr_train_phase_steps(trainer, phase) - 1;

    return last ? atr_epoch_last(sample_count(trainer), phase->batch, trainer->config.drop_last)
                : phase->batch;
}

/* Each rank has a picture in each pass of a whole batch. */
static atr_status check_batch(const atr_trainer *trainer, const atr_train_phase *phase)
{
    const char *const name = phase->frozen && trainer->options->freeze_batch > 0 ? "freeze-batch" : "batch";
    const int64_t size = atr_comm_size(trainer->comm), parts = trainer->options->accumulate;

    if (phase->batch < size)
        return atr_fail(
            ATR_ERR_USAGE,
            "--%s %lld on %lld ranks: some ranks would have no picture. Take fewer ranks or a larger "
            "batch.",
            name, (long long)phase->batch, (long long)size);
    if (parts > 1 && phase->batch < size * parts)
        return atr_fail(
            ATR_ERR_USAGE,
            "--%s %lld on %lld ranks with --accumulate %lld: some ranks would have no picture in some "
            "parts. Take a batch of at least %lld, or fewer parts.",
            name, (long long)phase->batch, (long long)size, (long long)parts, (long long)(size * parts));
    return ATR_OK;
}

atr_status atr_train_phases_check(const atr_trainer *trainer)
{
    atr_status status = ATR_OK;

    for (int i = 0; i < trainer->config.phase_count; i++)
        ATR_TRY(check_batch(trainer, &trainer->config.phases[i]));

done:
    return status;
}

atr_params *atr_train_shown_params(const atr_trainer *trainer)
{
    return trainer->ema != NULL ? atr_ema_params(trainer->ema) : trainer->session.params;
}

/* Preparing a sample costs far less than training on it: a quarter of the threads keeps up, and one of them waits while the
 * other works. They run below the computing threads' priority, so they take what those leave. */
static int loader_threads(const atr_trainer *trainer)
{
    enum { FEW = 2, MANY = 8 };
    const int count = trainer->session.threads.count, quarter = count / 4;

    if (trainer->options->loader_threads > 0)
        return (int)trainer->options->loader_threads;
    if (count < FEW)
        return count;
    return quarter < FEW ? FEW : quarter > MANY ? MANY : quarter;
}

static atr_status start_loader(atr_trainer *trainer)
{
    const atr_model_info *const info = &trainer->session.info;
    const int64_t steps = atr_train_phase_steps(trainer, trainer->phase);
    const bool behind = trainer->cursor.step_in_epoch >= steps; /* of this epoch only the end is missing */
    atr_loader_config config = {
        .split = ATR_SPLIT_TRAIN,
        .mode = ATR_LOADER_TRAIN,
        .global_batch = trainer->phase->batch,
        .parts = trainer->options->accumulate,
        .drop_last = trainer->config.drop_last,
        .rank = atr_comm_rank(trainer->comm),
        .ranks = atr_comm_size(trainer->comm),
        .seed = (uint64_t)trainer->options->seed,
        .height = trainer->config.height,
        .width = trainer->config.width,
        .augment = trainer->config.augment,
        .padding = trainer->config.padding,
        .jpeg_scale = trainer->options->jpeg_scale,
        .threads = loader_threads(trainer),
        .prefetch = 2,
        .epoch = trainer->cursor.epoch + (behind ? 1 : 0),
        .step = behind ? 0 : trainer->cursor.step_in_epoch,
    };

    memcpy(config.scale, info->scale, sizeof config.scale);
    memcpy(config.offset, info->offset, sizeof config.offset);
    return atr_loader_create(trainer->dataset, &config, &trainer->loader);
}

static atr_status compile(atr_trainer *trainer)
{
    atr_session *const session = &trainer->session;
    const atr_train_phase *const phase = trainer->phase;
    const bool frozen = phase->frozen;
    const int64_t steps = atr_train_phase_steps(trainer, phase);
    const int64_t first = atr_train_phase_batch(trainer, phase, 0);
    const int64_t last = atr_train_phase_batch(trainer, phase, steps - 1);

    trainer->plan_options = (atr_plan_options){.mode = ATR_TRAIN,
                                               .height = trainer->config.height,
                                               .width = trainer->config.width,
                                               .freeze_norm = trainer->options->freeze_norm,
                                               .recompute = trainer->options->recompute,
                                               .rewrites = ATR_REWRITE_ALL,
                                               .approve = atr_train_memory_approve,
                                               .approve_user = trainer};
    const atr_plans_config config = {
        .graph = session->graph,
        .params = session->params,
        .backend = session->backend,
        .norm_ranks = &trainer->norm_ranks,
        .plan = trainer->plan_options,
        .batch = phase->batch,
        .parts = trainer->options->accumulate,
        .steps = {first, last},
        .rank = atr_comm_rank(trainer->comm),
        .ranks = atr_comm_size(trainer->comm),
    };

    atr_plans_destroy(trainer->plans); /* first: two do not fit into memory where one is large */
    trainer->plans = NULL;
    atr_memory_return(&session->memory, (size_t)trainer->memory_taken);
    trainer->memory_taken = 0;
    atr_params_freeze(session->params, ATR_BACKBONE_PREFIX, frozen,
                      frozen && trainer->options->frozen_norm == ATR_FROZEN_NORM_RUNNING);
    return atr_plans_create(&config, &trainer->plans);
}

/* Plan and loader of the phase, on this rank. */
static atr_status begin(atr_trainer *trainer)
{
    atr_status status = ATR_OK;

    atr_loader_destroy(trainer->loader);
    trainer->loader = NULL;
    ATR_TRY(start_loader(trainer)); /* first: it knows whether there is anything to plan for */
    ATR_TRY(compile(trainer));
    trainer->parallel.plans = trainer->plans;
    trainer->steps_per_epoch = atr_loader_steps(trainer->loader);

done:
    return status;
}

atr_status atr_train_phase_begin(atr_trainer *trainer)
{
    trainer->phase = atr_train_phase_at(&trainer->config, trainer->cursor.epoch);
    return atr_comm_agree(trainer->comm, begin(trainer));
}

/* A line of the log, so that a reader knows where the batch changed. */
static atr_status log_phase(const atr_trainer *trainer)
{
    atr_text text = {0};

    atr_text_append(&text,
                    "{\"kind\":\"phase\",\"epoch\":%lld,\"step\":%lld,\"frozen\":%s,\"batch\":%lld,"
                    "\"steps_per_epoch\":%lld}",
                    (long long)trainer->cursor.epoch + 1, (long long)trainer->cursor.global_step,
                    trainer->phase->frozen ? "true" : "false", (long long)trainer->phase->batch,
                    (long long)trainer->steps_per_epoch);
    return atr_runlog_line(trainer->log, &text);
}

atr_status atr_train_phase_switch(atr_trainer *trainer)
{
    atr_status status = ATR_OK;

    if (atr_train_phase_at(&trainer->config, trainer->cursor.epoch) == trainer->phase)
        return ATR_OK;
    ATR_TRY(atr_train_phase_begin(trainer));
    atr_train_show_phase(trainer);
    ATR_TRY(atr_comm_agree(trainer->comm, trainer->root ? log_phase(trainer) : ATR_OK));

done:
    return status;
}
