#ifndef ATR_IO_MODEL_META_H
#define ATR_IO_MODEL_META_H

#include "io/checkpoint.h"

/* A model's description as pairs of texts: what files of other formats (safetensors, ONNX) carry as metadata, so that names,
 * colours and preprocessing go with the weights. Keys and forms: docs/checkpoints.md. */

enum { ATR_META_PAIRS = 16 };

typedef struct atr_meta_pair {
    const char *key; /* static */
    char *value;     /* owned; text, or JSON: a number, true or false, a list */
} atr_meta_pair;

typedef struct atr_model_meta {
    int count;
    atr_meta_pair pairs[ATR_META_PAIRS];
} atr_model_meta;

/* All of `info`, as pairs from which atr_model_meta_read() makes it again, bit by bit. ATR_ERR_DATA: a class name that is
 * not UTF-8. Free with atr_model_meta_free(), also after a failure. */
atr_status atr_model_meta_make(const atr_model_info *info, atr_model_meta *out);
void atr_model_meta_free(atr_model_meta *meta);

/* The description in the metadata of `weights`. `*found` is false, and `*out` untouched, where there is none of ours.
 * ATR_ERR_DATA: one that is damaged or makes no sense; ATR_ERR_UNSUPPORTED: of another version. */
atr_status atr_model_meta_read(const atr_weights *weights, bool *found, atr_model_info *out);

#endif
