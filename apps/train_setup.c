#include <math.h>
#include <string.h>

#include "apps/cli.h"
#include "apps/train_impl.h"
#include "core/recipe.h"
#include "core/timer.h"

/* Options against the data set. */
static atr_status check_data(const atr_trainer *trainer)
{
    const int64_t classes = atr_dataset_classes(trainer->dataset)->count;
    const int64_t weights = trainer->config.class_weight_count;

    if (weights > 0 && weights != classes)
        return atr_fail(ATR_ERR_USAGE, "--class-weights: %lld numbers for %lld classes", (long long)weights,
                        (long long)classes);
    if (trainer->options->batch < atr_comm_size(trainer->comm))
        return atr_fail(
            ATR_ERR_USAGE,
            "--batch %lld on %d ranks: some ranks would have no picture. Take fewer ranks or a larger "
            "batch.",
            (long long)trainer->options->batch, atr_comm_size(trainer->comm));
    return ATR_OK;
}

static atr_status open_inputs(atr_trainer *trainer)
{
    atr_status status = ATR_OK;

    ATR_TRY(atr_train_config_from(trainer->parsed, trainer->options, &trainer->config));
    ATR_TRY(atr_dataset_open(trainer->data, &trainer->dataset));
    ATR_TRY(check_data(trainer));
    ATR_TRY(atr_options_yaml(trainer->parsed, &trainer->config_text));
    if (trainer->root)
        ATR_TRY(atr_train_folder_prepare(trainer->options));

done:
    return status;
}

/* Samples of one step on this rank: the loader's deal. */
static int64_t local_batch(const atr_trainer *trainer)
{
    const int64_t batch = trainer->options->batch, size = atr_comm_size(trainer->comm),
                  rank = atr_comm_rank(trainer->comm);

    return (rank + 1) * batch / size - rank * batch / size;
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
    const int64_t *samples = NULL;
    const int64_t steps =
        atr_dataset_split(trainer->dataset, ATR_SPLIT_TRAIN, &samples) / trainer->options->batch;
    const bool behind = trainer->cursor.step_in_epoch >= steps; /* of this epoch only the end is missing */
    atr_loader_config config = {
        .split = ATR_SPLIT_TRAIN,
        .mode = ATR_LOADER_TRAIN,
        .global_batch = trainer->options->batch,
        .rank = atr_comm_rank(trainer->comm),
        .ranks = atr_comm_size(trainer->comm),
        .seed = (uint64_t)trainer->options->seed,
        .height = trainer->config.height,
        .width = trainer->config.width,
        .augment = trainer->config.augment,
        .padding = trainer->config.padding,
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
    const atr_plan_options options = {
        .mode = ATR_TRAIN,
        .batch = local_batch(trainer),
        .height = trainer->config.height,
        .width = trainer->config.width,
        .freeze_norm = trainer->options->freeze_norm,
        .rewrites = ATR_REWRITE_ALL,
    };
    atr_status status = ATR_OK;

    ATR_TRY(atr_plan_create(session->graph, session->params, session->backend, &options, &trainer->plan));
    ATR_TRY(atr_optim_create(&trainer->config.optim, session->params, session->backend, &trainer->optim));
    ATR_TRY(atr_reducer_create(trainer->comm, session->params, &trainer->reducer));
    ATR_TRY(atr_confusion_init(session->info.classes, &trainer->confusion));
    trainer->parallel = (atr_parallel){
        .comm = trainer->comm,
        .backend = session->backend,
        .params = session->params,
        .plan = trainer->plan,
        .optim = trainer->optim,
        .reducer = trainer->reducer,
        .classes = session->info.classes,
        .class_weights = trainer->config.class_weight_count > 0 ? trainer->config.class_weights : NULL,
        .freeze_norm = trainer->options->freeze_norm,
    };

done:
    return status;
}

static atr_status start_data(atr_trainer *trainer)
{
    atr_status status = ATR_OK;

    ATR_TRY(start_loader(trainer));
    trainer->steps_per_epoch = atr_loader_steps(trainer->loader);
    if (trainer->root)
        ATR_TRY(atr_train_folder_open_log(trainer));

done:
    return status;
}

static atr_status create(atr_trainer *trainer, atr_checkpoint_file **file)
{
    atr_status status = ATR_OK;

    ATR_TRY(atr_comm_agree(trainer->comm, open_inputs(trainer)));
    ATR_TRY(atr_session_open(&trainer->options->session, trainer->comm, &trainer->session));
    if (trainer->options->resume)
        ATR_TRY(atr_train_resume_model(trainer, file, &trainer->resumed));
    if (!trainer->resumed)
        ATR_TRY(atr_train_model_fresh(trainer));
    ATR_TRY(atr_comm_agree(trainer->comm, compile(trainer)));
    if (trainer->resumed)
        ATR_TRY(atr_train_resume_optim(trainer, *file));
    ATR_TRY(atr_comm_agree(trainer->comm, start_data(trainer)));
    atr_train_show_start(trainer);

done:
    return status;
}

atr_status atr_trainer_create(const atr_options *parsed, const atr_train_options *options, const char *data,
                              atr_comm *comm, atr_trainer **out)
{
    atr_trainer *trainer = NULL;
    atr_checkpoint_file *file = NULL;
    atr_status status = ATR_OK;

    *out = NULL;
    ATR_TRY(ATR_NEW(1, &trainer));
    trainer->parsed = parsed;
    trainer->options = options;
    trainer->data = data;
    trainer->comm = comm;
    trainer->root = atr_comm_rank(comm) == 0;
    trainer->columns = trainer->root ? atr_cli_columns(stderr) : 0;
    trainer->cursor.best_score = NAN;
    trainer->saved_step = -1;
    ATR_TRY(create(trainer, &file));
    *out = trainer;
    trainer = NULL;

done:
    atr_checkpoint_close(file);
    atr_trainer_destroy(trainer);
    return status;
}

void atr_trainer_destroy(atr_trainer *trainer)
{
    if (trainer == NULL)
        return;
    atr_train_watch_close(trainer->watch);
    atr_runlog_close(trainer->log);
    atr_loader_destroy(trainer->loader);
    atr_reducer_destroy(trainer->reducer);
    atr_optim_destroy(trainer->optim);
    atr_plan_destroy(trainer->plan);
    atr_confusion_free(&trainer->confusion);
    atr_session_close(&trainer->session);
    atr_dataset_close(trainer->dataset);
    atr_free(trainer->config_text);
    atr_free(trainer);
}
