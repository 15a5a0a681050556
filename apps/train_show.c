#include <math.h>
#include <stdarg.h>
#include <stdio.h>

#include "apps/cli.h"
#include "apps/train_impl.h"
#include "core/progress.h"
#include "core/timer.h"

/* On a terminal a progress bar lives on the error output; lines go to the standard output in both cases. */
static void clear_bar(const atr_trainer *trainer)
{
    if (trainer->columns > 0)
        fprintf(stderr, "\r\033[K");
}

/* The terminal may have changed its width since the last one. */
static void show_line(const atr_progress *progress)
{
    const int columns = atr_cli_columns(stderr);
    char line[512];

    fprintf(stderr, "\r%s\033[K",
            atr_progress_line(progress, columns > 1 ? columns - 1 : 1, line, sizeof line));
}

void atr_train_say(const atr_trainer *trainer, const char *format, ...)
{
    va_list arguments;

    if (!trainer->root)
        return;
    clear_bar(trainer);
    va_start(arguments, format);
    vprintf(format, arguments);
    va_end(arguments);
    printf("\n");
    fflush(stdout);
}

static void show_data(const atr_trainer *trainer)
{
    const int64_t *samples = NULL;
    const int64_t train = atr_dataset_split(trainer->dataset, ATR_SPLIT_TRAIN, &samples);
    const int64_t val = atr_dataset_split(trainer->dataset, ATR_SPLIT_VAL, &samples);

    atr_train_say(trainer, "data: %s, %lld train, %lld val", trainer->data, (long long)train, (long long)val);
}

static void show_memory(const atr_trainer *trainer)
{
    const double mib = 1.0 / (1 << 20);
    const double values = (double)atr_params_flat_count(trainer->session.params) * sizeof(float);

    atr_train_say(trainer, "memory per rank: %.0f MiB activations, %.0f MiB values, gradients and moments",
                  (double)atr_plan_arena_bytes(trainer->plan) * mib,
                  values * (2 + atr_optim_moment_count(trainer->optim)) * mib);
}

static void show_schedule(const atr_trainer *trainer)
{
    const atr_train_options *const options = trainer->options;
    const atr_schedule *const schedule = &trainer->config.schedule;

    atr_train_say(
        trainer,
        "%lld epochs of %lld steps, batch %lld at %lldx%lld, %s, %s schedule, learning rate %.4g to %.4g%s",
        (long long)options->epochs, (long long)trainer->steps_per_epoch, (long long)options->batch,
        (long long)trainer->config.height, (long long)trainer->config.width,
        trainer->config.optim.kind == ATR_OPTIM_ADAM ? "Adam" : "SGD",
        schedule->kind == ATR_SCHEDULE_COS ? "cosine" : "step", schedule->lr, schedule->min_lr,
        options->fit_lr ? " (scaled to the batch)" : "");
}

void atr_train_show_start(const atr_trainer *trainer)
{
    char model[ATR_SESSION_TEXT_BYTES], threads[ATR_THREADS_TEXT_BYTES];

    atr_train_say(trainer, "model: %s", atr_session_text(&trainer->session, model));
    show_data(trainer);
    atr_train_say(trainer, "machine: %d rank%s, each %s; back end %s", atr_comm_size(trainer->comm),
                  atr_comm_size(trainer->comm) == 1 ? "" : "s",
                  atr_threads_text(&trainer->session.threads, threads),
                  trainer->session.backend->table->name);
    show_memory(trainer);
    show_schedule(trainer);
    if (trainer->resumed)
        atr_train_say(trainer, "resumed after step %lld (epoch %lld, step %lld of %lld)",
                      (long long)trainer->cursor.global_step, (long long)trainer->cursor.epoch + 1,
                      (long long)trainer->cursor.step_in_epoch, (long long)trainer->steps_per_epoch);
}

/* ", f-score 0.713" into `text` [32], nothing where it is not known; returns `text`. */
static char *score_text(double f_score, char *text)
{
    text[0] = '\0';
    if (isfinite(f_score))
        snprintf(text, 32, ", f-score %.3f", f_score);
    return text;
}

static void show_bar(const atr_trainer *trainer, const atr_log_step *record)
{
    char label[64], extra[128], score[32] = "";
    const atr_progress progress = {
        .label = label,
        .unit = "steps",
        .done = trainer->cursor.step_in_epoch,
        .total = trainer->steps_per_epoch,
        .first = trainer->cursor.step_in_epoch - trainer->epoch_steps,
        .seconds = atr_seconds() - trainer->epoch_started,
        .extra = extra,
        .rate_unit = "images",
        .rate_each = (double)trainer->options->batch,
    };

    snprintf(label, sizeof label, "epoch %lld/%lld", (long long)record->epoch,
             (long long)trainer->options->epochs);
    snprintf(extra, sizeof extra, "loss %.4f%s, lr %.4g", record->loss, score_text(record->f_score, score),
             record->lr);
    show_line(&progress);
}

void atr_train_show_step(const atr_trainer *trainer, const atr_log_step *record)
{
    char score[32];

    if (trainer->columns > 0)
        show_bar(trainer, record);
    else if (record->step % trainer->options->log_interval == 0)
        atr_train_say(trainer, "epoch %lld/%lld step %lld: loss %.4f%s, lr %.4g, %.1f images/s",
                      (long long)record->epoch, (long long)trainer->options->epochs, (long long)record->step,
                      record->loss, score_text(record->f_score, score), record->lr, record->images_per_s);
}

void atr_train_show_evaluating(void *user, int64_t done, int64_t total)
{
    const atr_trainer *const trainer = user;
    const atr_progress progress = {.label = "val",
                                   .unit = "images",
                                   .done = done,
                                   .total = total,
                                   .seconds = atr_seconds() - trainer->step_ended};

    if (trainer->columns > 0)
        show_line(&progress);
}

/* Of the whole run, at this epoch's pace: evaluations are in it as far as they are in the epoch. */
static char *left_text(const atr_trainer *trainer, char *text)
{
    const atr_train_options *const options = trainer->options;
    const double each = (atr_seconds() - trainer->epoch_started) / (double)trainer->epoch_steps;
    int64_t steps =
        (options->epochs - trainer->cursor.epoch) * trainer->steps_per_epoch - trainer->cursor.step_in_epoch;

    if (options->max_steps > 0 && options->max_steps - trainer->cursor.global_step < steps)
        steps = options->max_steps - trainer->cursor.global_step;
    return atr_duration_text(each * (double)steps, text);
}

void atr_train_show_epoch(const atr_trainer *trainer)
{
    char duration[24], left[24];

    if (trainer->epoch_steps > 0)
        atr_train_say(
            trainer, "epoch %lld/%lld: loss %.4f, %s, %s left", (long long)trainer->cursor.epoch + 1,
            (long long)trainer->options->epochs, trainer->epoch_loss / (double)trainer->epoch_steps,
            atr_duration_text(atr_seconds() - trainer->epoch_started, duration), left_text(trainer, left));
}

void atr_train_show_eval(const atr_trainer *trainer, const atr_log_eval *record)
{
    atr_train_say(trainer, "epoch %lld/%lld: %s loss %.4f, mIoU %.2f %%, pixel accuracy %.2f %%%s",
                  (long long)record->epoch, (long long)trainer->options->epochs, record->split, record->loss,
                  100 * record->scores->miou, 100 * record->scores->pixel_accuracy,
                  record->best ? ", the best so far" : "");
}
