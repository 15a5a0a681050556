#include "io/model_meta.h"

#include <jansson.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include "io/checkpoint_impl.h"

/* The mark of a description of ours, and the version of its form. */
static const char mark[] = "atrous_model", version[] = "1";

typedef enum kind { WORD, INTEGER, BOOLEAN, REAL, CHANNEL_REALS, CLASS_NAMES, PALETTE } kind;

/* One pair: how it is written and where it lies. Counts come before the lists that they count. */
typedef struct row {
    const char *key;
    kind kind;
    size_t offset;
} row;

static const row rows[] = {
    {"architecture", WORD, offsetof(atr_model_info, architecture)},
    {"backbone", WORD, offsetof(atr_model_info, backbone)},
    {"output_stride", INTEGER, offsetof(atr_model_info, output_stride)},
    {"align_corners", BOOLEAN, offsetof(atr_model_info, align_corners)},
    {"classes", INTEGER, offsetof(atr_model_info, classes)},
    {"class_names", CLASS_NAMES, offsetof(atr_model_info, class_names)},
    {"palette", PALETTE, offsetof(atr_model_info, palette)},
    {"channels", INTEGER, offsetof(atr_model_info, channels)},
    {"scale", CHANNEL_REALS, offsetof(atr_model_info, scale)},
    {"offset", CHANNEL_REALS, offsetof(atr_model_info, offset)},
    {"height", INTEGER, offsetof(atr_model_info, height)},
    {"width", INTEGER, offsetof(atr_model_info, width)},
    {"fit", WORD, offsetof(atr_model_info, fit)},
    {"pad_value", REAL, offsetof(atr_model_info, pad_value)},
};

enum { ROWS = sizeof rows / sizeof rows[0] };
_Static_assert(ROWS + 1 <= ATR_META_PAIRS, "room for all rows and the mark");

static json_t *reals_to_json(const double *values, int64_t count)
{
    json_t *list = json_array();

    for (int64_t i = 0; i < count; i++)
        json_array_append_new(list, json_real(values[i]));
    return list;
}

static json_t *palette_to_json(const uint8_t palette[256][3])
{
    json_t *list = json_array();

    for (int k = 0; k < 256; k++)
        json_array_append_new(list, json_pack("[iii]", palette[k][0], palette[k][1], palette[k][2]));
    return list;
}

static json_t *names_to_json(const atr_model_info *info)
{
    json_t *list = json_array();

    for (int64_t k = 0; k < info->classes; k++)
        json_array_append_new(list, json_string(info->class_names[k])); /* nothing where it is not UTF-8 */
    return list;
}

static json_t *row_to_json(const row *r, const atr_model_info *info)
{
    const void *const field = (const char *)info + r->offset;

    switch (r->kind) {
    case INTEGER:
        return json_integer(*(const int64_t *)field);
    case BOOLEAN:
        return json_boolean(*(const bool *)field);
    case REAL:
        return json_real(*(const double *)field);
    case CHANNEL_REALS:
        return reals_to_json(field, info->channels);
    case CLASS_NAMES:
        return names_to_json(info);
    case PALETTE:
        return palette_to_json(info->palette);
    default:
        return NULL;
    }
}

static atr_status row_to_text(const row *r, const atr_model_info *info, char **out)
{
    atr_status status = ATR_OK;
    json_t *value = NULL;
    char *text = NULL;

    if (r->kind == WORD)
        return atr_strdup((const char *)info + r->offset, out);
    value = row_to_json(r, info);
    if (r->kind == CLASS_NAMES && json_array_size(value) != (size_t)info->classes) {
        status = atr_fail(ATR_ERR_DATA, "a class name is not UTF-8 text");
        goto done;
    }
    text = json_dumps(value, JSON_ENCODE_ANY | JSON_COMPACT | JSON_REAL_PRECISION(17));
    if (text == NULL)
        status = atr_fail(ATR_ERR_MEMORY, "no memory for the metadata '%s'", r->key);
    else
        status = atr_strdup(text, out);

done:
    json_decref(value);
    free(text);
    return status;
}

atr_status atr_model_meta_make(const atr_model_info *info, atr_model_meta *out)
{
    atr_status status = ATR_OK;

    *out = (atr_model_meta){0};
    ATR_TRY(atr_model_info_check(info, ATR_ERR_USAGE));
    out->pairs[out->count].key = mark;
    ATR_TRY(atr_strdup(version, &out->pairs[out->count].value));
    out->count++;
    for (int i = 0; i < ROWS; i++) {
        out->pairs[out->count].key = rows[i].key;
        ATR_TRY(row_to_text(&rows[i], info, &out->pairs[out->count].value));
        out->count++;
    }

done:
    return status;
}

