#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "io/image.h"

enum { MODE_NEW = 0666, NAMES_TRIED = 100 };

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
    return fsync(file) == 0 ? ATR_OK : fail_errno("sync", path);
}

/* A new file beside `path`, so that the rename stays within one file system; unlike mkstemp's it gets the user's umask. */
static atr_status create_beside(const char *path, char **name, int *file)
{
    atr_status status = ATR_OK;

    for (int i = 0; i < NAMES_TRIED && *file < 0; i++) {
        atr_free(*name);
        ATR_TRY(atr_format(name, "%s.%ld.%d.tmp", path, (long)getpid(), i));
        *file = open(*name, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, MODE_NEW);
        if (*file < 0 && errno != EEXIST)
            break;
    }
    if (*file < 0)
        status = fail_errno("create", *name);

done:
    if (status != ATR_OK) {
        atr_free(*name);
        *name = NULL;
    }
    return status;
}

/* After a rename the folder itself must reach the disk. Some file systems cannot sync folders: then it is as good as it gets. */
static atr_status sync_folder(const char *path)
{
    const char *slash = strrchr(path, '/');
    char *folder = NULL;
    atr_status status = ATR_OK;

    if (slash == NULL)
        ATR_TRY(atr_strdup(".", &folder));
    else
        ATR_TRY(atr_format(&folder, "%.*s", (int)(slash - path + 1), path));
    const int file = open(folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (file >= 0) {
        fsync(file);
        close(file);
    }

done:
    atr_free(folder);
    return status;
}

atr_status atr_file_write(const char *path, const void *bytes, size_t size)
{
    atr_status status = ATR_OK;
    char *temporary = NULL;
    int file = -1;

    ATR_TRY(create_beside(path, &temporary, &file));
    ATR_TRY(write_all(file, temporary, bytes, size));
    const int closed = close(file);
    file = -1;
    if (closed != 0) {
        status = fail_errno("write", temporary);
        goto done;
    }
    if (rename(temporary, path) != 0) {
        status = fail_errno("write", path);
        goto done;
    }
    ATR_TRY(sync_folder(path));

done:
    if (file >= 0)
        close(file);
    if (status != ATR_OK && temporary != NULL)
        unlink(temporary);
    atr_free(temporary);
    return status;
}
