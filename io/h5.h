#ifndef ATR_IO_H5_H
#define ATR_IO_H5_H

#include <stdbool.h>

#include "core/tensor.h"
#include "core/mem.h"

/* A thin, safe layer over HDF5 for data sets and checkpoints.
 *
 * Writing: every metadata structure carries HDF5's own checksum (format of HDF5 1.8 and later), no time stamps are stored (the
 * same content gives the same bytes), datasets are contiguous, so that raw bytes can be read by pread() beside HDF5.
 * Reading trusts nothing: links into other files, external and virtual storage are refused, and no dataset is larger than the
 * file can hold. Checksums of dataset contents are the caller's business (see atr_hash64).
 * A handle is used by one thread at a time. Paths inside the file are absolute or relative to the root: "params/conv1.weight". */

typedef struct atr_h5 atr_h5;

/* Makes an empty file for writing, replacing what is there (give a partial name, see io/path.h). */
atr_status atr_h5_create(const char *path, atr_h5 **out);

/* Opens for reading, without a lock: file systems that have none serve as well. ATR_ERR_NOT_FOUND, or ATR_ERR_DATA where the file is not HDF5, is damaged or truncated. */
atr_status atr_h5_open(const char *path, atr_h5 **out);

/* Writes out what is buffered and closes; `*file` becomes NULL also on failure. A full disk shows here. */
atr_status atr_h5_close(atr_h5 **file);

/* Closes without a word; takes NULL. For the error path, and for files opened for reading. */
void atr_h5_destroy(atr_h5 *file);

/* Hands buffered metadata and data to the system. */
atr_status atr_h5_flush(atr_h5 *file);

/* The path given at opening; borrowed. */
const char *atr_h5_path(const atr_h5 *file);

/* Makes a group and the groups above it; no fault where it exists. */
atr_status atr_h5_group(atr_h5 *file, const char *group);

/* Whether a group or dataset of this path exists. */
bool atr_h5_exists(const atr_h5 *file, const char *path);

/* Names of what a group holds, sorted by bytes; free with atr_h5_names_free(). */
atr_status atr_h5_list(const atr_h5 *file, const char *group, char ***names, int64_t *count);
void atr_h5_names_free(char **names, int64_t count);

typedef enum atr_h5_kind { ATR_H5_GROUP, ATR_H5_TENSOR, ATR_H5_TEXT, ATR_H5_OTHER } atr_h5_kind;

typedef struct atr_h5_info {
    atr_h5_kind kind;
    atr_dtype type; /* of a tensor; unsigned and signed integers of 16 to 64 bits show as i32 or i64 */
    int rank;
    int64_t dims[ATR_MAX_RANK];
    int64_t bytes; /* as f32, u8 … in memory: element size times count */
} atr_h5_info;

/* What lies at `path`, sizes already checked against the file's size. ATR_ERR_NOT_FOUND, ATR_ERR_DATA. */
atr_status atr_h5_describe(const atr_h5 *file, const char *path, atr_h5_info *out);

/* Writes a contiguous tensor as a new dataset; groups above it are made. f32, f64, u8, i8, i32, i64. */
atr_status atr_h5_write(atr_h5 *file, const char *path, const atr_tensor *tensor);

/* Reads into a contiguous tensor whose shape must be the dataset's (ATR_ERR_SHAPE names both). Floats convert to floats,
 * integers to integers; a float dataset never fills an integer tensor or the other way round (ATR_ERR_DATA). */
atr_status atr_h5_read(const atr_h5 *file, const char *path, atr_tensor *tensor);

/* Reads a dataset of any shape as `type` into fresh memory: `out->data` is owned (atr_free). ATR_ERR_MEMORY over `limit`
 * bytes (0: as large as the file allows). */
atr_status atr_h5_read_new(const atr_h5 *file, const char *path, atr_dtype type, int64_t limit,
                           atr_tensor *out);

/* One-dimensional arrays of exactly `count` elements. */
atr_status atr_h5_write_u64(atr_h5 *file, const char *path, const uint64_t *values, int64_t count);
atr_status atr_h5_read_u64(const atr_h5 *file, const char *path, uint64_t *values, int64_t count);

/* One-dimensional array of UTF-8 strings, stored at fixed length with zero padding. Reading takes any HDF5 string dataset of one
 * dimension or none. */
atr_status atr_h5_write_texts(atr_h5 *file, const char *path, const char *const *texts, int64_t count);
atr_status atr_h5_read_texts(const atr_h5 *file, const char *path, char ***texts, int64_t *count);

/* A u8 dataset of `bytes` whose place in the file is taken at once; its content is written piece by piece. */
atr_status atr_h5_reserve(atr_h5 *file, const char *path, int64_t bytes);
atr_status atr_h5_write_at(atr_h5 *file, const char *path, int64_t offset, const void *bytes, int64_t count);

/* Where the content of a contiguous dataset starts in the file, and its length, for pread(). ATR_ERR_DATA where it is not
 * contiguous or not inside the file. An empty dataset has offset 0. */
atr_status atr_h5_place(const atr_h5 *file, const char *path, int64_t *offset, int64_t *bytes);

/* Attributes of the object at `path` ("/" for the file itself). Writing replaces. Reading a missing one is
 * ATR_ERR_NOT_FOUND. A text read is owned by the caller (atr_free). */
bool atr_h5_has_attr(const atr_h5 *file, const char *path, const char *name);
atr_status atr_h5_set_i64(atr_h5 *file, const char *path, const char *name, int64_t value);
atr_status atr_h5_set_u64(atr_h5 *file, const char *path, const char *name, uint64_t value);
atr_status atr_h5_set_f64(atr_h5 *file, const char *path, const char *name, double value);
atr_status atr_h5_set_text(atr_h5 *file, const char *path, const char *name, const char *value);
atr_status atr_h5_get_i64(const atr_h5 *file, const char *path, const char *name, int64_t *value);
atr_status atr_h5_get_u64(const atr_h5 *file, const char *path, const char *name, uint64_t *value);
atr_status atr_h5_get_f64(const atr_h5 *file, const char *path, const char *name, double *value);
atr_status atr_h5_get_text(const atr_h5 *file, const char *path, const char *name, char **value);

/* XXH3, 64 bits: checksums of contents. Chain by giving the last result as seed (0 at first). */
uint64_t atr_hash64(const void *bytes, size_t count, uint64_t seed);

#endif
