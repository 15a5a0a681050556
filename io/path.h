#ifndef ATR_IO_PATH_H
#define ATR_IO_PATH_H

#include <stdbool.h>

#include "core/mem.h"

/* Names of files, and files that are replaced in one stroke: write to the partial name, sync it, then replace. A reader sees
 * the old file or the new one, never half of one; a killed writer leaves only the partial file, which the next one reuses. */

/* Whether `path` is free, or a plain file that may be replaced: renaming over a device or pipe (as root, over /dev/null) would
 * take it away from everyone. ATR_ERR_IO. */
atr_status atr_path_check_target(const char *path);

/* "PATH.partial" in `*out` (atr_free), where `path` can be replaced (atr_path_check_target). ATR_ERR_IO. */
atr_status atr_path_partial(const char *path, char **out);

/* Syncs the written file `partial` to disk, renames it to `path`, syncs the folder. ATR_ERR_IO. */
atr_status atr_path_replace(const char *partial, const char *path);

/* "FOLDER/NAME" in `*out` (atr_free); NAME alone where it is absolute or the folder is "". */
atr_status atr_path_join(const char *folder, const char *name, char **out);

/* The part of `path` after its last '/'; borrowed from `path`. */
const char *atr_path_base(const char *path);

/* Makes the folders above `path` that are not there. ATR_ERR_IO. */
atr_status atr_path_make_above(const char *path);
/* And `path` itself, a folder for results. ATR_ERR_IO; also where something else is called so. */
atr_status atr_path_make_folder(const char *path);

/* Whether the folder holds nothing at all; false where it cannot be read. */
bool atr_path_is_empty_folder(const char *path);

bool atr_path_is_folder(const char *path);
bool atr_path_exists(const char *path);

/* Size of a regular file. ATR_ERR_NOT_FOUND where there is none, ATR_ERR_DATA for a folder or device. */
atr_status atr_path_size(const char *path, int64_t *bytes);

#endif
