/* atrous quantize: a trained network learns how it runs in 8-bit integers. */
#include <math.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>

#include "apps/cli.h"
#include "apps/quantize.h"
#include "apps/train_options.h"
#include "core/progress.h"
#include "core/timer.h"
#include "io/path.h"

typedef struct quantize_options {
    const char *out, *split, *eval_split, *size;
    int fit, clip, equalise;
    bool force;
    int64_t pictures, probes;
    double most_error, most_loss;
    atr_session_options session;
} quantize_options;

static const char *const clips[] = {"mse", "percentile", "max", NULL};
static const char *const equalisations[] = {"best", "none", "balance", "channel", NULL};

static const atr_option rows[] = {
    {.name = "output",
     .letter = 'o',
     .kind = ATR_OPTION_STRING,
     .offset = offsetof(quantize_options, out),
     .argument = "INT8.h5",
     .help = "model file to write; it holds the f32 network, too"},
    {.name = "force",
     .kind = ATR_OPTION_FLAG,
     .offset = offsetof(quantize_options, force),
     .help = "replace INT8.h5"},
    {.name = "split",
     .kind = ATR_OPTION_STRING,
     .offset = offsetof(quantize_options, split),
     .value = "train",
     .argument = "NAME",
     .help = "pictures to calibrate on: train, val or test",
     .group = "Calibration"},
    {.name = "pictures",
     .kind = ATR_OPTION_INT,
     .offset = offsetof(quantize_options, pictures),
     .value = "32",
     .least = 1,
     .most = 10000,
     .argument = "N",
     .help = "how many of them, evenly over the split"},
    {.name = "probes",
     .kind = ATR_OPTION_INT,
     .offset = offsetof(quantize_options, probes),
     .value = "4",
     .least = 1,
     .most = 10000,
     .argument = "N",
     .help = "on how many of those each layer's error is measured"},
    {.name = "clip",
     .kind = ATR_OPTION_CHOICE,
     .offset = offsetof(quantize_options, clip),
     .value = "mse",
     .choices = clips,
     .help =
         "where an activation's largest integer lies: mse: where the expected error is least; percentile: "
         "99.99 % of the magnitudes lie below; max: the largest seen"},
    {.name = "equalise",
     .kind = ATR_OPTION_CHOICE,
     .offset = offsetof(quantize_options, equalise),
     .value = "best",
     .choices = equalisations,
     .help =
         "how steps differ between channels: none: not at all; balance: by range and weights; channel: by "
         "range alone; best: whichever has the least expected error, for each activation"},
    {.name = "most-error",
     .kind = ATR_OPTION_REAL,
     .offset = offsetof(quantize_options, most_error),
     .value = "0.1",
     .least = 0,
     .most = INFINITY,
     .argument = "E",
     .help =
         "layers stay in f32, the worst first, until the expected error of the class scores (relative L2) "
         "is at most this",
     .group = "Mixed precision"},
    {.name = "eval-split",
     .kind = ATR_OPTION_STRING,
     .offset = offsetof(quantize_options, eval_split),
     .value = "val",
     .argument = "NAME",
     .help = "mIoU before and after is that of this split"},
    {.name = "most-loss",
     .kind = ATR_OPTION_REAL,
     .offset = offsetof(quantize_options, most_loss),
     .value = "1",
     .least = 0,
     .most = INFINITY,
     .argument = "POINTS",
     .help = "where mIoU falls by more, further layers stay in f32"},
    {.name = "fit",
     .kind = ATR_OPTION_CHOICE,
     .offset = offsetof(quantize_options, fit),
     .choices = atr_fit_mode_names,
     .help = "how a picture meets the network (default: as the model was evaluated)",
     .group = "Pictures"},
    {.name = "size",
     .kind = ATR_OPTION_STRING,
     .offset = offsetof(quantize_options, size),
     .argument = "H[xW]",
     .help = "network's input for letterbox and stretch; the model's own unless given"},
    {.name = NULL},
};

/* A line that is written over while layers are measured. */
typedef struct stopwatch {
    double started;
    int columns; /* 0: no terminal */
} stopwatch;

static void show_progress(void *user, int64_t done, int64_t total)
{
    const stopwatch *const c = user;
    const atr_progress progress = {.label = "quantize",
                                   .unit = "layers",
                                   .done = done,
                                   .total = total,
                                   .seconds = atr_seconds() - c->started};
    char line[512];

    if (c->columns > 0)
        fprintf(stderr, "\r%s%s", atr_progress_line(&progress, c->columns - 1, line, sizeof line),
                done == total ? "\n" : "");
}

static atr_status check_output(const quantize_options *o)
{
    if (o->out == NULL)
        return atr_fail(ATR_ERR_USAGE, "say where the model goes: -o INT8.h5");
    if (atr_path_is_folder(o->out))
        return atr_fail(ATR_ERR_USAGE, "%s is a folder; the model is one file: -o INT8.h5", o->out);
    if (!o->force && atr_path_exists(o->out))
        return atr_fail(ATR_ERR_USAGE, "%s exists; --force replaces it", o->out);
    return ATR_OK;
}

static atr_status read_options(const atr_options *parsed, const quantize_options *o,
                               const atr_model_info *info, atr_quantize_options *out)
{
    atr_status status = ATR_OK;

    ATR_TRY(atr_split_parse(o->split, &out->split));
    out->pictures = o->pictures;
    out->probes = o->probes;
    out->how = (atr_calibration_how){(atr_clip)o->clip, (atr_equalise)o->equalise};
    out->most_error = o->most_error;
    out->fit = (atr_fit_mode)o->fit;
    if (!atr_options_given(parsed, "fit") && info->fit[0] != '\0')
        ATR_TRY(atr_fit_mode_parse(info->fit, &out->fit));
    if (o->size != NULL)
        ATR_TRY(atr_size_parse(o->size, &out->height, &out->width));

done:
    return status;
}

