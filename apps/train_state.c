#include <math.h>
#include <stdio.h>
#include <string.h>

#include "apps/train_impl.h"
#include "core/rng.h"
#include "dist/monitor.h"

/* The moments as io knows them: names and flat blocks, borrowed from the optimiser. */
static atr_optim_state moments_of(const atr_trainer *trainer)
{
    atr_optim_state state = {.step = atr_optim_steps(trainer->optim),
                             .slot_count = atr_optim_moment_count(trainer->optim)};

    snprintf(state.kind, sizeof state.kind, "%s", atr_optim_kind_name(trainer->config.optim.kind));
    state.entry_steps = atr_optim_entry_steps(trainer->optim);
    for (int i = 0; i < state.slot_count; i++) {
        snprintf(state.slots[i].name, sizeof state.slots[i].name, "%s",
                 atr_optim_moment_name(trainer->optim, i));
        state.slots[i].flat = atr_params_flat_values(atr_optim_moment(trainer->optim, i));
    }
    return state;
}

static atr_status start_checkpoint(const atr_trainer *trainer, bool best)
{
    const atr_train_cursor *const cursor = &trainer->cursor;
    const atr_optim_state optim = moments_of(trainer);
    atr_train_state state = {
        .epoch = cursor->epoch,
        .step_in_epoch = cursor->step_in_epoch,
        .global_step = cursor->global_step,
        .global_batch = atr_train_phase_at(&trainer->config, cursor->epoch)->batch,
        .ranks = atr_comm_size(trainer->comm),
        .seed = (uint64_t)trainer->options->seed,
        .rng_key = atr_rng_key((uint64_t)trainer->options->seed, ATR_RNG_SHUFFLE, (uint64_t)cursor->epoch, 0),
        .best_score = cursor->best_score,
        .best_epoch = cursor->best_epoch,
        .data_fingerprint = atr_dataset_fingerprint(trainer->dataset),
        .config = trainer->config_text,
    };
    const atr_checkpoint checkpoint = {
        .info = &trainer->session.info,
        .params = atr_train_shown_params(trainer),
        .optim = &optim,
        .state = &state,
        .trained = trainer->ema != NULL ? trainer->session.params : NULL,
        .unsent_count = trainer->unsent_count,
        .unsent = trainer->unsent,
    };

    if (trainer->ema != NULL)
        state.average_steps = atr_ema_steps(trainer->ema);
    snprintf(state.schedule, sizeof state.schedule, "%s",
             atr_schedule_kind_name(trainer->config.phases[0].schedule.kind));
    return atr_run_writer_start(trainer->writer, &checkpoint, best, trainer->options->async_save);
}

/* Rank 0: what is known of the checkpoints up to now. */
static void note_saved(atr_trainer *trainer)
{
    const int64_t step = atr_run_writer_step(trainer->writer);

    if (step < 0)
        return; /* this process has written none yet */
    trainer->saved_step = step;
    trainer->save_seconds = atr_run_writer_seconds(trainer->writer);
}

atr_status atr_train_save(atr_trainer *trainer, bool best)
{
    atr_status status = ATR_OK;

    status = atr_comm_enter(trainer->comm, ATR_DOING_CHECKPOINT, trainer->cursor.global_step);
    if (trainer->unsent_count > 0) {
        ATR_TRY(atr_comm_agree(trainer->comm, status));
        ATR_TRY(atr_train_unsent_take(trainer));
    }
    if (trainer->root && status == ATR_OK) {
        status = start_checkpoint(trainer, best);
        note_saved(trainer);
    }
    (void)atr_comm_enter(trainer->comm, ATR_DOING_AGREEMENT, trainer->cursor.global_step);
    status = atr_comm_agree(trainer->comm, status);

done:
    return status;
}

atr_status atr_train_save_wait(atr_trainer *trainer)
{
    atr_status status = ATR_OK;

    (void)atr_comm_enter(trainer->comm, ATR_DOING_CHECKPOINT, trainer->cursor.global_step);
    if (trainer->root) {
        status = atr_run_writer_wait(trainer->writer);
        note_saved(trainer);
    }
    (void)atr_comm_enter(trainer->comm, ATR_DOING_AGREEMENT, trainer->cursor.global_step);
    return atr_comm_agree(trainer->comm, status);
}

atr_status atr_train_save_check(atr_trainer *trainer)
{
    if (!trainer->root)
        return ATR_OK;
    note_saved(trainer);
    return atr_run_writer_check(trainer->writer);
}

/* What cannot change between two parts of one run. */
static atr_status check_same_run(const atr_trainer *trainer, const atr_checkpoint_file *file,
                                 const atr_train_state *state)
{
    const atr_model_info *const info = atr_checkpoint_info(file);
    const atr_train_options *const options = trainer->options;
    const char *const path = atr_checkpoint_path(file);
    const int64_t batch = atr_train_phase_at(&trainer->config, state->epoch)->batch;

    if (state->data_fingerprint != atr_dataset_fingerprint(trainer->dataset))
        return atr_fail(ATR_ERR_USAGE,
                        "%s was trained on other data than %s: a run is resumed on the data it began with",
                        path, atr_dataset_path(trainer->dataset));
    if (strcmp(info->backbone, options->backbone) != 0 || info->output_stride != options->output_stride ||
        info->height != trainer->config.height || info->width != trainer->config.width)
        return atr_fail(
            ATR_ERR_USAGE,
            "M01: %s: %s, output stride %lld, %lldx%lld. Asked: %s, %lld, %lldx%lld. Start another run "
            "(--weights %s) for that.",
            path, info->backbone, (long long)info->output_stride, (long long)info->height,
            (long long)info->width, options->backbone, (long long)options->output_stride,
            (long long)trainer->config.height, (long long)trainer->config.width, path);
    if (state->global_batch != batch || state->seed != (uint64_t)options->seed)
        return atr_fail(
            ATR_ERR_USAGE,
            "%s: batch %lld, seed %llu. Asked: batch %lld, seed %lld. A run is resumed with the same.", path,
            (long long)state->global_batch, (unsigned long long)state->seed, (long long)batch,
            (long long)options->seed);
    return ATR_OK;
}

