#include "apps/train.h"

#include <math.h>

#include "apps/stop.h"
#include "apps/train_impl.h"
#include "core/fault.h"
#include "core/timer.h"
#include "dist/monitor.h"

static atr_step_times times_of(const atr_trainer *trainer, const atr_parallel_result *result, double waited,
                               double seconds)
{
    return (atr_step_times){
        .load = waited - trainer->waited,
        .compute = result->seconds[ATR_PHASE_FORWARD] + result->seconds[ATR_PHASE_BACKWARD],
        .exposed = result->seconds[ATR_PHASE_COUNT] + result->seconds[ATR_PHASE_REDUCE],
        .update = result->seconds[ATR_PHASE_UPDATE],
        .step = seconds,
    };
}

static void add_times(atr_step_times *sum, const atr_step_times *times)
{
    sum->load += times->load;
    sum->compute += times->compute;
    sum->exposed += times->exposed;
    sum->update += times->update;
    sum->step += times->step;
}

static atr_status log_step(atr_trainer *trainer, const atr_parallel_result *result, double lr,
                           int64_t pictures)
{
    const double now = atr_seconds(), waited = atr_loader_waited(trainer->loader);
    const double seconds = now - trainer->step_ended;
    const atr_log_step record = {
        .epoch = trainer->cursor.epoch + 1,
        .step = trainer->cursor.global_step,
        .loss = result->loss,
        .f_score = result->f_score,
        .lr = lr,
        .images_per_s = seconds > 0 ? (double)pictures / seconds : 0,
        .gradient_norm = result->gradient_norm,
        .times = times_of(trainer, result, waited, seconds),
        .samples = trainer->step_samples,
        .sample_count = pictures,
    };

    trainer->step_ended = now;
    trainer->waited = waited;
    trainer->epoch_loss += result->loss;
    trainer->epoch_score += isnan(result->f_score) ? 0 : result->f_score;
    trainer->epoch_steps++;
    add_times(&trainer->epoch_times, &record.times);
    atr_train_show_step(trainer, &record);
    atr_train_watch_step(trainer, &record);
    return atr_runlog_step(trainer->log, &record);
}

/* T01 ends with what the user can do. */
static atr_status advise(atr_trainer *trainer, atr_status status, double lr)
{
    const char *const clip = trainer->options->clip > 0 ? "a smaller --clip" : "--clip 1";
    char *message = NULL;

    if (status != ATR_ERR_NUMERIC || atr_strdup(atr_status_message(), &message) != ATR_OK)
        return status;
    if (trainer->root && atr_run_writer_wait(trainer->writer) == ATR_OK)
        (void)atr_train_save_check(trainer);
    if (trainer->saved_step >= 0)
        atr_fail(status, "%s Last good checkpoint: step %lld. Try --lr %.2g, %s, or look at these samples.",
                 message, (long long)trainer->saved_step, 0.25 * lr, clip);
    else
        atr_fail(status, "%s No checkpoint was written before. Try --lr %.2g, %s, or look at these samples.",
                 message, 0.25 * lr, clip);
    atr_free(message);
    return status;
}

/* The next batch, and how this rank fares otherwise: what failed behind the training shows here. */
static atr_status next_batch(atr_trainer *trainer, atr_batch *batch)
{
    const int rank = atr_comm_rank(trainer->comm);
    const int64_t number = trainer->cursor.global_step + 1;
    atr_status status = ATR_OK;

    if (trainer->root)
        atr_run_lock_beat(trainer->lock);
    ATR_TRY(atr_comm_enter(trainer->comm, ATR_DOING_DATA, number));
    ATR_TRY(atr_train_save_check(trainer));
    ATR_TRY(atr_loader_next(trainer->loader, batch));
    if (atr_fault_nan(atr_activity_name(ATR_DOING_DATA), rank, number) && batch->count > 0)
        batch->images[0] = NAN;

done:
    return status;
}

static double larger(double a, double b)
{
    return a > b ? a : b;
}

