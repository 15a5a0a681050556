#include <errno.h>
#include <fcntl.h>
#include <stddef.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "io/h5.h"
#include "io/stage_impl.h"

/* The record beside a copy. */

static const char magic[8] = {'A', 'T', 'R', 'S', 'T', 'A', 'G', '1'};

int64_t atr_stage_mtime(const struct stat *facts)
{
    return (int64_t)facts->st_mtim.tv_sec * 1000000000 + facts->st_mtim.tv_nsec;
}

int64_t atr_stage_sum_at(int64_t piece)
{
    return (int64_t)sizeof(atr_stage_record) + piece * (int64_t)sizeof(uint64_t);
}

atr_status atr_stage_read(int fd, const char *path, void *bytes, int64_t count, int64_t at)
{
    uint8_t *to = bytes;

    while (count > 0) {
        const ssize_t got = pread(fd, to, (size_t)count, (off_t)at);
        if (got < 0 && errno == EINTR)
            continue;
        if (got <= 0)
            return atr_fail(ATR_ERR_IO, "%s: read error: %s", path, got < 0 ? strerror(errno) : "too short");
        to += got;
        at += got;
        count -= got;
    }
    return ATR_OK;
}

atr_status atr_stage_write(int fd, const char *path, const void *bytes, int64_t count, int64_t at)
{
    const uint8_t *from = bytes;

    while (count > 0) {
        const ssize_t put = pwrite(fd, from, (size_t)count, (off_t)at);
        if (put < 0 && errno == EINTR)
            continue;
        if (put <= 0)
            return atr_fail(ATR_ERR_IO, "%s: cannot be written: %s", path,
                            strerror(put < 0 ? errno : ENOSPC));
        from += put;
        at += put;
        count -= put;
    }
    return ATR_OK;
}

static uint64_t check_of(const atr_stage_record *record)
{
    return atr_hash64(record, offsetof(atr_stage_record, check), 0);
}

atr_stage_record atr_stage_record_make(const atr_stage *stage, int64_t copy_mtime_ns)
{
    atr_stage_record record = {.key = stage->key,
                               .seal = stage->seal,
                               .bytes = stage->bytes,
                               .mtime_ns = stage->mtime_ns,
                               .copy_mtime_ns = copy_mtime_ns};

    memcpy(record.magic, magic, sizeof magic);
    record.check = check_of(&record);
    return record;
}

static bool read_record(const char *path, atr_stage_record *out)
{
    const int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
    const bool whole = fd >= 0 && pread(fd, out, sizeof *out, 0) == (ssize_t)sizeof *out;

    if (fd >= 0)
        close(fd);
    return whole && memcmp(out->magic, magic, sizeof magic) == 0 && out->check == check_of(out);
}

bool atr_stage_record_read(const atr_stage *stage, atr_stage_record *out)
{
    return read_record(stage->record, out) && out->key == stage->key && out->seal == stage->seal &&
           out->bytes == stage->bytes && out->mtime_ns == stage->mtime_ns;
}

atr_status atr_stage_record_write(int fd, const char *path, const atr_stage_record *record)
{
    return atr_stage_write(fd, path, record, (int64_t)sizeof *record, 0);
}

void atr_stage_doubt(const char *path)
{
    atr_stage_record record;
    char *name = NULL;
    int fd = -1;

    if (atr_format(&name, "%s.record", path) == ATR_OK && read_record(name, &record)) {
        record.copy_mtime_ns = 0;
        record.check = check_of(&record);
        fd = open(name, O_WRONLY | O_CLOEXEC | O_NOFOLLOW);
        if (fd >= 0) /* a record that cannot be written leaves a copy that is found damaged again */
            (void)atr_stage_record_write(fd, name, &record);
    }
    if (fd >= 0)
        close(fd);
    atr_free(name);
}
