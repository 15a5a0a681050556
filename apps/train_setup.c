#include <math.h>
#include <string.h>

#include "apps/cli.h"
#include "apps/placement.h"
#include "apps/stage.h"
#include "apps/stop.h"
#include "apps/train_impl.h"
#include "core/log.h"
#include "core/recipe.h"
#include "core/timer.h"
#include "dist/monitor.h"

/* Collective. */
static atr_status open_staged(atr_trainer *trainer)
{
    atr_text said = {0};
    atr_status status = ATR_OK;

    status = atr_stage_open_dataset(trainer->comm, trainer->options->stage, trainer->data,
                                    trainer->data_count, &trainer->dataset, &said);
    if (status == ATR_ERR_STOPPED)
        atr_train_say(trainer,
                      "R03: %s: stopped before the first step, exit 75. What was staged is kept: the "
                      "same command goes on.",
                      atr_stop_signal());
    ATR_TRY(status);
    if (trainer->root && said.bytes != NULL)
        atr_train_say(trainer, "%s", said.bytes);

done:
    atr_free(said.bytes);
    return status;
}

static atr_status open_inputs(atr_trainer *trainer)
{
    atr_status status = ATR_OK;

    if (trainer->dataset == NULL)
        ATR_TRY(atr_dataset_open_all(trainer->data, trainer->data_count, &trainer->dataset));
    ATR_TRY(atr_train_phases_check(trainer));
    ATR_TRY(atr_loss_weigh(&trainer->options->loss, trainer->dataset, &trainer->config.loss));
    ATR_TRY(atr_options_yaml(trainer->parsed, &trainer->config_text));
    ATR_TRY(atr_train_deadline(trainer->options->max_time, trainer->started, &trainer->deadline));
    if (trainer->root && trainer->lock == NULL) /* else it was done before the data were staged */
        ATR_TRY(atr_train_folder_prepare(trainer->options, &trainer->lock));

done:
    return status;
}

/* What stays the same over all phases. */
static atr_status create_optim(atr_trainer *trainer)
{
    atr_session *const session = &trainer->session;
    atr_status status = ATR_OK;

    ATR_TRY(atr_optim_create(&trainer->config.optim, session->params, session->backend, &trainer->optim));
    ATR_TRY(atr_loss_create(&trainer->config.loss, session->info.classes, &trainer->loss));
    ATR_TRY(atr_confusion_init(session->info.classes, &trainer->confusion));
    if (trainer->options->ema > 0)
        ATR_TRY(atr_ema_create(trainer->options->ema, session->params, session->backend, &trainer->ema));
    if (trainer->options->accumulate > 1)
        ATR_TRY(ATR_NEW(atr_params_flat_count(session->params), &trainer->sums));
    if (trainer->root)
        ATR_TRY(atr_run_writer_create(trainer->options->out, &trainer->writer));
    trainer->parallel = (atr_parallel){
        .comm = trainer->comm,
        .backend = session->backend,
        .params = session->params,
        .optim = trainer->optim,
        .classes = session->info.classes,
        .loss = trainer->loss,
        .freeze_norm = trainer->options->freeze_norm,
        .parts = trainer->options->accumulate,
        .sums = trainer->sums,
        .clip = trainer->options->clip,
        .norm_ranks = &trainer->norm_ranks,
    };

done:
    return status;
}

/* Collective, agreed. */
static atr_status create_reducer(atr_trainer *trainer)
{
    const atr_reducer_options options = atr_reducer_options_from(&trainer->options->reducer);
    const atr_status status =
        atr_reducer_create(trainer->comm, trainer->session.params, &options, &trainer->reducer);

    trainer->parallel.reducer = trainer->reducer;
    return status;
}

/* The map of ranks, and R02 where they are in each other's way. */
static atr_status show_places(const atr_trainer *trainer)
{
    const int ranks = atr_comm_size(trainer->comm);
    atr_place *places = NULL;
    atr_text map = {0}, warning = {0};
    atr_status status = ATR_OK;

    if (ranks == 1)
        return ATR_OK;
    ATR_TRY(atr_place_gather(&trainer->session, &places));
    if (!trainer->root)
        goto done;
    atr_place_map(places, ranks, &map);
    if (map.bytes != NULL)
        atr_train_say(trainer, "%.*s", (int)map.used - 1, map.bytes);
    atr_place_warning(places, ranks, &warning);
    if (warning.bytes != NULL)
        atr_log(ATR_LOG_WARN, "%s", warning.bytes);

done:
    atr_free(map.bytes);
    atr_free(warning.bytes);
    atr_free(places);
    return status;
}

