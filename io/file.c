#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "io/image.h"
#include "io/path.h"

enum { MODE_NEW = 0666 };

static const size_t default_limit = (size_t)1 << 30;

static atr_status fail_errno(const char *what, const char *path)
{
    const int error = errno;

    return atr_fail(error == ENOENT ? ATR_ERR_NOT_FOUND : ATR_ERR_IO, "cannot %s %s: %s", what, path,
                    strerror(error));
}

/* Size of an open file that one may read as a whole. */
static atr_status plain_size(int file, const char *path, size_t limit, size_t *size)
{
    struct stat facts;

    if (fstat(file, &facts) != 0)
        return fail_errno("look at", path);
    if (S_ISDIR(facts.st_mode))
        return atr_fail(ATR_ERR_IO, "%s is a folder, not a file", path);
    if (!S_ISREG(facts.st_mode))
        return atr_fail(ATR_ERR_IO, "%s is not a plain file", path);
    if ((uintmax_t)facts.st_size > limit)
        return atr_fail(ATR_ERR_DATA, "%s has %lld bytes, over the limit of %zu", path,
                        (long long)facts.st_size, limit);
    *size = (size_t)facts.st_size;
    return ATR_OK;
}

/* `size` bytes, or up to the end if the file has shrunk since. */
static atr_status read_all(int file, const char *path, uint8_t *bytes, size_t *size)
{
    size_t got = 0;

    while (got < *size) {
        const ssize_t n = read(file, bytes + got, *size - got);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return fail_errno("read", path);
        if (n == 0)
            break;
        got += (size_t)n;
    }
    *size = got;
    return ATR_OK;
}

atr_status atr_file_read(const char *path, size_t limit, void **bytes, size_t *size)
{
    atr_status status = ATR_OK;
    uint8_t *block = NULL;
    /* Not blocking, so that opening a pipe nobody writes to does not wait for ever. */
    const int file = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);

    *bytes = NULL;
    *size = 0;
    if (file < 0)
        return fail_errno("open", path);
    size_t length = 0;
    ATR_TRY(plain_size(file, path, limit == 0 ? default_limit : limit, &length));
    ATR_TRY(ATR_NEW((int64_t)length + 1, &block));
    ATR_TRY(read_all(file, path, block, &length));
    block[length] = 0;
    *bytes = block;
    *size = length;

done:
    close(file);
    if (status != ATR_OK)
        atr_free(block);
    return status;
}

atr_status atr_file_read_at(int descriptor, int64_t offset, void *bytes, size_t count)
{
    size_t have = 0;

    while (have < count) {
        const ssize_t got =
            pread(descriptor, (uint8_t *)bytes + have, count - have, (off_t)(offset + (int64_t)have));
        if (got < 0 && errno == EINTR)
            continue;
        if (got < 0)
            return atr_fail(ATR_ERR_IO, "read error: %s", strerror(errno));
        if (got == 0)
            return atr_fail(ATR_ERR_DATA, "the file ends too early");
        have += (size_t)got;
    }
    return ATR_OK;
}

static atr_status write_all(int file, const char *path, const uint8_t *bytes, size_t size)
{
    while (size > 0) {
        const ssize_t n = write(file, bytes, size);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return fail_errno("write", path);
        bytes += n;
        size -= (size_t)n;
    }
    return ATR_OK;
}

static atr_status write_new(const char *path, const void *bytes, size_t size)
{
    const int file = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, MODE_NEW);

    if (file < 0)
        return fail_errno("create", path);
    const atr_status status = write_all(file, path, bytes, size);
    if (close(file) != 0 && status == ATR_OK) /* a full disk may show only here */
        return fail_errno("write", path);
    return status;
}

atr_status atr_file_write(const char *path, const void *bytes, size_t size)
{
    atr_status status = ATR_OK;
    char *partial = NULL;

    ATR_TRY(atr_path_partial(path, &partial));
    ATR_TRY(write_new(partial, bytes, size));
    ATR_TRY(atr_path_replace(partial, path));

done:
    if (status != ATR_OK && partial != NULL)
        unlink(partial);
    atr_free(partial);
    return status;
}
