/* atrous info: what a file is. */
#include <stddef.h>

#include "apps/cli.h"
#include "apps/info.h"
#include "apps/pack_report.h"
#include "apps/runlog.h"
#include "apps/train_options.h"
#include "io/path.h"

typedef struct info_options {
    bool json, tensors, layers, memory;
    const char *size, *backbone;
    int64_t output_stride, classes, batch;
} info_options;

static const atr_option rows[] = {
    {.name = "tensors",
     .kind = ATR_OPTION_FLAG,
     .offset = offsetof(info_options, tensors),
     .help = "list every tensor of a model or weight file"},
    {.name = "layers",
     .kind = ATR_OPTION_FLAG,
     .offset = offsetof(info_options, layers),
     .help = "list every layer with its output, parameters, arithmetic and "
             "memory, and their sums by part"},
    {.name = "memory",
     .kind = ATR_OPTION_FLAG,
     .offset = offsetof(info_options, memory),
     .help = "with --layers: also what prediction and training take of memory on this machine, for --batch "
             "pictures"},
    {.name = "batch",
     .letter = 'b',
     .kind = ATR_OPTION_INT,
     .offset = offsetof(info_options, batch),
     .value = "1",
     .least = 1,
     .most = 4096,
     .argument = "N",
     .help = "with --memory: pictures in a pass"},
    {.name = "size",
     .kind = ATR_OPTION_STRING,
     .offset = offsetof(info_options, size),
     .argument = "H[xW]",
     .help = "with --layers: size of the picture; else the model's own, or 512"},
    {.name = "backbone",
     .kind = ATR_OPTION_STRING,
     .offset = offsetof(info_options, backbone),
     .argument = "NAME",
     .help = "with --layers, in place of FILE: the network with this feature "
             "extractor (mobilenetv2, xception)"},
    {.name = "output-stride",
     .kind = ATR_OPTION_INT,
     .offset = offsetof(info_options, output_stride),
     .value = "16",
     .least = 8,
     .most = 16,
     .argument = "N",
     .help = "8 or 16, with --backbone or a weight file: no tensor tells it"},
    {.name = "classes",
     .kind = ATR_OPTION_INT,
     .offset = offsetof(info_options, classes),
     .value = "21",
     .least = 1,
     .most = 255,
     .argument = "K",
     .help = "with --backbone: classes told apart"},
    {.name = "json",
     .kind = ATR_OPTION_FLAG,
     .offset = offsetof(info_options, json),
     .help = "one JSON object on the output"},
    {.name = NULL}};

static atr_status sum_sizes(char *const *files, int64_t count, int64_t *bytes)
{
    int64_t one = 0;
    atr_status status = ATR_OK;

    *bytes = 0;
    for (int64_t i = 0; i < count; i++) {
        ATR_TRY(atr_path_size(files[i], &one));
        *bytes += one;
    }
done:
    return status;
}

static atr_status info_dataset(const char *const *names, int64_t count, bool json, atr_text *out)
{
    atr_status status = ATR_OK;
    atr_dataset *dataset = NULL;
    char *text = NULL, **files = NULL;
    int64_t found = 0, bytes = 0;

    ATR_TRY(atr_dataset_open_all(names, count, &dataset));
    atr_cli_warn_gap(dataset);
    if (!json) {
        atr_dataset_print(dataset);
        goto done;
    }
    ATR_TRY(atr_dataset_json(dataset, &text));
    ATR_TRY(atr_dataset_files(names, count, &files, &found));
    ATR_TRY(sum_sizes(files, found, &bytes));
    atr_text_append(out, "{\"kind\":\"data set\",\"bytes\":%lld,\"files\":%lld,%s\n", (long long)bytes,
                    (long long)found, text + 1);
done:
    atr_dataset_files_free(files, found);
    atr_free(text);
    atr_dataset_close(dataset);
    return status;
}

static atr_status (*const appenders[])(const atr_info_request *request, atr_text *out) = {
    [ATR_FILE_MODEL] = atr_info_model,
    [ATR_FILE_PICTURE] = atr_info_picture,
    [ATR_FILE_WEIGHTS] = atr_info_weights,
};

