#include "apps/step_trace.h"

#include <jansson.h>
#include <math.h>
#include <string.h>

#include "core/text.h"
#include "io/image.h"

static const char *const figure_names[ATR_TRACE_FIGURES] = {"min_ms", "median_ms"};

void atr_step_trace_free(atr_step_trace *trace)
{
    atr_free(trace->work);
    atr_free(trace->slices);
    *trace = (atr_step_trace){0};
}

int64_t atr_step_trace_elements(const atr_step_trace *trace)
{
    int64_t elements = 0;

    for (int64_t i = 0; i < trace->slice_count; i++)
        elements += trace->slices[i].count;
    return elements;
}

/* ---- writing ------------------------------------------------------------------------------------------------------------ */

static json_t *figures_json(const double *seconds)
{
    json_t *const out = json_object();

    for (int f = 0; f < ATR_TRACE_FIGURES; f++)
        json_object_set_new(out, figure_names[f], json_real(1e3 * seconds[f]));
    return out;
}

static json_t *bytes_json(const double *bytes, int count)
{
    json_t *const out = json_array();

    for (int i = 0; i < count; i++)
        json_array_append_new(out, json_integer((json_int_t)bytes[i]));
    return out;
}

static json_t *trace_json(const atr_step_trace *t)
{
    json_t *const slices = json_array();

    for (int64_t i = 0; i < t->slice_count; i++) {
        json_t *const slice = figures_json(t->slices[i].at);
        json_object_set_new(slice, "offset", json_integer(t->slices[i].offset));
        json_object_set_new(slice, "count", json_integer(t->slices[i].count));
        json_array_append_new(slices, slice);
    }
    return json_pack("{s:s, s:i, s:s, s:I, s:I, s:I, s:f, s:o, s:o, s:o, s:o, s:o, s:o}", "kind",
                     "atrous step trace", "version", 1, "work", t->work, "batch", (json_int_t)t->batch,
                     "steps", (json_int_t)t->steps, "elements", (json_int_t)atr_step_trace_elements(t),
                     "spread_ms", 1e3 * t->spread, "forward", figures_json(t->forward), "backward",
                     figures_json(t->backward), "update", figures_json(t->update), "collectives_before",
                     bytes_json(t->before, t->before_count), "collectives_after",
                     bytes_json(t->after, t->after_count), "ready", slices);
}

atr_status atr_step_trace_write(const atr_step_trace *trace, const char *path)
{
    json_t *const object = trace_json(trace);
    char *const text = object != NULL ? json_dumps(object, JSON_INDENT(1) | JSON_REAL_PRECISION(7)) : NULL;
    const atr_status status = text != NULL ? atr_file_write(path, text, strlen(text))
                                           : atr_fail(ATR_ERR_INTERNAL, "the trace cannot be made into JSON");

    json_decref(object);
    free(text);
    return status;
}

/* ---- reading ------------------------------------------------------------------------------------------------------------ */

/* A count of elements or bytes that keeps sums far from overflow. */
static bool is_count(const json_t *value)
{
    return json_is_integer(value) && json_integer_value(value) >= 0 &&
           json_integer_value(value) <= INT64_C(1) << 40;
}

static bool read_figures(const json_t *object, double *seconds)
{
    for (int f = 0; f < ATR_TRACE_FIGURES; f++) {
        const json_t *const value = json_object_get(object, figure_names[f]);
        seconds[f] = 1e-3 * json_number_value(value);
        if (!json_is_number(value) || !isfinite(seconds[f]) || seconds[f] < 0)
            return false;
    }
    return true;
}

static bool read_bytes(const json_t *array, double *bytes, int *count)
{
    if (!json_is_array(array) || json_array_size(array) > ATR_TRACE_COLLECTIVES)
        return false;
    *count = (int)json_array_size(array);
    for (int i = 0; i < *count; i++) {
        if (!is_count(json_array_get(array, (size_t)i)))
            return false;
        bytes[i] = (double)json_integer_value(json_array_get(array, (size_t)i));
    }
    return true;
}

