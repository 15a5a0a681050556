#include <string.h>

#include "io/h5_impl.h"

hid_t atr_h5_text_type(size_t bytes)
{
    const hid_t type = H5Tcopy(H5T_C_S1);

    if (type >= 0) {
        H5Tset_size(type, bytes);
        H5Tset_cset(type, H5T_CSET_UTF8);
        H5Tset_strpad(type, H5T_STR_NULLPAD);
    }
    return type;
}

bool atr_h5_has_attr(const atr_h5 *file, const char *path, const char *name)
{
    atr_h5_silence();
    return atr_h5_exists(file, path) && H5Aexists_by_name(file->id, path, name, file->access) > 0;
}

/* Makes (or replaces) an attribute without dimensions. */
static atr_status write_attr(atr_h5 *file, const char *path, const char *name, hid_t stored, hid_t memory,
                             const void *value)
{
    atr_status status = ATR_OK;
    hid_t space = -1, attr = -1;

    if (atr_h5_has_attr(file, path, name))
        H5Adelete_by_name(file->id, path, name, file->access);
    space = H5Screate(H5S_SCALAR);
    attr = H5Acreate_by_name(file->id, path, name, stored, space, H5P_DEFAULT, H5P_DEFAULT, file->access);
    if (attr < 0 || H5Awrite(attr, memory, value) < 0)
        status = atr_fail(ATR_ERR_IO, "%s: cannot write attribute %s of %s", file->path, name, path);
    if (attr >= 0)
        H5Aclose(attr);
    H5Sclose(space);
    return status;
}

atr_status atr_h5_set_i64(atr_h5 *file, const char *path, const char *name, int64_t value)
{
    return write_attr(file, path, name, H5T_STD_I64LE, H5T_NATIVE_INT64, &value);
}

atr_status atr_h5_set_u64(atr_h5 *file, const char *path, const char *name, uint64_t value)
{
    return write_attr(file, path, name, H5T_STD_U64LE, H5T_NATIVE_UINT64, &value);
}

atr_status atr_h5_set_f64(atr_h5 *file, const char *path, const char *name, double value)
{
    return write_attr(file, path, name, H5T_IEEE_F64LE, H5T_NATIVE_DOUBLE, &value);
}

atr_status atr_h5_set_text(atr_h5 *file, const char *path, const char *name, const char *value)
{
    const size_t length = strlen(value);
    const hid_t type = atr_h5_text_type(length == 0 ? 1 : length);
    const atr_status status = write_attr(file, path, name, type, type, value);

    H5Tclose(type);
    return status;
}

/* Opens an attribute of one element and of class `wanted`; the id is the caller's to close. */
static atr_status open_attr(const atr_h5 *file, const char *path, const char *name, H5T_class_t wanted,
                            hid_t *out)
{
    atr_status status = ATR_OK;
    hid_t attr = -1, space = -1, type = -1;

    *out = -1;
    if (!atr_h5_has_attr(file, path, name))
        return atr_fail(ATR_ERR_NOT_FOUND, "%s: %s has no attribute '%s'", file->path, path, name);
    attr = H5Aopen_by_name(file->id, path, name, H5P_DEFAULT, file->access);
    space = attr < 0 ? -1 : H5Aget_space(attr);
    type = attr < 0 ? -1 : H5Aget_type(attr);
    if (space < 0 || type < 0)
        status = atr_fail(ATR_ERR_DATA, "%s: attribute '%s' of %s is damaged", file->path, name, path);
    else if (H5Sget_simple_extent_npoints(space) != 1 || H5Tget_class(type) != wanted)
        status = atr_fail(ATR_ERR_DATA, "%s: attribute '%s' of %s is not one %s", file->path, name, path,
                          wanted == H5T_STRING    ? "text"
                          : wanted == H5T_INTEGER ? "integer"
                                                  : "floating-point number");
    if (type >= 0)
        H5Tclose(type);
    if (space >= 0)
        H5Sclose(space);
    if (status == ATR_OK)
        *out = attr;
    else if (attr >= 0)
        H5Aclose(attr);
    return status;
}

static atr_status read_number(const atr_h5 *file, const char *path, const char *name, H5T_class_t wanted,
                              hid_t memory, void *value)
{
    hid_t attr = -1;
    atr_status status = open_attr(file, path, name, wanted, &attr);

    if (status != ATR_OK)
        return status;
    if (H5Aread(attr, memory, value) < 0)
        status = atr_fail(ATR_ERR_DATA, "%s: attribute '%s' of %s cannot be read", file->path, name, path);
    H5Aclose(attr);
    return status;
}

atr_status atr_h5_get_i64(const atr_h5 *file, const char *path, const char *name, int64_t *value)
{
    *value = 0;
    return read_number(file, path, name, H5T_INTEGER, H5T_NATIVE_INT64, value);
}

atr_status atr_h5_get_u64(const atr_h5 *file, const char *path, const char *name, uint64_t *value)
{
    *value = 0;
    return read_number(file, path, name, H5T_INTEGER, H5T_NATIVE_UINT64, value);
}

atr_status atr_h5_get_f64(const atr_h5 *file, const char *path, const char *name, double *value)
{
    *value = 0;
    return read_number(file, path, name, H5T_FLOAT, H5T_NATIVE_DOUBLE, value);
}

atr_status atr_h5_get_text(const atr_h5 *file, const char *path, const char *name, char **value)
{
    hid_t attr = -1;
    atr_status status = ATR_OK;

    *value = NULL;
    ATR_TRY(open_attr(file, path, name, H5T_STRING, &attr));
    ATR_TRY(atr_h5_read_strings(file, attr, true, name, 1, value));

done:
    if (attr >= 0)
        H5Aclose(attr);
    return status;
}
