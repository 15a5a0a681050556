#include "io/h5_guard.h"

#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include <xxhash.h>

#include "core/mem.h"

/* The seal, little endian, in the first 512 bytes of the file:
 *   0 magic · 8 length of the file · 16 XXH3 of the covered bytes · 24 number of skipped ranges · 32 pairs (offset, bytes)
 *   … zeros … · 504 XXH3 of bytes 0..503. */
enum {
    AT_LENGTH = 8,
    AT_HASH = 16,
    AT_COUNT = 24,
    AT_SKIP = 32,
    AT_SELF = ATR_H5_USER_BLOCK - 8,
    CHUNK = 1 << 20
};

static const char magic[8] = {'A', 'T', 'R', 'S', 'E', 'A', 'L', '1'};

static void put_u64(uint8_t *at, uint64_t value)
{
    for (int i = 0; i < 8; i++)
        at[i] = (uint8_t)(value >> (8 * i));
}

static uint64_t get_u64(const uint8_t *at)
{
    uint64_t value = 0;

    for (int i = 7; i >= 0; i--)
        value = value << 8 | at[i];
    return value;
}

/* Feeds bytes [from, to) of the file into `hash`; ATR_ERR_DATA when the file ends before `to`. */
static atr_status hash_range(int fd, const char *path, uint64_t from, uint64_t to, uint8_t *chunk,
                             XXH3_state_t *hash)
{
    while (from < to) {
        const size_t want = to - from < CHUNK ? (size_t)(to - from) : CHUNK;
        const ssize_t got = pread(fd, chunk, want, (off_t)from);
        if (got < 0 && errno == EINTR)
            continue;
        if (got < 0)
            return atr_fail(ATR_ERR_IO, "%s: cannot read: %s", path, strerror(errno));
        if (got == 0)
            return atr_fail(ATR_ERR_DATA, "%s is cut short", path);
        XXH3_64bits_update(hash, chunk, (size_t)got);
        from += (uint64_t)got;
    }
    return ATR_OK;
}

/* XXH3 of all bytes behind the user block that no range skips. */
static atr_status hash_file(int fd, const char *path, uint64_t length, const atr_h5_range *skip, int count,
                            uint64_t *out)
{
    atr_status status = ATR_OK;
    XXH3_state_t *hash = XXH3_createState();
    uint8_t *chunk = NULL;
    uint64_t at = ATR_H5_USER_BLOCK;

    if (hash == NULL) {
        status = atr_fail(ATR_ERR_MEMORY, "cannot allocate the state of a checksum");
        goto done;
    }
    ATR_TRY(ATR_NEW(CHUNK, &chunk));
    XXH3_64bits_reset(hash);
    for (int i = 0; i < count; i++) {
        ATR_TRY(hash_range(fd, path, at, skip[i].offset, chunk, hash));
        at = skip[i].offset + skip[i].bytes;
    }
    ATR_TRY(hash_range(fd, path, at, length, chunk, hash));
    *out = XXH3_64bits_digest(hash);

done:
    XXH3_freeState(hash);
    atr_free(chunk);
    return status;
}

/* Ranges ascend, do not overlap, and lie between the user block and the end. */
static bool ranges_fit(const atr_h5_range *skip, int count, uint64_t length)
{
    uint64_t at = ATR_H5_USER_BLOCK;

    for (int i = 0; i < count; i++) {
        if (skip[i].offset < at || skip[i].offset > length || skip[i].bytes > length - skip[i].offset)
            return false;
        at = skip[i].offset + skip[i].bytes;
    }
    return true;
}

static atr_status file_length(int fd, const char *path, uint64_t *out)
{
    struct stat info;

    if (fstat(fd, &info) != 0)
        return atr_fail(ATR_ERR_IO, "%s: %s", path, strerror(errno));
    if (!S_ISREG(info.st_mode))
        return atr_fail(ATR_ERR_DATA, "%s is not a regular file", path);
    *out = (uint64_t)info.st_size;
    return ATR_OK;
}

static atr_status write_seal(int fd, const char *path, const uint8_t *seal)
{
    size_t done = 0;

    while (done < ATR_H5_USER_BLOCK) {
        const ssize_t put = pwrite(fd, seal + done, ATR_H5_USER_BLOCK - done, (off_t)done);
        if (put < 0 && errno == EINTR)
            continue;
        if (put <= 0)
            return atr_fail(ATR_ERR_IO, "%s: cannot write: %s", path, strerror(errno));
        done += (size_t)put;
    }
    if (fsync(fd) != 0)
        return atr_fail(ATR_ERR_IO, "%s: cannot sync: %s", path, strerror(errno));
    return ATR_OK;
}

/* HDF5 looks for its signature at 0, 512, 1024 …: behind a user block of 512 bytes it stands at 512. */
static bool has_user_block(int fd)
{
    static const uint8_t signature[8] = {0x89, 'H', 'D', 'F', '\r', '\n', 0x1a, '\n'};
    uint8_t bytes[8];

    return pread(fd, bytes, sizeof bytes, ATR_H5_USER_BLOCK) == (ssize_t)sizeof bytes &&
           memcmp(bytes, signature, sizeof bytes) == 0;
}