/* Slices follow each other in the block and in time, and backward ends after the last. */
static bool read_slice(const json_t *object, const atr_step_trace *trace, int64_t index)
{
    atr_trace_slice *const slice = &trace->slices[index];
    const atr_trace_slice *const before = index > 0 ? slice - 1 : NULL;
    const json_t *const offset = json_object_get(object, "offset"), *const count =
                                                                        json_object_get(object, "count");

    if (!is_count(offset) || !is_count(count) || !read_figures(object, slice->at))
        return false;
    slice->offset = json_integer_value(offset);
    slice->count = json_integer_value(count);
    if (before != NULL && slice->offset < before->offset + before->count)
        return false;
    for (int f = 0; f < ATR_TRACE_FIGURES; f++)
        if (slice->at[f] > trace->backward[f] || (before != NULL && slice->at[f] < before->at[f]))
            return false;
    return true;
}

/* The name of the member that is missing or makes no sense; NULL: all is well. A failed allocation is in `status`. */
static const char *read_members(const json_t *root, atr_step_trace *out, atr_status *status)
{
    const json_t *const ready = json_object_get(root, "ready"), *const spread =
                                                                    json_object_get(root, "spread_ms");
    const char *const work = json_string_value(json_object_get(root, "work"));

    if (work == NULL)
        return "work";
    if (!is_count(json_object_get(root, "batch")))
        return "batch";
    if (!is_count(json_object_get(root, "steps")))
        return "steps";
    out->batch = json_integer_value(json_object_get(root, "batch"));
    out->steps = json_integer_value(json_object_get(root, "steps"));
    out->spread = 1e-3 * json_number_value(spread);
    if (!json_is_number(spread) || !(out->spread >= 0))
        return "spread_ms";
    if (!read_figures(json_object_get(root, "forward"), out->forward))
        return "forward";
    if (!read_figures(json_object_get(root, "backward"), out->backward))
        return "backward";
    if (!read_figures(json_object_get(root, "update"), out->update))
        return "update";
    if (!read_bytes(json_object_get(root, "collectives_before"), out->before, &out->before_count))
        return "collectives_before";
    if (!read_bytes(json_object_get(root, "collectives_after"), out->after, &out->after_count))
        return "collectives_after";
    out->slice_count = (int64_t)json_array_size(ready);
    if (out->slice_count == 0)
        return "ready";
    *status = atr_strdup(work, &out->work);
    if (*status == ATR_OK)
        *status = ATR_NEW(out->slice_count, &out->slices);
    for (int64_t i = 0; *status == ATR_OK && i < out->slice_count; i++)
        if (!read_slice(json_array_get(ready, (size_t)i), out, i))
            return "ready";
    return NULL;
}

atr_status atr_step_trace_read(const char *path, atr_step_trace *out)
{
    enum { MOST_BYTES = 64 << 20 };
    void *bytes = NULL;
    size_t size = 0;
    json_t *root = NULL;
    json_error_t error;
    atr_status status = ATR_OK;

    *out = (atr_step_trace){0};
    ATR_TRY(atr_file_read(path, MOST_BYTES, &bytes, &size));
    root = json_loadb(bytes, size, 0, &error);
    const char *const kind = json_string_value(json_object_get(root, "kind"));
    if (kind == NULL || strcmp(kind, "atrous step trace") != 0 ||
        json_integer_value(json_object_get(root, "version")) != 1) {
        status = atr_fail(ATR_ERR_DATA, "%s: no step trace (atrous bench train --trace writes one)", path);
        goto done;
    }
    const char *const wrong = read_members(root, out, &status);
    if (wrong != NULL)
        status =
            atr_fail(ATR_ERR_DATA, "%s: '%s' of the step trace is missing or makes no sense", path, wrong);

done:
    if (status != ATR_OK)
        atr_step_trace_free(out);
    json_decref(root);
    atr_free(bytes);
    return status;
}
