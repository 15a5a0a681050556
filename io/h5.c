#include "io/h5.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <xxhash.h>

#include "io/h5_guard.h"
#include "io/h5_impl.h"
#include "io/path.h"

void atr_h5_silence(void)
{
    H5Eset_auto2(H5E_DEFAULT, NULL, NULL);
}

/* A link into another file is refused: a data set from a stranger must not open files of ours. */
static herr_t refuse_link(const char *parent_file, const char *parent_group, const char *child_file,
                          const char *child, unsigned *flags, hid_t fapl, void *user)
{
    (void)parent_file, (void)parent_group, (void)child_file, (void)child;
    (void)flags, (void)fapl, (void)user;
    return -1;
}

static atr_status handle_create(const char *path, bool writable, atr_h5 **out)
{
    atr_status status = ATR_OK;
    atr_h5 *file = NULL;

    *out = NULL;
    ATR_TRY(ATR_NEW(1, &file));
    file->id = file->access = -1;
    file->writable = writable;
    ATR_TRY(atr_strdup(path, &file->path));
    atr_h5_silence();
    file->access = H5Pcreate(H5P_DATASET_ACCESS);
    if (file->access < 0 || H5Pset_elink_cb(file->access, refuse_link, NULL) < 0) {
        status = atr_fail(ATR_ERR_INTERNAL, "HDF5 cannot make an access list");
        goto done;
    }
    *out = file;
    file = NULL;

done:
    atr_h5_destroy(file);
    return status;
}

atr_status atr_h5_create(const char *path, atr_h5 **out)
{
    atr_status status = ATR_OK;
    atr_h5 *file = NULL;
    hid_t create = -1, access = -1;

    *out = NULL;
    atr_h5_silence();
    create = H5Pcreate(H5P_FILE_CREATE);
    access = H5Pcreate(H5P_FILE_ACCESS);
    ATR_TRY(handle_create(path, true, &file));
    /* Lower bound 1.8: all metadata carries checksums. Upper bound 1.8: no "open for write" mark that would hide how far
     * a killed writer came. */
    H5Pset_libver_bounds(access, H5F_LIBVER_V18, H5F_LIBVER_V18);
    int *error = &file->error;
    if (!atr_h5_disk_use(access, &error)) {
        status = atr_fail(ATR_ERR_INTERNAL, "HDF5 does not take our file driver");
        goto done;
    }
    H5Pset_obj_track_times(create, false);
    H5Pset_userblock(create, ATR_H5_USER_BLOCK); /* room for the seal, see io/h5_guard.h */
    file->id = H5Fcreate(path, H5F_ACC_TRUNC, create, access);
    if (file->id < 0 || file->error != 0) {
        status = atr_fail(ATR_ERR_IO, "%s: cannot be created%s%s", path, file->error != 0 ? ": " : "",
                          file->error != 0 ? strerror(file->error) : "");
        goto done;
    }
    *out = file;
    file = NULL;

done:
    H5Pclose(create);
    H5Pclose(access);
    atr_h5_destroy(file);
    return status;
}

atr_status atr_h5_open(const char *path, atr_h5 **out)
{
    atr_status status = ATR_OK;
    atr_h5 *file = NULL;
    hid_t list = -1;
    int64_t bytes = 0;

    *out = NULL;
    ATR_TRY(atr_path_size(path, &bytes));
    if (access(path, R_OK) != 0) {
        status = atr_fail(ATR_ERR_IO, "%s: %s", path, strerror(errno));
        goto done;
    }
    ATR_TRY(handle_create(path, false, &file));
    file->bytes = bytes;
    list = H5Pcreate(H5P_FILE_ACCESS);
    int *error = &file->error;
    if (!atr_h5_disk_use(list, &error)) {
        status = atr_fail(ATR_ERR_INTERNAL, "HDF5 does not take our file driver");
        goto done;
    }
    const htri_t known = H5Fis_hdf5(path);
    if (known <= 0) {
        status = atr_fail(ATR_ERR_DATA, "%s: not an HDF5 file, or its first bytes are damaged", path);
        goto done;
    }
    file->id = H5Fopen(path, H5F_ACC_RDONLY, list);
    if (file->id < 0) {
        status = atr_fail(ATR_ERR_DATA, "%s: the HDF5 file is damaged or truncated (%lld bytes)", path,
                          (long long)bytes);
        goto done;
    }
    *out = file;
    file = NULL;

done:
    if (list >= 0)
        H5Pclose(list);
    atr_h5_destroy(file);
    return status;
}

/* What our driver kept to itself: HDF5 was told that the write went well. */
static atr_status check_written(const atr_h5 *file)
{
    if (file->error != 0)
        return atr_fail(ATR_ERR_IO, "%s: cannot be written: %s", file->path, strerror(file->error));
    return ATR_OK;
}

atr_status atr_h5_flush(atr_h5 *file)
{
    atr_h5_silence();
    if (H5Fflush(file->id, H5F_SCOPE_GLOBAL) < 0)
        return atr_fail(ATR_ERR_IO, "%s: HDF5 cannot write its tables", file->path);
    return check_written(file);
}

