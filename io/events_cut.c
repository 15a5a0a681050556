#include <dirent.h>
#include <errno.h>
#include <events.pb-c.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "io/events_impl.h"
#include "io/path.h"

/* What an earlier part of a run left behind: a run that goes on takes out the events of steps that it will do again. */

static const char prefix[] = "events.out.tfevents.";

bool atr_events_is_name(const char *name)
{
    return strncmp(name, prefix, sizeof prefix - 1) == 0;
}

uint32_t atr_get_u32(const uint8_t *bytes)
{
    return (uint32_t)bytes[0] | (uint32_t)bytes[1] << 8 | (uint32_t)bytes[2] << 16 | (uint32_t)bytes[3] << 24;
}

uint64_t atr_get_u64(const uint8_t *bytes)
{
    return (uint64_t)atr_get_u32(bytes) | (uint64_t)atr_get_u32(bytes + 4) << 32;
}

/* Reads the next record's bytes into fresh memory, `*bytes` NULL where none follows whole; `left` is what the file still holds. */
static atr_status read_record(FILE *file, int64_t left, uint8_t **bytes, int64_t *size)
{
    uint8_t head[ATR_RECORD_HEAD], tail[ATR_RECORD_TAIL];
    uint8_t *block = NULL;
    atr_status status = ATR_OK;

    *bytes = NULL;
    if (fread(head, sizeof head, 1, file) != 1 || atr_get_u32(head + 8) != atr_crc32c_masked(head, 8))
        return ATR_OK;
    const uint64_t length = atr_get_u64(head);
    if (left < ATR_RECORD_HEAD + ATR_RECORD_TAIL ||
        length > (uint64_t)(left - ATR_RECORD_HEAD - ATR_RECORD_TAIL))
        return ATR_OK;
    ATR_TRY(ATR_NEW((int64_t)length + 1, &block));
    if (fread(block, 1, length, file) != length || fread(tail, sizeof tail, 1, file) != 1 ||
        atr_get_u32(tail) != atr_crc32c_masked(block, length))
        goto done;
    *size = (int64_t)length;
    *bytes = block;
    block = NULL;

done:
    atr_free(block);
    return status;
}

/* Bytes of the file that are to stay. */
static atr_status find_end(FILE *file, int64_t total, int64_t steps, int64_t *end)
{
    atr_status status = ATR_OK;
    bool keep = true;

    for (*end = 0; keep && *end < total;) {
        uint8_t *bytes = NULL;
        int64_t size = 0;
        ATR_TRY(read_record(file, total - *end, &bytes, &size));
        Atr__Event *const event = bytes != NULL ? atr__event__unpack(NULL, (size_t)size, bytes) : NULL;
        keep = event != NULL && event->step <= steps;
        if (event != NULL)
            atr__event__free_unpacked(event, NULL);
        atr_free(bytes);
        if (keep)
            *end += ATR_RECORD_HEAD + size + ATR_RECORD_TAIL;
    }

done:
    return status;
}

static atr_status cut_file(const char *path, int64_t steps)
{
    FILE *file = NULL;
    int64_t total = 0, end = 0;
    atr_status status = ATR_OK;

    ATR_TRY(atr_path_size(path, &total));
    file = fopen(path, "rbe");
    if (file == NULL) {
        status = atr_fail(ATR_ERR_IO, "%s: %s", path, strerror(errno));
        goto done;
    }
    ATR_TRY(find_end(file, total, steps, &end));
    if (end < total && truncate(path, end) != 0)
        status = atr_fail(ATR_ERR_IO, "%s: %s", path, strerror(errno));

done:
    if (file != NULL)
        fclose(file);
    return status;
}

atr_status atr_events_cut(const char *folder, int64_t steps, int64_t *newest)
{
    DIR *const dir = opendir(folder);
    char *path = NULL;
    atr_status status = ATR_OK;

    *newest = 0;
    if (dir == NULL)
        return atr_fail(ATR_ERR_IO, "%s: %s", folder, strerror(errno));
    for (const struct dirent *entry = readdir(dir); entry != NULL; entry = readdir(dir)) {
        if (!atr_events_is_name(entry->d_name))
            continue;
        const long long seconds = strtoll(entry->d_name + sizeof prefix - 1, NULL, 10);
        if (seconds > *newest && seconds < INT32_MAX * 2LL)
            *newest = seconds;
        ATR_TRY(atr_path_join(folder, entry->d_name, &path));
        ATR_TRY(cut_file(path, steps));
        atr_free(path);
        path = NULL;
    }

done:
    atr_free(path);
    closedir(dir);
    return status;
}