static atr_status info_files(const info_options *o, const char *const *names, int64_t count,
                             atr_info_request *request, atr_text *out)
{
    atr_file_kind kind = ATR_FILE_WEIGHTS;
    atr_status status = ATR_OK;

    ATR_TRY(atr_file_sniff(request->path, &kind));
    if (kind != ATR_FILE_DATASET && count > 1)
        return atr_fail(ATR_ERR_USAGE,
                        "%s: several files are shown together where they are one data set only", names[0]);
    if (o->layers && (kind == ATR_FILE_DATASET || kind == ATR_FILE_PICTURE))
        return atr_fail(ATR_ERR_USAGE, "%s is no model and no weight file: it has no layers", request->path);
    if (kind == ATR_FILE_DATASET) {
        ATR_TRY(info_dataset(names, count, o->json, out));
        goto done;
    }
    ATR_TRY(atr_path_size(request->path, &request->bytes));
    ATR_TRY(appenders[kind](request, out));
done:
    return status;
}

/* What is asked for without a FILE, and what only with one. */
static atr_status check(const char *path, const info_options *o)
{
    if (o->backbone != NULL && !o->layers)
        return atr_fail(ATR_ERR_USAGE, "--backbone is for --layers");
    if (o->memory && !o->layers)
        return atr_fail(ATR_ERR_USAGE, "--memory is for --layers");
    if (o->size != NULL && !o->layers)
        return atr_fail(ATR_ERR_USAGE, "--size is for --layers");
    if (path != NULL && o->backbone != NULL)
        return atr_fail(ATR_ERR_USAGE, "%s or --backbone %s: only one can be shown", path, o->backbone);
    if (path == NULL && o->backbone == NULL)
        return atr_fail(ATR_ERR_USAGE, "a FILE is missing (or: --layers --backbone NAME)");
    if (path == NULL && o->tensors)
        return atr_fail(ATR_ERR_USAGE, "--tensors lists what is in a FILE, which is missing");
    return ATR_OK;
}

static atr_status info(const char *const *names, int64_t count, const info_options *o)
{
    const char *const path = count > 0 ? names[0] : NULL;
    atr_status status = ATR_OK;
    atr_text out = {0};
    atr_info_request request = {.path = path,
                                .json = o->json,
                                .tensors = o->tensors,
                                .layers = o->layers,
                                .memory = o->memory,
                                .batch = o->batch,
                                .output_stride = o->output_stride};

    ATR_TRY(check(path, o));
    if (o->size != NULL)
        ATR_TRY(atr_size_parse(o->size, &request.height, &request.width));
    if (path != NULL)
        ATR_TRY(info_files(o, names, count, &request, &out));
    else
        ATR_TRY(atr_info_network(o->backbone, o->classes, &request, &out));
    ATR_TRY(out.status);
    if (out.bytes != NULL)
        fputs(out.bytes, stdout);
done:
    atr_free(out.bytes);
    return status;
}

int atr_cmd_info(int argc, char **argv)
{
    atr_status status = ATR_OK;
    atr_options *options = NULL;
    info_options chosen;
    const char **names = NULL;
    int64_t count = 0;
    int exit_code = ATR_EXIT_DONE;

    ATR_TRY(atr_options_create(
        "atrous info", "FILE... [OPTION...], or: atrous info --layers --backbone NAME [OPTION...]",
        "Says what a file is and holds: a model or checkpoint, a data set, a weight file of "
        "PyTorch (.pth, .safetensors), a picture. Several files, a folder, a list (*.txt) or a pattern are "
        "shown as one data set. A damaged file is an error (exit code 1). --layers "
        "says what a network costs at a size of pictures, with or without a file.",
        &options));
    ATR_TRY(atr_options_add(options, rows, &chosen));
    if (!atr_cli_parse(options, argc, argv, false, &exit_code))
        goto done;
    atr_cli_log();
    ATR_TRY(atr_cli_arguments(options, 0, &names, &count));
    ATR_TRY(info(names, count, &chosen));
done:
    if (status != ATR_OK) {
        atr_cli_error("info", atr_status_message());
        exit_code = atr_cli_exit_code(status);
    }
    atr_free(names);
    atr_options_destroy(options);
    return exit_code;
}
