#ifndef ATR_IO_PACK_IMPL_H
#define ATR_IO_PACK_IMPL_H

#include "io/dataset_impl.h"
#include "io/pack.h"

/* What one pair came to; made on any thread, taken in order. */
typedef struct atr_pack_look {
    atr_findings *findings;
    bool numbers_read;     /* a mask of stored values was */
    int64_t width, height; /* after orientation */
    int64_t image_bytes;
    uint64_t image_sum, content;
    double sum[3], square[3]; /* over the picture's pixels, R, G, B */
    atr_label_scan scan;
    void *mask_png; /* class ids, encoded */
    size_t mask_bytes;
} atr_pack_look;

/* Sums over pictures, by split, for mean and deviation. */
typedef struct atr_pack_sums {
    double sum[ATR_SPLITS][3], square[ATR_SPLITS][3], pixels[ATR_SPLITS];
} atr_pack_sums;

/* What a file of several must know of each of its samples to count its own part. */
typedef struct atr_pack_counted {
    double sum[3], square[3]; /* over the picture's pixels, R, G, B */
    int64_t *pairs;           /* [pair_count,2] id and its pixels */
    int64_t pair_count;
} atr_pack_counted;

/* The work under way: filled by the gate, judged, written. */
typedef struct atr_pack_job {
    const atr_pack_config *config;
    const atr_watch *watch;
    atr_findings *findings;
    atr_class_list classes;
    atr_colour_table colours;
    atr_label_map *map;    /* of stored values */
    atr_label_map *id_map; /* of labels that are ids already */
    atr_source_config source_config;
    atr_source source;
    atr_dataset_index index;   /* of source.samples, in their order */
    int spool;                 /* file without a name that holds the encoded masks, -1: none */
    bool failed;               /* an error was found: nothing will be written */
    int64_t binary_masks;      /* masks that hold nothing but 0 and 255 */
    int64_t masks_255;         /* masks that hold 255 */
    int64_t masks_seen;        /* masks of numbers that could be read */
    atr_pack_sums sums;        /* of pictures, for mean and std */
    atr_pack_counted *counted; /* [source.count]; NULL where one file is written */
} atr_pack_job;

/* Looks at every pair on config->threads threads; fills index, spool and sums, adds the findings that concern one file. */
atr_status atr_pack_gate(atr_pack_job *job);

/* Adds the findings that concern the set as a whole: L01, L08, L09, F04. */
atr_status atr_pack_judge(atr_pack_job *job);

/* Adds one picture of width * height `pixels` and its sums over them [3]. */
void atr_pack_sums_add(atr_pack_sums *sums, uint8_t splits, double pixels, const double *sum,
                       const double *square);
/* Mean and standard deviation from the sums. */
void atr_pack_moments(const atr_pack_sums *sums, atr_dataset_stats *out);

/* Writes the file from index, spool and the pictures; or, with config->shards or ->shard_bytes, the files (`*shards`). */
atr_status atr_pack_write(atr_pack_job *job, int64_t *bytes, int64_t *shards);

/* Writes and seals `partial` from `index`, which is that of the job's samples from number `first` on. */
atr_status atr_pack_write_file(const atr_pack_job *job, const atr_dataset_index *index, int64_t first,
                               const char *partial);

/* pack_shards.c: several files. */

bool atr_pack_is_sharded(const atr_pack_config *config);
/* ATR_ERR_USAGE where numbered files of that name exist already. */
atr_status atr_pack_shards_check(const atr_pack_config *config);
/* Keeps what the files' own statistics need. */
atr_status atr_pack_shards_count(atr_pack_job *job, int64_t index, const atr_pack_look *look);
atr_status atr_pack_shards_write(atr_pack_job *job, int64_t *bytes, int64_t *shards);
void atr_pack_shards_free(atr_pack_job *job);

/* Writes the samples into the folder config->to_voc. */
atr_status atr_pack_write_voc(atr_pack_job *job);

/* The picture's bytes, which must still be those that were looked at. `*bytes`: atr_free, whatever the status. */
atr_status atr_pack_read_image(const atr_pack_job *job, int64_t index, void **bytes, size_t *size);

/* What is written, for messages. */
const char *atr_pack_target(const atr_pack_config *config);

/* Looks at sample `index`. */
atr_status atr_pack_look_at(const atr_pack_job *job, int64_t index, atr_pack_look **out);
void atr_pack_look_free(atr_pack_look *look);

#endif
