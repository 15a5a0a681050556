#include <string.h>

#include "io/h5_impl.h"

/* Deflate cannot shrink further than about 1032 to 1: what claims more than this times the file is a lie. */
enum { MOST_EXPANSION = 1100 };

static hid_t memory_type(atr_dtype type)
{
    switch (type) {
    case ATR_F32:
        return H5T_NATIVE_FLOAT;
    case ATR_F64:
        return H5T_NATIVE_DOUBLE;
    case ATR_U8:
        return H5T_NATIVE_UINT8;
    case ATR_I8:
        return H5T_NATIVE_INT8;
    case ATR_I32:
        return H5T_NATIVE_INT32;
    case ATR_I64:
        return H5T_NATIVE_INT64;
    default:
        return -1;
    }
}

static hid_t stored_type(atr_dtype type)
{
    switch (type) {
    case ATR_F32:
        return H5T_IEEE_F32LE;
    case ATR_F64:
        return H5T_IEEE_F64LE;
    case ATR_U8:
        return H5T_STD_U8LE;
    case ATR_I8:
        return H5T_STD_I8LE;
    case ATR_I32:
        return H5T_STD_I32LE;
    case ATR_I64:
        return H5T_STD_I64LE;
    default:
        return -1;
    }
}

static bool is_float(atr_dtype type)
{
    return type == ATR_F32 || type == ATR_F64 || type == ATR_F16 || type == ATR_BF16;
}

/* The smallest of our types that holds what the dataset's type holds. */
static atr_dtype nearest_type(hid_t type)
{
    const size_t size = H5Tget_size(type);

    if (H5Tget_class(type) == H5T_FLOAT)
        return size <= 4 ? ATR_F32 : ATR_F64;
    if (size == 1)
        return H5Tget_sign(type) == H5T_SGN_NONE ? ATR_U8 : ATR_I8;
    return size < 4 || (size == 4 && H5Tget_sign(type) != H5T_SGN_NONE) ? ATR_I32 : ATR_I64;
}

static atr_status damaged(const atr_h5 *file, const char *path)
{
    return atr_fail(ATR_ERR_DATA, "%s: dataset %s is damaged", file->path, path);
}

/* Storage inside this file only, and no larger than the file can hold. */
static atr_status check_storage(const atr_h5 *file, const char *path, hid_t dataset, int64_t logical)
{
    atr_status status = ATR_OK;
    const hid_t list = H5Dget_create_plist(dataset);

    if (list < 0)
        return damaged(file, path);
    const H5D_layout_t layout = H5Pget_layout(list);
    if (layout != H5D_CONTIGUOUS && layout != H5D_CHUNKED && layout != H5D_COMPACT)
        status =
            atr_fail(ATR_ERR_DATA, "%s: dataset %s is virtual: its data would lie in other files; refused",
                     file->path, path);
    else if (H5Pget_external_count(list) != 0)
        status = atr_fail(ATR_ERR_DATA, "%s: dataset %s keeps its data in another file; refused", file->path,
                          path);
    else if (!file->writable && logical / (layout == H5D_CHUNKED ? MOST_EXPANSION : 1) > file->bytes)
        status = atr_fail(ATR_ERR_DATA, "%s: dataset %s claims %lld bytes, the file has %lld", file->path,
                          path, (long long)logical, (long long)file->bytes);
    H5Pclose(list);
    return status;
}

