#ifndef ATR_CORE_TIMER_H
#define ATR_CORE_TIMER_H

#include <stdint.h>

/* Seconds of a clock that never jumps, from an arbitrary start. */
double atr_seconds(void);

/* Sums the time between start and stop over many laps. Starts as {0}. */
typedef struct atr_stopwatch {
    double started; /* atr_seconds() of the running lap */
    double total;   /* seconds of all finished laps */
    double longest; /* seconds of the longest one */
    int64_t laps;
} atr_stopwatch;

void atr_stopwatch_start(atr_stopwatch *watch);
/* Ends the lap and returns its seconds. */
double atr_stopwatch_stop(atr_stopwatch *watch);

/* Wall-clock time in UTC, "2031-05-04T17:03:59Z", into `text` (at least ATR_TIME_TEXT_BYTES); returns `text`. */
enum { ATR_TIME_TEXT_BYTES = 32 };
char *atr_time_text(char *text);

/* What repeated measurements say. Percentiles interpolate linearly between order statistics; all 0 for no sample. */
typedef struct atr_samples {
    int64_t count;
    double min, median, p95, max, mean;
} atr_samples;

/* Sorts `values` [count] in place. */
atr_samples atr_samples_of(double *values, int64_t count);

#endif