static void print_layers(const atr_quantized *quantized)
{
    int64_t integers = 0;

    printf("%-40s %10s %9s\n", "layer", "error", "runs in");
    for (int64_t i = 0; i < quantized->count; i++) {
        const atr_quantized_layer *layer = &quantized->layers[i];
        printf("%-40s %9.3f%% %9s\n", layer->name, 100 * layer->error, layer->integers ? "int8" : "f32");
        integers += layer->integers;
    }
    printf("error: distance of the class scores from those of f32 (relative L2) with this layer alone in "
           "int8\nall %lld layers in int8: %.3f%%; the %lld that stay: %.3f%%\n",
           (long long)quantized->count, 100 * quantized->all_error, (long long)integers,
           100 * quantized->error);
}

/* mIoU in points; NaN where the split is empty. */
static atr_status score(const atr_session *session, const atr_dataset *dataset,
                        const atr_quantize_options *how, atr_split split, double *out)
{
    const atr_evaluate_options options = {
        .split = split, .fit = how->fit, .height = how->height, .width = how->width};
    const int64_t *samples = NULL;
    atr_confusion confusion = {0};
    atr_scores scores;
    atr_status status = ATR_OK;

    *out = NAN;
    if (atr_dataset_split(dataset, split, &samples) == 0)
        return ATR_OK;
    ATR_TRY(atr_confusion_init(session->info.classes, &confusion));
    ATR_TRY(atr_evaluate(session, dataset, &options, &confusion));
    atr_scores_from(&confusion, &scores);
    *out = 100 * scores.miou;

done:
    atr_confusion_free(&confusion);
    return status;
}

/* Takes layers back to f32 until mIoU is near enough; with none left in integers nothing can be lost. */
static atr_status guard_miou(atr_session *session, const atr_dataset *dataset, const quantize_options *o,
                             const atr_quantize_options *how, atr_quantized *quantized)
{
    double before = NAN, after = NAN;
    atr_split split = ATR_SPLIT_VAL;
    atr_quant quant = session->quant;
    atr_status status = ATR_OK;

    ATR_TRY(atr_split_parse(o->eval_split, &split));
    session->quant = (atr_quant){{0}, {0}};
    status = score(session, dataset, how, split, &before);
    session->quant = quant;
    if (status != ATR_OK)
        goto done;
    if (isnan(before)) {
        printf("mIoU: split %s is empty\n", o->eval_split);
        goto done;
    }
    for (;;) {
        const int64_t more = 1 + quantized->count / 10;
        ATR_TRY(score(session, dataset, how, split, &after));
        if (before - after <= o->most_loss || session->quant.weights.count == 0)
            break;
        printf("mIoU falls by %.2f points: the %lld worst layers stay in f32, too\n", before - after,
               (long long)more);
        atr_quantize_spare(session, quantized, more);
    }
    printf("mIoU on %s: %.3f in f32, %.3f in int8\n", o->eval_split, before, after);

done:
    return status;
}

static atr_status quantize(const atr_options *parsed, const quantize_options *o)
{
    stopwatch c = {atr_seconds(), atr_cli_columns(stderr)};
    atr_quantize_options how = {.progress = show_progress, .user = &c};
    atr_session session = {0};
    atr_dataset *dataset = NULL;
    const char **data = NULL;
    int64_t count = 0;
    atr_quantized quantized = {0};
    atr_status status = ATR_OK;

    ATR_TRY(check_output(o));
    ATR_TRY(atr_session_open(&o->session, NULL, &session));
    ATR_TRY(atr_session_load(&session, atr_options_positional(parsed, 0)));
    ATR_TRY(read_options(parsed, o, &session.info, &how));
    ATR_TRY(atr_cli_arguments(parsed, 1, &data, &count));
    ATR_TRY(atr_dataset_open_all(data, count, &dataset));
    ATR_TRY(atr_quantize(&session, dataset, &how, &quantized));
    print_layers(&quantized);
    ATR_TRY(guard_miou(&session, dataset, o, &how, &quantized));
    ATR_TRY(atr_checkpoint_write(
        o->out, &(atr_checkpoint){.info = &session.info, .params = session.params, .quant = &session.quant}));
    printf("%s: %lld of %lld layers in int8\n", o->out, (long long)session.quant.weights.count,
           (long long)quantized.count);

done:
    atr_quantized_free(&quantized);
    atr_dataset_close(dataset);
    atr_session_close(&session);
    atr_free(data);
    return status;
}

int atr_cmd_quantize(int argc, char **argv)
{
    atr_status status = ATR_OK;
    atr_options *options = NULL;
    quantize_options chosen = {0};
    int exit_code = ATR_EXIT_DONE;

    ATR_TRY(atr_options_create(
        "atrous quantize", "MODEL.h5 DATA.h5... -o INT8.h5 [OPTION...]",
        "Prepares a trained network for prediction in 8-bit integers: calibrates on pictures of the data "
        "set, "
        "measures each layer, leaves sensitive ones in f32, and scores the network before and after.",
        &options));
    ATR_TRY(atr_options_add(options, rows, &chosen));
    ATR_TRY(atr_options_add(options, atr_session_rows, &chosen.session));
    if (!atr_cli_parse(options, argc, argv, false, &exit_code))
        goto done;
    atr_cli_log();
    ATR_TRY(atr_cli_positional(options, 2, -1));
    ATR_TRY(quantize(options, &chosen));

done:
    if (status != ATR_OK) {
        atr_cli_error("quantize", atr_status_message());
        exit_code = atr_cli_exit_code(status);
    }
    atr_options_destroy(options);
    return exit_code;
}