static atr_status describe_dataset(const atr_h5 *file, const char *path, hid_t dataset, atr_h5_info *out)
{
    atr_status status = ATR_OK;
    hsize_t dims[H5S_MAX_RANK] = {0};
    int64_t bytes = 1, stored = 1;
    const hid_t space = H5Dget_space(dataset), type = H5Dget_type(dataset);

    if (space < 0 || type < 0) {
        status = damaged(file, path);
        goto done;
    }
    const H5T_class_t class = H5Tget_class(type);
    out->rank =
        H5Sget_simple_extent_type(space) == H5S_NULL ? -1 : H5Sget_simple_extent_dims(space, dims, NULL);
    if (out->rank < 0 || out->rank > ATR_MAX_RANK) {
        status = atr_fail(ATR_ERR_DATA, "%s: dataset %s has no usable shape", file->path, path);
        goto done;
    }
    out->kind = class == H5T_STRING                          ? ATR_H5_TEXT
                : class == H5T_INTEGER || class == H5T_FLOAT ? ATR_H5_TENSOR
                                                             : ATR_H5_OTHER;
    if (out->kind == ATR_H5_TENSOR)
        out->type = nearest_type(type);
    bytes = out->kind == ATR_H5_TENSOR ? (int64_t)atr_dtype_bytes(out->type) : 1;
    stored = (int64_t)H5Tget_size(type);
    for (int i = 0; i < out->rank; i++) {
        out->dims[i] = (int64_t)dims[i];
        if (out->dims[i] < 0 || __builtin_mul_overflow(bytes, out->dims[i], &bytes) ||
            __builtin_mul_overflow(stored, out->dims[i], &stored)) {
            status = atr_fail(ATR_ERR_DATA, "%s: dataset %s claims an absurd size", file->path, path);
            goto done;
        }
    }
    out->bytes = bytes;
    ATR_TRY(check_storage(file, path, dataset, stored));

done:
    if (type >= 0)
        H5Tclose(type);
    if (space >= 0)
        H5Sclose(space);
    return status;
}

/* Opens a dataset and describes it; the id is the caller's to close. */
static atr_status open_dataset(const atr_h5 *file, const char *path, atr_h5_info *info, hid_t *out)
{
    atr_status status = ATR_OK;

    *out = -1;
    memset(info, 0, sizeof *info);
    if (!atr_h5_exists(file, path))
        return atr_fail(ATR_ERR_NOT_FOUND, "%s: no dataset %s", file->path, path);
    const hid_t id = H5Dopen2(file->id, path, file->access);
    if (id < 0)
        return atr_fail(ATR_ERR_DATA, "%s: %s cannot be opened as a dataset (damaged, or a group)",
                        file->path, path);
    status = describe_dataset(file, path, id, info);
    if (status == ATR_OK)
        *out = id;
    else
        H5Dclose(id);
    return status;
}

atr_status atr_h5_describe(const atr_h5 *file, const char *path, atr_h5_info *out)
{
    hid_t id = -1;
    H5O_info_t object;

    memset(out, 0, sizeof *out);
    if (!atr_h5_exists(file, path))
        return atr_fail(ATR_ERR_NOT_FOUND, "%s: nothing at %s", file->path, path);
    if (H5Oget_info_by_name2(file->id, path, &object, H5O_INFO_BASIC, file->access) < 0)
        return damaged(file, path);
    if (object.type != H5O_TYPE_DATASET) {
        out->kind = object.type == H5O_TYPE_GROUP ? ATR_H5_GROUP : ATR_H5_OTHER;
        return ATR_OK;
    }
    const atr_status status = open_dataset(file, path, out, &id);
    if (id >= 0)
        H5Dclose(id);
    return status;
}

/* The groups above `path`. */
static atr_status make_groups_above(atr_h5 *file, const char *path)
{
    atr_status status = ATR_OK;
    char *above = NULL;
    const char *slash = strrchr(path, '/');

    if (slash == NULL || slash == path)
        return ATR_OK;
    ATR_TRY(atr_format(&above, "%.*s", (int)(slash - path), path));
    ATR_TRY(atr_h5_group(file, above));

done:
    atr_free(above);
    return status;
}

/* A new contiguous dataset whose place is taken at once; -1 on failure. */
static hid_t create_dataset(atr_h5 *file, const char *path, hid_t type, hid_t space)
{
    const hid_t create = H5Pcreate(H5P_DATASET_CREATE);

    H5Pset_obj_track_times(create, false);
    H5Pset_layout(create, H5D_CONTIGUOUS);
    H5Pset_alloc_time(create, H5D_ALLOC_TIME_EARLY);
    H5Pset_fill_time(create, H5D_FILL_TIME_NEVER);
    const hid_t id = H5Dcreate2(file->id, path, type, space, H5P_DEFAULT, create, file->access);
    H5Pclose(create);
    return id;
}

