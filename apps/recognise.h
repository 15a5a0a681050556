#ifndef ATR_APPS_RECOGNISE_H
#define ATR_APPS_RECOGNISE_H

#include "io/checkpoint.h"

/* Reads off the names and shapes of a weight file which network it is: backbone, class count, input channels. The output stride
 * is in no tensor: `output_stride` is what the caller says (16 unless it knows better). Fills a whole description with the
 * reference's preprocessing. A DDP prefix must be off already. ATR_ERR_DATA says what is missing. */
atr_status atr_recognise(const atr_weights *weights, int64_t output_stride, atr_model_info *out);

/* The same of a backbone, alone or in a whole network, with names that begin with "backbone." or without: the classifier is not
 * looked at, and the description has one class. */
atr_status atr_recognise_backbone(const atr_weights *weights, int64_t output_stride, atr_model_info *out);

#endif
