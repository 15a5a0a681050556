#ifndef ATR_IO_DATASET_IMPL_H
#define ATR_IO_DATASET_IMPL_H

#include <stdatomic.h>

#include "io/dataset.h"
#include "io/h5.h"

/* Names inside the file; docs/formats.md explains them. */
#define ATR_DATASET_FORMAT       "atrous data set"
#define ATR_DATASET_IMAGE_BYTES  "images/bytes"
#define ATR_DATASET_IMAGE_OFFSET "images/offset"
#define ATR_DATASET_MASK_BYTES   "masks/bytes"
#define ATR_DATASET_MASK_OFFSET  "masks/offset"

enum { ATR_DATASET_VERSION = 1, ATR_DATASET_MOST_PARTS = 99999 };

/* Everything in the file but the bytes of pictures and masks. */
typedef struct atr_dataset_index {
    int64_t count;
    char **names;         /* [count] */
    int64_t *sizes;       /* [count,2] width, height */
    uint8_t *splits;      /* [count] */
    uint64_t *image_sums; /* [count] XXH3 of the picture's stored bytes */
    uint64_t *mask_sums;  /* [count] of the mask's */
    uint64_t *contents;   /* [count] hash of the decoded pixels */
    int64_t *image_at;    /* [count+1] where each picture's bytes start, and the end of the last */
    int64_t *mask_at;     /* [count+1] */
    atr_class_list classes;
    uint8_t palette[256][3];
    bool apply_exif;
    atr_dataset_stats stats;
    uint64_t fingerprint;
    /* Of a file that is one of several written by one `pack`: number `part` (from 1) of `parts`, of a set whose fingerprint is `whole`.
     * All 0: it stands alone. */
    int64_t part, parts;
    uint64_t whole;
} atr_dataset_index;

/* One file. */
typedef struct atr_dataset_part {
    char *path, *origin;         /* as in atr_dataset_file */
    int fd;                      /* -1: not open */
    int64_t images_at, masks_at; /* where the bulk datasets start in the file */
    atomic_bool damaged;         /* a sample of this copy had to be read from its origin */
} atr_dataset_part;

/* Where a sample lies. */
typedef struct atr_dataset_place {
    int64_t image, mask; /* from the start of the part's bulk datasets */
    int32_t image_bytes, mask_bytes;
    int32_t part;
} atr_dataset_place;

struct atr_dataset {
    char *label;             /* for messages */
    char *gap;               /* NULL: none */
    atr_dataset_part *parts; /* [part_count] */
    int64_t part_count;
    atr_dataset_place *places;    /* [index.count] */
    atr_dataset_index index;      /* of all parts; without image_at and mask_at */
    int64_t *members[ATR_SPLITS]; /* [member_count[split]] sample numbers */
    int64_t member_count[ATR_SPLITS];
};

/* A part's name for messages: that of the file the user named. Borrowed. */
const char *atr_dataset_part_name(const atr_dataset_part *part);

/* Zeroed arrays for `count` samples. */
atr_status atr_dataset_index_create(int64_t count, atr_dataset_index *out);
void atr_dataset_index_free(atr_dataset_index *index);

/* Of all that makes the data set what it is. */
uint64_t atr_dataset_index_fingerprint(const atr_dataset_index *index);

/* Writes attributes and small arrays; reads and checks them (`bytes`: lengths of the two bulk datasets). */
atr_status atr_dataset_index_write(atr_h5 *file, const atr_dataset_index *index);
atr_status atr_dataset_index_read(const atr_h5 *file, atr_dataset_index *out);

/* dataset_merge.c. The indices of all parts [dataset->part_count] become that of the data set, with its places and its gap; they are
 * left without names and classes, to be freed by the caller. ATR_ERR_DATA with P03 where they are no parts of one set. */
atr_status atr_dataset_merge(atr_dataset_index *indices, atr_dataset *dataset);

/* Hash of a decoded picture. */
uint64_t atr_image_content(const atr_image *image);

/* Adds one sample's class pixels [256] to the counts of its splits. */
void atr_dataset_stats_add(atr_dataset_stats *stats, uint8_t splits, const int64_t *pixels);

#endif
