#ifndef ATR_IO_MASK_FOLDER_H
#define ATR_IO_MASK_FOLDER_H

#include <stdbool.h>

#include "io/findings.h"
#include "io/labels.h"

/* A folder of masks, such as the predictions of another program: indexed or grey PNG files, known by their names without suffix.
 * Folders below belong to the name ("a/0012"). */

typedef struct atr_mask_folder atr_mask_folder;

/* ATR_ERR_NOT_FOUND where there is no such folder or no picture in it. */
atr_status atr_mask_folder_open(const char *path, atr_mask_folder **out);
void atr_mask_folder_close(atr_mask_folder *folder);

int64_t atr_mask_folder_count(const atr_mask_folder *folder);
/* Name and path of one; sorted by name; borrowed. */
const char *atr_mask_folder_name(const atr_mask_folder *folder, int64_t index);
const char *atr_mask_folder_path(const atr_mask_folder *folder, int64_t index);

/* The file of this name, or -1. */
int64_t atr_mask_folder_find(const atr_mask_folder *folder, const char *name);
/* Whether there is one that differs in case at most. */
bool atr_mask_folder_has_any_case(const atr_mask_folder *folder, const char *name);

/* Class ids [height,width] u8 of a file by `map` in `*ids` (atr_free). A file that cannot be scored leaves `*ids` NULL and adds an
 * error: F01 it cannot be read, L02 a value that is no class, L03 colours, L04 a lossy format. May run on many threads at once. */
atr_status atr_mask_folder_read(const atr_mask_folder *folder, int64_t index, const atr_label_map *map,
                                atr_findings *findings, uint8_t **ids, int64_t *width, int64_t *height);

/* The names that a list such as VOC's val.txt holds: lines without blanks around. Free with atr_name_list_free(). */
atr_status atr_name_list_read(const char *path, char ***names, int64_t *count);
void atr_name_list_free(char **names, int64_t count);

#endif
