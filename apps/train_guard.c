#include <math.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "apps/commands.h"
#include "apps/launcher.h"
#include "apps/runread.h"
#include "apps/stop.h"
#include "apps/train_impl.h"
#include "core/timer.h"
#include "dist/monitor.h"

/* What ends a run before its time: signals, --max-time, the batch system's clock, ranks that are gone or stand still. */

/* Kept free before the batch system ends the job: it kills on time, and clocks of nodes differ. */
static const double job_margin_s = 30;

/* The thread that trains may be printing: nothing of stdio here. */
static void say(void *user, const char *message)
{
    char line[4608];
    const double since = atr_stop_since();
    int length = snprintf(line, sizeof line, "atrous train: %s", message);

    (void)user;
    if (length > 4200)
        length = 4200;
    /* The launcher may kill the ranks that are left as soon as one is gone: only an older signal explains anything. */
    if (since > 0.5)
        length += snprintf(line + length, sizeof line - (size_t)length, " %s had come %.1f s before.",
                           atr_stop_signal(), since);
    line[length++] = '\n';
    if (write(STDERR_FILENO, line, (size_t)length) < 0)
        _exit(ATR_EXIT_FAILED);
}

static void lost(void *user)
{
    (void)user;
    atr_launcher_hurry();
}

static void end(void *user, int code)
{
    (void)user;
    _exit(code);
}

atr_status atr_train_guard(atr_comm *comm, const atr_train_options *options)
{
    const atr_watch_options watch = {.stall_timeout = options->stall_timeout,
                                     .lost_timeout = options->lost_timeout,
                                     .say = say,
                                     .end = end,
                                     .lost = lost,
                                     .code = ATR_EXIT_FAILED};

    return atr_comm_watch(comm, &watch);
}

atr_status atr_train_deadline(const char *text, double started, double *deadline)
{
    double seconds = INFINITY;
    atr_status status = ATR_OK;

    if (strcmp(text, "auto") == 0) {
        const double left = atr_stop_job_seconds() - job_margin_s;
        *deadline = atr_seconds() + left;
        return ATR_OK;
    }
    ATR_TRY(atr_fail_prefix(atr_duration_parse(text, &seconds), "--max-time"));
    *deadline = seconds > 0 ? started + seconds : INFINITY;

done:
    return status;
}

/* The step that is about to begin is made in any case, so that a job that is started again and again gets on; behind it another one
 * and a checkpoint must end in time. */
bool atr_train_time_is_up(const atr_trainer *trainer)
{
    const double reserve = 2 * trainer->longest_step + trainer->save_seconds;

    return trainer->root && atr_seconds() + reserve >= trainer->deadline;
}

bool atr_train_stop_wanted(const atr_trainer *trainer)
{
    return atr_stop_wanted() || atr_train_time_is_up(trainer);
}

const char *atr_train_stop_reason(const atr_trainer *trainer)
{
    if (atr_stop_wanted())
        return atr_stop_signal();
    if (!atr_train_time_is_up(trainer))
        return "asked to stop";
    return strcmp(trainer->options->max_time, "auto") == 0 ? "end of the job's time" : "--max-time";
}

atr_status atr_train_stop_early(atr_trainer *trainer)
{
    int64_t votes = atr_stop_wanted();
    atr_status status = ATR_OK;

    ATR_TRY(atr_comm_sum_i64(trainer->comm, &votes, 1));
    if (votes == 0)
        return ATR_OK;
    atr_train_say(
        trainer,
        "R03: %s before the first step: nothing new to save, exit 75. Resume: the same command with "
        "--resume.",
        atr_train_stop_reason(trainer));
    status = atr_fail(ATR_ERR_STOPPED, "stopped before the first step");

done:
    return status;
}

void atr_train_say_killed(const atr_trainer *trainer)
{
    atr_run_history history = {0};
    const atr_status status = atr_run_history_read(trainer->options->out, &history);
    const double last = history.step_count > 0 ? history.step[history.step_count - 1] : 0;

    /* A log that cannot be read stops nothing here: it is cut where the run goes on. */
    if (status == ATR_OK && history.started && !history.ended)
        atr_train_say(trainer,
                      "R03: the last start of this run did not come to its end (killed, or its node went "
                      "down) after step "
                      "%.0f; going on behind step %lld",
                      last, (long long)trainer->cursor.global_step);
    atr_run_history_free(&history);
}
