/* atrous predict: label maps of pictures. */
#include <errno.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#include "apps/cli.h"
#include "apps/inputs.h"
#include "apps/segmenter.h"
#include "apps/session.h"
#include "apps/train_options.h"
#include "core/progress.h"
#include "core/timer.h"
#include "io/npy.h"
#include "io/path.h"

typedef struct predict_options {
    atr_session_options session;
    const char *out, *size;
    int fit; /* index into atr_fit_mode_names */
    double alpha;
    bool overlay, logits;
} predict_options;

static const atr_option rows[] = {
    {.name = "output",
     .letter = 'o',
     .kind = ATR_OPTION_STRING,
     .offset = offsetof(predict_options, out),
     .argument = "DIR",
     .help = "folder for the results, made where it does not exist",
     .group = "Output"},
    {.name = "overlay",
     .kind = ATR_OPTION_FLAG,
     .offset = offsetof(predict_options, overlay),
     .help = "also write STEM.overlay.png: the picture with its classes in colour over it"},
    {.name = "alpha",
     .kind = ATR_OPTION_REAL,
     .offset = offsetof(predict_options, alpha),
     .value = "0.6",
     .least = 0,
     .most = 1,
     .argument = "SHARE",
     .help = "how much of the overlay is colour"},
    {.name = "logits",
     .kind = ATR_OPTION_FLAG,
     .offset = offsetof(predict_options, logits),
     .help = "also write STEM.logits.npy: f32 [classes,height,width] before softmax, at the network's output "
             "size"},
    {.name = "fit",
     .kind = ATR_OPTION_CHOICE,
     .offset = offsetof(predict_options, fit),
     .choices = atr_fit_mode_names,
     .help = "how a picture meets the network, unless given as the model was evaluated: resized with its "
             "aspect kept "
             "and padded, resized, or run at its own size",
     .group = "Network"},
    {.name = "size",
     .kind = ATR_OPTION_STRING,
     .offset = offsetof(predict_options, size),
     .argument = "HxW",
     .help = "network's input size for letterbox and stretch (default: the model's)"},
    {.name = NULL}};

typedef struct job {
    const predict_options *options;
    const atr_model_info *info;
    atr_segmenter *segmenter;
    uint8_t *ids;
    int64_t room; /* pixels in ids */
} job;

static atr_status write_output(const job *j, const char *stem, const char *suffix, const void *bytes,
                               size_t size)
{
    atr_status status = ATR_OK;
    char *path = NULL;

    ATR_TRY(atr_format(&path, "%s/%s%s", j->options->out, stem, suffix));
    ATR_TRY(atr_file_write(path, bytes, size));
done:
    atr_free(path);
    return status;
}

static atr_status write_ids(const job *j, const char *stem, const atr_image *picture)
{
    atr_status status = ATR_OK;
    void *bytes = NULL;
    size_t size = 0;

    ATR_TRY(atr_png_encode_indexed(j->ids, picture->width, picture->height, j->info->palette, &bytes, &size));
    ATR_TRY(write_output(j, stem, ".png", bytes, size));
done:
    atr_free(bytes);
    return status;
}

/* Mixes class colours into the picture, which is not needed any more. */
static atr_status write_overlay(const job *j, const char *stem, atr_image *picture)
{
    atr_status status = ATR_OK;
    const double alpha = j->options->alpha;
    void *bytes = NULL;
    size_t size = 0;

    for (int64_t p = 0; p < picture->width * picture->height; p++)
        for (int c = 0; c < 3; c++) {
            uint8_t *sample = &picture->pixels[p * 3 + c];
            *sample = (uint8_t)((1 - alpha) * *sample + alpha * j->info->palette[j->ids[p]][c] + 0.5);
        }
    ATR_TRY(atr_png_encode(picture, &bytes, &size));
    ATR_TRY(write_output(j, stem, ".overlay.png", bytes, size));
done:
    atr_free(bytes);
    return status;
}

static atr_status write_logits(const job *j, const char *stem)
{
    atr_status status = ATR_OK;
    int64_t height = 0, width = 0;
    float *logits = NULL;
    char *path = NULL;

    atr_segmenter_logits_size(j->segmenter, &height, &width);
    ATR_TRY(ATR_NEW(j->info->classes * height * width, &logits));
    ATR_TRY(atr_segmenter_logits(j->segmenter, logits));
    const atr_tensor tensor =
        atr_tensor_make(ATR_F32, 3, (const int64_t[]){j->info->classes, height, width}, logits);
    ATR_TRY(atr_format(&path, "%s/%s.logits.npy", j->options->out, stem));
    ATR_TRY(atr_npy_write(path, &tensor));
done:
    atr_free(path);
    atr_free(logits);
    return status;
}

static atr_status predict_picture(job *j, const char *stem, atr_image *picture)
{
    atr_status status = ATR_OK;
    const int64_t pixels = picture->width * picture->height;

    if (pixels > j->room) {
        atr_free(j->ids);
        j->room = 0;
        ATR_TRY(ATR_NEW(pixels, &j->ids));
        j->room = pixels;
    }
    ATR_TRY(atr_segmenter_run(j->segmenter, picture, &(atr_segmentation){.ids = j->ids}));
    ATR_TRY(write_ids(j, stem, picture));
    if (j->options->logits)
        ATR_TRY(write_logits(j, stem));
    if (j->options->overlay)
        ATR_TRY(write_overlay(j, stem, picture));
done:
    return status;
}