atr_status atr_h5_seal(const char *path, const atr_h5_range *skip, int count)
{
    atr_status status = ATR_OK;
    uint8_t seal[ATR_H5_USER_BLOCK] = {0};
    uint64_t length = 0, hash = 0;
    const int fd = open(path, O_RDWR | O_CLOEXEC);

    if (fd < 0) {
        status = atr_fail(ATR_ERR_IO, "%s: cannot open: %s", path, strerror(errno));
        goto done;
    }
    ATR_TRY(file_length(fd, path, &length));
    if (!has_user_block(fd) || count < 0 || count > ATR_H5_SKIP_MAX || !ranges_fit(skip, count, length)) {
        status = atr_fail(ATR_ERR_DATA, "%s: no room for a seal, or skipped ranges outside the file", path);
        goto done;
    }
    ATR_TRY(hash_file(fd, path, length, skip, count, &hash));
    memcpy(seal, magic, sizeof magic);
    put_u64(seal + AT_LENGTH, length);
    put_u64(seal + AT_HASH, hash);
    put_u64(seal + AT_COUNT, (uint64_t)count);
    for (int i = 0; i < count; i++) {
        put_u64(seal + AT_SKIP + 16 * i, skip[i].offset);
        put_u64(seal + AT_SKIP + 16 * i + 8, skip[i].bytes);
    }
    put_u64(seal + AT_SELF, XXH3_64bits(seal, AT_SELF));
    ATR_TRY(write_seal(fd, path, seal));

done:
    if (fd >= 0)
        close(fd);
    return status;
}

/* Reads the seal's bytes and says in words why a file cannot have a right one. */
static atr_status read_seal(int fd, const char *path, uint64_t length, uint8_t *seal)
{
    const ssize_t got = pread(fd, seal, ATR_H5_USER_BLOCK, 0);

    if (got < 0)
        return atr_fail(ATR_ERR_IO, "%s: cannot read: %s", path, strerror(errno));
    if (got < ATR_H5_USER_BLOCK)
        return atr_fail(ATR_ERR_DATA, "%s is cut short: %lld bytes", path, (long long)length);
    if (memcmp(seal, magic, sizeof magic) != 0)
        return atr_fail(ATR_ERR_DATA,
                        has_user_block(fd) ? "%s is not complete: its writer stopped before the end"
                                           : "%s is not a file of atrous, or its first bytes are damaged",
                        path);
    if (get_u64(seal + AT_SELF) != XXH3_64bits(seal, AT_SELF))
        return atr_fail(ATR_ERR_DATA, "%s is damaged (checksum of its first %d bytes)", path,
                        ATR_H5_USER_BLOCK);
    if (get_u64(seal + AT_LENGTH) != length)
        return atr_fail(ATR_ERR_DATA, "%s is cut short: %lld bytes of %lld", path, (long long)length,
                        (long long)get_u64(seal + AT_LENGTH));
    return ATR_OK;
}

/* Opens a regular file; a named pipe must not hang. */
static atr_status open_sealed(const char *path, int *fd, uint64_t *length)
{
    *fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    if (*fd < 0)
        return atr_fail(errno == ENOENT ? ATR_ERR_NOT_FOUND : ATR_ERR_IO, "%s: cannot open: %s", path,
                        strerror(errno));
    return file_length(*fd, path, length);
}

atr_status atr_h5_seal_key(const char *path, uint64_t *key, int64_t *bytes)
{
    atr_status status = ATR_OK;
    uint8_t seal[ATR_H5_USER_BLOCK] = {0};
    uint64_t length = 0;
    int fd = -1;

    ATR_TRY(open_sealed(path, &fd, &length));
    ATR_TRY(read_seal(fd, path, length, seal));
    *key = XXH3_64bits(seal, sizeof seal);
    *bytes = (int64_t)length;

done:
    if (fd >= 0)
        close(fd);
    return status;
}

atr_status atr_h5_check_seal(const char *path)
{
    atr_status status = ATR_OK;
    uint8_t seal[ATR_H5_USER_BLOCK] = {0};
    atr_h5_range skip[ATR_H5_SKIP_MAX];
    uint64_t length = 0, hash = 0;
    int fd = -1;

    ATR_TRY(open_sealed(path, &fd, &length));
    ATR_TRY(read_seal(fd, path, length, seal));
    const uint64_t count = get_u64(seal + AT_COUNT);
    for (uint64_t i = 0; i < count && i < ATR_H5_SKIP_MAX; i++)
        skip[i] = (atr_h5_range){get_u64(seal + AT_SKIP + 16 * i), get_u64(seal + AT_SKIP + 16 * i + 8)};
    if (count > ATR_H5_SKIP_MAX || !ranges_fit(skip, (int)count, length)) {
        status = atr_fail(ATR_ERR_DATA, "%s is damaged (ranges of its seal)", path);
        goto done;
    }
    ATR_TRY(hash_file(fd, path, length, skip, (int)count, &hash));
    if (hash != get_u64(seal + AT_HASH))
        status = atr_fail(ATR_ERR_DATA, "%s is damaged (checksum)", path);

done:
    if (fd >= 0)
        close(fd);
    return status;
}
