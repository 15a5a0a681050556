#include "io/path.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

/* A link such as /dev/stdout, which may lead to a plain file: not that file, but the link would be replaced. */
static bool is_descriptor(const char *path)
{
    static const char home[] = "/proc/";
    char target[sizeof home];
    const ssize_t length = readlink(path, target, sizeof target);

    return length >= (ssize_t)(sizeof home - 1) && memcmp(target, home, sizeof home - 1) == 0;
}

atr_status atr_path_check_target(const char *path)
{
    struct stat info;

    if (!is_descriptor(path) && (stat(path, &info) != 0 || S_ISREG(info.st_mode)))
        return ATR_OK; /* what else is wrong with the name shows when it is opened */
    if (atr_path_is_folder(path))
        return atr_fail(ATR_ERR_IO, "%s is a folder: name the file to write", path);
    return atr_fail(ATR_ERR_IO,
                    "%s is a device or pipe; a file is written whole and then given its name: name a "
                    "plain file",
                    path);
}

atr_status atr_path_partial(const char *path, char **out)
{
    atr_status status = ATR_OK;

    ATR_TRY(atr_path_check_target(path));
    ATR_TRY(atr_format(out, "%s.partial", path));
done:
    return status;
}

static atr_status sync_path(const char *path, int flags)
{
    const int fd = open(path, flags | O_CLOEXEC);

    if (fd < 0)
        return atr_fail(ATR_ERR_IO, "%s: cannot open to sync: %s", path, strerror(errno));
    const int failed = fsync(fd);
    const int reason = errno;
    close(fd);
    /* Some file systems cannot sync a folder and say EINVAL; the file itself is safe then. */
    if (failed != 0 && !(reason == EINVAL && (flags & O_DIRECTORY)))
        return atr_fail(ATR_ERR_IO, "%s: cannot write to disk: %s", path, strerror(reason));
    return ATR_OK;
}

atr_status atr_path_replace(const char *partial, const char *path)
{
    atr_status status = ATR_OK;
    char *folder = NULL;
    const char *slash = strrchr(path, '/');

    ATR_TRY(sync_path(partial, O_RDONLY));
    if (rename(partial, path) != 0) {
        status = atr_fail(ATR_ERR_IO, "%s: cannot be renamed to %s: %s", partial, path, strerror(errno));
        goto done;
    }
    if (slash == NULL)
        ATR_TRY(atr_strdup(".", &folder));
    else
        ATR_TRY(atr_format(&folder, "%.*s", (int)(slash - path + 1), path));
    ATR_TRY(sync_path(folder, O_RDONLY | O_DIRECTORY));

done:
    atr_free(folder);
    return status;
}

atr_status atr_path_join(const char *folder, const char *name, char **out)
{
    const size_t length = strlen(folder);

    if (length == 0 || name[0] == '/')
        return atr_strdup(name, out);
    return atr_format(out, "%s%s%s", folder, folder[length - 1] == '/' ? "" : "/", name);
}

const char *atr_path_base(const char *path)
{
    const char *slash = strrchr(path, '/');

    return slash == NULL ? path : slash + 1;
}

atr_status atr_path_make_above(const char *path)
{
    atr_status status = ATR_OK;
    char *part = NULL;

    ATR_TRY(atr_strdup(path, &part));
    for (char *slash = strchr(part + 1, '/'); slash != NULL; slash = strchr(slash + 1, '/')) {
        *slash = '\0';
        if (mkdir(part, 0777) != 0 && errno != EEXIST) {
            status = atr_fail(ATR_ERR_IO, "cannot make the folder %s: %s", part, strerror(errno));
            goto done;
        }
        *slash = '/';
    }

done:
    atr_free(part);
    return status;
}

atr_status atr_path_make_folder(const char *path)
{
    atr_status status = ATR_OK;

    ATR_TRY(atr_path_make_above(path));
    if (mkdir(path, 0777) == 0)
        goto done;
    const int reason = errno == EEXIST ? ENOTDIR : errno;
    if (!atr_path_is_folder(path))
        status = atr_fail(ATR_ERR_IO, "cannot make the folder %s: %s", path, strerror(reason));

done:
    return status;
}

bool atr_path_is_empty_folder(const char *path)
{
    DIR *dir = opendir(path);
    int others = 0;

    if (dir == NULL)
        return false;
    for (const struct dirent *e = readdir(dir); e != NULL && others == 0; e = readdir(dir))
        others += strcmp(e->d_name, ".") != 0 && strcmp(e->d_name, "..") != 0;
    closedir(dir);
    return others == 0;
}

bool atr_path_is_folder(const char *path)
{
    struct stat info;

    return stat(path, &info) == 0 && S_ISDIR(info.st_mode);
}

bool atr_path_exists(const char *path)
{
    struct stat info;

    return stat(path, &info) == 0;
}

atr_status atr_path_size(const char *path, int64_t *bytes)
{
    struct stat info;

    *bytes = 0;
    if (stat(path, &info) != 0)
        return atr_fail(errno == ENOENT ? ATR_ERR_NOT_FOUND : ATR_ERR_IO, "%s: %s", path, strerror(errno));
    if (!S_ISREG(info.st_mode))
        return atr_fail(ATR_ERR_DATA, "%s: not a regular file", path);
    *bytes = info.st_size;
    return ATR_OK;
}
