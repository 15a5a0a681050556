#ifndef ATR_IO_NPY_H
#define ATR_IO_NPY_H

#include "core/mem.h"
#include "core/tensor.h"

/* NumPy's `.npy` arrays (format version 1.0, C order, little endian; numpy.lib.format): `STEM.logits.npy` and the like. */

/* Writes a contiguous f32, f64, u8, i32 or i64 tensor through a temporary name. ATR_ERR_USAGE for other types or strided
 * views, ATR_ERR_IO with errno's words. */
atr_status atr_npy_write(const char *path, const atr_tensor *tensor);

/* Reads an array of those types, versions 1 to 3. `out->data` is owned by the caller (atr_free). Fortran order, big endian
 * and other types are ATR_ERR_UNSUPPORTED; damage is ATR_ERR_DATA. */
atr_status atr_npy_read(const char *path, atr_tensor *out);

/* The same from memory. */
atr_status atr_npy_parse(const void *bytes, size_t size, atr_tensor *out);

#endif
