#ifndef ATR_IO_DATASET_H
#define ATR_IO_DATASET_H

#include "io/findings.h"
#include "io/image.h"
#include "io/labels.h"
#include "io/ordered.h"
#include "io/split.h"

/* A packed data set: one HDF5 file, or several that are read as one, with the pictures' bytes as they came, masks as lossless PNG of
 * class ids, and all that is known about them. Written by atr_pack(), layout in docs/formats.md. The index is kept in memory;
 * pictures are read by pread() when asked for, so many threads read at once.
 *
 * Samples are numbered by their names, sorted by bytes, over all files: the same pictures have the same numbers, order and
 * fingerprint, in however many files they lie and in whatever order these are named. */

/* One sample; borrowed from the data set. */
typedef struct atr_sample {
    const char *name;
    int64_t width, height; /* of picture and mask, after orientation */
    uint8_t splits;        /* bit 1 << atr_split for each part it belongs to */
    uint64_t content;      /* hash of the decoded pixels: equal for equal pictures */
} atr_sample;

/* Counted when packing. Index [split][class], [255] is what is ignored. */
typedef struct atr_dataset_stats {
    int64_t pixels[ATR_SPLITS][256]; /* of the class */
    int64_t images[ATR_SPLITS][256]; /* that show the class */
    int64_t area[ATR_SPLITS]
                [256]; /* pixels not ignored of the images that show it: for median frequency weights */
    double mean[3],
        std[3]; /* R, G, B in 0..255 over the pixels of train (of all samples where train is empty) */
} atr_dataset_stats;

typedef struct atr_dataset atr_dataset;

/* The files that `names` [count] mean (io/dataset_files.c): `*files` [*file_count], to be freed with atr_dataset_files_free(). A
 * name is a file; a folder, of which all *.h5 count; a list, *.txt or *.list, with a name a line (relative to the list's folder; # starts
 * a comment); or, where nothing has that name, a pattern such as "train-*.h5". ATR_ERR_NOT_FOUND where a name means no file. */
atr_status atr_dataset_files(const char *const *names, int64_t count, char ***files, int64_t *file_count);
void atr_dataset_files_free(char **files, int64_t count);

/* Opens the files that `name` means and checks everything but the pictures themselves. Messages start with the path; ATR_ERR_DATA
 * with code P01 where the writer was stopped half-way, P03 where the files cannot be one data set (it names two and where they
 * differ). */
atr_status atr_dataset_open(const char *name, atr_dataset **out);
/* The same of several names. */
atr_status atr_dataset_open_all(const char *const *names, int64_t count, atr_dataset **out);

/* One file of a data set. */
typedef struct atr_dataset_file {
    const char *path;
    const char *
        origin; /* `path` is a copy of this file, which messages name, and which helps out where a sample of the copy is
                           damaged; NULL: no copy */
} atr_dataset_file;

/* Opens exactly these `files` [count >= 1]. */
atr_status atr_dataset_open_files(const atr_dataset_file *files, int64_t count, atr_dataset **out);
void atr_dataset_close(atr_dataset *dataset);

/* For messages: the file, or "first.h5 and 2 more". Borrowed. */
const char *atr_dataset_path(const atr_dataset *dataset);
int64_t atr_dataset_file_count(const atr_dataset *dataset);
/* What a user should know of a set whose files were packed together but are not all here ("... 1 of 3 is missing"); NULL: nothing.
 * Borrowed. */
const char *atr_dataset_gap(const atr_dataset *dataset);
int64_t atr_dataset_count(const atr_dataset *dataset);
atr_sample atr_dataset_sample(const atr_dataset *dataset, int64_t index);

/* Sample numbers of a split, ascending: `*indices` [returned count], borrowed. */
int64_t atr_dataset_split(const atr_dataset *dataset, atr_split split, const int64_t **indices);

/* Class names and count; palette [256,3] RGB. Borrowed. */
const atr_class_list *atr_dataset_classes(const atr_dataset *dataset);
const uint8_t (*atr_dataset_palette(const atr_dataset *dataset))[3];

const atr_dataset_stats *atr_dataset_statistics(const atr_dataset *dataset);

/* Identity of the content: names, pixels, masks, splits, classes. Equal files have equal ones. */
uint64_t atr_dataset_fingerprint(const atr_dataset *dataset);

/* Whether pictures are turned by their EXIF orientation. */
bool atr_dataset_applies_exif(const atr_dataset *dataset);

/* The reads below check the sample's checksum, may run on many threads at once, and give ATR_ERR_DATA or ATR_ERR_IO with the
 * data set's path, the sample's number and name. */

/* The picture's file as it came. `*bytes`: atr_free. */
atr_status atr_dataset_read_file(const atr_dataset *dataset, int64_t index, void **bytes, size_t *size);

/* RGB, turned as the data set says: [height,width,3] u8. Free with atr_image_free(). */
atr_status atr_dataset_read_image(const atr_dataset *dataset, int64_t index, atr_image *out);
/* The same, a JPEG at 1/`shrink` of its sides (see atr_image_decode_rgb_shrunk()). */
atr_status atr_dataset_read_image_shrunk(const atr_dataset *dataset, int64_t index, int shrink,
                                         atr_image *out);

/* Class ids at the picture's own size: `*ids` [height,width] u8, ATR_IGNORE where ignored. Free with atr_free(). */
atr_status atr_dataset_read_mask(const atr_dataset *dataset, int64_t index, uint8_t **ids);

/* Reads and decodes every sample on `threads` threads, and counts again. Adds F01 for each sample that is damaged and F05 where
 * the recorded counts are wrong. The status says only whether the look could be finished. */
atr_status atr_dataset_verify(const atr_dataset *dataset, int threads, const atr_watch *watch,
                              atr_findings *findings);

#endif
