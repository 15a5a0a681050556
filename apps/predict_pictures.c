/* `atrous predict` on pictures: read, segmented, and written as files. */
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#include "apps/cli.h"
#include "apps/predict_impl.h"
#include "core/progress.h"
#include "core/timer.h"
#include "io/path.h"

typedef struct fault {
    int64_t picture;
    char *message;
} fault;

typedef struct pictures {
    predict_job *job;
    const atr_inputs *inputs;
    predict_outputs outputs;
    int64_t next;  /* picture to be read */
    fault *faults; /* [inputs->count] */
    int64_t failed;
    double start;
} pictures;

static atr_status read_picture(void *user, const atomic_bool *stop, atr_piece *piece, bool *end)
{
    pictures *p = user;
    atr_status status = ATR_OK;
    void *bytes = NULL;
    size_t size = 0;

    (void)stop;
    if (p->next == p->inputs->count) {
        *end = true;
        return ATR_OK;
    }
    const char *path = p->inputs->paths[p->next++];
    atr_image_free(&piece->picture);
    status = atr_file_read(path, 0, &bytes, &size);
    if (status == ATR_OK)
        status = atr_fail_prefix(atr_image_decode_rgb(bytes, size, true, &piece->picture), "%s", path);
    if (status != ATR_OK)
        atr_piece_fail(piece, status);
    atr_free(bytes);
    return ATR_OK;
}

/* The folders of a result's name below the output folder. */
static atr_status make_folders(const char *out, char *path)
{
    for (char *slash = strchr(path + strlen(out) + 1, '/'); slash != NULL; slash = strchr(slash + 1, '/')) {
        *slash = '\0';
        const int failed = mkdir(path, 0777) != 0 && !(errno == EEXIST && atr_path_is_folder(path));
        const int reason = errno;
        if (failed)
            return atr_fail(ATR_ERR_IO, "cannot make the folder %s: %s", path, strerror(reason));
        *slash = '/';
    }
    return ATR_OK;
}

static atr_status write_results(const pictures *p, const atr_piece *piece)
{
    atr_status status = ATR_OK;
    const char *out = p->job->options->out, *stem = p->inputs->stems[piece->index];
    char *path = NULL;

    for (int64_t i = 0; i < p->outputs.count; i++) {
        const predict_output *output = &p->outputs.items[i];
        atr_free(path);
        path = NULL;
        ATR_TRY(atr_format(&path, "%s/%s%s", out, stem, output->suffix));
        if (i == 0)
            ATR_TRY(make_folders(out, path));
        ATR_TRY(output->write(p->job, piece, output->class_id, path));
    }
done:
    atr_free(path);
    return status;
}

/* A bar on a terminal, nothing in a log until the end. */
static void show_progress(int64_t done, int64_t total, double seconds)
{
    const atr_progress progress = {.unit = "pictures", .done = done, .total = total, .seconds = seconds};
    const int columns = atr_cli_columns(stderr);
    char line[512];

    if (columns > 0)
        fprintf(stderr, "\r%s%s", atr_progress_line(&progress, columns, line, sizeof line),
                done == total ? "\n" : "");
}

/* A bad picture, or one whose results cannot be written, does not stop the others. */
static atr_status write_picture(void *user, atr_piece *piece)
{
    pictures *p = user;
    predict_job *job = p->job;
    const char *path = p->inputs->paths[piece->index];
    atr_status status = ATR_OK;

    if (piece->status == ATR_OK) {
        status = write_results(p, piece);
        if (status != ATR_OK)
            atr_piece_fail(piece, atr_fail_prefix(status, "%s", path));
        status = ATR_OK;
    }
    if (piece->status == ATR_OK && job->counts)
        ATR_TRY(
            atr_tally_add(&job->tally, path, piece->result.ids, piece->picture.width, piece->picture.height));
    if (piece->status != ATR_OK) {
        p->faults[p->failed++] = (fault){piece->index, piece->message};
        piece->message = NULL;
    }
    show_progress(piece->index + 1, p->inputs->count, atr_seconds() - p->start);
done:
    return status;
}

