#include <jansson.h>
#include <stdlib.h>
#include <string.h>

#include "io/weights_impl.h"

/* safetensors: length of the header as u64, a JSON header {"name": {"dtype", "shape", "data_offsets": [from, to]}, …,
 * "__metadata__": {"key": "text"}}, then the bytes of all tensors without holes (huggingface/safetensors, README). */

enum { HEADER_MAX = 8 << 20 };

/* Bytes [from, to) behind the header that one tensor takes. */
typedef struct span {
    int64_t from, to;
} span;

static uint64_t header_length(const uint8_t *bytes)
{
    uint64_t length = 0;

    for (int i = 7; i >= 0; i--)
        length = length << 8 | bytes[i];
    return length;
}

/* There is no magic number: eight bytes of a length, then an opening brace. */
bool atr_safetensors_sniff(const void *bytes, size_t size)
{
    return size >= 10 && ((const char *)bytes)[8] == '{' && header_length(bytes) < (uint64_t)1 << 40;
}

static atr_status read_type(const char *name, atr_dtype *out)
{
    static const struct {
        const char *name;
        atr_dtype type;
    } types[] = {
        {"F32", ATR_F32}, {"F16", ATR_F16}, {"BF16", ATR_BF16}, {"F64", ATR_F64}, {"I64", ATR_I64},
        {"I32", ATR_I32}, {"U8", ATR_U8},   {"I8", ATR_I8},     {"BOOL", ATR_U8},
    };

    for (size_t i = 0; i < sizeof types / sizeof types[0]; i++)
        if (strcmp(name, types[i].name) == 0) {
            *out = types[i].type;
            return ATR_OK;
        }
    return atr_fail(ATR_ERR_UNSUPPORTED, "elements of type %s", name);
}

/* One entry of the header; `place` receives where its bytes lie, `tensor` all but its data. */
static atr_status read_entry(const json_t *entry, int64_t payload, span *place, atr_tensor *tensor)
{
    atr_status status = ATR_OK;
    const char *type_name = json_string_value(json_object_get(entry, "dtype"));
    const json_t *shape = json_object_get(entry, "shape"), *offsets = json_object_get(entry, "data_offsets");
    int64_t dims[ATR_MAX_RANK] = {0}, count = 0;
    atr_dtype type = ATR_U8;

    if (type_name == NULL || !json_is_array(shape) || json_array_size(offsets) != 2)
        return atr_fail(ATR_ERR_DATA, "the header lacks its dtype, shape or data_offsets");
    ATR_TRY(read_type(type_name, &type));
    const size_t rank = json_array_size(shape);
    for (size_t i = 0; i < rank && i < ATR_MAX_RANK; i++) {
        if (!json_is_integer(json_array_get(shape, i)))
            return atr_fail(ATR_ERR_DATA, "its shape holds something that is no integer");
        dims[i] = json_integer_value(json_array_get(shape, i));
    }
    ATR_TRY(atr_shape_elements((int64_t)rank, dims, type, &count));
    const json_t *from = json_array_get(offsets, 0), *to = json_array_get(offsets, 1);
    if (!json_is_integer(from) || !json_is_integer(to))
        return atr_fail(ATR_ERR_DATA, "its data_offsets are no integers");
    *place = (span){json_integer_value(from), json_integer_value(to)};
    if (place->from < 0 || place->to < place->from || place->to > payload)
        return atr_fail(ATR_ERR_DATA,
                        "its bytes [%lld, %lld) are outside the file's %lld: cut short or damaged",
                        (long long)place->from, (long long)place->to, (long long)payload);
    if (place->to - place->from != count * (int64_t)atr_dtype_bytes(type))
        return atr_fail(ATR_ERR_DATA, "%lld bytes do not fit its shape",
                        (long long)(place->to - place->from));
    *tensor = atr_tensor_make(type, (int)rank, dims, NULL);

done:
    return status;
}

