#include "apps/stop.h"

#include <ctype.h>
#include <math.h>
#include <signal.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "core/text.h"

static volatile sig_atomic_t wanted;
static struct timespec wanted_at;

static void remember(int number)
{
    if (wanted == 0)
        clock_gettime(CLOCK_MONOTONIC, &wanted_at);
    wanted = number;
}

void atr_stop_watch(void)
{
    static const int signals[] = {SIGTERM, SIGINT, SIGUSR1, SIGHUP};

    for (size_t i = 0; i < sizeof signals / sizeof signals[0]; i++) {
        const int once = signals[i] == SIGINT ? (int)SA_RESETHAND : 0;
        struct sigaction action = {.sa_handler = remember, .sa_flags = SA_RESTART | once}, before;
        sigemptyset(&action.sa_mask);
        if (signals[i] == SIGHUP && sigaction(SIGHUP, NULL, &before) == 0 && before.sa_handler == SIG_IGN)
            continue;
        sigaction(signals[i], &action, NULL);
    }
    signal(SIGPIPE, SIG_IGN);
}

bool atr_stop_wanted(void)
{
    return wanted != 0;
}

const char *atr_stop_signal(void)
{
    switch (wanted) {
    case SIGTERM:
        return "SIGTERM";
    case SIGINT:
        return "SIGINT";
    case SIGUSR1:
        return "SIGUSR1";
    case SIGHUP:
        return "SIGHUP";
    default:
        return "";
    }
}

double atr_stop_since(void)
{
    struct timespec now;

    if (wanted == 0)
        return 0;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)(now.tv_sec - wanted_at.tv_sec) + 1e-9 * (double)(now.tv_nsec - wanted_at.tv_nsec);
}

/* Up to three numbers between colons; how many, or 0 where the text is something else. */
static int parse_parts(const char *text, long long parts[3])
{
    for (int count = 0; count < 3;) {
        int length = 0;
        if (!isdigit((unsigned char)*text) || sscanf(text, "%9lld%n", &parts[count], &length) != 1)
            return 0;
        text += length;
        count++;
        if (*text == '\0')
            return count;
        if (*text++ != ':')
            return 0;
    }
    return 0;
}

/* "1-12:00:00", "1:30:00", "30:00": numbers between colons, the days in front. */
static bool parse_clock(const char *text, double *seconds)
{
    long long days = 0, parts[3];
    int used = 0;

    if (sscanf(text, "%9lld-%n", &days, &used) != 1 || used == 0)
        days = used = 0;
    const int count = parse_parts(text + used, parts);
    if (count < 2)
        return false;
    for (int i = 1; i < count; i++)
        if (parts[i] > 59)
            return false;
    *seconds = 86400.0 * (double)days;
    if (count == 3)
        *seconds += (double)(3600 * parts[0] + 60 * parts[1] + parts[2]);
    else if (used > 0) /* Slurm's "days-hours:minutes" */
        *seconds += (double)(3600 * parts[0] + 60 * parts[1]);
    else
        *seconds += (double)(60 * parts[0] + parts[1]);
    return true;
}

/* "90m", "1h30m": numbers with units, the larger ones first or not. */
static bool parse_units(const char *text, double *seconds)
{
    *seconds = 0;
    while (*text != '\0') {
        char *end = NULL;
        if (!isdigit((unsigned char)*text))
            return false;
        const double number = strtod(text, &end);
        static const char units[] = "smhd";
        static const double lengths[] = {1, 60, 3600, 86400};
        const char *const unit = *end != '\0' ? strchr(units, *end) : NULL;
        if (unit == NULL)
            return false;
        *seconds += number * lengths[unit - units];
        text = end + 1;
    }
    return true;
}

atr_status atr_duration_parse(const char *text, double *seconds)
{
    double value = 0;
    const bool known = atr_parse_real(text, &value) || parse_clock(text, &value) ||
                       (text[0] != '\0' && parse_units(text, &value));

    if (!known || !(value >= 0 && value < 1e12))
        return atr_fail(ATR_ERR_USAGE,
                        "'%.40s' is no time: wanted seconds (5400), 90m, 1h30m, 2d, 1:30:00 or 1-12:00:00",
                        text);
    *seconds = value;
    return ATR_OK;
}

double atr_stop_job_seconds(void)
{
    const char *const text = getenv("SLURM_JOB_END_TIME");
    int64_t end = 0;

    if (text == NULL || !atr_parse_int(text, &end) || end <= 0)
        return INFINITY;
    return difftime((time_t)end, time(NULL));
}
