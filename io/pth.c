#include <string.h>
#include <zip.h>

#include "io/pth_impl.h"

/* PyTorch's files since 1.6: a zip archive of stored (never compressed) entries PREFIX/data.pkl, PREFIX/data/KEY per storage,
 * PREFIX/byteorder. Every entry carries a CRC-32, which libzip checks. */

enum { ENTRIES_MAX = 1 << 20 };

/* Strided views may take this many times the file's size, and this much beside it. */
enum { VIEW_FACTOR = 8, VIEW_EXTRA = 64 << 20 };

bool atr_pth_sniff(const void *bytes, size_t size)
{
    return size >= 4 && memcmp(bytes, "PK\3\4", 4) == 0;
}

static atr_status zip_fault(zip_t *archive, const char *what)
{
    return atr_fail(ATR_ERR_DATA, "the zip archive is damaged (%s: %s)", what, zip_strerror(archive));
}

static atr_status open_archive(const void *bytes, size_t size, zip_t **out)
{
    zip_error_t error;
    atr_status status = ATR_OK;

    zip_error_init(&error);
    zip_source_t *source = zip_source_buffer_create(bytes, size, 0, &error);
    *out = source == NULL ? NULL : zip_open_from_source(source, ZIP_RDONLY, &error);
    if (*out == NULL) {
        status = atr_fail(ATR_ERR_DATA, "the zip archive is damaged or cut short (%s)",
                          zip_error_strerror(&error));
        zip_source_free(source);
    }
    zip_error_fini(&error);
    return status;
}

/* Index of the one entry that ends in "/data.pkl"; `prefix` receives what stands before it. */
static atr_status find_pickle(zip_t *archive, char *prefix, int64_t *out)
{
    const zip_int64_t count = zip_get_num_entries(archive, 0);
    static const char tail[] = "/data.pkl";

    *out = -1;
    if (count > ENTRIES_MAX)
        return atr_fail(ATR_ERR_DATA, "the zip archive has %lld entries", (long long)count);
    for (zip_int64_t i = 0; i < count; i++) {
        const char *name = zip_get_name(archive, (zip_uint64_t)i, ZIP_FL_ENC_RAW);
        const size_t length = name == NULL ? 0 : strlen(name);
        if (length < sizeof tail || strcmp(name + length - (sizeof tail - 1), tail) != 0)
            continue;
        if (length >= ATR_PTH_TEXT)
            return atr_fail(ATR_ERR_DATA, "the zip archive has an absurdly long entry name");
        memcpy(prefix, name, length - (sizeof tail - 1));
        prefix[length - (sizeof tail - 1)] = '\0';
        *out = i;
        return ATR_OK;
    }
    return atr_fail(ATR_ERR_DATA, "a zip archive, but not one of PyTorch: no data.pkl in it");
}

/* Reads a whole stored entry into fresh memory; its size must be within `limit`, which bounds the allocation. */
static atr_status read_entry(zip_t *archive, int64_t index, int64_t limit, void **out, int64_t *size)
{
    atr_status status = ATR_OK;
    zip_stat_t stat;
    zip_file_t *file = NULL;
    void *bytes = NULL;

    *out = NULL;
    if (zip_stat_index(archive, (zip_uint64_t)index, 0, &stat) != 0 || (stat.valid & ZIP_STAT_SIZE) == 0)
        return zip_fault(archive, "reading an entry");
    if (stat.comp_method != ZIP_CM_STORE || stat.encryption_method != ZIP_EM_NONE)
        return atr_fail(ATR_ERR_UNSUPPORTED, "entry %s is compressed or encrypted, which PyTorch never does",
                        stat.name);
    if (stat.size > (zip_uint64_t)limit)
        return atr_fail(ATR_ERR_DATA, "entry %s claims %llu bytes, more than there can be", stat.name,
                        (unsigned long long)stat.size);
    ATR_TRY(atr_alloc((int64_t)stat.size, 1, &bytes));
    file = zip_fopen_index(archive, (zip_uint64_t)index, 0);
    if (file == NULL) {
        status = zip_fault(archive, stat.name);
        goto done;
    }
    const zip_int64_t got = stat.size > 0 ? zip_fread(file, bytes, stat.size) : 0;
    char beyond;
    /* The CRC is compared when the end is met, so one byte more is asked for. */
    if (got != (zip_int64_t)stat.size || zip_fread(file, &beyond, 1) != 0) {
        status = atr_fail(ATR_ERR_DATA, "entry %s is damaged (%s)", stat.name, zip_file_strerror(file));
        goto done;
    }
    *out = bytes;
    *size = got;
    bytes = NULL;

done:
    if (file != NULL)
        zip_fclose(file);
    atr_free(bytes);
    return status;
}

