/* atrous export: a model becomes a file that other programs read, safetensors or ONNX. */
#include <stdio.h>
#include <string.h>

#include "apps/cli.h"
#include "apps/session.h"
#include "apps/train_options.h"
#include "core/text.h"
#include "io/onnx.h"
#include "io/path.h"
#include "io/safetensors.h"

typedef struct export_options {
    const char *out, *batch, *size;
    bool force;
} export_options;

static const char any[] = "dynamic";

static const atr_option rows[] = {{.name = "output",
                                   .letter = 'o',
                                   .kind = ATR_OPTION_STRING,
                                   .offset = offsetof(export_options, out),
                                   .argument = "FILE",
                                   .help = "file to write; its suffix says the format: .safetensors, .onnx"},
                                  {.name = "batch",
                                   .kind = ATR_OPTION_STRING,
                                   .offset = offsetof(export_options, batch),
                                   .value = any,
                                   .argument = "N|dynamic",
                                   .help = "ONNX: pictures in one run; dynamic: any number"},
                                  {.name = "size",
                                   .kind = ATR_OPTION_STRING,
                                   .offset = offsetof(export_options, size),
                                   .value = any,
                                   .argument = "HxW|dynamic",
                                   .help = "ONNX: size of the input; dynamic: any"},
                                  {.name = "force",
                                   .kind = ATR_OPTION_FLAG,
                                   .offset = offsetof(export_options, force),
                                   .help = "replace FILE"},
                                  {.name = NULL}};

static atr_status parse_shape(const export_options *o, atr_onnx_shape *out)
{
    enum { BATCH_MOST = 1 << 20 };

    *out = (atr_onnx_shape){0};
    if (strcmp(o->batch, any) != 0 &&
        (!atr_parse_int(o->batch, &out->batch) || out->batch < 1 || out->batch > BATCH_MOST))
        return atr_fail(ATR_ERR_USAGE, "--batch '%.40s': wanted a number from 1 to %d, or %s", o->batch,
                        BATCH_MOST, any);
    if (strcmp(o->size, any) != 0)
        return atr_size_parse(o->size, &out->height, &out->width);
    return ATR_OK;
}

static void print_extent(int64_t extent, const char *name)
{
    if (extent > 0)
        printf("%lld", (long long)extent);
    else
        printf("%s", name);
}

static void print_shape(const char *name, int64_t channels, const atr_onnx_shape *shape)
{
    printf("%s [", name);
    print_extent(shape->batch, "batch");
    printf(",%lld,", (long long)channels);
    print_extent(shape->height, "height");
    printf(",");
    print_extent(shape->width, "width");
    printf("]");
}

static atr_status write_onnx(const export_options *o, const atr_session *session)
{
    atr_status status = ATR_OK;
    atr_onnx_shape shape;

    ATR_TRY(parse_shape(o, &shape));
    ATR_TRY(
        atr_onnx_write(o->out, &session->info, session->graph, session->params, &shape, atr_cli_version()));
    printf("%s: ONNX, opset %d, ", o->out, ATR_ONNX_OPSET);
    print_shape("images", session->info.channels, &shape);
    printf(" -> ");
    print_shape("logits", session->info.classes, &shape);
    printf("\n");

done:
    return status;
}

static atr_status write_safetensors(const export_options *o, const atr_session *session)
{
    atr_status status = ATR_OK;

    ATR_TRY(atr_safetensors_write(o->out, &session->info, session->params));
    printf("%s: safetensors, %lld tensors under the names of PyTorch's state_dict\n", o->out,
           (long long)atr_params_count(session->params));

done:
    return status;
}

/* What can be written, by suffix. */
typedef struct format {
    const char *suffix;
    bool shaped; /* takes --batch and --size */
    atr_status (*write)(const export_options *o, const atr_session *session);
} format;

static const format formats[] = {
    {".safetensors", false, write_safetensors},
    {".onnx", true, write_onnx},
};

enum { FORMATS = sizeof formats / sizeof formats[0] };

static atr_status find_format(const char *path, const format **out)
{
    const size_t length = strlen(path);
    char known[128] = "";

    for (int i = 0; i < FORMATS; i++) {
        const size_t suffix = strlen(formats[i].suffix), used = strlen(known);
        *out = &formats[i];
        if (length > suffix && strcmp(path + length - suffix, formats[i].suffix) == 0)
            return ATR_OK;
        snprintf(known + used, sizeof known - used, "%s%s", i > 0 ? ", " : "", formats[i].suffix);
    }
    return atr_fail(ATR_ERR_USAGE, "%s: the suffix says the format, and this one is not known (have: %s)",
                    path, known);
}

/* All that can be seen to be wrong before the model is read. */
static atr_status check_request(const atr_options *options, const export_options *o, const format **out)
{
    atr_status status = ATR_OK;
    atr_onnx_shape shape;

    if (o->out == NULL)
        return atr_fail(ATR_ERR_USAGE, "say where it goes: -o FILE.safetensors or -o FILE.onnx");
    ATR_TRY(find_format(o->out, out));
    if (!(*out)->shaped && (atr_options_given(options, "batch") || atr_options_given(options, "size")))
        return atr_fail(ATR_ERR_USAGE, "--batch and --size have no meaning for %s: it holds weights alone",
                        (*out)->suffix);
    ATR_TRY(parse_shape(o, &shape));
    if (atr_path_is_folder(o->out))
        return atr_fail(ATR_ERR_USAGE, "%s is a folder", o->out);
    if (!o->force && atr_path_exists(o->out))
        return atr_fail(ATR_ERR_USAGE, "%s exists; --force replaces it", o->out);

done:
    return status;
}

static atr_status export(const atr_options *options, const export_options *o)
{
    const char *const path = atr_options_positional(options, 0);
    const format *to = NULL;
    atr_session session = {0};
    char text[ATR_SESSION_TEXT_BYTES];
    atr_status status = ATR_OK;

    ATR_TRY(check_request(options, o, &to));
    ATR_TRY(atr_session_open(&(atr_session_options){.backend = "ref", .threads = 1}, NULL, &session));
    ATR_TRY(atr_session_load(&session, path));
    printf("%s: %s\n", path, atr_session_text(&session, text));
    ATR_TRY(to->write(o, &session));

done:
    atr_session_close(&session);
    return status;
}

int atr_cmd_export(int argc, char **argv)
{
    atr_status status = ATR_OK;
    atr_options *options = NULL;
    export_options chosen;
    int exit_code = ATR_EXIT_DONE;

    ATR_TRY(atr_options_create(
        "atrous export", "MODEL.h5 -o FILE [OPTION...]",
        "Writes a model or checkpoint of ours for other programs: .safetensors holds the weights under the "
        "names of the PyTorch reference, .onnx the whole network for ONNX Runtime and its like. Class names, "
        "colours and preprocessing go along as metadata, the state of a training run does not.",
        &options));
    ATR_TRY(atr_options_add(options, rows, &chosen));
    if (!atr_cli_parse(options, argc, argv, false, &exit_code))
        goto done;
    atr_cli_log();
    ATR_TRY(atr_cli_positional(options, 1, 1));
    ATR_TRY(export(options, &chosen));

done:
    if (status != ATR_OK) {
        atr_cli_error("export", atr_status_message());
        exit_code = atr_cli_exit_code(status);
    }
    atr_options_destroy(options);
    return exit_code;
}
