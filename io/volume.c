#include "io/volume.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

/* Whether `path` is `mount` or lies below it. */
static bool lies_below(const char *path, const char *mount)
{
    const size_t length = strlen(mount);

    return strcmp(mount, "/") == 0 ||
           (strncmp(path, mount, length) == 0 && (path[length] == '/' || path[length] == '\0'));
}

/* Type of the innermost mount above `path`, which is absolute and free of links. A line of mountinfo: "36 35 98:0 /root
 * /mount options [tags] - TYPE source options"; later lines lie over earlier ones. */
static void find_type(const char *path, char *type)
{
    char *line = NULL, mount[PATH_MAX + 1], found[ATR_VOLUME_TYPE_BYTES];
    size_t room = 0, longest = 0;
    FILE *file = fopen("/proc/self/mountinfo", "re");

    snprintf(type, ATR_VOLUME_TYPE_BYTES, "unknown");
    while (file != NULL && getline(&line, &room, file) > 0) {
        const char *const dash = strstr(line, " - ");
        if (dash == NULL || sscanf(line, "%*s %*s %*s %*s %4096s", mount) != 1 ||
            sscanf(dash, " - %63s", found) != 1)
            continue;
        if (!lies_below(path, mount) || strlen(mount) < longest)
            continue;
        longest = strlen(mount);
        snprintf(type, ATR_VOLUME_TYPE_BYTES, "%s", found);
    }
    free(line);
    if (file != NULL)
        fclose(file);
}

static bool is_network(const char *type)
{
    static const char *const names[] = {"nfs",  "lustre", "gpfs",   "beegfs", "ceph", "cifs",     "smb",
                                        "pvfs", "panfs",  "wekafs", "afs",    "9p",   "virtiofs", "fuse."};

    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++)
        if (strncmp(type, names[i], strlen(names[i])) == 0)
            return true;
    return false;
}

atr_status atr_volume_of(const char *path, atr_volume *out)
{
    struct statvfs facts;
    char *const real = realpath(path, NULL);

    memset(out, 0, sizeof *out);
    if (real == NULL)
        return atr_fail(errno == ENOENT ? ATR_ERR_NOT_FOUND : ATR_ERR_IO, "%s: %s", path, strerror(errno));
    find_type(real, out->type);
    free(real);
    out->network = is_network(out->type);
    if (statvfs(path, &facts) != 0)
        return atr_fail(ATR_ERR_IO, "%s: %s", path, strerror(errno));
    out->bytes = (int64_t)(facts.f_blocks * facts.f_frsize);
    out->free_bytes = (int64_t)(facts.f_bavail * facts.f_frsize);
    return ATR_OK;
}

bool atr_volume_same(const char *path, const char *other)
{
    struct stat one, two;

    return stat(path, &one) == 0 && stat(other, &two) == 0 && one.st_dev == two.st_dev;
}

bool atr_volume_locks(const char *path)
{
    const int fd = open(path, O_RDONLY | O_CLOEXEC);
    bool locks = true;

    if (fd < 0)
        return true;
    /* EWOULDBLOCK: somebody else holds a lock, so locks exist. */
    if (flock(fd, LOCK_SH | LOCK_NB) != 0 && errno != EWOULDBLOCK && errno != EINTR)
        locks = false;
    close(fd);
    return locks;
}
