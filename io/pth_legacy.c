#include <string.h>

#include "io/pth_impl.h"

/* PyTorch's files before 1.6: four pickles (a magic number, the protocol's version, the writer's machine, the content), a
 * pickle with the list of storage keys, then per key, in that order: the count of elements as i64, and the elements. */

enum { VIEW_FACTOR = 8, VIEW_EXTRA = 64 << 20 };

/* PROTO 2, LONG1 of ten bytes: 0x1950a86a20f9469cfc6c, STOP. */
static const uint8_t magic[15] = {0x80, 0x02, 0x8a, 0x0a, 0x6c, 0xfc, 0x9c, 0x46,
                                  0xf9, 0x20, 0x6a, 0xa8, 0x50, 0x19, 0x2e};

bool atr_pth_legacy_sniff(const void *bytes, size_t size)
{
    /* The protocol's number (byte 1) is the writer's choice. */
    const uint8_t *b = bytes;
    return size >= sizeof magic && b[0] == magic[0] && memcmp(b + 2, magic + 2, sizeof magic - 2) == 0;
}

/* What is left of the file. */
typedef struct cursor {
    const uint8_t *bytes;
    size_t left;
} cursor;

static void advance(cursor *c, size_t count)
{
    c->bytes += count;
    c->left -= count;
}

static atr_status read_pickle(cursor *c, atr_pickle **out)
{
    size_t used = 0;
    const atr_status status = atr_pickle_read(c->bytes, c->left, atr_pth_allows, &used, out);

    advance(c, used);
    return status;
}

/* {'protocol_version': 1001, 'little_endian': True, 'type_sizes': …} */
static atr_status check_machine(const atr_pickle *machine)
{
    const atr_pickle_value *root = atr_pickle_root(machine);

    if (root->kind != ATR_PICKLE_DICT)
        return atr_fail(ATR_ERR_DATA, "the description of the writer's machine is damaged");
    for (int64_t i = 0; i + 1 < root->count; i += 2)
        if (atr_pickle_is_text(root->items[i], "little_endian") && root->items[i + 1]->integer == 0)
            return atr_fail(ATR_ERR_UNSUPPORTED, "written in another byte order than little endian");
    return ATR_OK;
}

/* Magic number, version 1001, machine: read and checked. */
static atr_status read_front(cursor *c)
{
    atr_status status = ATR_OK;
    atr_pickle *version = NULL, *machine = NULL;

    advance(c, sizeof magic);
    ATR_TRY(read_pickle(c, &version));
    const atr_pickle_value *number = atr_pickle_root(version);
    if (number->kind != ATR_PICKLE_INT || number->integer != 1001) {
        status = atr_fail(ATR_ERR_UNSUPPORTED, "another version of the file format than 1001");
        goto done;
    }
    ATR_TRY(read_pickle(c, &machine));
    ATR_TRY(check_machine(machine));

done:
    atr_pickle_destroy(version);
    atr_pickle_destroy(machine);
    return status;
}

/* One storage: its count, which must be the one the tensors were told, and its elements. */
static atr_status read_storage(cursor *c, pth_storage *storage, atr_weights *weights)
{
    atr_status status = ATR_OK;
    const int64_t element = (int64_t)atr_dtype_bytes(storage->type);
    int64_t count = 0;
    void *block = NULL;

    if (c->left < sizeof count)
        return atr_fail(ATR_ERR_DATA, "the file is cut short before storage %s", storage->key);
    memcpy(&count, c->bytes, sizeof count);
    advance(c, sizeof count);
    if (count != storage->count)
        return atr_fail(ATR_ERR_DATA, "storage %s has %lld elements, its tensors want %lld", storage->key,
                        (long long)count, (long long)storage->count);
    if ((uint64_t)count > c->left / (uint64_t)element)
        return atr_fail(ATR_ERR_DATA, "the file is cut short inside storage %s", storage->key);
    ATR_TRY(atr_alloc(count, (size_t)element, &block));
    if (count > 0)
        memcpy(block, c->bytes, (size_t)(count * element));
    advance(c, (size_t)(count * element));
    storage->data = block;
    ATR_TRY(atr_weights_own(weights, block));

done:
    return status;
}

static atr_status read_storages(cursor *c, pth_state *state, atr_weights *weights)
{
    atr_status status = ATR_OK;
    atr_pickle *list = NULL;

    ATR_TRY(read_pickle(c, &list));
    const atr_pickle_value *keys = atr_pickle_root(list);
    if (keys->kind != ATR_PICKLE_LIST) {
        status = atr_fail(ATR_ERR_DATA, "the list of storages is damaged");
        goto done;
    }
    for (int64_t i = 0; i < keys->count; i++) {
        const atr_pickle_value *key = keys->items[i];
        const int64_t at =
            key->kind == ATR_PICKLE_TEXT ? atr_names_find(state->keys, key->text, key->length) : -1;
        if (at < 0 || state->storages[at].data != NULL) {
            status =
                atr_fail(ATR_ERR_DATA, "the list of storages names one that no tensor has, or one twice");
            goto done;
        }
        ATR_TRY(read_storage(c, &state->storages[at], weights));
    }

done:
    atr_pickle_destroy(list);
    return status;
}

static atr_status check_complete(const pth_state *state)
{
    for (int64_t i = 0; i < state->storage_count; i++)
        if (state->storages[i].data == NULL && state->storages[i].count > 0)
            return atr_fail(ATR_ERR_DATA, "the file lacks storage %s", state->storages[i].key);
    return ATR_OK;
}

atr_status atr_pth_legacy_parse(const void *bytes, size_t size, atr_weights **out)
{
    atr_status status = ATR_OK;
    cursor c = {bytes, size};
    atr_weights *weights = NULL;
    pth_state state = {0};
    size_t used = 0;

    *out = NULL;
    ATR_TRY(read_front(&c));
    ATR_TRY(atr_weights_create("pth (before 1.6)", &weights));
    ATR_TRY(atr_pth_state_read(c.bytes, c.left, weights, &used, &state));
    advance(&c, used);
    ATR_TRY(atr_pth_note_storages(&state));
    ATR_TRY(read_storages(&c, &state, weights));
    ATR_TRY(check_complete(&state));
    ATR_TRY(atr_pth_gather(&state, VIEW_FACTOR * (int64_t)size + VIEW_EXTRA, weights));
    *out = weights;
    weights = NULL;

done:
    atr_pth_state_free(&state);
    atr_weights_destroy(weights);
    return status;
}
