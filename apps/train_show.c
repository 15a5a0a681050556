#include <math.h>
#include <stdarg.h>
#include <stdio.h>

#include "apps/cli.h"
#include "apps/train_impl.h"
#include "core/log.h"
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

    atr_train_say(trainer, "data: %s, %lld train, %lld val", atr_dataset_path(trainer->dataset),
                  (long long)train, (long long)val);
}

static void show_norms(const atr_trainer *trainer)
{
    const atr_norm_ranks *const ranks = &trainer->norm_ranks;
    const int size = atr_comm_size(trainer->comm);

    if (ranks->all)
        atr_train_say(trainer, "batch norms: statistics of all %d ranks together", size);
    else if (atr_norm_ranks_group(ranks) != NULL)
        atr_train_say(trainer, "batch norms: statistics of %d neighbouring ranks together%s", ranks->end,
                      size % ranks->end != 0 ? ", of fewer in the last group" : "");
}

/* "epochs 1-50: backbone frozen, batch 8, 45 steps each, learning rate 0.0035 to 3.5e-05 (scaled to the batch)" */
static void say_phase(const atr_trainer *trainer, const atr_train_phase *phase)
{
    atr_train_say(trainer, "epochs %lld-%lld:%s batch %lld, %lld steps each, learning rate %.4g to %.4g%s",
                  (long long)phase->first + 1, (long long)phase->end,
                  phase->frozen ? " backbone frozen," : "", (long long)phase->batch,
                  (long long)atr_train_phase_steps(trainer, phase), phase->schedule.lr,
                  phase->schedule.min_lr, trainer->options->fit_lr ? " (scaled to the batch)" : "");
}

/* T04, as the reference counts: as if the backbone were never frozen. */
static void warn_few_steps(const atr_trainer *trainer)
{
    const atr_train_options *const options = trainer->options;
    const int64_t wanted = atr_schedule_wanted_steps(trainer->config.optim.kind);
    const int64_t epoch_steps = atr_train_phase_steps(trainer, &(atr_train_phase){.batch = options->batch});
    const int64_t total = epoch_steps * options->epochs;

    if (trainer->root && !trainer->resumed && epoch_steps > 0 && total <= wanted)
        atr_log(ATR_LOG_WARN,
                "T04: %lld epochs are %lld steps of batch %lld; with %s a good result usually takes more "
                "than %lld "
                "(--epochs %lld).",
                (long long)options->epochs, (long long)total, (long long)options->batch,
                atr_optim_kind_name(trainer->config.optim.kind), (long long)wanted,
                (long long)(wanted / epoch_steps + 1));
}

/* T05: what is frozen ought to be worth keeping. */
static void warn_random_backbone(const atr_trainer *trainer)
{
    const atr_train_options *const options = trainer->options;

    if (trainer->root && options->freeze_epochs > 0 && options->weights == NULL && !trainer->resumed)
        atr_log(ATR_LOG_WARN,
                "T05: the backbone is frozen at random values for %lld epochs: --freeze-epochs is for a "
                "network that "
                "--weights brings. Without one, --freeze-epochs 0.",
                (long long)options->freeze_epochs);
}

static void show_schedule(const atr_trainer *trainer)
{
    const atr_train_options *const options = trainer->options;

    atr_train_say(trainer, "%lld epochs at %lldx%lld, optimizer %s, schedule %s", (long long)options->epochs,
                  (long long)trainer->config.height, (long long)trainer->config.width,
                  atr_optim_kind_name(trainer->config.optim.kind),
                  atr_schedule_kind_name(trainer->config.phases[0].schedule.kind));
    for (int i = 0; i < trainer->config.phase_count; i++)
        say_phase(trainer, &trainer->config.phases[i]);
    warn_few_steps(trainer);
    warn_random_backbone(trainer);
}

void atr_train_show_phase(const atr_trainer *trainer)
{
    say_phase(trainer, trainer->phase);
}

static void show_loss(const atr_trainer *trainer)
{
    char *text = NULL;

    if (!trainer->root)
        return;
    if (atr_loss_describe(&trainer->options->loss, &trainer->config.loss, trainer->dataset, &text) == ATR_OK)
        atr_train_say(trainer, "%s", text);
    atr_free(text);
}

