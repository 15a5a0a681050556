/* atrous import: a weight file of the reference (.pth, .safetensors) becomes a model file. */
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "apps/cli.h"
#include "apps/recognise.h"
#include "apps/session.h"
#include "apps/train_options.h"

typedef struct import_options {
    const char *out, *classes, *size;
    int stride; /* index into strides */
    bool force;
} import_options;

static const char *const strides[] = {"16", "8", NULL};

static const atr_option rows[] = {
    {.name = "output",
     .letter = 'o',
     .kind = ATR_OPTION_STRING,
     .offset = offsetof(import_options, out),
     .argument = "MODEL.h5",
     .help = "model file to write"},
    {.name = "output-stride",
     .kind = ATR_OPTION_CHOICE,
     .offset = offsetof(import_options, stride),
     .choices = strides,
     .help = "the downsample factor that the weights were trained with; no tensor tells it"},
    {.name = "size",
     .kind = ATR_OPTION_STRING,
     .offset = offsetof(import_options, size),
     .value = "512",
     .argument = "HxW",
     .help = "input size the weights were trained at: what `predict` letterboxes to"},
    {.name = "classes",
     .kind = ATR_OPTION_STRING,
     .offset = offsetof(import_options, classes),
     .argument = "FILE",
     .help = "class names, one per line, background first"},
    {.name = "force",
     .kind = ATR_OPTION_FLAG,
     .offset = offsetof(import_options, force),
     .help = "replace MODEL.h5"},
    {.name = NULL}};

/* One name per line; blank lines and blanks at both ends are left out. */
static atr_status read_names(const char *path, atr_model_info *info)
{
    atr_status status = ATR_OK;
    char *text = NULL, *rest = NULL;
    void *bytes = NULL;
    size_t size = 0;
    int64_t count = 0;

    ATR_TRY(atr_file_read(path, 1 << 20, &bytes, &size));
    ATR_TRY(ATR_NEW((int64_t)size + 1, &text));
    memcpy(text, bytes, size);
    for (char *line = strtok_r(text, "\r\n", &rest); line != NULL; line = strtok_r(NULL, "\r\n", &rest)) {
        line += strspn(line, " \t");
        size_t length = strlen(line);
        while (length > 0 && (line[length - 1] == ' ' || line[length - 1] == '\t'))
            line[--length] = '\0';
        if (length == 0)
            continue;
        if (count < info->classes)
            snprintf(info->class_names[count], sizeof info->class_names[count], "%s", line);
        count++;
    }
    if (count != info->classes)
        status = atr_fail(ATR_ERR_USAGE,
                          "%s names %lld classes, the weights have %lld (the background counts as one)", path,
                          (long long)count, (long long)info->classes);
done:
    atr_free(text);
    atr_free(bytes);
    return status;
}

static atr_status describe(const import_options *o, const atr_weights *weights, atr_model_info *info)
{
    atr_status status = ATR_OK;

    ATR_TRY(atr_recognise(weights, atoi(strides[o->stride]), info));
    ATR_TRY(atr_size_parse(o->size, &info->height, &info->width));
    if (o->classes != NULL)
        ATR_TRY(read_names(o->classes, info));
done:
    return status;
}

static atr_status check_output(const import_options *o)
{
    if (o->out == NULL)
        return atr_fail(ATR_ERR_USAGE, "say where the model goes: -o MODEL.h5");
    FILE *there = o->force ? NULL : fopen(o->out, "rb");
    if (there == NULL)
        return ATR_OK;
    fclose(there);
    return atr_fail(ATR_ERR_USAGE, "%s exists; --force replaces it", o->out);
}

static atr_status import(const char *path, const import_options *o)
{
    atr_status status = ATR_OK;
    atr_session session = {0};
    atr_weights *weights = NULL;
    atr_load_report report = {0};
    bool stripped = false;
    char text[ATR_SESSION_TEXT_BYTES];
    atr_model_info *info = NULL;

    ATR_TRY(check_output(o));
    ATR_TRY(ATR_NEW(1, &info));
    ATR_TRY(atr_weights_read(path, &weights));
    ATR_TRY(atr_weights_strip_prefix(weights, "module.", &stripped));
    ATR_TRY(atr_fail_prefix(describe(o, weights, info), "%s", path));
    ATR_TRY(atr_session_open(&(atr_session_options){"ref", 1}, NULL, &session));
    ATR_TRY(atr_session_build(&session, info, NULL));
    ATR_TRY(atr_fail_prefix(atr_weights_fill(weights, ATR_LOAD_STRICT, session.params, &report), "M01: %s",
                            path));
    if (report.non_finite > 0)
        fprintf(stderr, "warning: %lld tensors hold NaN or infinity (first: %s)\n",
                (long long)report.non_finite, report.non_finite_name);
    ATR_TRY(atr_checkpoint_write(o->out, &(atr_checkpoint){.info = info, .params = session.params}));
    printf("%s: %s%s\n%s: %s, %lld tensors\n", path, atr_weights_format(weights),
           stripped ? ", names without 'module.'" : "", o->out, atr_session_text(&session, text),
           (long long)report.loaded);
done:
    atr_load_report_free(&report);
    atr_session_close(&session);
    atr_weights_destroy(weights);
    atr_free(info);
    return status;
}

int atr_cmd_import(int argc, char **argv)
{
    atr_status status = ATR_OK;
    atr_options *options = NULL;
    import_options chosen;
    int exit_code = ATR_EXIT_DONE;

    ATR_TRY(atr_options_create(
        "atrous import", "WEIGHTS -o MODEL.h5 [OPTION...]",
        "Turns a weight file of the PyTorch reference (.pth of any age, .safetensors, or a model of ours)\n"
        "into a model file. Backbone and class count are read off the names and shapes in it; nothing in\n"
        "the file is ever executed.",
        &options));
    ATR_TRY(atr_options_add(options, rows, &chosen));
    if (!atr_cli_parse(options, argc, argv, false, &exit_code))
        goto done;
    atr_cli_log();
    ATR_TRY(atr_cli_positional(options, 1, 1));
    ATR_TRY(import(atr_options_positional(options, 0), &chosen));
done:
    if (status != ATR_OK) {
        atr_cli_error("import", atr_status_message());
        exit_code = atr_cli_exit_code(status);
    }
    atr_options_destroy(options);
    return exit_code;
}
