#include "io/safetensors.h"

#include <jansson.h>
#include <stdlib.h>
#include <string.h>

#include "io/image.h"
#include "io/model_meta.h"

/* The format: io/safetensors.c. */

enum { ALIGNMENT = 8 };

static size_t bytes_of(const atr_tensor *tensor)
{
    return (size_t)atr_tensor_count(tensor) * atr_dtype_bytes(tensor->type);
}

/* offsets[i]: where entry i lies behind the header. Larger elements come first, so that each lies at a multiple of its size
 * and a reader may map the file instead of copying it. */
static size_t place(const atr_params *params, size_t *offsets)
{
    size_t at = 0;

    for (size_t size = 8; size > 0; size /= 2)
        for (int64_t i = 0; i < atr_params_count(params); i++) {
            const atr_tensor value = atr_params_value(params, i);
            if (atr_dtype_bytes(value.type) != size)
                continue;
            offsets[i] = at;
            at += bytes_of(&value);
        }
    return at;
}

static atr_status describe_tensor(const atr_param_spec *spec, const atr_tensor *value, size_t offset,
                                  json_t *header)
{
    json_t *const shape = json_array();

    for (int d = 0; d < spec->rank; d++)
        json_array_append_new(shape, json_integer(spec->dims[d]));
    const int failed = json_object_set_new(
        header, spec->name,
        json_pack("{sssos[II]}", "dtype", value->type == ATR_I64 ? "I64" : "F32", "shape", shape,
                  "data_offsets", (json_int_t)offset, (json_int_t)(offset + bytes_of(value))));
    return failed == 0 ? ATR_OK : atr_fail(ATR_ERR_MEMORY, "no memory for the header of %s", spec->name);
}

static atr_status describe_model(const atr_model_info *info, json_t *header)
{
    atr_status status = ATR_OK;
    atr_model_meta meta = {0};
    json_t *const object = json_object();

    ATR_TRY(atr_model_meta_make(info, &meta));
    json_object_set_new(object, "format", json_string("pt"));
    for (int i = 0; i < meta.count; i++)
        json_object_set_new(object, meta.pairs[i].key, json_string(meta.pairs[i].value));
    if (json_object_set(header, "__metadata__", object) != 0)
        status = atr_fail(ATR_ERR_MEMORY, "no memory for the metadata");

done:
    json_decref(object);
    atr_model_meta_free(&meta);
    return status;
}

/* The JSON header, in the order of the state_dict. */
static atr_status make_header(const atr_model_info *info, const atr_params *params, const size_t *offsets,
                              char **out)
{
    atr_status status = ATR_OK;
    json_t *const header = json_object();

    ATR_TRY(describe_model(info, header));
    for (int64_t i = 0; i < atr_params_count(params); i++) {
        const atr_tensor value = atr_params_value(params, i);
        ATR_TRY(describe_tensor(atr_params_spec(params, i), &value, offsets[i], header));
    }
    *out = json_dumps(header, JSON_COMPACT);
    if (*out == NULL)
        status = atr_fail(ATR_ERR_MEMORY, "no memory for the header");

done:
    json_decref(header);
    return status;
}

/* Length, header (blanks behind it up to a multiple of 8), data. */
static void lay_out(const char *header, size_t header_bytes, const atr_params *params, const size_t *offsets,
                    uint8_t *file)
{
    const size_t used = strlen(header);

    for (int i = 0; i < 8; i++)
        file[i] = (uint8_t)((uint64_t)header_bytes >> (8 * i));
    memcpy(file + 8, header, used);
    memset(file + 8 + used, ' ', header_bytes - used);
    for (int64_t i = 0; i < atr_params_count(params); i++) {
        const atr_tensor value = atr_params_value(params, i);
        if (bytes_of(&value) > 0)
            memcpy(file + 8 + header_bytes + offsets[i], value.data, bytes_of(&value));
    }
}

atr_status atr_safetensors_write(const char *path, const atr_model_info *info, const atr_params *params)
{
    atr_status status = ATR_OK;
    size_t *offsets = NULL;
    char *header = NULL;
    uint8_t *file = NULL;

    ATR_TRY(ATR_NEW(atr_params_count(params), &offsets));
    const size_t data_bytes = place(params, offsets);
    ATR_TRY(make_header(info, params, offsets, &header));
    const size_t header_bytes = (strlen(header) + ALIGNMENT - 1) / ALIGNMENT * ALIGNMENT;
    ATR_TRY(ATR_NEW((int64_t)(8 + header_bytes + data_bytes), &file));
    lay_out(header, header_bytes, params, offsets, file);
    ATR_TRY(atr_file_write(path, file, 8 + header_bytes + data_bytes));

done:
    atr_free(offsets);
    free(header);
    atr_free(file);
    return status;
}
