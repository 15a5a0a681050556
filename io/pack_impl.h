#ifndef ATR_IO_PACK_IMPL_H
#define ATR_IO_PACK_IMPL_H

#include "io/dataset_impl.h"
#include "io/pack.h"

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
    atr_dataset_index index; /* of source.samples, in their order */
    int spool;               /* file without a name that holds the encoded masks, -1: none */
    bool failed;             /* an error was found: nothing will be written */
    int64_t binary_masks;    /* masks that hold nothing but 0 and 255 */
    int64_t masks_255;       /* masks that hold 255 */
    int64_t masks_seen;      /* masks of numbers that could be read */
    double sum[ATR_SPLITS][3], square[ATR_SPLITS][3], pixels[ATR_SPLITS]; /* of pictures, for mean and std */
} atr_pack_job;

/* Looks at every pair on config->threads threads; fills index, spool and sums, adds the findings that concern one file. */
atr_status atr_pack_gate(atr_pack_job *job);

/* Adds the findings that concern the set as a whole: L01, L08, L09, F04. */
atr_status atr_pack_judge(atr_pack_job *job);

/* Mean and standard deviation from the sums. */
void atr_pack_moments(atr_pack_job *job);

/* Writes the file from index, spool and the pictures. */
atr_status atr_pack_write(atr_pack_job *job, int64_t *bytes);

/* Writes the samples into the folder config->to_voc. */
atr_status atr_pack_write_voc(atr_pack_job *job);

/* The picture's bytes, which must still be those that were looked at. `*bytes`: atr_free, whatever the status. */
atr_status atr_pack_read_image(const atr_pack_job *job, int64_t index, void **bytes, size_t *size);

/* What is written, for messages. */
const char *atr_pack_target(const atr_pack_config *config);

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

/* Looks at sample `index`. */
atr_status atr_pack_look_at(const atr_pack_job *job, int64_t index, atr_pack_look **out);
void atr_pack_look_free(atr_pack_look *look);

#endif