/* Metadata is an object of texts. */
static atr_status read_meta(json_t *object, atr_weights *weights)
{
    atr_status status = ATR_OK;
    const char *key = NULL;
    json_t *text = NULL;

    json_object_foreach(object, key, text)
    {
        if (json_is_string(text))
            ATR_TRY(atr_weights_add_meta(weights, key, strlen(key), json_string_value(text),
                                         json_string_length(text)));
    }

done:
    return status;
}

static int compare_spans(const void *a, const void *b)
{
    const span *x = a, *y = b;

    if (x->from != y->from)
        return x->from < y->from ? -1 : 1;
    return x->to < y->to ? -1 : x->to > y->to;
}

/* The format allows neither holes nor overlaps: every byte belongs to one tensor. */
static atr_status check_cover(span *spans, int64_t count, int64_t payload)
{
    int64_t at = 0;

    if (count > 0)
        qsort(spans, (size_t)count, sizeof *spans, compare_spans);
    for (int64_t i = 0; i < count; i++) {
        if (spans[i].from != at)
            return atr_fail(ATR_ERR_DATA, "tensors overlap or leave a hole at byte %lld of the data",
                            (long long)at);
        at = spans[i].to;
    }
    if (at != payload)
        return atr_fail(ATR_ERR_DATA, "%lld bytes of data, the header describes %lld", (long long)payload,
                        (long long)at);
    return ATR_OK;
}

/* Adds all tensors of the header; each gets an aligned block of its own. */
static atr_status read_tensors(json_t *header, const uint8_t *data, int64_t payload, atr_weights *weights)
{
    atr_status status = ATR_OK;
    const char *name = NULL;
    json_t *entry = NULL;
    span *spans = NULL;
    int64_t count = 0, total = 0;

    ATR_TRY(ATR_NEW((int64_t)json_object_size(header), &spans));
    json_object_foreach(header, name, entry)
    {
        atr_tensor tensor;
        if (strcmp(name, "__metadata__") == 0) {
            ATR_TRY(read_meta(entry, weights));
            continue;
        }
        span *place = &spans[count++];
        status = atr_fail_prefix(read_entry(entry, payload, place, &tensor), "tensor '%.128s'", name);
        if (status != ATR_OK)
            goto done;
        total += place->to - place->from;
        if (total > payload) { /* before memory is taken for it */
            status = atr_fail(ATR_ERR_DATA, "tensors overlap: together they are larger than the file");
            goto done;
        }
        ATR_TRY(atr_alloc(place->to - place->from, 1, &tensor.data));
        if (tensor.data != NULL)
            memcpy(tensor.data, data + place->from, (size_t)(place->to - place->from));
        ATR_TRY(atr_weights_own(weights, tensor.data));
        ATR_TRY(atr_weights_add(weights, name, strlen(name), &tensor));
    }
    ATR_TRY(check_cover(spans, count, payload));

done:
    atr_free(spans);
    return status;
}

atr_status atr_safetensors_parse(const void *bytes, size_t size, atr_weights **out)
{
    atr_status status = ATR_OK;
    const uint64_t length = header_length(bytes);
    atr_weights *weights = NULL;
    json_t *header = NULL;
    json_error_t error;

    *out = NULL;
    if (length > size - 8)
        return atr_fail(ATR_ERR_DATA, "safetensors: the file ends inside its header");
    if (length > HEADER_MAX)
        return atr_fail(ATR_ERR_DATA, "safetensors: a header of %llu bytes, at most %d are read",
                        (unsigned long long)length, HEADER_MAX);
    header = json_loadb((const char *)bytes + 8, (size_t)length, JSON_REJECT_DUPLICATES, &error);
    if (!json_is_object(header)) {
        status = atr_fail(ATR_ERR_DATA, "safetensors: the header is no JSON object (%s, byte %d)", error.text,
                          error.position);
        goto done;
    }
    ATR_TRY(atr_weights_create("safetensors", &weights));
    ATR_TRY(read_tensors(header, (const uint8_t *)bytes + 8 + length, (int64_t)(size - 8 - length), weights));
    *out = weights;
    weights = NULL;

done:
    json_decref(header);
    atr_weights_destroy(weights);
    return status;
}
