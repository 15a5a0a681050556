#ifndef ATR_IO_VOC_IMPL_H
#define ATR_IO_VOC_IMPL_H

#include <stdbool.h>

#include "core/mem.h"

/* Files below a folder, by name without suffix. */
typedef struct atr_voc_file {
    char *stem; /* relative to the folder, without suffix */
    char *path;
    int rank; /* position of the suffix in the list of suffixes: the smaller one is preferred */
} atr_voc_file;

typedef struct atr_voc_files {
    int64_t count, capacity;
    atr_voc_file *list;  /* sorted by stem, then rank, then path */
    const char **folded; /* [count] stems, sorted without regard to case */
} atr_voc_files;

/* Collects the files whose suffix is one of `suffixes` (NULL at the end, lower case, compared without regard to case) in `folder`
 * and the folders below. Names that start with '.' are left out. */
atr_status atr_voc_collect(const char *folder, const char *const *suffixes, atr_voc_files *out);
void atr_voc_files_free(atr_voc_files *files);

/* Index of the first file of this stem, or -1. */
int64_t atr_voc_find(const atr_voc_files *files, const char *stem);
/* Whether there is one that differs in case at most. */
bool atr_voc_has_any_case(const atr_voc_files *files, const char *stem);

/* Lines of a list, without blank ones and blanks around; `*names` is freed with atr_h5_names_free(). */
atr_status atr_voc_read_list(const char *path, char ***names, int64_t *count);

#endif
