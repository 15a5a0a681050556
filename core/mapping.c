#include "core/mapping.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "core/mem.h"

struct atr_mapping {
    char *path;
    int file;
    struct stat facts; /* when it was opened */
    char *base;        /* NULL: not mapped */
    size_t bytes;
};

static atr_status open_file(atr_mapping *mapping, const char *path)
{
    /* Not blocking, so that opening a pipe nobody writes to does not wait for ever. */
    mapping->file = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    if (mapping->file < 0)
        return atr_fail(errno == ENOENT ? ATR_ERR_NOT_FOUND : ATR_ERR_IO, "cannot open %s: %s", path,
                        strerror(errno));
    if (fstat(mapping->file, &mapping->facts) != 0 || !S_ISREG(mapping->facts.st_mode) ||
        mapping->facts.st_size <= 0)
        return atr_fail(ATR_ERR_IO, "%s is not a plain file with something in it", path);
    mapping->bytes = (size_t)mapping->facts.st_size;
    return ATR_OK;
}

atr_status atr_mapping_open(const char *path, atr_mapping **out)
{
    atr_status status = ATR_OK;
    atr_mapping *mapping = NULL;

    *out = NULL;
    ATR_TRY(ATR_NEW(1, &mapping));
    mapping->file = -1;
    ATR_TRY(atr_strdup(path, &mapping->path));
    ATR_TRY(open_file(mapping, path));
    void *const base = mmap(NULL, mapping->bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE, mapping->file, 0);
    if (base == MAP_FAILED) {
        status = atr_fail(ATR_ERR_IO, "cannot map %s: %s", path, strerror(errno));
        goto done;
    }
    mapping->base = base;
    *out = mapping;
    mapping = NULL;

done:
    atr_mapping_close(mapping);
    return status;
}

void atr_mapping_close(atr_mapping *mapping)
{
    if (mapping == NULL)
        return;
    if (mapping->base != NULL)
        munmap(mapping->base, mapping->bytes);
    if (mapping->file >= 0)
        close(mapping->file);
    atr_free(mapping->path);
    atr_free(mapping);
}

void *atr_mapping_at(const atr_mapping *mapping, int64_t offset, size_t bytes)
{
    if (offset < 0 || (size_t)offset > mapping->bytes || bytes > mapping->bytes - (size_t)offset)
        return NULL;
    return mapping->base + offset;
}

bool atr_mapping_holds(const atr_mapping *mapping, const void *at, size_t bytes)
{
    const uintptr_t start = (uintptr_t)mapping->base, first = (uintptr_t)at;

    return first >= start && first - start <= mapping->bytes && bytes <= mapping->bytes - (first - start);
}

void atr_mapping_drop(const atr_mapping *mapping, const void *at, size_t bytes)
{
    const size_t page = (size_t)sysconf(_SC_PAGESIZE);
    const size_t first = (size_t)((const char *)at - mapping->base);
    const size_t begin = (first + page - 1) / page * page, end = (first + bytes) / page * page;

    if (begin < end)
        (void)madvise(mapping->base + begin, end - begin,
                      MADV_DONTNEED); /* a hint: refused, it costs memory */
}

atr_status atr_mapping_check(const atr_mapping *mapping)
{
    struct stat now;

    if (fstat(mapping->file, &now) != 0 || now.st_size != mapping->facts.st_size ||
        now.st_mtim.tv_sec != mapping->facts.st_mtim.tv_sec ||
        now.st_mtim.tv_nsec != mapping->facts.st_mtim.tv_nsec)
        return atr_fail(ATR_ERR_IO, "%s was written to while it was in use", mapping->path);
    return ATR_OK;
}