/* One step on all ranks; `*stop`: some rank was asked to stop. */
static atr_status train_step(atr_trainer *trainer, bool *stop)
{
    const double began = atr_seconds();
    const double lr = atr_schedule_at(&trainer->phase->schedule, trainer->cursor.epoch,
                                      trainer->cursor.step_in_epoch, trainer->steps_per_epoch);
    atr_parallel_result result;
    atr_batch batch = {0};
    const atr_status ready = next_batch(trainer, &batch);
    const atr_parallel_batch part = {batch.count,  batch.height, batch.width,   batch.images,
                                     batch.labels, batch.keys,   batch.samples, batch.global_count};
    atr_status status = ATR_OK;

    status = atr_parallel_step(&trainer->parallel, &part, ready, atr_train_stop_wanted(trainer),
                               trainer->cursor.global_step + 1, lr, &result);
    ATR_TRY(advise(trainer, status, lr));
    if (trainer->options->log_samples)
        ATR_TRY(atr_train_gather_samples(trainer, &batch));
    if (trainer->ema != NULL)
        ATR_TRY(atr_ema_update(trainer->ema, trainer->session.params));
    trainer->cursor.step_in_epoch++;
    trainer->cursor.global_step++;
    trainer->steps_here++;
    trainer->longest_step = larger(trainer->longest_step, atr_seconds() - began);
    *stop = result.stop || trainer->cursor.global_step == trainer->options->stop_after;
    if (trainer->root)
        status = log_step(trainer, &result, lr, batch.global_count);

done:
    return status;
}

/* For atr_evaluate_options. */
static void evaluating(void *user, int64_t done, int64_t total)
{
    const atr_trainer *const trainer = user;

    atr_run_lock_beat(trainer->lock);
    atr_train_show_evaluating(user, done, total);
}

/* Behind a whole epoch: there --resume begins with the evaluation. */
static bool evaluation_unwanted(void *user)
{
    const atr_trainer *const trainer = user;

    if (trainer->cursor.step_in_epoch != trainer->steps_per_epoch)
        return false;
    /* One that is all that is left of a stopped epoch is not given up for the clock, or no start would ever get past it. */
    return atr_stop_wanted() || (trainer->steps_here > 0 && atr_train_time_is_up(trainer));
}

/* Scores the network on val; `*best`: it was never as good. ATR_ERR_STOPPED: a rank was asked to stop, and there are no scores. */
static atr_status evaluate(atr_trainer *trainer, bool *best)
{
    double loss = NAN;
    const atr_evaluate_options options = {
        .split = ATR_SPLIT_VAL,
        .fit = (atr_fit_mode)trainer->options->eval_fit,
        .progress = evaluating,
        .stop = evaluation_unwanted,
        .step = trainer->cursor.global_step,
        .user = trainer,
        .class_weights =
            trainer->config.loss.class_weight_count > 0 ? trainer->config.loss.class_weights : NULL,
        .loss = &loss,
    };
    const double started = atr_seconds();
    atr_session session = trainer->session; /* borrowed but for the network */
    atr_scores scores;
    atr_status status = ATR_OK;

    session.params = atr_train_shown_params(trainer);
    ATR_TRY(atr_evaluate(&session, trainer->dataset, &options, &trainer->confusion));
    atr_scores_from(&trainer->confusion, &scores);
    *best = isnan(trainer->cursor.best_score) || scores.miou > trainer->cursor.best_score;
    if (*best) {
        trainer->cursor.best_score = scores.miou;
        trainer->cursor.best_epoch = trainer->cursor.epoch + 1;
    }
    const atr_log_eval record = {
        .epoch = trainer->cursor.epoch + 1,
        .step = trainer->cursor.global_step,
        .split = atr_split_name(options.split),
        .scores = &scores,
        .loss = loss,
        .seconds = atr_seconds() - started,
        .best = *best,
    };
    if (trainer->root) {
        atr_train_show_eval(trainer, &record);
        atr_train_watch_eval(trainer, &record);
        atr_warn_only_class(&scores, trainer->dataset, atr_dataset_classes(trainer->dataset),
                            atr_split_name(options.split));
        status = atr_runlog_eval(trainer->log, &record);
    }
    status = atr_comm_agree(trainer->comm, status);

done:
    return status;
}

static bool steps_used_up(const atr_trainer *trainer)
{
    return trainer->options->max_steps > 0 && trainer->cursor.global_step >= trainer->options->max_steps;
}

static bool target_reached(const atr_trainer *trainer)
{
    return trainer->options->target_miou > 0 && trainer->cursor.best_score >= trainer->options->target_miou;
}

/* The log's last line: who follows it need not wait for more. */
static atr_status log_end(const atr_trainer *trainer, const char *how)
{
    char now[ATR_TIME_TEXT_BYTES];
    atr_text text = {0};
    atr_status status = ATR_OK;

    if (trainer->root) {
        atr_text_append(&text, "{\"kind\":\"end\",\"time\":\"%s\",\"step\":%lld,\"how\":\"%s\"}",
                        atr_time_text(now), (long long)trainer->cursor.global_step, how);
        status = atr_runlog_line(trainer->log, &text);
    }
    return atr_comm_agree(trainer->comm, status);
}

