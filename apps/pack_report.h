#ifndef ATR_APPS_PACK_REPORT_H
#define ATR_APPS_PACK_REPORT_H

#include "io/dataset.h"

/* What is in a data set, for people and for machines. */

/* A table on the output: samples and sizes, then pixels, share and pictures of each class by split, then mean and std. */
void atr_dataset_print(const atr_dataset *dataset);

/* The same as one JSON object in `*text` (atr_free). */
atr_status atr_dataset_json(const atr_dataset *dataset, char **text);

#endif