static atr_status predict_file(job *j, const char *path, const char *stem)
{
    atr_status status = ATR_OK;
    atr_image picture = {0, 0, 0, NULL};
    void *bytes = NULL;
    size_t size = 0;

    ATR_TRY(atr_file_read(path, 0, &bytes, &size));
    ATR_TRY(atr_fail_prefix(atr_image_decode_rgb(bytes, size, true, &picture), "%s", path));
    ATR_TRY(atr_fail_prefix(predict_picture(j, stem, &picture), "%s", path));
done:
    atr_free(bytes);
    atr_image_free(&picture);
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

/* Goes on after a bad picture; gives the number of those, each reported where it failed and listed at the end. */
static atr_status predict_all(job *j, const atr_inputs *inputs, int64_t *failed)
{
    atr_status status = ATR_OK;
    const double start = atr_seconds();
    char **faults = NULL;

    *failed = 0;
    ATR_TRY(ATR_NEW(inputs->count, &faults));
    for (int64_t i = 0; i < inputs->count; i++) {
        if (predict_file(j, inputs->paths[i], inputs->stems[i]) != ATR_OK)
            ATR_TRY(atr_strdup(atr_status_message(), &faults[(*failed)++]));
        show_progress(i + 1, inputs->count, atr_seconds() - start);
    }
    const double seconds = atr_seconds() - start;
    printf("%lld of %lld pictures done in %.2f s (%.1f a second): %s\n", (long long)(inputs->count - *failed),
           (long long)inputs->count, seconds, (double)inputs->count / seconds, j->options->out);
    for (int64_t i = 0; i < *failed; i++)
        atr_cli_error("predict", faults[i]);
done:
    for (int64_t i = 0; faults != NULL && i < inputs->count; i++)
        atr_free(faults[i]);
    atr_free(faults);
    return status;
}

static atr_status open_output(const predict_options *o, const atr_inputs *inputs)
{
    const char *suffixes[4] = {".png"};
    int count = 1;

    if (o->overlay)
        suffixes[count++] = ".overlay.png";
    if (o->logits)
        suffixes[count++] = ".logits.npy";
    const atr_status status = atr_inputs_check_outputs(inputs, o->out, suffixes);
    if (status != ATR_OK)
        return status;
    if (mkdir(o->out, 0777) != 0 && !(errno == EEXIST && atr_path_is_folder(o->out)))
        return atr_fail(ATR_ERR_IO, "cannot make the folder %s: %s", o->out, strerror(errno));
    return ATR_OK;
}

static atr_status predict(const atr_options *options, const predict_options *o, int64_t *failed,
                          int64_t *total)
{
    atr_status status = ATR_OK;
    atr_session session = {0};
    atr_inputs inputs = {0, NULL, NULL};
    job j = {.options = o};
    int64_t height = 0, width = 0;
    const int64_t arguments = atr_options_positional_count(options);
    const char **names = NULL;

    if (o->out == NULL) {
        status = atr_fail(ATR_ERR_USAGE, "say where the results go: -o DIR");
        goto done;
    }
    ATR_TRY(ATR_NEW(arguments, &names));
    for (int64_t i = 1; i < arguments; i++)
        names[i - 1] = atr_options_positional(options, i);
    if (o->size != NULL)
        ATR_TRY(atr_size_parse(o->size, &height, &width));
    ATR_TRY(atr_inputs_collect(names, arguments - 1, &inputs));
    ATR_TRY(atr_session_open(&o->session, NULL, &session));
    ATR_TRY(atr_session_load(&session, atr_options_positional(options, 0)));
    atr_fit_mode fit = (atr_fit_mode)o->fit;
    if (!atr_options_given(options, "fit"))
        ATR_TRY(atr_fail_prefix(atr_fit_mode_parse(session.info.fit, &fit), "%s",
                                atr_options_positional(options, 0)));
    ATR_TRY(atr_segmenter_create(&session.info, session.graph, session.params, session.backend, fit, height,
                                 width, &j.segmenter));
    ATR_TRY(open_output(o, &inputs));
    j.info = &session.info;
    *total = inputs.count;
    ATR_TRY(predict_all(&j, &inputs, failed));
done:
    atr_free(names);
    atr_free(j.ids);
    atr_segmenter_destroy(j.segmenter);
    atr_inputs_free(&inputs);
    atr_session_close(&session);
    return status;
}

int atr_cmd_predict(int argc, char **argv)
{
    atr_status status = ATR_OK;
    atr_options *options = NULL;
    predict_options chosen;
    int64_t failed = 0, total = 0;
    int exit_code = ATR_EXIT_DONE;

    ATR_TRY(atr_options_create(
        "atrous predict", "MODEL.h5 INPUT... -o DIR [OPTION...]",
        "Segments pictures (files, or folders of them): STEM.png holds class ids with a palette, at the "
        "picture's own size. Goes on after a bad picture and then ends with code 3.",
        &options));
    ATR_TRY(atr_options_add(options, rows, &chosen));
    ATR_TRY(atr_options_add(options, atr_session_rows, &chosen.session));
    if (!atr_cli_parse(options, argc, argv, false, &exit_code))
        goto done;
    atr_cli_log();
    ATR_TRY(atr_cli_positional(options, 2, -1));
    ATR_TRY(predict(options, &chosen, &failed, &total));
    if (failed > 0)
        exit_code = failed < total ? ATR_EXIT_PARTLY : ATR_EXIT_FAILED;
done:
    if (status != ATR_OK) {
        atr_cli_error("predict", atr_status_message());
        exit_code = atr_cli_exit_code(status);
    }
    atr_options_destroy(options);
    return exit_code;
}
