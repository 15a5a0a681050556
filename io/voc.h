#ifndef ATR_IO_VOC_H
#define ATR_IO_VOC_H

#include "io/findings.h"
#include "io/split.h"

/* Pictures and masks in PASCAL VOC's layout:
 *     ROOT/JPEGImages/NAME.jpg             .jpg, .jpeg, .png in any case; folders below are part of the name
 *     ROOT/SegmentationClass/NAME.png
 *     ROOT/ImageSets/Segmentation/{train,val,test,trainval}.txt      a name per line */

typedef enum atr_missing_mask {
    ATR_MISSING_ERROR,
    ATR_MISSING_SKIP,
    ATR_MISSING_BACKGROUND
} atr_missing_mask;

typedef struct atr_voc_config {
    const char *source;         /* ROOT, or a folder with exactly one ROOT in it */
    const atr_split_rule *rule; /* NULL: the lists of ImageSets/Segmentation say the splits */
    atr_missing_mask missing;
} atr_voc_config;

typedef struct atr_voc_sample {
    char *name;     /* relative to JPEGImages, without suffix: "a/0012" */
    char *image;    /* path */
    char *mask;     /* path; NULL: all background */
    uint8_t splits; /* bit 1 << atr_split for each part it belongs to */
} atr_voc_sample;

typedef struct atr_voc {
    char *root;
    int64_t count;
    atr_voc_sample *samples; /* [count], sorted by name */
    int64_t unlisted;        /* pictures that no list names */
} atr_voc;

/* Finds the samples. Adds to `findings`: L06 (no mask), F02 (two pictures of one name), F03 (a listed name without picture), L09
 * (a name in two lists). ATR_ERR_NOT_FOUND and ATR_ERR_USAGE where there is no such layout, no list and no rule, or no
 * picture. Free with atr_voc_free(). */
atr_status atr_voc_scan(const atr_voc_config *config, atr_findings *findings, atr_voc *out);
void atr_voc_free(atr_voc *voc);

/* A path of the set as seen from its root, for messages: "JPEGImages/a.jpg". Borrowed from `path`. */
const char *atr_voc_relative(const atr_voc *voc, const char *path);

#endif
