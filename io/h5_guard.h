#ifndef ATR_IO_H5_GUARD_H
#define ATR_IO_H5_GUARD_H

#include "core/status.h"

#include <stdint.h>

/* A seal over a finished HDF5 file, looked at before the HDF5 library parses a single byte: the library may crash on
 * damaged metadata, so damage must be found first. The seal sits in the file's user block, the ATR_H5_USER_BLOCK bytes that
 * HDF5 leaves free at the file's start when it is created with H5Pset_userblock(fcpl, ATR_H5_USER_BLOCK); h5py and
 * h5dump open such a file as any other. It holds the file's length, a list of skipped ranges, XXH3 (64 bit) of all other
 * bytes behind the user block, and XXH3 of the seal itself.
 *
 * A checkpoint seals everything. A data set seals everything but its bulk payload (the pictures' bytes, which carry a
 * checksum per sample): get the ranges with H5Dget_offset and H5Dget_storage_size of the contiguous bulk datasets before
 * the file is closed. The seal finds damage (bit flips, truncation, a writer that died), not forgery: XXH3 is no signature. */

enum { ATR_H5_USER_BLOCK = 512, ATR_H5_SKIP_MAX = 16 };

/* Bytes [offset, offset + bytes) from the file's start. */
typedef struct atr_h5_range {
    uint64_t offset, bytes;
} atr_h5_range;

/* Seals the closed file `path` and syncs it to disk. `skip` (ascending, not overlapping, `count` <= ATR_H5_SKIP_MAX; NULL
 * with 0) are ranges left out of the checksum. ATR_ERR_DATA if the file has no user block, ATR_ERR_IO with errno's words. */
atr_status atr_h5_seal(const char *path, const atr_h5_range *skip, int count);

/* XXH3 of the seal's own bytes, which stand for all that the seal covers, and the file's length. Reads 512 bytes; the seal must be whole
 * and the length right, nothing else is looked at. Errors as below. */
atr_status atr_h5_seal_key(const char *path, uint64_t *key, int64_t *bytes);

/* Checks the seal of `path`; reads every byte that is not skipped. ATR_ERR_NOT_FOUND: no such file; ATR_ERR_IO: cannot
 * read; ATR_ERR_DATA: not sealed (another program's file, or a writer that was stopped), cut short, or damaged (checksum). */
atr_status atr_h5_check_seal(const char *path);

#endif