void atr_train_show_start(const atr_trainer *trainer)
{
    char model[ATR_SESSION_TEXT_BYTES], threads[ATR_THREADS_TEXT_BYTES], reducer[ATR_REDUCER_TEXT_BYTES];

    atr_train_say(trainer, "model: %s", atr_session_text(&trainer->session, model));
    show_data(trainer);
    atr_train_say(trainer, "machine: %d rank%s, each %s; back end %s, %s", atr_comm_size(trainer->comm),
                  atr_comm_size(trainer->comm) == 1 ? "" : "s",
                  atr_threads_text(&trainer->session.threads, threads), trainer->session.backend->table->name,
                  atr_precision_text(trainer->session.backend));
    if (atr_comm_size(trainer->comm) > 1)
        atr_train_say(trainer, "gradients: %s", atr_reducer_text(trainer->reducer, reducer));
    show_norms(trainer);
    show_schedule(trainer);
    show_loss(trainer);
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
        .rate_each = (double)trainer->phase->batch,
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

/* Pictures of the steps that are left, of all phases. */
static double pictures_left(const atr_trainer *trainer)
{
    const atr_train_options *const options = trainer->options;
    int64_t most = options->max_steps > 0 ? options->max_steps - trainer->cursor.global_step : INT64_MAX;
    double pictures = 0;

    for (int i = 0; i < trainer->config.phase_count; i++) {
        const atr_train_phase *const phase = &trainer->config.phases[i];
        const int64_t each = atr_train_phase_steps(trainer, phase);
        const int64_t now = trainer->cursor.epoch;
        int64_t steps = (phase->end - (now > phase->first ? now : phase->first)) * each;
        if (now >= phase->first && now < phase->end)
            steps -= trainer->cursor.step_in_epoch;
        if (now >= phase->end || most <= 0)
            continue;
        steps = steps < most ? steps : most;
        most -= steps;
        pictures += (double)steps * (double)phase->batch;
    }
    return pictures;
}

/* Of the whole run, at this epoch's pace: evaluations are in it as far as they are in the epoch. */
static char *left_text(const atr_trainer *trainer, char *text)
{
    const double done = (double)trainer->epoch_steps * (double)trainer->phase->batch;

    return atr_duration_text((atr_seconds() - trainer->epoch_started) / done * pictures_left(trainer), text);
}

/* "compute 91 %, data 2 %, communication 5 %, update 2 %", what is left aside being the program's own business. */
static char *times_text(const atr_step_times *times, char *text, size_t bytes)
{
    const double percent = times->step > 0 ? 100 / times->step : 0;

    snprintf(text, bytes, "compute %.0f %%, data %.0f %%, communication %.0f %%, update %.0f %%",
             percent * times->compute, percent * times->load, percent * times->exposed,
             percent * times->update);
    return text;
}

void atr_train_show_epoch(const atr_trainer *trainer)
{
    char duration[24], left[24], score[32], times[128];

    if (trainer->epoch_steps > 0)
        atr_train_say(trainer, "epoch %lld/%lld: loss %.4f%s, %s, %s left; time: %s",
                      (long long)trainer->cursor.epoch + 1, (long long)trainer->options->epochs,
                      trainer->epoch_loss / (double)trainer->epoch_steps,
                      score_text(trainer->epoch_score / (double)trainer->epoch_steps, score),
                      atr_duration_text(atr_seconds() - trainer->epoch_started, duration),
                      left_text(trainer, left), times_text(&trainer->epoch_times, times, sizeof times));
}

void atr_train_show_eval(const atr_trainer *trainer, const atr_log_eval *record)
{
    atr_train_say(trainer, "epoch %lld/%lld: %s loss %.4f, mIoU %.2f %%, pixel accuracy %.2f %%%s",
                  (long long)record->epoch, (long long)trainer->options->epochs, record->split, record->loss,
                  100 * record->scores->miou, 100 * record->scores->pixel_accuracy,
                  record->best ? ", the best so far" : "");
}
