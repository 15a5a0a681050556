#ifndef ATR_IO_H5_IMPL_H
#define ATR_IO_H5_IMPL_H

#include <hdf5.h>

#include "io/h5.h"

enum { ATR_H5_PATH_BYTES = 1024 };

struct atr_h5 {
    hid_t id;
    hid_t access; /* dataset access list that refuses links into other files */
    char *path;
    int64_t bytes; /* of a file opened for reading: nothing in it can be larger */
    bool writable;
    int error; /* errno of the first write that failed, 0: none (see h5_disk.c) */
};

/* HDF5 keeps its error stack and its wish to print per thread, so each entry into it silences the printing. */
void atr_h5_silence(void);

/* Makes files opened with `access` go through our own driver, which keeps the first failed write in `**error` and never asks the file
 * system for a lock to read. */
bool atr_h5_disk_use(hid_t access, int **error);

/* Fixed-length, zero-padded UTF-8 strings of `bytes`; negative on failure. Closed by the caller (H5Tclose). */
hid_t atr_h5_text_type(size_t bytes);

/* Reads all `count` strings of dataset or attribute `id` (told by `is_attr`) into fresh strings. */
atr_status atr_h5_read_strings(const atr_h5 *file, hid_t id, bool is_attr, const char *what, int64_t count,
                               char **texts);

#endif
