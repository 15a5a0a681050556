#include "io/weights.h"

#include <stdio.h>
#include <string.h>

#include "io/checkpoint.h"
#include "io/image.h"
#include "io/names.h"
#include "io/path.h"
#include "io/weights_impl.h"

enum { NAME_MAX_BYTES = 1024, META_MAX_BYTES = 1 << 18, META_MAX = 256 };

/* Files over this are no weights of a network that runs here; the limit keeps a wrong name from filling the memory. */
static const size_t file_limit = (size_t)8 << 30;

typedef struct entry {
    char *name;
    atr_tensor tensor;
} entry;

typedef struct pair {
    char *key, *value;
} pair;

struct atr_weights {
    const char *format;
    int64_t count, capacity;
    entry *entries;
    atr_names *index;
    int64_t block_count, block_capacity;
    void **blocks;
    int64_t meta_count;
    pair *meta; /* [META_MAX] */
};

atr_status atr_weights_create(const char *format, atr_weights **out)
{
    atr_status status = ATR_OK;
    atr_weights *weights = NULL;

    *out = NULL;
    ATR_TRY(ATR_NEW(1, &weights));
    weights->format = format;
    ATR_TRY(atr_names_create(&weights->index));
    ATR_TRY(ATR_NEW(META_MAX, &weights->meta));
    *out = weights;
    weights = NULL;

done:
    atr_weights_destroy(weights);
    return status;
}

void atr_weights_destroy(atr_weights *weights)
{
    if (weights == NULL)
        return;
    for (int64_t i = 0; i < weights->count; i++)
        atr_free(weights->entries[i].name);
    for (int64_t i = 0; i < weights->block_count; i++)
        atr_free(weights->blocks[i]);
    for (int64_t i = 0; i < weights->meta_count; i++) {
        atr_free(weights->meta[i].key);
        atr_free(weights->meta[i].value);
    }
    atr_names_destroy(weights->index);
    atr_free(weights->entries);
    atr_free(weights->blocks);
    atr_free(weights->meta);
    atr_free(weights);
}

atr_status atr_weights_own(atr_weights *weights, void *block)
{
    atr_status status = ATR_OK;

    if (block == NULL)
        return ATR_OK;
    if (weights->block_count == weights->block_capacity) {
        const int64_t capacity = weights->block_capacity == 0 ? 256 : weights->block_capacity * 2;
        ATR_TRY(
            atr_grow(weights->block_capacity, capacity, sizeof *weights->blocks, (void **)&weights->blocks));
        weights->block_capacity = capacity;
    }
    weights->blocks[weights->block_count++] = block;
    block = NULL;

done:
    atr_free(block);
    return status;
}

/* Bytes of the UTF-8 sequence at `text`, 0 where there is none: overlong forms, surrogates and control characters included. */
static size_t utf8_sequence(const unsigned char *text, size_t left)
{
    static const uint32_t least[5] = {0, 0, 0x80, 0x800, 0x10000};
    const unsigned char c = text[0];
    const size_t length = c < 0x80 ? 1 : c >> 5 == 6 ? 2 : c >> 4 == 14 ? 3 : c >> 3 == 30 ? 4 : 0;

    if (length == 0 || length > left)
        return 0;
    uint32_t point = length == 1 ? c : c & (0xFFu >> (length + 1));
    for (size_t i = 1; i < length; i++) {
        if (text[i] >> 6 != 2)
            return 0;
        point = point << 6 | (text[i] & 0x3F);
    }
    const bool control = point < 0x20 || (point >= 0x7F && point < 0xA0);
    if (control || point < least[length] || point > 0x10FFFF || (point >= 0xD800 && point < 0xE000))
        return 0;
    return length;
}

static bool clean_text(const char *text, size_t length)
{
    for (size_t at = 0, step = 0; at < length; at += step) {
        step = utf8_sequence((const unsigned char *)text + at, length - at);
        if (step == 0)
            return false;
    }
    return true;
}

static atr_status copy_text(const char *text, size_t length, char **out)
{
    return atr_format(out, "%.*s", (int)length, text);
}