static atr_status write_array(atr_h5 *file, const char *path, hid_t stored, hid_t memory, int rank,
                              const int64_t *dims, const void *data)
{
    atr_status status = ATR_OK;
    hsize_t extent[ATR_MAX_RANK] = {0};
    int64_t count = 1;
    hid_t space = -1, id = -1;

    ATR_TRY(make_groups_above(file, path));
    for (int i = 0; i < rank; i++) {
        extent[i] = (hsize_t)dims[i];
        count *= dims[i];
    }
    space = rank == 0 ? H5Screate(H5S_SCALAR) : H5Screate_simple(rank, extent, NULL);
    id = create_dataset(file, path, stored, space);
    if (id < 0 ||
        (data != NULL && count > 0 && H5Dwrite(id, memory, H5S_ALL, H5S_ALL, H5P_DEFAULT, data) < 0))
        status = atr_fail(ATR_ERR_IO, "%s: cannot write dataset %s (is the disk full?)", file->path, path);

done:
    if (id >= 0)
        H5Dclose(id);
    if (space >= 0)
        H5Sclose(space);
    return status;
}

atr_status atr_h5_write(atr_h5 *file, const char *path, const atr_tensor *tensor)
{
    const hid_t memory = memory_type(tensor->type);

    if (memory < 0)
        return atr_fail(ATR_ERR_UNSUPPORTED, "%s: %s cannot be stored as %s", file->path, path,
                        atr_dtype_name(tensor->type));
    return write_array(file, path, stored_type(tensor->type), memory, tensor->rank, tensor->dims,
                       tensor->data);
}

static atr_status read_array(const atr_h5 *file, const char *path, hid_t dataset, hid_t memory, void *data)
{
    if (H5Dread(dataset, memory, H5S_ALL, H5S_ALL, H5P_DEFAULT, data) < 0)
        return atr_fail(ATR_ERR_DATA, "%s: dataset %s cannot be read (damaged or truncated)", file->path,
                        path);
    return ATR_OK;
}

static atr_status check_kind(const atr_h5 *file, const char *path, const atr_h5_info *info, atr_dtype type)
{
    if (info->kind != ATR_H5_TENSOR || is_float(info->type) != is_float(type) || memory_type(type) < 0)
        return atr_fail(ATR_ERR_DATA, "%s: dataset %s holds %s, not %s", file->path, path,
                        info->kind == ATR_H5_TENSOR ? atr_dtype_name(info->type) : "no numbers",
                        atr_dtype_name(type));
    return ATR_OK;
}

atr_status atr_h5_read(const atr_h5 *file, const char *path, atr_tensor *tensor)
{
    atr_status status = ATR_OK;
    atr_h5_info info;
    hid_t id = -1;
    char found[128], wanted[128];

    ATR_TRY(open_dataset(file, path, &info, &id));
    ATR_TRY(check_kind(file, path, &info, tensor->type));
    bool same = info.rank == tensor->rank;
    for (int i = 0; same && i < info.rank; i++)
        same = info.dims[i] == tensor->dims[i];
    if (!same) {
        status = atr_fail(ATR_ERR_SHAPE, "%s: dataset %s is %s, wanted %s", file->path, path,
                          atr_shape_text(info.rank, info.dims, found),
                          atr_shape_text(tensor->rank, tensor->dims, wanted));
        goto done;
    }
    if (info.bytes > 0)
        ATR_TRY(read_array(file, path, id, memory_type(tensor->type), tensor->data));

done:
    if (id >= 0)
        H5Dclose(id);
    return status;
}

atr_status atr_h5_read_new(const atr_h5 *file, const char *path, atr_dtype type, int64_t limit,
                           atr_tensor *out)
{
    atr_status status = ATR_OK;
    atr_h5_info info;
    hid_t id = -1;
    void *data = NULL;

    memset(out, 0, sizeof *out);
    ATR_TRY(open_dataset(file, path, &info, &id));
    ATR_TRY(check_kind(file, path, &info, type));
    const int64_t count = info.bytes / (int64_t)atr_dtype_bytes(info.type);
    if (limit > 0 && count > limit / (int64_t)atr_dtype_bytes(type)) {
        status =
            atr_fail(ATR_ERR_MEMORY, "%s: dataset %s holds %lld numbers, more than the %lld bytes allowed",
                     file->path, path, (long long)count, (long long)limit);
        goto done;
    }
    ATR_TRY(atr_alloc(count, atr_dtype_bytes(type), &data));
    if (count > 0)
        ATR_TRY(read_array(file, path, id, memory_type(type), data));
    *out = atr_tensor_make(type, info.rank, info.dims, data);
    data = NULL;

done:
    if (id >= 0)
        H5Dclose(id);
    atr_free(data);
    return status;
}

