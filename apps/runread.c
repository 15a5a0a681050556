#include "apps/runread.h"

#include <jansson.h>
#include <math.h>
#include <string.h>

#include "io/dataset.h"
#include "io/image.h"
#include "io/path.h"

typedef struct reading {
    atr_run_history history;
    int64_t step_room, eval_room;
} reading;

static double number(const json_t *object, const char *key)
{
    const json_t *value = json_object_get(object, key);

    return json_is_number(value) ? json_number_value(value) : NAN;
}

static atr_status add_step(reading *r, const json_t *line)
{
    atr_status status = ATR_OK;
    atr_run_history *h = &r->history;

    if (h->step_count == r->step_room) {
        const int64_t room = r->step_room == 0 ? 1024 : 2 * r->step_room;
        double **columns[] = {&h->epoch, &h->step, &h->loss, &h->lr, &h->images_per_s};
        for (size_t i = 0; i < sizeof columns / sizeof columns[0]; i++)
            ATR_TRY(atr_grow(h->step_count, room, sizeof(double), (void **)columns[i]));
        r->step_room = room;
    }
    const int64_t at = h->step_count++;
    h->epoch[at] = number(line, "epoch");
    h->step[at] = number(line, "step");
    h->loss[at] = number(line, "loss");
    h->lr[at] = number(line, "lr");
    h->images_per_s[at] = number(line, "images_per_s");
done:
    return status;
}

static atr_status add_eval(reading *r, const json_t *line)
{
    atr_status status = ATR_OK;
    atr_run_history *h = &r->history;
    const json_t *iou = json_object_get(line, "iou");

    if (h->eval_count == r->eval_room) {
        const int64_t room = r->eval_room == 0 ? 64 : 2 * r->eval_room;
        ATR_TRY(atr_grow(h->eval_count, room, sizeof *h->evals, (void **)&h->evals));
        r->eval_room = room;
    }
    atr_run_eval *e = &h->evals[h->eval_count++];
    e->epoch = number(line, "epoch");
    e->step = number(line, "step");
    e->loss = number(line, "loss");
    e->miou = number(line, "miou");
    e->pixel_accuracy = number(line, "pixel_accuracy");
    for (size_t i = 0; i < json_array_size(iou) && e->classes < ATR_MAX_CLASSES; i++) {
        const json_t *value = json_array_get(iou, i);
        e->iou[e->classes++] = json_is_number(value) ? json_number_value(value) : NAN;
    }
done:
    return status;
}

/* A name, or a list of names. */
static atr_status add_data(atr_run_history *h, const json_t *data)
{
    const bool list = json_is_array(data);
    const size_t count = list ? json_array_size(data) : 1;
    atr_status status = ATR_OK;

    ATR_TRY(ATR_NEW((int64_t)count, &h->data));
    for (size_t i = 0; i < count; i++) {
        const char *name = json_string_value(list ? json_array_get(data, i) : data);
        if (name != NULL)
            ATR_TRY(atr_strdup(name, &h->data[h->data_count++]));
    }

done:
    return status;
}

static atr_status add_line(reading *r, const json_t *line)
{
    const char *kind = json_string_value(json_object_get(line, "kind"));
    const json_t *data = json_object_get(line, "data");

    if (data != NULL && r->history.data == NULL) {
        const atr_status status = add_data(&r->history, data);
        if (status != ATR_OK)
            return status;
    }
    r->history.started |= kind != NULL && strcmp(kind, "start") == 0;
    r->history.ended = kind != NULL && strcmp(kind, "end") == 0;
    if (kind != NULL && strcmp(kind, "step") == 0)
        return add_step(r, line);
    if (kind != NULL && strcmp(kind, "eval") == 0)
        return add_eval(r, line);
    return ATR_OK;
}

/* Lines end with a newline; what stands behind the last one was not written whole. */
static atr_status read_lines(reading *r, const char *path, const char *text, size_t size)
{
    atr_status status = ATR_OK;
    int64_t number_of_line = 0;

    for (const char *end; (end = memchr(text, '\n', size)) != NULL;
         size -= (size_t)(end + 1 - text), text = end + 1) {
        json_error_t error;
        json_t *line = json_loadb(text, (size_t)(end - text), 0, &error);
        number_of_line++;
        if (line == NULL || !json_is_object(line))
            status =
                atr_fail(ATR_ERR_DATA, "%s: line %lld is no JSON object", path, (long long)number_of_line);
        else
            status = add_line(r, line);
        json_decref(line);
        if (status != ATR_OK)
            break;
    }
    return status;
}

atr_status atr_run_history_read(const char *folder, atr_run_history *out)
{
    atr_status status = ATR_OK;
    reading r = {0};
    char *path = NULL;
    void *bytes = NULL;
    size_t size = 0;

    memset(out, 0, sizeof *out);
    ATR_TRY(atr_path_join(folder, "log.jsonl", &path));
    ATR_TRY(atr_file_read(path, 0, &bytes, &size));
    if (size > 0)
        ATR_TRY(read_lines(&r, path, bytes, size));
    *out = r.history;
    memset(&r.history, 0, sizeof r.history);
done:
    atr_run_history_free(&r.history);
    atr_free(path);
    atr_free(bytes);
    return status;
}

void atr_run_history_free(atr_run_history *history)
{
    atr_free(history->epoch);
    atr_free(history->step);
    atr_free(history->loss);
    atr_free(history->lr);
    atr_free(history->images_per_s);
    atr_free(history->evals);
    atr_dataset_files_free(history->data, history->data_count);
    memset(history, 0, sizeof *history);
}
