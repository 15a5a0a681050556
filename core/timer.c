#include "core/timer.h"

#include <stdlib.h>
#include <time.h>

double atr_seconds(void)
{
    struct timespec now;

    clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)now.tv_sec + 1e-9 * (double)now.tv_nsec;
}

void atr_stopwatch_start(atr_stopwatch *watch)
{
    watch->started = atr_seconds();
}

double atr_stopwatch_stop(atr_stopwatch *watch)
{
    const double lap = atr_seconds() - watch->started;

    watch->total += lap;
    watch->laps++;
    if (lap > watch->longest)
        watch->longest = lap;
    return lap;
}

char *atr_time_text(char *text)
{
    const time_t now = time(NULL);
    struct tm utc;

    gmtime_r(&now, &utc);
    strftime(text, ATR_TIME_TEXT_BYTES, "%Y-%m-%dT%H:%M:%SZ", &utc);
    return text;
}

static int compare_reals(const void *a, const void *b)
{
    const double x = *(const double *)a, y = *(const double *)b;

    return (x > y) - (x < y);
}

/* Percentile `part` (0..1) of sorted values, linear between neighbours. */
static double percentile(const double *sorted, int64_t count, double part)
{
    const double at = part * (double)(count - 1);
    const int64_t low = (int64_t)at;
    const int64_t high = low + 1 < count ? low + 1 : low;

    return sorted[low] + (at - (double)low) * (sorted[high] - sorted[low]);
}

atr_samples atr_samples_of(double *values, int64_t count)
{
    double sum = 0;

    if (count <= 0)
        return (atr_samples){0};
    qsort(values, (size_t)count, sizeof *values, compare_reals);
    for (int64_t i = 0; i < count; i++)
        sum += values[i];
    return (atr_samples){.count = count,
                         .min = values[0],
                         .median = percentile(values, count, 0.5),
                         .p95 = percentile(values, count, 0.95),
                         .max = values[count - 1],
                         .mean = sum / (double)count};
}
