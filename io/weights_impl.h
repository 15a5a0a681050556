#ifndef ATR_IO_WEIGHTS_IMPL_H
#define ATR_IO_WEIGHTS_IMPL_H

#include "io/weights.h"

/* How the readers of weight files build an atr_weights. */

atr_status atr_weights_create(const char *format, atr_weights **out);

/* Gives `block` (from atr_alloc) to the weights; tensors may point into it. On failure it is freed. */
atr_status atr_weights_own(atr_weights *weights, void *block);

/* Adds a contiguous tensor whose data lies in an owned block. ATR_ERR_DATA: the name is empty, too long, not UTF-8, holds
 * control characters, or is there already. */
atr_status atr_weights_add(atr_weights *weights, const char *name, size_t length, const atr_tensor *tensor);

/* Adds a pair of texts; names and values that are no clean text are left out without a word. */
atr_status atr_weights_add_meta(atr_weights *weights, const char *key, size_t key_length, const char *value,
                                size_t value_length);

/* Elements of a shape read from a file, checked: rank 0..ATR_MAX_RANK, no negative extent, no overflow of the bytes. */
atr_status atr_shape_elements(int64_t rank, const int64_t *dims, atr_dtype type, int64_t *count);

/* Whether no value is infinite or NaN. */
bool atr_all_finite(const float *values, int64_t count);

/* The readers, by form. `bytes` need not outlive the call. */
atr_status atr_pth_parse(const void *bytes, size_t size, atr_weights **out);
atr_status atr_pth_legacy_parse(const void *bytes, size_t size, atr_weights **out);
atr_status atr_safetensors_parse(const void *bytes, size_t size, atr_weights **out);
bool atr_pth_sniff(const void *bytes, size_t size);
bool atr_pth_legacy_sniff(const void *bytes, size_t size);
bool atr_safetensors_sniff(const void *bytes, size_t size);

#endif