static atr_status create(atr_trainer *trainer, atr_checkpoint_file **file)
{
    atr_status status = ATR_OK;

    ATR_TRY(atr_comm_agree(trainer->comm,
                           atr_train_config_from(trainer->parsed, trainer->options, &trainer->config)));
    if (trainer->options->stage != NULL) {
        /* A folder that cannot be used is said before much is copied. */
        ATR_TRY(atr_comm_agree(trainer->comm, trainer->root
                                                  ? atr_train_folder_prepare(trainer->options, &trainer->lock)
                                                  : ATR_OK));
        ATR_TRY(open_staged(trainer));
    }
    ATR_TRY(atr_comm_agree(trainer->comm, open_inputs(trainer)));
    ATR_TRY(atr_train_stop_early(trainer));
    ATR_TRY(atr_session_open(&trainer->options->session, trainer->comm, &trainer->session));
    (void)atr_comm_enter(trainer->comm, ATR_DOING_START, trainer->cursor.global_step);
    if (trainer->options->resume)
        ATR_TRY(atr_train_resume_model(trainer, file, &trainer->resumed));
    if (!trainer->resumed)
        ATR_TRY(atr_train_model_fresh(trainer));
    ATR_TRY(atr_comm_agree(trainer->comm, create_optim(trainer)));
    ATR_TRY(create_reducer(trainer));
    ATR_TRY(atr_train_unsent_open(trainer));
    ATR_TRY(atr_norm_ranks_open(trainer->comm, trainer->config.norm_ranks, &trainer->norm_ranks));
    if (trainer->resumed)
        ATR_TRY(atr_train_resume_optim(trainer, *file));
    (void)atr_comm_enter(trainer->comm, ATR_DOING_START, trainer->cursor.global_step);
    ATR_TRY(atr_train_stop_early(trainer));
    ATR_TRY(atr_train_phase_begin(trainer));
    (void)atr_comm_enter(trainer->comm, ATR_DOING_START, trainer->cursor.global_step);
    ATR_TRY(atr_comm_agree(trainer->comm, trainer->root ? atr_train_folder_open_log(trainer) : ATR_OK));
    atr_train_show_start(trainer);
    if (trainer->root)
        atr_cli_warn_gap(trainer->dataset);
    ATR_TRY(show_places(trainer));

done:
    return status;
}

atr_status atr_trainer_create(const atr_options *parsed, const atr_train_options *options,
                              const char *const *data, int64_t data_count, atr_comm *comm, double started,
                              atr_trainer **out)
{
    atr_trainer *trainer = NULL;
    atr_checkpoint_file *file = NULL;
    atr_status status = ATR_OK;

    *out = NULL;
    ATR_TRY(ATR_NEW(1, &trainer));
    trainer->parsed = parsed;
    trainer->options = options;
    trainer->data = data;
    trainer->data_count = data_count;
    trainer->comm = comm;
    trainer->started = started;
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
    atr_run_writer_destroy(trainer->writer); /* first: what it writes is what the run was for */
    atr_train_watch_close(trainer->watch);
    atr_runlog_close(trainer->log);
    atr_loader_destroy(trainer->loader);
    atr_reducer_destroy(trainer->reducer);
    atr_optim_destroy(trainer->optim);
    atr_loss_destroy(trainer->loss);
    atr_ema_destroy(trainer->ema);
    atr_free(trainer->sums);
    atr_free(trainer->unsent);
    atr_free(trainer->step_samples);
    atr_plans_destroy(trainer->plans);
    atr_norm_ranks_close(&trainer->norm_ranks);
    atr_confusion_free(&trainer->confusion);
    atr_session_close(&trainer->session);
    atr_dataset_close(trainer->dataset);
    atr_free(trainer->config_text);
    atr_run_lock_release(trainer->lock);
    atr_free(trainer);
}