atr_status atr_h5_close(atr_h5 **file)
{
    atr_h5 *closing = *file;
    atr_status status = ATR_OK;

    *file = NULL;
    if (closing->writable)
        status = atr_h5_flush(closing);
    if (H5Fclose(closing->id) < 0 && status == ATR_OK)
        status = atr_fail(ATR_ERR_IO, "%s: HDF5 cannot close it", closing->path);
    if (status == ATR_OK)
        status = check_written(closing);
    closing->id = -1;
    atr_h5_destroy(closing);
    return status;
}

void atr_h5_destroy(atr_h5 *file)
{
    if (file == NULL)
        return;
    atr_h5_silence();
    if (file->access >= 0)
        H5Pclose(file->access);
    if (file->id >= 0)
        H5Fclose(file->id);
    atr_free(file->path);
    atr_free(file);
}

const char *atr_h5_path(const atr_h5 *file)
{
    return file->path;
}

/* H5Lexists answers for the last component only: each group above must be there. */
bool atr_h5_exists(const atr_h5 *file, const char *path)
{
    char part[ATR_H5_PATH_BYTES];
    const size_t length = strlen(path);

    atr_h5_silence();
    if (length >= sizeof part)
        return false;
    memcpy(part, path, length + 1);
    for (char *slash = strchr(part + 1, '/'); slash != NULL && length > 1; slash = strchr(slash + 1, '/')) {
        *slash = '\0';
        if (H5Lexists(file->id, part, file->access) <= 0)
            return false;
        *slash = '/';
    }
    return length > 0 && (strcmp(path, "/") == 0 || H5Lexists(file->id, path, file->access) > 0);
}

static atr_status make_group(atr_h5 *file, const char *group)
{
    const hid_t create = H5Pcreate(H5P_GROUP_CREATE);

    H5Pset_obj_track_times(create, false);
    const hid_t id = H5Gcreate2(file->id, group, H5P_DEFAULT, create, H5P_DEFAULT);
    H5Pclose(create);
    if (id < 0)
        return atr_fail(ATR_ERR_IO, "%s: cannot make group %s", file->path, group);
    H5Gclose(id);
    return ATR_OK;
}

/* Level by level: groups that HDF5 makes on the way by itself would carry time stamps. */
atr_status atr_h5_group(atr_h5 *file, const char *group)
{
    atr_status status = ATR_OK;
    char part[ATR_H5_PATH_BYTES];
    const size_t length = strlen(group);

    if (length >= sizeof part)
        return atr_fail(ATR_ERR_USAGE, "%s: the name of group %.40s... is too long", file->path, group);
    for (size_t i = 1; i <= length && status == ATR_OK; i++) {
        if (group[i] != '/' && group[i] != '\0')
            continue;
        memcpy(part, group, i);
        part[i] = '\0';
        if (!atr_h5_exists(file, part))
            status = make_group(file, part);
    }
    return status;
}

/* Collects names while HDF5 walks over the links of a group. */
typedef struct walk {
    char **names;
    int64_t count, capacity;
    atr_status status;
} walk;

static herr_t walk_link(hid_t group, const char *name, const H5L_info_t *info, void *user)
{
    walk *w = user;
    atr_status status = ATR_OK;

    (void)group, (void)info;
    if (w->count == w->capacity) {
        const int64_t capacity = w->capacity == 0 ? 64 : 2 * w->capacity;
        ATR_TRY(atr_grow(w->capacity, capacity, sizeof *w->names, (void **)&w->names));
        w->capacity = capacity;
    }
    ATR_TRY(atr_strdup(name, &w->names[w->count]));
    w->count++;

done:
    w->status = status;
    return status == ATR_OK ? 0 : -1;
}

static int by_bytes(const void *a, const void *b)
{
    return strcmp(*(char *const *)a, *(char *const *)b);
}

atr_status atr_h5_list(const atr_h5 *file, const char *group, char ***names, int64_t *count)
{
    walk w = {NULL, 0, 0, ATR_OK};
    atr_status status = ATR_OK;

    *names = NULL;
    *count = 0;
    atr_h5_silence();
    const hid_t id = H5Gopen2(file->id, group, file->access);
    if (id < 0)
        return atr_fail(ATR_ERR_NOT_FOUND, "%s: no group %s", file->path, group);
    if (H5Literate(id, H5_INDEX_NAME, H5_ITER_NATIVE, NULL, walk_link, &w) < 0)
        status = w.status != ATR_OK ? w.status
                                    : atr_fail(ATR_ERR_DATA, "%s: group %s is damaged", file->path, group);
    H5Gclose(id);
    if (status != ATR_OK) {
        atr_h5_names_free(w.names, w.count);
        return status;
    }
    if (w.count > 1)
        qsort(w.names, (size_t)w.count, sizeof *w.names, by_bytes);
    *names = w.names;
    *count = w.count;
    return ATR_OK;
}

void atr_h5_names_free(char **names, int64_t count)
{
    for (int64_t i = 0; names != NULL && i < count; i++)
        atr_free(names[i]);
    atr_free(names);
}

uint64_t atr_hash64(const void *bytes, size_t count, uint64_t seed)
{
    return XXH3_64bits_withSeed(bytes, count, seed);
}
