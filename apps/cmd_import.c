/* atrous import: a weight file of the reference (.pth, .safetensors) becomes a model file. */
#include <math.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "apps/adopt.h"
#include "apps/cli.h"
#include "apps/recognise.h"
#include "apps/session.h"
#include "apps/train_options.h"
#include "io/labels.h"
#include "io/model_meta.h"
#include "io/path.h"

typedef struct import_options {
    const char *out, *classes, *size;
    int stride; /* index into strides */
    bool force, new_head, backbone_only;
    int64_t seed;
} import_options;

#define INIT_GAIN 0.02 /* as `train` has it by default: deviation of new convolution weights */

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
     .value = "16",
     .choices = strides,
     .argument = "N",
     .help = "downsample factor that the weights were trained with; no tensor tells it"},
    {.name = "size",
     .kind = ATR_OPTION_STRING,
     .offset = offsetof(import_options, size),
     .value = "512",
     .argument = "HxW",
     .help = "input size the weights were trained at: what `predict` letterboxes to"},
    {.name = "classes",
     .kind = ATR_OPTION_STRING,
     .offset = offsetof(import_options, classes),
     .argument = "FILE|N",
     .help = "class names, one per line, background first; or their number"},
    {.name = "new-head",
     .kind = ATR_OPTION_FLAG,
     .offset = offsetof(import_options, new_head),
     .help = "the classifier starts fresh, for the classes of --classes: a model to train on"},
    {.name = "backbone-only",
     .kind = ATR_OPTION_FLAG,
     .offset = offsetof(import_options, backbone_only),
     .help = "only the backbone is loaded, from a whole network or a backbone alone; all else starts fresh"},
    {.name = "seed",
     .kind = ATR_OPTION_INT,
     .offset = offsetof(import_options, seed),
     .value = "11",
     .least = 0,
     .most = INFINITY,
     .help = "of what starts fresh"},
    {.name = "force",
     .kind = ATR_OPTION_FLAG,
     .offset = offsetof(import_options, force),
     .help = "replace MODEL.h5"},
    {.name = NULL}};

/* The file that `pack --classes` takes too. */
static atr_status read_names(const char *path, atr_adopt_part part, atr_model_info *info)
{
    atr_status status = ATR_OK;
    atr_class_list list = {0};

    ATR_TRY(atr_class_list_read(path, &list));
    if (list.count != info->classes && part == ATR_ADOPT_ALL) {
        status = atr_fail(ATR_ERR_USAGE,
                          "%s names %lld classes, the weights have %lld (the background counts as one). "
                          "--new-head starts a new classifier for them",
                          path, (long long)list.count, (long long)info->classes);
        goto done;
    }
    if (part != ATR_ADOPT_ALL)
        memset(info->class_names, 0, sizeof info->class_names);
    info->classes = list.count;
    for (int64_t k = 0; k < list.count && list.named; k++) {
        if (strlen(list.names[k]) >= sizeof info->class_names[k]) {
            status = atr_fail(ATR_ERR_USAGE, "%s: the name of class %lld is longer than %zu bytes", path,
                              (long long)k, sizeof info->class_names[k] - 1);
            goto done;
        }
        strcpy(info->class_names[k], list.names[k]);
    }
done:
    atr_class_list_free(&list);
    return status;
}

/* A model of ours describes itself. */
static atr_status read_description(const char *path, atr_model_info *info)
{
    atr_checkpoint_file *file = NULL;
    const atr_status status = atr_checkpoint_open(path, &file);

    if (status == ATR_OK)
        *info = *atr_checkpoint_info(file);
    atr_checkpoint_close(file);
    return status;
}

static atr_adopt_part part_of(const import_options *o)
{
    return o->backbone_only ? ATR_ADOPT_BACKBONE : o->new_head ? ATR_ADOPT_BODY : ATR_ADOPT_ALL;
}

/* What the file says, or its names and shapes; what the command line says wins. */
static atr_status describe(const char *path, const atr_options *options, const import_options *o,
                           const atr_weights *weights, atr_model_info *info)
{
    atr_status status = ATR_OK;
    bool ours = strcmp(atr_weights_format(weights), "checkpoint") == 0;
    atr_status (*const recognise)(const atr_weights *, int64_t, atr_model_info *) =
        o->backbone_only ? atr_recognise_backbone : atr_recognise;

    if (ours)
        ATR_TRY(read_description(path, info));
    else
        ATR_TRY(atr_fail_prefix(atr_model_meta_read(weights, &ours, info), "%s", path));
    if (!ours)
        ATR_TRY(atr_fail_prefix(recognise(weights, atoi(strides[o->stride]), info), "%s", path));
    if (atr_options_given(options, "output-stride"))
        info->output_stride = atoi(strides[o->stride]);
    if (!ours || atr_options_given(options, "size"))
        ATR_TRY(atr_size_parse(o->size, &info->height, &info->width));
    if (o->classes != NULL)
        ATR_TRY(read_names(o->classes, part_of(o), info));
done:
    return status;
}