atr_status atr_weights_add(atr_weights *weights, const char *name, size_t length, const atr_tensor *tensor)
{
    atr_status status = ATR_OK;

    if (length == 0 || length > NAME_MAX_BYTES || !clean_text(name, length))
        return atr_fail(ATR_ERR_DATA,
                        "the name of tensor %lld is empty, over %d bytes, or not printable UTF-8",
                        (long long)weights->count, NAME_MAX_BYTES);
    if (atr_names_find(weights->index, name, length) >= 0)
        return atr_fail(ATR_ERR_DATA, "tensor '%.*s' is there twice", (int)length, name);
    if (weights->count == weights->capacity) {
        const int64_t capacity = weights->capacity == 0 ? 256 : weights->capacity * 2;
        ATR_TRY(atr_grow(weights->capacity, capacity, sizeof *weights->entries, (void **)&weights->entries));
        weights->capacity = capacity;
    }
    entry *e = &weights->entries[weights->count];
    ATR_TRY(copy_text(name, length, &e->name));
    weights->count++;
    e->tensor = *tensor;
    ATR_TRY(atr_names_add(weights->index, name, length, weights->count - 1));

done:
    return status;
}

atr_status atr_weights_add_meta(atr_weights *weights, const char *key, size_t key_length, const char *value,
                                size_t value_length)
{
    atr_status status = ATR_OK;

    if (weights->meta_count == META_MAX || key_length > META_MAX_BYTES || value_length > META_MAX_BYTES ||
        !clean_text(key, key_length) || !clean_text(value, value_length))
        return ATR_OK;
    pair *p = &weights->meta[weights->meta_count++];
    ATR_TRY(copy_text(key, key_length, &p->key));
    ATR_TRY(copy_text(value, value_length, &p->value));

done:
    return status;
}

atr_status atr_shape_elements(int64_t rank, const int64_t *dims, atr_dtype type, int64_t *count)
{
    int64_t product = 1, bytes = 0;
    bool empty = false;

    if (rank < 0 || rank > ATR_MAX_RANK)
        return atr_fail(ATR_ERR_UNSUPPORTED, "%lld dimensions, %d are supported", (long long)rank,
                        ATR_MAX_RANK);
    for (int64_t i = 0; i < rank; i++) {
        if (dims[i] < 0)
            return atr_fail(ATR_ERR_DATA, "a negative dimension (%lld)", (long long)dims[i]);
        empty = empty || dims[i] == 0;
        /* Zero extents are left out of the product, so that an absurd shape is refused even when it is empty. */
        if (dims[i] > 0 && __builtin_mul_overflow(product, dims[i], &product))
            return atr_fail(ATR_ERR_DATA, "a shape with more elements than fit any memory");
    }
    if (__builtin_mul_overflow(product, (int64_t)atr_dtype_bytes(type), &bytes))
        return atr_fail(ATR_ERR_DATA, "a shape with more elements than fit any memory");
    *count = empty ? 0 : product;
    return ATR_OK;
}

atr_status atr_weights_parse(const void *bytes, size_t size, atr_weights **out)
{
    *out = NULL;
    if (atr_pth_sniff(bytes, size))
        return atr_pth_parse(bytes, size, out);
    if (atr_pth_legacy_sniff(bytes, size))
        return atr_pth_legacy_parse(bytes, size, out);
    if (atr_safetensors_sniff(bytes, size))
        return atr_safetensors_parse(bytes, size, out);
    return atr_fail(ATR_ERR_DATA, size == 0
                                      ? "the file is empty"
                                      : "neither a PyTorch file (.pth), nor safetensors, nor a checkpoint of "
                                        "atrous, or its first bytes are damaged");
}

/* Our checkpoints are HDF5 files behind a seal. A file that cannot be opened is none: reading it will say why. */
static bool is_checkpoint(const char *path)
{
    char bytes[8] = {0};
    FILE *file = atr_path_exists(path) && !atr_path_is_folder(path) ? fopen(path, "rb") : NULL;

    if (file == NULL)
        return false;
    const size_t got = fread(bytes, 1, sizeof bytes, file);
    fclose(file);
    return got == sizeof bytes &&
           (memcmp(bytes, "ATRSEAL1", 8) == 0 || memcmp(bytes, "\x89HDF\r\n\x1a\n", 8) == 0);
}

