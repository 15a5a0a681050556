/* atrous info: what a file is. */
#include <stddef.h>

#include "apps/cli.h"
#include "apps/info.h"
#include "apps/pack_report.h"
#include "apps/runlog.h"
#include "io/path.h"

typedef struct info_options {
    bool json, tensors;
} info_options;

static const atr_option rows[] = {{.name = "tensors",
                                   .kind = ATR_OPTION_FLAG,
                                   .offset = offsetof(info_options, tensors),
                                   .help = "list every tensor of a model or weight file"},
                                  {.name = "json",
                                   .kind = ATR_OPTION_FLAG,
                                   .offset = offsetof(info_options, json),
                                   .help = "one JSON object on the output"},
                                  {.name = NULL}};

static atr_status info_dataset(const atr_info_request *request, atr_text *out)
{
    atr_status status = ATR_OK;
    atr_dataset *dataset = NULL;
    char *text = NULL;

    ATR_TRY(atr_dataset_open(request->path, &dataset));
    if (!request->json) {
        atr_dataset_print(dataset);
        goto done;
    }
    ATR_TRY(atr_dataset_json(dataset, &text));
    atr_text_append(out, "{\"kind\":\"data set\",\"bytes\":%lld,%s\n", (long long)request->bytes, text + 1);
done:
    atr_free(text);
    atr_dataset_close(dataset);
    return status;
}

static atr_status (*const appenders[])(const atr_info_request *request, atr_text *out) = {
    [ATR_FILE_DATASET] = info_dataset,
    [ATR_FILE_MODEL] = atr_info_model,
    [ATR_FILE_PICTURE] = atr_info_picture,
    [ATR_FILE_WEIGHTS] = atr_info_weights,
};

static atr_status info(const char *path, const info_options *o)
{
    atr_status status = ATR_OK;
    atr_text out = {0};
    atr_info_request request = {.path = path, .json = o->json, .tensors = o->tensors};
    atr_file_kind kind = ATR_FILE_WEIGHTS;

    ATR_TRY(atr_file_sniff(path, &kind));
    ATR_TRY(atr_path_size(path, &request.bytes));
    ATR_TRY(appenders[kind](&request, &out));
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
    int exit_code = ATR_EXIT_DONE;

    ATR_TRY(atr_options_create(
        "atrous info", "FILE [OPTION...]",
        "Says what a file is and holds: a model or checkpoint, a data set, a weight file of "
        "PyTorch (.pth, .safetensors), a picture. A damaged file is an error (exit code 1).",
        &options));
    ATR_TRY(atr_options_add(options, rows, &chosen));
    if (!atr_cli_parse(options, argc, argv, false, &exit_code))
        goto done;
    ATR_TRY(atr_cli_positional(options, 1, 1));
    ATR_TRY(info(atr_options_positional(options, 0), &chosen));
done:
    if (status != ATR_OK) {
        atr_cli_error("info", atr_status_message());
        exit_code = atr_cli_exit_code(status);
    }
    atr_options_destroy(options);
    return exit_code;
}