static const char *words_of(const fault *f)
{
    return f->message != NULL ? f->message : "no memory";
}

static atr_status print_json(const pictures *p, double seconds)
{
    atr_status status = ATR_OK;
    json_t *object = json_object(), *failed = json_array();
    const int64_t done = p->inputs->count - p->failed;

    ATR_TRY(atr_tally_json(&p->job->tally, object));
    for (int64_t i = 0; i < p->failed; i++) {
        json_t *one = json_object();
        json_object_set_new(one, "picture", atr_tally_name(p->inputs->paths[p->faults[i].picture]));
        json_object_set_new(one, "message", atr_tally_name(words_of(&p->faults[i])));
        json_array_append_new(failed, one);
    }
    json_object_set(object, "failed", failed);
    json_object_set_new(object, "done", json_integer(done));
    json_object_set_new(object, "seconds", json_real(seconds));
    json_object_set_new(object, "pictures_per_s", json_real((double)done / seconds));
    status = atr_cli_json(object, 12);
    object = NULL;
done:
    json_decref(failed);
    json_decref(object);
    return status;
}

static atr_status print_results(const pictures *p, double seconds)
{
    atr_status status = ATR_OK;
    const predict_options *o = p->job->options;
    const long long count = p->inputs->count, done = count - p->failed;
    const bool csv_only = o->csv != NULL && strcmp(o->csv, "-") == 0;
    atr_text table = {0};

    if (o->json)
        return print_json(p, seconds);
    if (o->count) {
        atr_tally_table(&p->job->tally, &table);
        ATR_TRY(table.status);
        fputs(table.bytes, stdout);
    }
    fprintf(csv_only ? stderr : stdout, "%lld of %lld pictures done in %.2f s (%.1f a second)%s%s\n", done,
            count, seconds, (double)done / seconds, o->out != NULL ? ": " : "", o->out != NULL ? o->out : "");
done:
    atr_free(table.bytes);
    return status;
}

/* Before anything is computed: no name twice, nothing overwritten that is read. */
static atr_status open_output(const pictures *p)
{
    atr_status status = ATR_OK;
    const char *out = p->job->options->out;
    const char **suffixes = NULL;

    if (out == NULL)
        return ATR_OK;
    ATR_TRY(ATR_NEW(p->outputs.count + 1, &suffixes));
    for (int64_t i = 0; i < p->outputs.count; i++)
        suffixes[i] = p->outputs.items[i].suffix;
    ATR_TRY(atr_inputs_check_outputs(p->inputs, out, suffixes));
    status = atr_path_make_folder(out);
done:
    atr_free(suffixes);
    return status;
}

atr_status predict_pictures(predict_job *job, const atr_inputs *inputs, predict_result *result)
{
    atr_status status = ATR_OK;
    pictures p = {.job = job, .inputs = inputs, .start = atr_seconds()};
    atr_pipeline pipeline = predict_pipeline(job);

    ATR_TRY(ATR_NEW(inputs->count, &p.faults));
    if (job->options->out != NULL)
        ATR_TRY(predict_outputs_choose(job, &p.outputs));
    ATR_TRY(open_output(&p));
    pipeline.read = read_picture;
    pipeline.write = write_picture;
    pipeline.user = &p;
    pipeline.expected = inputs->count;
    ATR_TRY(atr_pipeline_run(&pipeline));
    ATR_TRY(atr_tally_finish_csv(&job->tally));
    *result = (predict_result){inputs->count - p.failed, p.failed};
    ATR_TRY(print_results(&p, atr_seconds() - p.start));
    for (int64_t i = 0; i < p.failed; i++)
        atr_cli_error("predict", words_of(&p.faults[i]));
done:
    for (int64_t i = 0; i < p.failed; i++)
        atr_free(p.faults[i].message);
    atr_free(p.faults);
    predict_outputs_free(&p.outputs);
    return status;
}
