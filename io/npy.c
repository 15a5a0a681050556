#include "io/npy.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "io/image.h"
#include "io/weights_impl.h"

/* Magic, version, length of the header, the header: a Python dictionary as text, padded with spaces and closed by a newline so
 * that the data start at a multiple of 64 bytes. */

enum { MAGIC_BYTES = 6, FRONT_BYTES = 10, ALIGN_BYTES = 64, HEADER_MAX = 4096 };

static const char magic[MAGIC_BYTES] = {'\x93', 'N', 'U', 'M', 'P', 'Y'};

static const struct {
    atr_dtype type;
    const char *name;
} types[] = {
    {ATR_F32, "<f4"}, {ATR_F64, "<f8"}, {ATR_U8, "|u1"}, {ATR_I32, "<i4"}, {ATR_I64, "<i8"},
};

enum { TYPES = sizeof types / sizeof types[0] };

static int find_type(atr_dtype type)
{
    for (int i = 0; i < TYPES; i++)
        if (types[i].type == type)
            return i;
    return -1;
}

/* The dictionary, without padding; returns its length. A tuple of one needs its comma. */
static int print_header(const atr_tensor *tensor, const char *type, char *text, size_t room)
{
    int length = snprintf(text, room, "{'descr': '%s', 'fortran_order': False, 'shape': (", type);

    for (int i = 0; i < tensor->rank; i++)
        length += snprintf(text + length, room - (size_t)length, "%s%lld%s", i > 0 ? " " : "",
                           (long long)tensor->dims[i], tensor->rank == 1 || i + 1 < tensor->rank ? "," : "");
    return length + snprintf(text + length, room - (size_t)length, "), }");
}

atr_status atr_npy_write(const char *path, const atr_tensor *tensor)
{
    atr_status status = ATR_OK;
    const int row = find_type(tensor->type);
    char text[512];
    uint8_t *bytes = NULL;

    if (row < 0 || !atr_tensor_contiguous(tensor))
        return atr_fail(ATR_ERR_USAGE, "%s: a .npy file cannot hold %s%s", path, atr_dtype_name(tensor->type),
                        row >= 0 ? " with strides" : "");
    const size_t length = (size_t)print_header(tensor, types[row].name, text, sizeof text);
    const size_t data_at = (FRONT_BYTES + length + 1 + ALIGN_BYTES - 1) / ALIGN_BYTES * ALIGN_BYTES;
    const size_t data = (size_t)atr_tensor_count(tensor) * atr_dtype_bytes(tensor->type);

    ATR_TRY(ATR_NEW((int64_t)(data_at + data), &bytes));
    memcpy(bytes, magic, MAGIC_BYTES);
    bytes[6] = 1; /* version 1.0 */
    bytes[8] = (uint8_t)((data_at - FRONT_BYTES) & 0xFF);
    bytes[9] = (uint8_t)((data_at - FRONT_BYTES) >> 8);
    memcpy(bytes + FRONT_BYTES, text, length);
    memset(bytes + FRONT_BYTES + length, ' ', data_at - FRONT_BYTES - length - 1);
    bytes[data_at - 1] = '\n';
    if (data > 0)
        memcpy(bytes + data_at, tensor->data, data);
    ATR_TRY(atr_file_write(path, bytes, data_at + data));

done:
    atr_free(bytes);
    return status;
}

/* The text behind 'KEY': in the dictionary, or NULL. */
static const char *find_value(const char *header, const char *key)
{
    char quoted[32];

    snprintf(quoted, sizeof quoted, "'%s'", key);
    const char *at = strstr(header, quoted);
    if (at == NULL)
        return NULL;
    at += strlen(quoted);
    while (*at == ' ')
        at++;
    if (*at++ != ':')
        return NULL;
    while (*at == ' ')
        at++;
    return at;
}