void atr_model_meta_free(atr_model_meta *meta)
{
    for (int i = 0; i < meta->count; i++)
        atr_free(meta->pairs[i].value);
    *meta = (atr_model_meta){0};
}

static bool reals_from_json(const json_t *list, int64_t count, double *out)
{
    if (json_array_size(list) != (size_t)count)
        return false;
    for (int64_t i = 0; i < count; i++) {
        if (!json_is_number(json_array_get(list, (size_t)i)))
            return false;
        out[i] = json_number_value(json_array_get(list, (size_t)i));
    }
    return true;
}

static bool palette_from_json(const json_t *list, uint8_t out[256][3])
{
    for (size_t i = 0; i < (size_t)256 * 3; i++) {
        const json_t *const value = json_array_get(json_array_get(list, i / 3), i % 3);
        if (!json_is_integer(value) || json_integer_value(value) < 0 || json_integer_value(value) > 255)
            return false;
        out[i / 3][i % 3] = (uint8_t)json_integer_value(value);
    }
    return json_array_size(list) == 256;
}

static bool names_from_json(const json_t *list, atr_model_info *info)
{
    if (json_array_size(list) != (size_t)info->classes)
        return false;
    for (int64_t k = 0; k < info->classes; k++) {
        const char *const name = json_string_value(json_array_get(list, (size_t)k));
        if (name == NULL || strlen(name) >= sizeof info->class_names[k])
            return false;
        strcpy(info->class_names[k], name);
    }
    return true;
}

static bool row_from_json(const row *r, const json_t *value, atr_model_info *info)
{
    void *const field = (char *)info + r->offset;

    switch (r->kind) {
    case INTEGER:
        *(int64_t *)field = json_integer_value(value);
        return json_is_integer(value);
    case BOOLEAN:
        *(bool *)field = json_is_true(value);
        return json_is_boolean(value);
    case REAL:
        *(double *)field = json_number_value(value);
        return json_is_number(value);
    case CHANNEL_REALS:
        return info->channels >= 1 && info->channels <= ATR_CHANNELS_MAX &&
               reals_from_json(value, info->channels, field);
    case CLASS_NAMES:
        return info->classes >= 1 && info->classes <= ATR_CLASSES_MAX && names_from_json(value, info);
    case PALETTE:
        return palette_from_json(value, info->palette);
    default:
        return false;
    }
}

static bool row_from_text(const row *r, const char *text, atr_model_info *info)
{
    bool good = false;

    if (r->kind == WORD) {
        if (strlen(text) >= ATR_WORD_BYTES)
            return false;
        strcpy((char *)info + r->offset, text);
        return true;
    }
    json_t *value = json_loads(text, JSON_DECODE_ANY, NULL);
    good = value != NULL && row_from_json(r, value, info);
    json_decref(value);
    return good;
}

static const char *find(const atr_weights *weights, const char *key)
{
    for (int64_t i = 0; i < atr_weights_meta_count(weights); i++)
        if (strcmp(atr_weights_meta_key(weights, i), key) == 0)
            return atr_weights_meta_value(weights, i);
    return NULL;
}

atr_status atr_model_meta_read(const atr_weights *weights, bool *found, atr_model_info *out)
{
    atr_status status = ATR_OK;
    const char *const marked = find(weights, mark);
    atr_model_info *info = NULL;

    *found = marked != NULL;
    if (marked == NULL)
        return ATR_OK;
    if (strcmp(marked, version) != 0)
        return atr_fail(ATR_ERR_UNSUPPORTED, "the metadata '%s' is of version '%.32s', this build reads %s",
                        mark, marked, version);
    ATR_TRY(ATR_NEW(1, &info));
    for (int i = 0; i < ROWS; i++) {
        const char *const text = find(weights, rows[i].key);
        if (text != NULL && row_from_text(&rows[i], text, info))
            continue;
        status = atr_fail(ATR_ERR_DATA, "the metadata '%s' %s", rows[i].key,
                          text == NULL ? "is missing" : "is not what it must be");
        goto done;
    }
    ATR_TRY(atr_model_info_check(info, ATR_ERR_DATA));
    *out = *info;

done:
    atr_free(info);
    return status;
}
