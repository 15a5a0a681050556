#ifndef ATR_IO_VOLUME_H
#define ATR_IO_VOLUME_H

#include <stdbool.h>

#include "core/mem.h"

/* The file system that a path lies on: whether it is far away, how much room it has, whether it locks files. */

enum { ATR_VOLUME_TYPE_BYTES = 64 };

typedef struct atr_volume {
    char type[ATR_VOLUME_TYPE_BYTES]; /* as Linux names it: "ext4", "lustre", "tmpfs"; "unknown" */
    bool network;                     /* of another machine, or of many */
    int64_t bytes, free_bytes;        /* free for this user */
} atr_volume;

/* ATR_ERR_NOT_FOUND, ATR_ERR_IO with the path. */
atr_status atr_volume_of(const char *path, atr_volume *out);

/* Whether both paths lie on one file system; false where one of them is not there. */
bool atr_volume_same(const char *path, const char *other);

/* Whether an open of `path` for reading could also lock it, as HDF5 does by default; false only where the file system refuses. */
bool atr_volume_locks(const char *path);

#endif
