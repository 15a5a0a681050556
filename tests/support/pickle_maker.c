#include "tests/support/pickle_maker.h"

#include <stdlib.h>
#include <string.h>

void maker_free(maker *m)
{
    free(m->bytes);
    *m = (maker){0};
}

void maker_bytes(maker *m, const void *bytes, size_t size)
{
    if (m->size + size > m->capacity) {
        m->capacity = (m->size + size) * 2;
        m->bytes = realloc(m->bytes, m->capacity);
        if (m->bytes == NULL)
            abort();
    }
    if (size > 0)
        memcpy(m->bytes + m->size, bytes, size);
    m->size += size;
}

void maker_number(maker *m, uint64_t value, int width)
{
    for (int i = 0; i < width; i++)
        maker_op(m, i < 8 ? (int)(value >> (8 * i) & 0xFF) : 0);
}

void maker_op(maker *m, int op)
{
    const uint8_t byte = (uint8_t)op;

    maker_bytes(m, &byte, 1);
}

void maker_text(maker *m, const char *text)
{
    maker_op(m, 'X');
    maker_number(m, strlen(text), 4);
    maker_bytes(m, text, strlen(text));
}

void maker_int(maker *m, int64_t value)
{
    maker_op(m, 0x8a); /* LONG1 */
    maker_op(m, 8);
    maker_number(m, (uint64_t)value, 8);
}

void maker_global(maker *m, const char *module, const char *name)
{
    maker_op(m, 'c');
    maker_bytes(m, module, strlen(module));
    maker_op(m, '\n');
    maker_bytes(m, name, strlen(name));
    maker_op(m, '\n');
}

static void integers(maker *m, const int64_t *values, int count)
{
    maker_op(m, '(');
    for (int i = 0; i < count; i++)
        maker_int(m, values[i]);
    maker_op(m, 't');
}

void maker_tensor_item(maker *m, const maker_tensor *tensor)
{
    maker_text(m, tensor->name);
    maker_global(m, "torch._utils", "_rebuild_tensor_v2");
    maker_op(m, '(');
    maker_op(m, '(');
    maker_text(m, "storage");
    maker_global(m, "torch", tensor->storage_class);
    maker_text(m, tensor->key);
    maker_text(m, "cpu");
    maker_int(m, tensor->storage_count);
    maker_op(m, 't');
    maker_op(m, 'Q');
    maker_int(m, tensor->offset);
    integers(m, tensor->dims, tensor->rank);
    integers(m, tensor->strides, tensor->rank);
    maker_op(m, 0x89); /* requires_grad False */
    maker_op(m, '}');  /* backward hooks */
    maker_op(m, 't');
    maker_op(m, 'R');
}

void maker_state_dict(maker *m, const maker_tensor *tensors, int count)
{
    maker_bytes(m, "\x80\x02}(", 4);
    for (int i = 0; i < count; i++)
        maker_tensor_item(m, &tensors[i]);
    maker_bytes(m, "u.", 2);
}

void maker_legacy_front(maker *m)
{
    maker_bytes(m, "\x80\x02\x8a\x0a\x6c\xfc\x9c\x46\xf9\x20\x6a\xa8\x50\x19.", 15);
    maker_bytes(m, "\x80\x02M\xe9\x03.", 6);
    maker_bytes(m, "\x80\x02}", 3);
    maker_text(m, "little_endian");
    maker_bytes(m, "\x88s.", 3);
}

void maker_legacy_keys(maker *m, const char *const *keys, int count)
{
    maker_bytes(m, "\x80\x02](", 4);
    for (int i = 0; i < count; i++)
        maker_text(m, keys[i]);
    maker_bytes(m, "e.", 2);
}

static uint32_t crc32_of(const uint8_t *bytes, size_t size)
{
    uint32_t crc = ~0u;

    for (size_t i = 0; i < size; i++) {
        crc ^= bytes[i];
        for (int bit = 0; bit < 8; bit++)
            crc = crc >> 1 ^ (crc & 1 ? 0xEDB88320u : 0);
    }
    return ~crc;
}

/* Version needed, flags, method, time, date, CRC, two sizes, length of the name, length of extra fields. */
static void zip_facts(maker *m, const char *name, const void *bytes, size_t size, int method)
{
    maker_number(m, 20, 2);
    maker_number(m, 0, 2);
    maker_number(m, (uint64_t)method, 2);
    maker_number(m, 0, 4);
    maker_number(m, crc32_of(bytes, size), 4);
    maker_number(m, size, 4);
    maker_number(m, size, 4);
    maker_number(m, strlen(name), 2);
    maker_number(m, 0, 2);
}

void maker_zip_entry(maker_zip *zip, const char *name, const void *bytes, size_t size, int method)
{
    const size_t at = zip->file.size;

    maker_bytes(&zip->file, "PK\3\4", 4);
    zip_facts(&zip->file, name, bytes, size, method);
    maker_bytes(&zip->file, name, strlen(name));
    maker_bytes(&zip->file, bytes, size);
    maker_bytes(&zip->directory, "PK\1\2", 4);
    maker_number(&zip->directory, 20, 2);
    zip_facts(&zip->directory, name, bytes, size, method);
    maker_number(&zip->directory, 0, 10); /* comment, disk, attributes */
    maker_number(&zip->directory, at, 4);
    maker_bytes(&zip->directory, name, strlen(name));
    zip->count++;
}

void maker_zip_close(maker_zip *zip)
{
    const size_t at = zip->file.size;

    maker_bytes(&zip->file, zip->directory.bytes, zip->directory.size);
    maker_bytes(&zip->file, "PK\5\6", 4);
    maker_number(&zip->file, 0, 4);
    maker_number(&zip->file, (uint64_t)zip->count, 2);
    maker_number(&zip->file, (uint64_t)zip->count, 2);
    maker_number(&zip->file, zip->directory.size, 4);
    maker_number(&zip->file, at, 4);
    maker_number(&zip->file, 0, 2);
    maker_free(&zip->directory);
}