atr_status atr_h5_write_u64(atr_h5 *file, const char *path, const uint64_t *values, int64_t count)
{
    return write_array(file, path, H5T_STD_U64LE, H5T_NATIVE_UINT64, 1, &count, values);
}

atr_status atr_h5_read_u64(const atr_h5 *file, const char *path, uint64_t *values, int64_t count)
{
    atr_status status = ATR_OK;
    atr_h5_info info;
    hid_t id = -1;

    ATR_TRY(open_dataset(file, path, &info, &id));
    ATR_TRY(check_kind(file, path, &info, ATR_I64));
    if (info.rank != 1 || info.dims[0] != count) {
        status = atr_fail(ATR_ERR_SHAPE, "%s: dataset %s is not an array of %lld", file->path, path,
                          (long long)count);
        goto done;
    }
    if (count > 0)
        ATR_TRY(read_array(file, path, id, H5T_NATIVE_UINT64, values));

done:
    if (id >= 0)
        H5Dclose(id);
    return status;
}

atr_status atr_h5_write_texts(atr_h5 *file, const char *path, const char *const *texts, int64_t count)
{
    atr_status status = ATR_OK;
    char *block = NULL;
    size_t width = 1;

    for (int64_t i = 0; i < count; i++)
        if (strlen(texts[i]) > width)
            width = strlen(texts[i]);
    const hid_t type = atr_h5_text_type(width);
    ATR_TRY(atr_alloc(count, width, (void **)&block));
    for (int64_t i = 0; i < count; i++)
        memcpy(block + (size_t)i * width, texts[i], strlen(texts[i]));
    ATR_TRY(write_array(file, path, type, type, 1, &count, block));

done:
    atr_free(block);
    H5Tclose(type);
    return status;
}

static herr_t read_either(hid_t id, bool is_attr, hid_t memory, void *buffer)
{
    return is_attr ? H5Aread(id, memory, buffer) : H5Dread(id, memory, H5S_ALL, H5S_ALL, H5P_DEFAULT, buffer);
}

/* HDF5 allocates the strings of a variable-length type; they are copied into ours and given back. */
static atr_status read_variable(const atr_h5 *file, hid_t id, bool is_attr, const char *what, int64_t count,
                                char **texts)
{
    atr_status status = ATR_OK;
    char **found = NULL;
    const hid_t type = H5Tcopy(H5T_C_S1);
    const hsize_t extent = (hsize_t)count;
    const hid_t space = H5Screate_simple(1, &extent, NULL);
    const hid_t own = is_attr ? H5Aget_type(id) : H5Dget_type(id);

    H5Tset_size(type, H5T_VARIABLE);
    H5Tset_cset(type, H5Tget_cset(own));
    ATR_TRY(ATR_NEW(count, &found));
    if (read_either(id, is_attr, type, found) < 0) {
        status =
            atr_fail(ATR_ERR_DATA, "%s: text %s cannot be read (damaged or truncated)", file->path, what);
        goto done;
    }
    for (int64_t i = 0; i < count; i++)
        ATR_TRY(atr_strdup(found[i] == NULL ? "" : found[i], &texts[i]));

done:
    if (found != NULL)
        H5Dvlen_reclaim(type, space, H5P_DEFAULT, found);
    atr_free(found);
    H5Tclose(own);
    H5Sclose(space);
    H5Tclose(type);
    return status;
}

static atr_status read_fixed(const atr_h5 *file, hid_t id, bool is_attr, const char *what, int64_t count,
                             size_t width, char **texts)
{
    atr_status status = ATR_OK;
    char *block = NULL;
    const hid_t type = is_attr ? H5Aget_type(id) : H5Dget_type(id);

    ATR_TRY(atr_alloc(count, width, (void **)&block));
    if (read_either(id, is_attr, type, block) < 0) {
        status =
            atr_fail(ATR_ERR_DATA, "%s: text %s cannot be read (damaged or truncated)", file->path, what);
        goto done;
    }
    const bool spaces = H5Tget_strpad(type) == H5T_STR_SPACEPAD;
    for (int64_t i = 0; i < count; i++) {
        const char *text = block + (size_t)i * width;
        size_t length = strnlen(text, width);
        while (spaces && length > 0 && text[length - 1] == ' ')
            length--;
        ATR_TRY(atr_format(&texts[i], "%.*s", (int)length, text));
    }

done:
    atr_free(block);
    H5Tclose(type);
    return status;
}

