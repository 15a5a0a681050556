#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include "io/h5_impl.h"

/* A file driver of our own, for two things that HDF5's does not bear.
 *
 * A full disk: HDF5 1.10 drops the failure of a small write when a dataset is closed, and crashes at the end of the process when
 * its cache could not be written out. Here the first failure is kept in the handle's `error`, nothing is written any more, and
 * HDF5 is told that all went well; atr_h5_flush and atr_h5_close then say what happened.
 *
 * A file system that refuses locks (Lustre without flock, some NFS): HDF5 gives up an open whose lock fails, also one for reading.
 * H5Pset_file_locking() came late, and HDF5_USE_FILE_LOCKING in the environment overrules it. A driver without a lock function is
 * never asked for one, in any version. Reading without is safe: files are replaced whole, never changed in place. */

typedef struct disk_file {
    H5FD_t base; /* HDF5 wants it first */
    int fd;
    haddr_t eoa, eof; /* end of what is allocated, end of what was written */
    int *error;       /* errno of the first failure; belongs to the atr_h5 */
} disk_file;

static H5FD_t *disk_open(const char *name, unsigned flags, hid_t fapl, haddr_t maxaddr)
{
    int *const *info = H5Pget_driver_info(fapl);
    const bool writes = (flags & H5F_ACC_RDWR) != 0;
    const int mode = (writes ? O_RDWR : O_RDONLY) | O_CLOEXEC | ((flags & H5F_ACC_CREAT) ? O_CREAT : 0) |
                     ((flags & H5F_ACC_TRUNC) ? O_TRUNC : 0);
    disk_file *file = NULL;
    struct stat facts;

    (void)maxaddr;
    /* HDF5 asks first whether the file opens, then opens it again to create it: only the last answer counts. */
    **info = 0;
    const int fd = open(name, mode, 0666);
    if (fd < 0 || fstat(fd, &facts) != 0 || ATR_NEW(1, &file) != ATR_OK) {
        **info = errno;
        if (fd >= 0)
            close(fd);
        return NULL;
    }
    /* Two writers of one file would ruin it. File systems that cannot lock are used unlocked. */
    if (writes && flock(fd, LOCK_EX | LOCK_NB) != 0 && errno == EWOULDBLOCK) {
        **info = errno;
        close(fd);
        atr_free(file);
        return NULL;
    }
    file->fd = fd;
    file->error = *info;
    file->eof = (haddr_t)facts.st_size;
    return &file->base;
}

static herr_t disk_close(H5FD_t *base)
{
    disk_file *file = (disk_file *)base;

    /* Network file systems may report a failed write only here. */
    if (close(file->fd) != 0 && *file->error == 0)
        *file->error = errno;
    atr_free(file);
    return 0;
}

/* The abilities of HDF5's own POSIX driver; files are marked as written by it. */
static herr_t disk_query(const H5FD_t *base, unsigned long *flags)
{
    (void)base;
    *flags = H5FD_FEAT_AGGREGATE_METADATA | H5FD_FEAT_ACCUMULATE_METADATA | H5FD_FEAT_DATA_SIEVE |
             H5FD_FEAT_AGGREGATE_SMALLDATA | H5FD_FEAT_POSIX_COMPAT_HANDLE | H5FD_FEAT_DEFAULT_VFD_COMPATIBLE;
    return 0;
}

static haddr_t disk_get_eoa(const H5FD_t *base, H5FD_mem_t type)
{
    (void)type;
    return ((const disk_file *)base)->eoa;
}

static herr_t disk_set_eoa(H5FD_t *base, H5FD_mem_t type, haddr_t address)
{
    (void)type;
    ((disk_file *)base)->eoa = address;
    return 0;
}

static haddr_t disk_get_eof(const H5FD_t *base, H5FD_mem_t type)
{
    (void)type;
    return ((const disk_file *)base)->eof;
}

/* Bytes behind the end read as zeros, as HDF5 expects. */
static herr_t disk_read(H5FD_t *base, H5FD_mem_t type, hid_t dxpl, haddr_t address, size_t size, void *buffer)
{
    const disk_file *file = (const disk_file *)base;
    uint8_t *to = buffer;

    (void)type, (void)dxpl;
    while (size > 0) {
        const ssize_t got = pread(file->fd, to, size, (off_t)address);
        if (got < 0 && errno == EINTR)
            continue;
        if (got < 0)
            return -1;
        if (got == 0) {
            memset(to, 0, size);
            break;
        }
        to += got;
        address += (haddr_t)got;
        size -= (size_t)got;
    }
    return 0;
}

static herr_t disk_write(H5FD_t *base, H5FD_mem_t type, hid_t dxpl, haddr_t address, size_t size,
                         const void *buffer)
{
    disk_file *file = (disk_file *)base;
    const uint8_t *from = buffer;

    (void)type, (void)dxpl;
    while (size > 0 && *file->error == 0) {
        const ssize_t put = pwrite(file->fd, from, size, (off_t)address);
        if (put < 0 && errno == EINTR)
            continue;
        if (put <= 0) {
            *file->error = put < 0 ? errno : ENOSPC;
            break;
        }
        from += put;
        address += (haddr_t)put;
        size -= (size_t)put;
    }
    if (address + size > file->eof)
        file->eof = address + size;
    return 0;
}

/* Makes the file as long as what is allocated. */
static herr_t disk_truncate(H5FD_t *base, hid_t dxpl, hbool_t closing)
{
    disk_file *file = (disk_file *)base;

    (void)dxpl, (void)closing;
    if (file->eoa != file->eof && *file->error == 0 && ftruncate(file->fd, (off_t)file->eoa) != 0)
        *file->error = errno;
    file->eof = file->eoa;
    return 0;
}

bool atr_h5_disk_use(hid_t access, int **error)
{
    static const H5FD_class_t driver = {
        .name = "atrous disk",
        .maxaddr = INT64_MAX,
        .fc_degree = H5F_CLOSE_STRONG, /* `error` must not be used after the handle is gone */
        .fapl_size = sizeof *error,
        .open = disk_open,
        .close = disk_close,
        .query = disk_query,
        .get_eoa = disk_get_eoa,
        .set_eoa = disk_set_eoa,
        .get_eof = disk_get_eof,
        .read = disk_read,
        .write = disk_write,
        .truncate = disk_truncate,
        .fl_map = H5FD_FLMAP_DICHOTOMY,
    };
    const hid_t id = H5FDregister(&driver);
    const bool used = id >= 0 && H5Pset_driver(access, id, error) >= 0;

    if (id >= 0)
        H5FDunregister(id); /* the list, then the file, hold on to it */
    return used;
}
