#ifndef ATR_IO_SOURCE_H
#define ATR_IO_SOURCE_H

#include "io/colour_table.h"
#include "io/findings.h"
#include "io/labels.h"
#include "io/ordered.h"
#include "io/split.h"

/* Annotated pictures as people have them on disk. Each annotation format is one reader: one row of the table in io/source.c and
 * one file (io/voc.c, io/labelme.c), which finds the samples of a folder and says what each pixel of a sample is. */

typedef enum atr_missing_mask {
    ATR_MISSING_ERROR,
    ATR_MISSING_SKIP,
    ATR_MISSING_BACKGROUND
} atr_missing_mask;

typedef struct atr_source_config {
    const char *folder;
    const char *format;            /* name of a row; NULL: the format is told by the folder's content */
    const atr_split_rule *rule;    /* NULL: the lists of the folder say the splits */
    const atr_class_list *classes; /* borrowed until the source is freed, as is what follows */
    const char *classes_file;      /* how the list is called in messages */
    const atr_label_rules *rules;
    const atr_colour_table *colours; /* for masks of colours; NULL: they are refused (L03) */
    atr_missing_mask missing;
    int threads;
    const atr_watch *watch; /* may be NULL */
} atr_source_config;

typedef struct atr_source_sample {
    char *name;     /* relative to the folder of names, without suffix: "a/0012" */
    char *image;    /* path; NULL: the picture lies inside the annotation */
    char *labels;   /* path of mask or annotation; NULL: all background */
    uint8_t splits; /* bit 1 << atr_split for each part it belongs to */
} atr_source_sample;

/* What is known of a sample's picture when its labels are read; width and height 0: it could not be read. */
typedef struct atr_source_picture {
    int64_t width,
        height; /* of the pixels that are packed: turned by EXIF orientation where that is applied */
} atr_source_picture;

/* The labels of one sample. */
typedef struct atr_source_labels {
    bool good;             /* otherwise a finding says why not */
    bool lossy;            /* the file's format loses values */
    bool ids;              /* mask.values are ids already, 255: ignore; always so where format->named */
    int64_t width, height; /* of the picture that they were made for; 0: they fit any */
    const char *kind;      /* what says that size: "mask", "annotation" */
    atr_mask mask;         /* stored values; none where they were made for another size, or are not good */
} atr_source_labels;

typedef struct atr_source_format atr_source_format;

typedef struct atr_source {
    const atr_source_format *format;
    const atr_source_config *config; /* borrowed */
    char *root;                      /* names and paths in messages are relative to it */
    int64_t count;
    atr_source_sample *samples; /* [count], sorted by name */
    int64_t unlisted;           /* pictures that no list names */
} atr_source;

struct atr_source_format {
    const char *name;   /* for --format */
    const char *layout; /* what such a folder looks like, for messages */
    bool
        named; /* labels are names, so that a file of class names is needed; mask.values are ids, 255: ignore */
    bool turned; /* labels are drawn on the picture as its EXIF orientation turns it */
    /* Whether the folder looks like this format. */
    bool (*detect)(const char *folder);
    /* Finds the samples: fills `out` from root to unlisted. */
    atr_status (*scan)(const atr_source_config *config, atr_findings *findings, atr_source *out);
    /* The bytes of a picture that lies inside its annotation. `*kept` (`kept` may be NULL): the annotation as far as it was parsed. */
    atr_status (*embedded)(const atr_source *source, int64_t index, void **kept, void **bytes, size_t *size);
    /* Reads the labels of a sample that has some, from `kept` where that is there. What is wrong with them is a finding, not a
     * status. */
    atr_status (*read)(const atr_source *source, int64_t index, void *kept, const atr_source_picture *picture,
                       atr_findings *findings, atr_source_labels *out);
    /* Frees what `embedded` has kept. */
    void (*forget)(void *kept);
};

/* Row `index` of the table; NULL behind the last one. */
const atr_source_format *atr_source_format_at(int64_t index);

/* Finds the samples. Adds to `findings`: L06 (no labels), F01 (an annotation that cannot be read), F02 (two pictures of one
 * name), F03 (a listed name without picture), L09 (a name in two lists). ATR_ERR_NOT_FOUND and ATR_ERR_USAGE where there is no
 * such folder or format, no list and no rule, or no picture. Free with atr_source_free(). */
atr_status atr_source_scan(const atr_source_config *config, atr_findings *findings, atr_source *out);
void atr_source_free(atr_source *source);

/* The picture's file as it is, in `*bytes` (atr_free). `*kept` is what the labels of this sample can be read from without parsing
 * their file again, NULL where there is nothing of the kind; `kept` may be NULL. */
atr_status atr_source_image(const atr_source *source, int64_t index, void **kept, void **bytes, size_t *size);
void atr_source_forget(const atr_source *source, void *kept);

/* Labels of a sample with sample->labels != NULL; `kept`: as above, or NULL. Several threads may read at once. Free out->mask with
 * atr_mask_free(). */
atr_status atr_source_read(const atr_source *source, int64_t index, void *kept,
                           const atr_source_picture *picture, atr_findings *findings, atr_source_labels *out);

/* A path of the set as seen from its root, for messages: "JPEGImages/a.jpg". Borrowed from `path`. */
const char *atr_source_relative(const atr_source *source, const char *path);
/* The file that holds the picture of a sample, for messages. */
const char *atr_source_subject(const atr_source *source, int64_t index);

/* F01: a file that cannot be read, with the message of whoever saw it; memory failures are handed on. */
atr_status atr_source_file_fault(const atr_source *source, const char *path, atr_status status,
                                 atr_findings *findings);

#endif
