#include "apps/runlog.h"

#include <errno.h>
#include <fcntl.h>
#include <jansson.h>
#include <math.h>
#include <string.h>
#include <unistd.h>

#include "io/image.h"
#include "io/path.h"

struct atr_runlog {
    char *path;
    int file;
};

void atr_json_real(atr_text *text, double value)
{
    char number[ATR_REAL_TEXT_BYTES];

    atr_text_append(text, "%s", isfinite(value) ? atr_real_text(value, number) : "null");
}

void atr_json_reals(atr_text *text, const double *values, int64_t count)
{
    for (int64_t i = 0; i < count; i++) {
        atr_text_append(text, i > 0 ? "," : "[");
        atr_json_real(text, values[i]);
    }
    atr_text_append(text, count > 0 ? "]" : "[]");
}

void atr_json_integers(atr_text *text, const int64_t *values, int64_t count)
{
    for (int64_t i = 0; i < count; i++)
        atr_text_append(text, "%s%lld", i > 0 ? "," : "[", (long long)values[i]);
    atr_text_append(text, count > 0 ? "]" : "[]");
}

void atr_json_string(atr_text *text, const char *value)
{
    json_t *const string = json_string(value);
    char *const quoted = string != NULL ? json_dumps(string, JSON_ENCODE_ANY) : NULL;

    atr_text_append(text, "%s", quoted != NULL ? quoted : "\"?\"");
    free(quoted);
    json_decref(string);
}

/* Whether a line belongs to the first `steps` steps. Lines without a step (the start of a run) do. */
static bool keep_line(const char *line, size_t length, int64_t steps)
{
    json_t *const object = json_loadb(line, length, 0, NULL);
    const json_t *const step = json_object_get(object, "step");
    const bool keep = json_is_object(object) && (step == NULL || json_integer_value(step) <= steps);

    json_decref(object);
    return keep;
}

/* Rewrites the log without the lines of steps that the resumed run will do again. */
static atr_status cut_log(const char *path, int64_t steps)
{
    void *bytes = NULL;
    size_t size = 0;
    atr_text kept = {0};
    atr_status status = ATR_OK;

    if (!atr_path_exists(path))
        return ATR_OK;
    ATR_TRY(atr_file_read(path, 0, &bytes, &size));
    const char *at = bytes, *const end = at + size;
    while (at < end) {
        const char *const stop = memchr(at, '\n', (size_t)(end - at));
        if (stop == NULL)
            break;
        if (keep_line(at, (size_t)(stop - at), steps))
            atr_text_append_bytes(&kept, at, stop - at + 1);
        at = stop + 1;
    }
    ATR_TRY(kept.status);
    ATR_TRY(atr_file_write(path, kept.bytes, (size_t)kept.used));

done:
    atr_free(kept.bytes);
    atr_free(bytes);
    return status;
}

atr_status atr_runlog_open(const char *folder, int64_t steps, atr_runlog **out)
{
    atr_runlog *log = NULL;
    atr_status status = ATR_OK;

    *out = NULL;
    ATR_TRY(ATR_NEW(1, &log));
    log->file = -1;
    ATR_TRY(atr_path_join(folder, "log.jsonl", &log->path));
    if (steps >= 0)
        ATR_TRY(cut_log(log->path, steps));
    log->file = open(log->path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0666);
    if (log->file < 0) {
        status = atr_fail(ATR_ERR_IO, "%s: %s", log->path, strerror(errno));
        goto done;
    }
    *out = log;
    log = NULL;

done:
    atr_runlog_close(log);
    return status;
}

void atr_runlog_close(atr_runlog *log)
{
    if (log == NULL)
        return;
    if (log->file >= 0)
        close(log->file);
    atr_free(log->path);
    atr_free(log);
}

atr_status atr_runlog_line(atr_runlog *log, atr_text *text)
{
    atr_status status = ATR_OK;

    atr_text_append(text, "\n");
    ATR_TRY(text->status);
    for (int64_t done_bytes = 0; done_bytes < text->used;) {
        const ssize_t wrote = write(log->file, text->bytes + done_bytes, (size_t)(text->used - done_bytes));
        if (wrote < 0 && errno == EINTR)
            continue;
        if (wrote < 0) {
            status = atr_fail(ATR_ERR_IO, "%s: %s", log->path, strerror(errno));
            goto done;
        }
        done_bytes += wrote;
    }

done:
    atr_free(text->bytes);
    *text = (atr_text){0};
    return status;
}

static void member(atr_text *text, const char *name, double value)
{
    atr_text_append(text, ",\"%s\":", name);
    atr_json_real(text, value);
}

atr_status atr_runlog_step(atr_runlog *log, const atr_log_step *record)
{
    atr_text text = {0};

    atr_text_append(&text, "{\"kind\":\"step\",\"epoch\":%lld,\"step\":%lld", (long long)record->epoch,
                    (long long)record->step);
    member(&text, "loss", record->loss);
    member(&text, "lr", record->lr);
    member(&text, "images_per_s", round(record->images_per_s * 1e3) / 1e3);
    member(&text, "f_score", record->f_score);
    member(&text, "gradient_norm", record->gradient_norm);
    member(&text, "load_s", round(record->times.load * 1e6) / 1e6);
    member(&text, "compute_s", round(record->times.compute * 1e6) / 1e6);
    member(&text, "exposed_s", round(record->times.exposed * 1e6) / 1e6);
    member(&text, "update_s", round(record->times.update * 1e6) / 1e6);
    member(&text, "step_s", round(record->times.step * 1e6) / 1e6);
    if (record->samples != NULL) {
        atr_text_append(&text, ",\"samples\":");
        atr_json_integers(&text, record->samples, record->sample_count);
    }
    atr_text_append(&text, "}");
    return atr_runlog_line(log, &text);
}

atr_status atr_runlog_eval(atr_runlog *log, const atr_log_eval *record)
{
    atr_text text = {0};

    atr_text_append(&text,
                    "{\"kind\":\"eval\",\"epoch\":%lld,\"step\":%lld,\"split\":", (long long)record->epoch,
                    (long long)record->step);
    atr_json_string(&text, record->split);
    member(&text, "miou", record->scores->miou);
    member(&text, "pixel_accuracy", record->scores->pixel_accuracy);
    atr_text_append(&text, ",\"iou\":");
    atr_json_reals(&text, record->scores->iou, record->scores->classes);
    member(&text, "loss", record->loss);
    member(&text, "seconds", round(record->seconds * 1e3) / 1e3);
    atr_text_append(&text, ",\"best\":%s}", record->best ? "true" : "false");
    return atr_runlog_line(log, &text);
}