static atr_status stop_run(atr_trainer *trainer)
{
    const double started = atr_seconds();
    const char *const reason = atr_train_stop_reason(trainer);
    atr_status status = ATR_OK;

    ATR_TRY(atr_train_save(trainer, false));
    ATR_TRY(atr_train_save_wait(trainer));
    ATR_TRY(log_end(trainer, "stopped"));
    atr_train_say(trainer,
                  "R03: %s: saved step %lld in %.1f s, exit 75. Resume: the same command with --resume.",
                  reason, (long long)trainer->cursor.global_step, atr_seconds() - started);
    status = atr_fail(ATR_ERR_STOPPED, "stopped after step %lld", (long long)trainer->cursor.global_step);

done:
    return status;
}

/* After the steps of an epoch, or where the steps of the run are used up within one: evaluation and checkpoint. */
static atr_status end_epoch(atr_trainer *trainer)
{
    const atr_train_options *const options = trainer->options;
    const int64_t *samples = NULL;
    const int64_t number = trainer->cursor.epoch + 1;
    const bool last = number == options->epochs || steps_used_up(trainer);
    const bool whole = trainer->cursor.step_in_epoch == trainer->steps_per_epoch;
    bool best = false;
    atr_status status = ATR_OK;

    atr_train_show_epoch(trainer);
    if (options->eval_period > 0 && (last || number % options->eval_period == 0) &&
        atr_dataset_split(trainer->dataset, ATR_SPLIT_VAL, &samples) > 0) {
        status = evaluate(trainer, &best);
        if (status == ATR_ERR_STOPPED && !atr_comm_agreed_to_stop(trainer->comm))
            ATR_TRY(stop_run(trainer)); /* with all steps of the epoch done: it goes on with the evaluation */
        ATR_TRY(status);
    }
    if (trainer->root)
        atr_train_watch_epoch(trainer);
    if (whole) {
        trainer->cursor.epoch++;
        trainer->cursor.step_in_epoch = 0;
    }
    if (last || best || number % options->save_period == 0)
        ATR_TRY(atr_train_save(trainer, best));

done:
    return status;
}

static void start_clock(atr_trainer *trainer)
{
    trainer->epoch_loss = trainer->epoch_score = 0;
    trainer->epoch_steps = 0;
    trainer->epoch_times = (atr_step_times){0};
    trainer->epoch_started = trainer->step_ended = atr_seconds();
    trainer->waited = atr_loader_waited(trainer->loader);
}

/* --save-steps; at the end of an epoch its own checkpoint follows. */
static bool save_is_due(const atr_trainer *trainer)
{
    const int64_t period = trainer->options->save_steps;

    return period > 0 && trainer->cursor.global_step % period == 0 &&
           trainer->cursor.step_in_epoch < trainer->steps_per_epoch;
}

atr_status atr_trainer_run(atr_trainer *trainer)
{
    bool stop = false;
    atr_status status = ATR_OK;

    ATR_TRY(atr_train_stop_early(trainer));
    while (trainer->cursor.epoch < trainer->options->epochs && !steps_used_up(trainer) &&
           !target_reached(trainer)) {
        ATR_TRY(atr_train_phase_switch(trainer));
        start_clock(trainer);
        while (trainer->cursor.step_in_epoch < trainer->steps_per_epoch && !steps_used_up(trainer)) {
            ATR_TRY(train_step(trainer, &stop));
            if (stop)
                ATR_TRY(stop_run(trainer));
            if (save_is_due(trainer))
                ATR_TRY(atr_train_save(trainer, false));
        }
        ATR_TRY(end_epoch(trainer));
    }
    if (target_reached(trainer))
        atr_train_say(trainer, "mIoU %.2f %% of epoch %lld reaches the target of %.2f %%",
                      100 * trainer->cursor.best_score, (long long)trainer->cursor.best_epoch,
                      100 * trainer->options->target_miou);
    ATR_TRY(atr_train_save_wait(trainer));
    (void)atr_comm_enter(trainer->comm, ATR_DOING_END, trainer->cursor.global_step);
    ATR_TRY(log_end(trainer, "done"));
    atr_train_say(trainer, "done: %lld steps%s", (long long)trainer->cursor.global_step,
                  isnan(trainer->cursor.best_score) ? "" : ", best.h5 is the network with the best val mIoU");

done:
    return status;
}
