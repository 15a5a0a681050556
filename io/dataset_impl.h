#ifndef ATR_IO_DATASET_IMPL_H
#define ATR_IO_DATASET_IMPL_H

#include "io/dataset.h"
#include "io/h5.h"

/* Names inside the file; docs/formats.md explains them. */
#define ATR_DATASET_FORMAT       "atrous data set"
#define ATR_DATASET_IMAGE_BYTES  "images/bytes"
#define ATR_DATASET_IMAGE_OFFSET "images/offset"
#define ATR_DATASET_MASK_BYTES   "masks/bytes"
#define ATR_DATASET_MASK_OFFSET  "masks/offset"

enum { ATR_DATASET_VERSION = 1 };

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
} atr_dataset_index;

/* Zeroed arrays for `count` samples. */
atr_status atr_dataset_index_create(int64_t count, atr_dataset_index *out);
void atr_dataset_index_free(atr_dataset_index *index);

/* Of all that makes the data set what it is. */
uint64_t atr_dataset_index_fingerprint(const atr_dataset_index *index);

/* Writes attributes and small arrays; reads and checks them (`bytes`: lengths of the two bulk datasets). */
atr_status atr_dataset_index_write(atr_h5 *file, const atr_dataset_index *index);
atr_status atr_dataset_index_read(const atr_h5 *file, atr_dataset_index *out);

/* Hash of a decoded picture. */
uint64_t atr_image_content(const atr_image *image);

/* Adds one sample's class pixels [256] to the counts of its splits. */
void atr_dataset_stats_add(atr_dataset_stats *stats, uint8_t splits, const int64_t *pixels);

#endif
