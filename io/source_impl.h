#ifndef ATR_IO_SOURCE_IMPL_H
#define ATR_IO_SOURCE_IMPL_H

#include "io/source.h"

/* What readers of annotation formats share. */

extern const atr_source_format atr_source_voc, atr_source_labelme;

enum { ATR_SOURCE_FILE_LIMIT = 1 << 30 }; /* bytes of a picture, mask or annotation */

/* Suffixes of pictures that are read; NULL at the end. */
extern const char *const atr_source_image_suffixes[];

/* Files below a folder, by name without suffix. */
typedef struct atr_source_file {
    char *stem; /* relative to the folder, without suffix */
    char *path;
    int rank; /* position of the suffix in the list of suffixes: the smaller one is preferred */
} atr_source_file;

typedef struct atr_source_files {
    int64_t count, capacity;
    atr_source_file *list; /* sorted by stem, then rank, then path */
    const char **folded;   /* [count] stems, sorted without regard to case */
} atr_source_files;

/* Collects the files whose suffix is one of `suffixes` (NULL at the end, lower case, compared without regard to case) in `folder`
 * and the folders below. Names that start with '.' are left out. */
atr_status atr_source_collect(const char *folder, const char *const *suffixes, atr_source_files *out);
void atr_source_files_free(atr_source_files *files);

/* Keeps the files with keep[i] only. */
void atr_source_files_filter(atr_source_files *files, const bool *keep);

/* Index of the first file of this stem, or -1. */
int64_t atr_source_find(const atr_source_files *files, const char *stem);
/* Whether there is one that differs in case at most. */
bool atr_source_has_any_case(const atr_source_files *files, const char *stem);

/* Lines of a list, without blank ones and blanks around; `*names` is freed with atr_h5_names_free(). */
atr_status atr_source_read_list(const char *path, char ***names, int64_t *count);

/* Says for each of `files` which parts it belongs to, by the rule of source->config or by the lists
 * ROOT/FOLDER/{train,val,test,trainval}.txt of the first of `folders` (NULL at the end) that has one. `pictures` says where
 * names were looked for ("JPEGImages/%s.{jpg,jpeg,png}"). `*splits` [files->count]: atr_free. */
atr_status atr_source_mark(const atr_source *source, const atr_source_files *files,
                           const char *const *folders, const char *pictures, atr_findings *findings,
                           uint8_t **splits);

/* F02: files of one stem. Which one the labels belong to nobody can know. */
atr_status atr_source_report_twins(const atr_source *source, const atr_source_files *files,
                                   atr_findings *findings);

/* L06 with all names; `expected` says where the first one's labels were looked for, `near` how many differ in case only. */
atr_status atr_source_report_missing(const atr_source *source, const char *const *names, int64_t count,
                                     int64_t samples, int64_t near, const char *expected,
                                     atr_findings *findings);

#endif