static atr_status check_output(const import_options *o)
{
    if (o->out == NULL)
        return atr_fail(ATR_ERR_USAGE, "say where the model goes: -o MODEL.h5");
    if (atr_path_is_folder(o->out))
        return atr_fail(ATR_ERR_USAGE, "%s is a folder; the model is one file: -o MODEL.h5", o->out);
    if (!o->force && atr_path_exists(o->out))
        return atr_fail(ATR_ERR_USAGE, "%s exists; --force replaces it", o->out);
    if (part_of(o) != ATR_ADOPT_ALL && o->classes == NULL)
        return atr_fail(ATR_ERR_USAGE,
                        "a new classifier is for which classes? Say --classes FILE, or their number");
    return ATR_OK;
}

/* A whole network must have every tensor and no other; a part of one is laid over fresh values. */
static atr_status load(const char *path, const import_options *o, atr_weights *weights,
                       const atr_session *session, atr_load_report *report)
{
    atr_status status = ATR_OK;

    if (part_of(o) == ATR_ADOPT_ALL)
        return atr_fail_prefix(atr_weights_fill(weights, ATR_LOAD_STRICT, session->params, report), "M01: %s",
                               path);
    ATR_TRY(atr_model_init(session->params, ATR_INIT_NORMAL, INIT_GAIN, (uint64_t)o->seed));
    ATR_TRY(atr_adopt(path, weights, part_of(o), &session->info, session->params, report));

done:
    return status;
}

static atr_status import(const atr_options *options, const import_options *o)
{
    const char *path = atr_options_positional(options, 0);
    atr_status status = ATR_OK;
    atr_session session = {0};
    atr_weights *weights = NULL;
    atr_load_report report = {0};
    bool stripped = false;
    char text[ATR_SESSION_TEXT_BYTES], loaded[ATR_ADOPT_TEXT_BYTES];
    atr_model_info *info = NULL;

    ATR_TRY(check_output(o));
    ATR_TRY(ATR_NEW(1, &info));
    ATR_TRY(atr_weights_read(path, &weights));
    ATR_TRY(atr_weights_strip_prefix(weights, "module.", &stripped));
    ATR_TRY(describe(path, options, o, weights, info));
    ATR_TRY(atr_session_open(&(atr_session_options){.backend = "ref", .threads = 1}, NULL, &session));
    ATR_TRY(atr_session_build(&session, info, NULL));
    ATR_TRY(load(path, o, weights, &session, &report));
    if (report.non_finite > 0)
        fprintf(stderr, "warning: %lld tensors hold NaN or infinity (first: %s)\n",
                (long long)report.non_finite, report.non_finite_name);
    ATR_TRY(atr_checkpoint_write(o->out, &(atr_checkpoint){.info = info, .params = session.params}));
    printf("%s: %s%s\n%s: %s, %s\n", path, atr_weights_format(weights),
           stripped ? ", names without 'module.'" : "", o->out, atr_session_text(&session, text),
           atr_adopt_text(&report, loaded));
    if (part_of(o) != ATR_ADOPT_ALL)
        printf("What starts fresh knows nothing yet: atrous train DATA.h5 -o RUN --weights %s\n", o->out);
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
        "Turns a weight file of the PyTorch reference (.pth of any age, .safetensors, or a model of ours) "
        "into a model file. Backbone and class count are read off the names and shapes in it; nothing in "
        "the file is ever executed.",
        &options));
    ATR_TRY(atr_options_add(options, rows, &chosen));
    if (!atr_cli_parse(options, argc, argv, false, &exit_code))
        goto done;
    atr_cli_log();
    ATR_TRY(atr_cli_positional(options, 1, 1));
    ATR_TRY(import(options, &chosen));
done:
    if (status != ATR_OK) {
        atr_cli_error("import", atr_status_message());
        exit_code = atr_cli_exit_code(status);
    }
    atr_options_destroy(options);
    return exit_code;
}