static atr_status read_checkpoint(const char *path, atr_weights **out)
{
    atr_status status = ATR_OK;
    atr_checkpoint_file *file = NULL;

    ATR_TRY(atr_checkpoint_open(path, &file));
    ATR_TRY(atr_checkpoint_weights(file, out));

done:
    atr_checkpoint_close(file);
    return status;
}

atr_status atr_weights_read(const char *path, atr_weights **out)
{
    atr_status status = ATR_OK;
    void *bytes = NULL;
    size_t size = 0;

    *out = NULL;
    if (is_checkpoint(path))
        return read_checkpoint(path, out);
    ATR_TRY(atr_file_read(path, file_limit, &bytes, &size));
    status = atr_fail_prefix(atr_weights_parse(bytes, size, out), "%s", path);

done:
    atr_free(bytes);
    return status;
}

int64_t atr_weights_count(const atr_weights *weights)
{
    return weights->count;
}

const char *atr_weights_name(const atr_weights *weights, int64_t index)
{
    return weights->entries[index].name;
}

const atr_tensor *atr_weights_tensor(const atr_weights *weights, int64_t index)
{
    return &weights->entries[index].tensor;
}

int64_t atr_weights_find(const atr_weights *weights, const char *name)
{
    return atr_names_find(weights->index, name, strlen(name));
}

int64_t atr_weights_meta_count(const atr_weights *weights)
{
    return weights->meta_count;
}

const char *atr_weights_meta_key(const atr_weights *weights, int64_t index)
{
    return weights->meta[index].key;
}

const char *atr_weights_meta_value(const atr_weights *weights, int64_t index)
{
    return weights->meta[index].value;
}

const char *atr_weights_format(const atr_weights *weights)
{
    return weights->format;
}

/* Gives the entries the names `names` [count], which it takes, and indexes them anew. */
static atr_status rename_all(atr_weights *weights, char **names)
{
    atr_status status = ATR_OK;
    atr_names *index = NULL;

    ATR_TRY(atr_names_create(&index));
    for (int64_t i = 0; i < weights->count; i++)
        ATR_TRY(atr_names_add(index, names[i], strlen(names[i]), i));
    for (int64_t i = 0; i < weights->count; i++) {
        atr_free(weights->entries[i].name);
        weights->entries[i].name = names[i];
        names[i] = NULL;
    }
    atr_names_destroy(weights->index);
    weights->index = index;
    index = NULL;

done:
    atr_names_destroy(index);
    return status;
}

static void free_names(char **names, int64_t count)
{
    for (int64_t i = 0; names != NULL && i < count; i++)
        atr_free(names[i]);
    atr_free(names);
}

atr_status atr_weights_strip_prefix(atr_weights *weights, const char *prefix, bool *stripped)
{
    atr_status status = ATR_OK;
    const size_t length = strlen(prefix);
    char **names = NULL;

    *stripped = false;
    for (int64_t i = 0; i < weights->count; i++)
        if (strncmp(weights->entries[i].name, prefix, length) != 0 ||
            weights->entries[i].name[length] == '\0')
            return ATR_OK;
    ATR_TRY(ATR_NEW(weights->count, &names));
    for (int64_t i = 0; i < weights->count; i++)
        ATR_TRY(atr_strdup(weights->entries[i].name + length, &names[i]));
    ATR_TRY(rename_all(weights, names));
    *stripped = weights->count > 0;

done:
    free_names(names, weights->count);
    return status;
}

atr_status atr_weights_add_prefix(atr_weights *weights, const char *prefix)
{
    atr_status status = ATR_OK;
    char **names = NULL;

    ATR_TRY(ATR_NEW(weights->count, &names));
    for (int64_t i = 0; i < weights->count; i++) {
        ATR_TRY(atr_format(&names[i], "%s%s", prefix, weights->entries[i].name));
        if (strlen(names[i]) > NAME_MAX_BYTES) {
            status = atr_fail(ATR_ERR_DATA, "the name of tensor %lld is over %d bytes", (long long)i,
                              NAME_MAX_BYTES);
            goto done;
        }
    }
    ATR_TRY(rename_all(weights, names));

done:
    free_names(names, weights->count);
    return status;
}