atr_status atr_h5_read_strings(const atr_h5 *file, hid_t id, bool is_attr, const char *what, int64_t count,
                               char **texts)
{
    enum { TEXT_LIMIT = 1 << 26 };
    const hid_t type = is_attr ? H5Aget_type(id) : H5Dget_type(id);
    const bool variable = H5Tis_variable_str(type) > 0;
    const size_t width = H5Tget_size(type);

    H5Tclose(type);
    if (variable)
        return read_variable(file, id, is_attr, what, count, texts);
    if (width == 0 || width > TEXT_LIMIT)
        return atr_fail(ATR_ERR_DATA, "%s: text %s is absurdly long", file->path, what);
    return read_fixed(file, id, is_attr, what, count, width, texts);
}

atr_status atr_h5_read_texts(const atr_h5 *file, const char *path, char ***texts, int64_t *count)
{
    atr_status status = ATR_OK;
    atr_h5_info info;
    hid_t id = -1;
    char **found = NULL;
    int64_t elements = 1; /* a scalar is an array of one */

    *texts = NULL;
    *count = 0;
    ATR_TRY(open_dataset(file, path, &info, &id));
    if (info.kind != ATR_H5_TEXT || info.rank > 1) {
        status = atr_fail(ATR_ERR_DATA, "%s: dataset %s is not an array of texts", file->path, path);
        goto done;
    }
    elements = info.rank == 1 ? info.dims[0] : 1;
    ATR_TRY(ATR_NEW(elements, &found));
    if (elements > 0)
        ATR_TRY(atr_h5_read_strings(file, id, false, path, elements, found));
    *texts = found;
    *count = elements;
    found = NULL;

done:
    if (id >= 0)
        H5Dclose(id);
    if (found != NULL)
        atr_h5_names_free(found, elements);
    return status;
}

atr_status atr_h5_reserve(atr_h5 *file, const char *path, int64_t bytes)
{
    return write_array(file, path, H5T_STD_U8LE, H5T_NATIVE_UINT8, 1, &bytes, NULL);
}

atr_status atr_h5_write_at(atr_h5 *file, const char *path, int64_t offset, const void *bytes, int64_t count)
{
    const hsize_t start = (hsize_t)offset, extent = (hsize_t)count;
    atr_status status = ATR_OK;
    hid_t space = -1, memory = -1;

    atr_h5_silence();
    const hid_t id = H5Dopen2(file->id, path, file->access);
    space = id < 0 ? -1 : H5Dget_space(id);
    memory = H5Screate_simple(1, &extent, NULL);
    if (space < 0 || H5Sselect_hyperslab(space, H5S_SELECT_SET, &start, NULL, &extent, NULL) < 0 ||
        (count > 0 && H5Dwrite(id, H5T_NATIVE_UINT8, memory, space, H5P_DEFAULT, bytes) < 0))
        status = atr_fail(ATR_ERR_IO, "%s: cannot write %lld bytes of %s (is the disk full?)", file->path,
                          (long long)count, path);
    H5Sclose(memory);
    if (space >= 0)
        H5Sclose(space);
    if (id >= 0)
        H5Dclose(id);
    return status;
}

atr_status atr_h5_place(const atr_h5 *file, const char *path, int64_t *offset, int64_t *bytes)
{
    atr_status status = ATR_OK;
    atr_h5_info info;
    hid_t id = -1;

    *offset = *bytes = 0;
    ATR_TRY(open_dataset(file, path, &info, &id));
    if (info.bytes == 0)
        goto done;
    const haddr_t at = H5Dget_offset(id);
    const int64_t stored = (int64_t)H5Dget_storage_size(id);
    if (at == HADDR_UNDEF || (int64_t)at < 0 || stored < info.bytes ||
        (!file->writable && (int64_t)at > file->bytes - info.bytes)) {
        status = atr_fail(ATR_ERR_DATA, "%s: dataset %s is not one piece inside the file", file->path, path);
        goto done;
    }
    *offset = (int64_t)at;
    *bytes = info.bytes;

done:
    if (id >= 0)
        H5Dclose(id);
    return status;
}
