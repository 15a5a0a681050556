#include <math.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

#include "apps/stop.h"

static void times_are_read_as_batch_systems_write_them(void **unused)
{
    static const struct {
        const char *text;
        double seconds;
    } cases[] = {
        {"0", 0},        {"5400", 5400},         {"1.5", 1.5},        {"90m", 5400},
        {"45s", 45},     {"2d", 172800},         {"1h30m", 5400},     {"1:30:00", 5400},
        {"30:00", 1800}, {"1-12:00:00", 129600}, {"1-12:30", 131400}, {"36:00:00", 129600},
        {"0.5h", 1800},
    };

    (void)unused;
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        double seconds = -1;
        if (atr_duration_parse(cases[i].text, &seconds) != ATR_OK || seconds != cases[i].seconds)
            fail_msg("%s: %g", cases[i].text, seconds);
    }
}

static void other_times_are_refused(void **unused)
{
    static const char *const cases[] = {"",        "soon", "-5", "1:",  "1:2:3:4", "90x", "1h30",
                                        "1:75:00", "1-",   "m",  "nan", "1e300",   ":30"};

    (void)unused;
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        double seconds = -1;
        if (atr_duration_parse(cases[i], &seconds) != ATR_ERR_USAGE || seconds != -1)
            fail_msg("'%s' was read as %g", cases[i], seconds);
    }
}

static void slurm_says_when_the_job_ends(void **unused)
{
    char text[32];

    (void)unused;
    unsetenv("SLURM_JOB_END_TIME");
    assert_true(isinf(atr_stop_job_seconds()));
    snprintf(text, sizeof text, "%lld", (long long)time(NULL) + 600);
    setenv("SLURM_JOB_END_TIME", text, 1);
    const double left = atr_stop_job_seconds();
    assert_true(left > 500 && left <= 600);
    setenv("SLURM_JOB_END_TIME", "Unknown", 1);
    assert_true(isinf(atr_stop_job_seconds()));
    unsetenv("SLURM_JOB_END_TIME");
}

/* Raises `signals` [count] in a child after atr_stop_watch(): the signal that ended it, or 0 where it lives and wants to stop. */
static int raised(const int *signals, int count, bool ignored)
{
    const pid_t child = fork();
    int result = 0;

    assert_true(child >= 0);
    if (child == 0) {
        if (ignored)
            signal(SIGHUP, SIG_IGN);
        atr_stop_watch();
        for (int i = 0; i < count; i++)
            raise(signals[i]);
        _exit(atr_stop_wanted() && strncmp(atr_stop_signal(), "SIG", 3) == 0 ? 0 : 1);
    }
    assert_int_equal(waitpid(child, &result, 0), child);
    return WIFSIGNALED(result) ? WTERMSIG(result) : -WEXITSTATUS(result);
}

static void signals_are_remembered_however_often_they_come(void **unused)
{
    (void)unused;
    assert_int_equal(raised((int[]){SIGUSR1, SIGUSR1}, 2, false), 0);
    assert_int_equal(raised((int[]){SIGTERM, SIGTERM, SIGUSR1}, 3, false), 0);
    assert_int_equal(raised((int[]){SIGHUP}, 1, false), 0);
    assert_int_equal(raised((int[]){SIGINT}, 1, false), 0);
}

static void a_second_ctrl_c_ends_at_once(void **unused)
{
    (void)unused;
    assert_int_equal(raised((int[]){SIGINT, SIGINT}, 2, false), SIGINT);
}

/* nohup */
static void an_ignored_hangup_stays_ignored(void **unused)
{
    (void)unused;
    assert_int_equal(raised((int[]){SIGHUP}, 1, true), -1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(times_are_read_as_batch_systems_write_them),
        cmocka_unit_test(other_times_are_refused),
        cmocka_unit_test(slurm_says_when_the_job_ends),
        cmocka_unit_test(signals_are_remembered_however_often_they_come),
        cmocka_unit_test(a_second_ctrl_c_ends_at_once),
        cmocka_unit_test(an_ignored_hangup_stays_ignored),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
