#ifndef ATR_DNN_METRICS_H
#define ATR_DNN_METRICS_H

#include "core/mem.h"

/* Integer confusion matrix and what follows from it. A class absent from prediction and truth has no value (NaN, "n/a", null)
 * and is left out of means. */

enum { ATR_MAX_CLASSES = 255 };

typedef struct atr_confusion {
    int64_t classes;
    int64_t *counts; /* [classes, classes]: rows truth, columns prediction; owned */
    int64_t ignored; /* pixels whose truth is no class */
} atr_confusion;

atr_status atr_confusion_init(int64_t classes, atr_confusion *out);
void atr_confusion_free(atr_confusion *confusion);
void atr_confusion_clear(atr_confusion *confusion);
/* Adds `count` pixels; truth >= classes is ignored; a prediction >= classes counts as an error of no column only in debug asserts. */
void atr_confusion_add(atr_confusion *confusion, const uint8_t *truth, const uint8_t *predicted,
                       int64_t count);

typedef struct atr_scores {
    int64_t classes, present;          /* present: classes with an IoU */
    double iou[ATR_MAX_CLASSES];       /* tp / (tp+fp+fn); NaN where absent */
    double recall[ATR_MAX_CLASSES];    /* tp / (tp+fn); NaN where the class is not in the truth */
    double precision[ATR_MAX_CLASSES]; /* tp / (tp+fp); NaN where it is never predicted */
    double f1[ATR_MAX_CLASSES];        /* 2tp / (2tp+fp+fn); NaN where absent */
    int64_t truth_pixels[ATR_MAX_CLASSES], predicted_pixels[ATR_MAX_CLASSES];
    double miou;           /* mean over present classes */
    double miou_all;       /* absent classes count 0, for comparison */
    double mean_recall;    /* over the classes that have one; NaN where none has */
    double mean_precision; /* so too */
    double mean_f1;        /* so too */
    double pixel_accuracy; /* trace / total; NaN without pixels */
    double frequency_iou;  /* sum over classes of truth share * IoU */
} atr_scores;

/* All fractions of 1. */
void atr_scores_from(const atr_confusion *confusion, atr_scores *out);

#endif
