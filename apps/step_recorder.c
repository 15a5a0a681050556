#include <math.h>

#include "apps/step_trace.h"
#include "core/timer.h"

enum { PHASES = 3 }; /* forward, backward, update */

struct atr_step_recorder {
    int64_t most, steps;       /* that can be and that are recorded */
    int64_t slice_count, room; /* of the first step, which settles them */
    atr_trace_slice *slices;   /* [room] */
    double *at;                /* [most, room], s from the start of the step, later of backward */
    double *phases;            /* [PHASES, most] */
    double start;              /* of the running step */
    int64_t next;              /* slice of the running step */
};

atr_status atr_step_recorder_create(int64_t steps, atr_step_recorder **out)
{
    atr_step_recorder *recorder = NULL;
    atr_status status = ATR_OK;

    *out = NULL;
    ATR_TRY(ATR_NEW(1, &recorder));
    recorder->most = steps;
    ATR_TRY(ATR_NEW(PHASES * steps, &recorder->phases));
    *out = recorder;
    recorder = NULL;

done:
    atr_step_recorder_destroy(recorder);
    return status;
}

void atr_step_recorder_destroy(atr_step_recorder *recorder)
{
    if (recorder == NULL)
        return;
    atr_free(recorder->slices);
    atr_free(recorder->at);
    atr_free(recorder->phases);
    atr_free(recorder);
}

void atr_step_recorder_begin(atr_step_recorder *recorder)
{
    recorder->next = 0;
    recorder->start = atr_seconds();
}

/* Room for twice as many slices: only while the first step runs, when `at` has one row in use. */
static atr_status grow(atr_step_recorder *r)
{
    const int64_t room = r->room > 0 ? 2 * r->room : 256;
    atr_status status = ATR_OK;

    ATR_TRY(atr_grow(r->room, room, sizeof *r->slices, (void **)&r->slices));
    ATR_TRY(atr_grow(r->most * r->room, r->most * room, sizeof *r->at, (void **)&r->at));
    r->room = room;

done:
    return status;
}

atr_status atr_step_recorder_ready(void *recorder, int64_t offset, int64_t count)
{
    atr_step_recorder *const r = recorder;
    const double now = atr_seconds() - r->start;
    const int64_t index = r->next++;
    atr_status status = ATR_OK;

    if (r->steps == r->most)
        return atr_fail(ATR_ERR_INTERNAL, "more than %lld steps to record", (long long)r->most);
    if (r->steps == 0) {
        if (index == r->room)
            ATR_TRY(grow(r));
        r->slices[index] = (atr_trace_slice){.offset = offset, .count = count};
        r->slice_count = r->next;
    }
    if (index >= r->slice_count || r->slices[index].offset != offset || r->slices[index].count != count)
        return atr_fail(ATR_ERR_INTERNAL, "gradients %lld, +%lld were not part of the first step",
                        (long long)offset, (long long)count);
    r->at[r->steps * r->room + index] = now;

done:
    return status;
}

atr_status atr_step_recorder_end(atr_step_recorder *recorder, double forward, double backward, double update)
{
    atr_step_recorder *const r = recorder;
    const double phases[PHASES] = {forward, backward, update};

    if (r->next != r->slice_count)
        return atr_fail(ATR_ERR_INTERNAL, "%lld slices of gradients, %lld in the first step",
                        (long long)r->next, (long long)r->slice_count);
    for (int p = 0; p < PHASES; p++)
        r->phases[p * r->most + r->steps] = phases[p];
    /* Clocks are read one after the other: a slice is never later than the end of backward. */
    for (int64_t i = 0; i < r->slice_count; i++) {
        double *const at = &r->at[r->steps * r->room + i];
        *at -= forward;
        *at = *at < 0 ? 0 : *at > backward ? backward : *at;
    }
    r->steps++;
    return ATR_OK;
}

/* Least and median of `count` values that lie `stride` apart; `scratch` [count]. */
static void take_figures(const double *values, int64_t stride, int64_t count, double *scratch, double *out)
{
    for (int64_t i = 0; i < count; i++)
        scratch[i] = values[i * stride];
    const atr_samples samples = atr_samples_of(scratch, count);
    out[ATR_TRACE_MIN] = samples.min;
    out[ATR_TRACE_MEDIAN] = samples.median;
}

/* Of the sums of the phases, by medians: a few steps that something else on the machine disturbed do not count. */
static double spread_of(const atr_step_recorder *r, double *scratch)
{
    for (int64_t i = 0; i < r->steps; i++)
        scratch[i] = r->phases[i] + r->phases[r->most + i] + r->phases[2 * r->most + i];
    const double median = atr_samples_of(scratch, r->steps).median;
    for (int64_t i = 0; i < r->steps; i++)
        scratch[i] = fabs(scratch[i] - median);
    return 1.4826 * atr_samples_of(scratch, r->steps).median;
}

atr_status atr_step_recorder_figures(const atr_step_recorder *recorder, atr_step_trace *trace)
{
    const atr_step_recorder *const r = recorder;
    double *const phases[PHASES] = {trace->forward, trace->backward, trace->update};
    double *scratch = NULL;
    atr_status status = ATR_OK;

    if (r->steps == 0 || r->slice_count == 0)
        return atr_fail(ATR_ERR_USAGE, "no step was recorded");
    ATR_TRY(ATR_NEW(r->steps, &scratch));
    ATR_TRY(ATR_NEW(r->slice_count, &trace->slices));
    trace->steps = r->steps;
    trace->spread = spread_of(r, scratch);
    trace->slice_count = r->slice_count;
    for (int p = 0; p < PHASES; p++)
        take_figures(r->phases + p * r->most, 1, r->steps, scratch, phases[p]);
    for (int64_t i = 0; i < r->slice_count; i++) {
        trace->slices[i] = r->slices[i];
        take_figures(r->at + i, r->room, r->steps, scratch, trace->slices[i].at);
    }

done:
    atr_free(scratch);
    return status;
}
