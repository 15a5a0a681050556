#ifndef ATR_IO_PACK_H
#define ATR_IO_PACK_H

#include "io/dataset.h"
#include "io/source.h"

/* From pictures and masks to one checked data set file. Every pixel of every mask is looked at; all findings of one run come
 * together; with an error among them nothing is written. What is written does not depend on the number of threads. */

typedef enum atr_exif_rule {
    ATR_EXIF_ASK, /* a picture that carries an orientation is an L05 finding that says what fits; formats that
                       say what their labels were drawn on are taken at their word */
    ATR_EXIF_APPLY, /* masks belong to the turned picture, as viewers show it */
    ATR_EXIF_IGNORE /* masks belong to the pixels as stored */
} atr_exif_rule;

typedef struct atr_pack_config {
    const char *source;     /* folder, see io/source.h */
    const char *format;     /* of the annotations; NULL: told by the folder's content */
    const char *output;     /* DATA.h5; NULL: none is written */
    int64_t shards;         /* files to write, named by atr_pack_shard_name(); 0: one, named `output` */
    int64_t shard_bytes;    /* the same by size: as many files as make each about so large; 0: not so */
    const char *to_voc;     /* folder that gets the set in VOC layout (JPEGImages, SegmentationClass,
                                ImageSets/Segmentation, classes.txt); NULL: none */
    const char *classes;    /* number, or file of names */
    atr_label_rules labels; /* arrays borrowed */
    const char *colours;    /* file, see io/colour_table.h; NULL: none */
    int64_t colour_tolerance;
    const char *split;       /* NULL: by the lists of the source; else shares, see io/split.h */
    const char *group_regex; /* NULL: none; only with `split` */
    uint64_t seed;           /* of the split */
    atr_exif_rule exif;
    atr_missing_mask missing;
    bool strict; /* warnings are errors */
    bool force;  /* replace an existing file; write into a folder that is not empty */
    int threads;
} atr_pack_config;

/* How it went. */
typedef struct atr_pack_result {
    int64_t samples;
    int64_t members[ATR_SPLITS];
    int64_t unlisted; /* pictures that no list names: left out */
    int64_t bytes;    /* of the files written */
    int64_t shards;   /* how many, where they are numbered; 0: one, named `output` */
} atr_pack_result;

/* "DATA-00002-of-00005.h5" of "DATA.h5", number 2 (from 1) of 5. `*name`: atr_free. */
atr_status atr_pack_shard_name(const char *output, int64_t number, int64_t count, char **name);

/* Checks and packs. ATR_ERR_USAGE for options without meaning, ATR_ERR_DATA where `findings` holds an error, ATR_ERR_STOPPED
 * when `watch` wants an end; the output is then untouched. Findings are the caller's to print and to write
 * (atr_findings_text, atr_findings_write), whatever the status is. Codes beside those of the label gate: F01 a file that cannot
 * be read, F02 two pictures of one name, F03 a listed name without picture, F04 an empty part. */
atr_status atr_pack(const atr_pack_config *config, const atr_watch *watch, atr_findings *findings,
                    atr_pack_result *result);

#endif
