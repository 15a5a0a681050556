#ifndef ATR_APPS_TRAIN_OVERLAY_H
#define ATR_APPS_TRAIN_OVERLAY_H

#include "apps/segmenter.h"
#include "io/dataset.h"

/* A validation picture, its truth and its prediction side by side, the last two in the classes' colours over the picture; large ones
 * smaller. Pixels that the truth leaves open show the picture. */

/* As JPEG in `*bytes` (atr_free). */
atr_status atr_train_overlay(atr_segmenter *segmenter, const atr_dataset *dataset, int64_t sample,
                             const atr_model_info *info, void **bytes, size_t *size, int64_t *width,
                             int64_t *height);

#endif