static void say_changes(const atr_trainer *trainer, const atr_train_state *state)
{
    if (state->ranks != atr_comm_size(trainer->comm))
        atr_train_say(trainer, "R03: saved on %lld ranks, now %d: global batch %lld kept",
                      (long long)state->ranks, atr_comm_size(trainer->comm), (long long)state->global_batch);
    if (state->config != NULL && strcmp(state->config, trainer->config_text) != 0)
        atr_train_say(trainer, "options differ from those before: the run goes on with the new ones");
}

/* Rank 0: opens the checkpoint and reads the cursor. */
static atr_status open_checkpoint(atr_trainer *trainer, atr_checkpoint_file **file, bool *found)
{
    atr_train_state state = {0};
    char *note = NULL;
    atr_status status = atr_run_resume(trainer->options->out, file, &note);

    *found = status == ATR_OK;
    if (status == ATR_ERR_NOT_FOUND)
        return ATR_OK;
    ATR_TRY(status);
    if (note != NULL)
        atr_train_say(trainer, "R03: %s", note);
    ATR_TRY(atr_checkpoint_load_state(*file, &state));
    ATR_TRY(check_same_run(trainer, *file, &state));
    say_changes(trainer, &state);
    trainer->cursor = (atr_train_cursor){
        .epoch = state.epoch,
        .step_in_epoch = state.step_in_epoch,
        .global_step = state.global_step,
        .best_score = state.best_score,
        .best_epoch = state.best_epoch,
        .average_steps = state.average_steps,
        .averaged = atr_checkpoint_has_trained(*file),
    };

done:
    atr_free(note);
    atr_train_state_free(&state);
    return status;
}

atr_status atr_train_resume_model(atr_trainer *trainer, atr_checkpoint_file **file, bool *found)
{
    atr_status status = ATR_OK;

    *found = false;
    if (trainer->root)
        status = open_checkpoint(trainer, file, found);
    ATR_TRY(atr_comm_agree(trainer->comm, status));
    ATR_TRY(atr_comm_broadcast(trainer->comm, found, sizeof *found, 0));
    if (!*found)
        goto done;
    ATR_TRY(atr_comm_broadcast(trainer->comm, &trainer->cursor, sizeof trainer->cursor, 0));
    ATR_TRY(atr_session_load_from(&trainer->session, *file, ATR_OK, trainer->config.dropout));
    trainer->saved_step = trainer->cursor.global_step;

done:
    return status;
}

/* The checkpoint's network is the average: it goes where that belongs, and training goes on from the one beside it. Without one
 * in the file the average begins at the network, with one that is not wanted any more it is left out. */
static atr_status resume_average(atr_trainer *trainer, const atr_checkpoint_file *file)
{
    atr_params *const params = trainer->session.params;
    atr_status status = ATR_OK;

    if (!trainer->cursor.averaged) {
        if (trainer->ema != NULL)
            atr_train_say(trainer, "the average of the weights begins here: there was none before");
        return ATR_OK;
    }
    if (trainer->ema == NULL)
        atr_train_say(trainer, "the average of the weights is given up: --ema is 0 now");
    else
        atr_ema_set_steps(trainer->ema, trainer->cursor.average_steps);
    if (trainer->root)
        status = atr_checkpoint_load_trained(file, params);
    ATR_TRY(atr_comm_agree(trainer->comm, status));
    ATR_TRY(atr_comm_broadcast_params(trainer->comm, params, 0));

done:
    return status;
}

atr_status atr_train_resume_optim(atr_trainer *trainer, const atr_checkpoint_file *file)
{
    atr_optim_state state = moments_of(trainer);
    atr_status status = ATR_OK;

    if (trainer->root)
        status = atr_checkpoint_load_optim(file, trainer->session.params, &state);
    ATR_TRY(atr_comm_agree(trainer->comm, status));
    ATR_TRY(atr_comm_broadcast(trainer->comm, &state.step, sizeof state.step, 0));
    for (int i = 0; i < state.slot_count; i++)
        ATR_TRY(atr_comm_broadcast_params(trainer->comm, atr_optim_moment(trainer->optim, i), 0));
    ATR_TRY(atr_comm_broadcast(trainer->comm, state.entry_steps,
                               (size_t)atr_params_count(trainer->session.params) * sizeof *state.entry_steps,
                               0));
    atr_optim_set_update_count(trainer->optim, state.step);
    ATR_TRY(resume_average(trainer, file));
    ATR_TRY(atr_train_unsent_resume(trainer, file));

done:
    return status;
}