/* Index of PREFIX/NAME, -1 where there is none. */
static atr_status find_entry(zip_t *archive, const char *prefix, const char *name, int64_t *out)
{
    char *path = NULL;
    const atr_status status = atr_format(&path, "%s/%s", prefix, name);

    if (status == ATR_OK)
        *out = zip_name_locate(archive, path, ZIP_FL_ENC_RAW);
    atr_free(path);
    return status;
}

/* Files without the entry were written on little-endian machines, or before anybody asked. */
static atr_status check_byte_order(zip_t *archive, const char *prefix)
{
    atr_status status = ATR_OK;
    void *text = NULL;
    int64_t index = -1, size = 0;

    ATR_TRY(find_entry(archive, prefix, "byteorder", &index));
    if (index < 0)
        return ATR_OK;
    ATR_TRY(read_entry(archive, index, ATR_PTH_TEXT, &text, &size));
    if (size != 6 || memcmp(text, "little", 6) != 0)
        status = atr_fail(ATR_ERR_UNSUPPORTED, "written in another byte order than little endian");

done:
    atr_free(text);
    return status;
}

/* Reads the bytes of every storage a tensor uses. Entries that overlap could multiply the file's size: `left` forbids it. */
static atr_status read_storages(zip_t *archive, const char *prefix, int64_t left, pth_state *state,
                                atr_weights *weights)
{
    atr_status status = ATR_OK;
    char name[ATR_PTH_TEXT + 8];

    for (int64_t i = 0; i < state->view_count; i++) {
        pth_storage *storage = &state->storages[state->views[i].storage];
        const int64_t want = storage->count * (int64_t)atr_dtype_bytes(storage->type);
        int64_t index = -1, size = 0;
        void *block = NULL;
        if (storage->data != NULL || want == 0)
            continue;
        snprintf(name, sizeof name, "data/%s", storage->key);
        ATR_TRY(find_entry(archive, prefix, name, &index));
        if (index < 0) {
            status = atr_fail(ATR_ERR_DATA, "the zip archive lacks %s, which holds '%.*s'", name,
                              (int)state->views[i].length, state->views[i].name);
            goto done;
        }
        ATR_TRY(read_entry(archive, index, left, &block, &size));
        storage->data = block;
        ATR_TRY(atr_weights_own(weights, block));
        if (size != want) {
            status = atr_fail(ATR_ERR_DATA, "%s has %lld bytes, its tensors want %lld", name, (long long)size,
                              (long long)want);
            goto done;
        }
        left -= size;
    }

done:
    return status;
}

atr_status atr_pth_parse(const void *bytes, size_t size, atr_weights **out)
{
    atr_status status = ATR_OK;
    zip_t *archive = NULL;
    atr_weights *weights = NULL;
    pth_state state = {0};
    char prefix[ATR_PTH_TEXT];
    void *pickle = NULL;
    int64_t index = -1, pickle_size = 0;

    *out = NULL;
    ATR_TRY(open_archive(bytes, size, &archive));
    ATR_TRY(find_pickle(archive, prefix, &index));
    ATR_TRY(check_byte_order(archive, prefix));
    ATR_TRY(read_entry(archive, index, size < ATR_PICKLE_MAX_BYTES ? (int64_t)size : ATR_PICKLE_MAX_BYTES,
                       &pickle, &pickle_size));
    ATR_TRY(atr_weights_create("pth", &weights));
    ATR_TRY(atr_pth_state_read(pickle, (size_t)pickle_size, weights, NULL, &state));
    ATR_TRY(read_storages(archive, prefix, (int64_t)size, &state, weights));
    ATR_TRY(atr_pth_gather(&state, VIEW_FACTOR * (int64_t)size + VIEW_EXTRA, weights));
    *out = weights;
    weights = NULL;

done:
    atr_pth_state_free(&state);
    atr_free(pickle);
    if (archive != NULL)
        zip_discard(archive);
    atr_weights_destroy(weights);
    return status;
}
