#include "io/source_impl.h"

#include <string.h>

#include "core/text.h"
#include "io/path.h"

/* Rows in the order in which they are asked whether a folder is theirs. */
static const atr_source_format *const formats[] = {&atr_source_voc, &atr_source_labelme};

enum { FORMATS = sizeof formats / sizeof *formats };

const char *const atr_source_image_suffixes[] = {"jpg", "jpeg", "png", NULL};

const atr_source_format *atr_source_format_at(int64_t index)
{
    return index >= 0 && index < FORMATS ? formats[index] : NULL;
}

static atr_status named_format(const char *name, const atr_source_format **out)
{
    const char *names[FORMATS], *nearest = NULL;
    char have[256] = "";

    for (int i = 0; i < FORMATS; i++) {
        names[i] = formats[i]->name;
        if (strcmp(name, names[i]) == 0) {
            *out = formats[i];
            return ATR_OK;
        }
        strncat(have, i > 0 ? ", " : "", sizeof have - strlen(have) - 1);
        strncat(have, names[i], sizeof have - strlen(have) - 1);
    }
    nearest = atr_did_you_mean(name, names, FORMATS);
    return atr_fail(ATR_ERR_USAGE, "--format '%s': there are %s%s%s%s", name, have,
                    nearest == NULL ? "" : "; did you mean ", nearest == NULL ? "" : nearest,
                    nearest == NULL ? "" : "?");
}

/* What no reader claims: the message says what each would look like. */
static atr_status no_format(const char *folder)
{
    atr_status status = ATR_OK;
    atr_text known = {0};
    char *text = NULL;

    for (int i = 0; i < FORMATS; i++)
        atr_text_append(&known, "%s%s: %s", i > 0 ? "; " : "", formats[i]->name, formats[i]->layout);
    ATR_TRY(atr_text_take(&known, &text));
    status =
        atr_fail(ATR_ERR_NOT_FOUND, "%s: no annotated pictures of a known format here (%s)", folder, text);

done:
    atr_free(text);
    return status;
}

static atr_status find_format(const atr_source_config *config, const atr_source_format **out)
{
    *out = NULL;
    if (!atr_path_exists(config->folder))
        return atr_fail(ATR_ERR_NOT_FOUND, "%s: there is no such folder", config->folder);
    if (!atr_path_is_folder(config->folder))
        return atr_fail(ATR_ERR_USAGE, "%s: not a folder; give the folder with pictures and annotations",
                        config->folder);
    if (config->format != NULL)
        return named_format(config->format, out);
    for (int i = 0; i < FORMATS && *out == NULL; i++)
        if (formats[i]->detect(config->folder))
            *out = formats[i];
    return *out != NULL ? ATR_OK : no_format(config->folder);
}

/* Names need a list of names, and rules about stored numbers mean nothing there; and the other way round. */
static atr_status check_rules(const atr_source_format *format, const atr_source_config *config)
{
    const atr_class_list *classes = config->classes;
    const atr_label_rules *rules = config->rules;

    if (!format->named && rules->rename_count > 0)
        return atr_fail(ATR_ERR_USAGE,
                        "--map '%s=%s': the masks of format %s hold numbers: the left side is a stored value",
                        rules->rename[0].from, rules->rename[0].to, format->name);
    if (!format->named)
        return ATR_OK;
    if (!classes->named)
        return atr_fail(
            ATR_ERR_USAGE,
            "--classes must be a file for format %s: its labels are names, and the file says which "
            "number each has (one name per line, _background_ first)",
            format->name);
    if (config->colours != NULL)
        return atr_fail(ATR_ERR_USAGE, "--colors is about masks of colours; labels of format %s are names",
                        format->name);
    if (rules->ignore_count > 0 || rules->binary_255)
        return atr_fail(
            ATR_ERR_USAGE,
            "%s is about numbers in masks; labels of format %s are names: use --map LABEL=ignore or "
            "--map LABEL=CLASS",
            rules->binary_255 ? "--binary-255" : "--ignore", format->name);
    return atr_label_check_renames(classes, rules);
}

atr_status atr_source_scan(const atr_source_config *config, atr_findings *findings, atr_source *out)
{
    atr_status status = ATR_OK;

    *out = (atr_source){.config = config};
    ATR_TRY(find_format(config, &out->format));
    ATR_TRY(check_rules(out->format, config));
    ATR_TRY(out->format->scan(config, findings, out));

done:
    if (status != ATR_OK)
        atr_source_free(out);
    return status;
}

void atr_source_free(atr_source *source)
{
    for (int64_t i = 0; source->samples != NULL && i < source->count; i++) {
        atr_free(source->samples[i].name);
        atr_free(source->samples[i].image);
        atr_free(source->samples[i].labels);
    }
    atr_free(source->samples);
    atr_free(source->root);
    *source = (atr_source){0};
}

atr_status atr_source_image(const atr_source *source, int64_t index, void **kept, void **bytes, size_t *size)
{
    const atr_source_sample *sample = &source->samples[index];

    if (kept != NULL)
        *kept = NULL;
    if (sample->image == NULL)
        return source->format->embedded(source, index, kept, bytes, size);
    return atr_file_read(sample->image, ATR_SOURCE_FILE_LIMIT, bytes, size);
}

void atr_source_forget(const atr_source *source, void *kept)
{
    if (kept != NULL)
        source->format->forget(kept);
}

atr_status atr_source_read(const atr_source *source, int64_t index, void *kept,
                           const atr_source_picture *picture, atr_findings *findings, atr_source_labels *out)
{
    *out = (atr_source_labels){0};
    return source->format->read(source, index, kept, picture, findings, out);
}

const char *atr_source_relative(const atr_source *source, const char *path)
{
    const size_t length = strlen(source->root);

    if (strncmp(path, source->root, length) != 0)
        return path;
    return path + length + strspn(path + length, "/");
}

const char *atr_source_subject(const atr_source *source, int64_t index)
{
    const atr_source_sample *sample = &source->samples[index];

    return atr_source_relative(source, sample->image != NULL ? sample->image : sample->labels);
}

atr_status atr_source_file_fault(const atr_source *source, const char *path, atr_status status,
                                 atr_findings *findings)
{
    return atr_findings_unreadable(findings, path, atr_source_relative(source, path), status);
}