/* "(3, 4)", "(5,)" or "()". */
static atr_status read_shape(const char *text, int64_t *dims, int64_t *rank)
{
    *rank = 0;
    if (text == NULL || *text++ != '(')
        return atr_fail(ATR_ERR_DATA, "the header of the .npy file has no shape");
    for (;;) {
        char *end = NULL;
        while (*text == ' ' || *text == ',')
            text++;
        if (*text == ')')
            return ATR_OK;
        if (*text < '0' || *text > '9')
            return atr_fail(ATR_ERR_DATA, "the shape in the header of the .npy file is damaged");
        if (*rank == ATR_MAX_RANK)
            return atr_fail(ATR_ERR_UNSUPPORTED, "a .npy file of more than %d dimensions", ATR_MAX_RANK);
        dims[(*rank)++] =
            strtoll(text, &end, 10); /* out of range becomes the largest number, refused later */
        text = end;
    }
}

static atr_status read_descr(const char *text, atr_dtype *out)
{
    for (int i = 0; text != NULL && i < TYPES; i++)
        if (text[0] == '\'' && strncmp(text + 1, types[i].name, 3) == 0 && text[4] == '\'') {
            *out = types[i].type;
            return ATR_OK;
        }
    return atr_fail(ATR_ERR_UNSUPPORTED,
                    "a .npy file of another type than f4, f8, u1, i4, i8 (little endian)");
}

static atr_status read_header(const char *header, atr_tensor *out)
{
    atr_status status = ATR_OK;
    const char *order = find_value(header, "fortran_order");
    int64_t dims[ATR_MAX_RANK] = {0}, rank = 0, count = 0;
    atr_dtype type = ATR_F32;

    ATR_TRY(read_descr(find_value(header, "descr"), &type));
    ATR_TRY(read_shape(find_value(header, "shape"), dims, &rank));
    if (order == NULL || strncmp(order, "False", 5) != 0)
        return atr_fail(ATR_ERR_UNSUPPORTED, "a .npy file in Fortran order");
    ATR_TRY(atr_shape_elements(rank, dims, type, &count));
    *out = atr_tensor_make(type, (int)rank, dims, NULL);

done:
    return status;
}

atr_status atr_npy_parse(const void *bytes, size_t size, atr_tensor *out)
{
    atr_status status = ATR_OK;
    const uint8_t *b = bytes;
    char header[HEADER_MAX + 1];
    atr_tensor tensor;

    *out = (atr_tensor){0};
    if (size < FRONT_BYTES + 2 || memcmp(b, magic, MAGIC_BYTES) != 0)
        return atr_fail(ATR_ERR_DATA, "not a .npy file");
    if (b[6] < 1 || b[6] > 3)
        return atr_fail(ATR_ERR_UNSUPPORTED, "version %d of the .npy format", b[6]);
    /* Version 1 counts the header in two bytes, 2 and 3 in four. */
    const size_t front = b[6] == 1 ? FRONT_BYTES : FRONT_BYTES + 2;
    const size_t length = b[6] == 1
                              ? b[8] + b[9] * (size_t)256
                              : b[8] + b[9] * (size_t)256 + b[10] * (size_t)65536 + ((size_t)b[11] << 24);
    if (length > HEADER_MAX || length > size - front)
        return atr_fail(ATR_ERR_DATA, "the .npy file ends inside its header, or the header is damaged");
    memcpy(header, b + front, length);
    header[length] = '\0';
    ATR_TRY(read_header(header, &tensor));
    const int64_t count = atr_tensor_count(&tensor);
    const size_t data = (size_t)count * atr_dtype_bytes(tensor.type);
    if (data != size - front - length)
        return atr_fail(ATR_ERR_DATA, "the .npy file has %zu bytes of data, its shape wants %zu",
                        size - front - length, data);
    ATR_TRY(atr_alloc(count, atr_dtype_bytes(tensor.type), &tensor.data));
    if (data > 0)
        memcpy(tensor.data, b + front + length, data);
    *out = tensor;

done:
    return status;
}

atr_status atr_npy_read(const char *path, atr_tensor *out)
{
    atr_status status = ATR_OK;
    void *bytes = NULL;
    size_t size = 0;

    *out = (atr_tensor){0};
    ATR_TRY(atr_file_read(path, (size_t)8 << 30, &bytes, &size));
    status = atr_fail_prefix(atr_npy_parse(bytes, size, out), "%s", path);

done:
    atr_free(bytes);
    return status;
}
