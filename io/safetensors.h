#ifndef ATR_IO_SAFETENSORS_H
#define ATR_IO_SAFETENSORS_H

#include "io/checkpoint.h"

/* Writes parameters and buffers as `.safetensors` under the names, shapes and types of the PyTorch reference's state_dict
 * (counters as int64), with "format": "pt" and the model's description (io/model_meta.h) as metadata. Through a partial file,
 * synced and renamed: `path` is the old file or the new one. The same content gives the same bytes. Read by atr_weights_read().
 * ATR_ERR_USAGE, ATR_ERR_DATA: a description that is incomplete or no text; ATR_ERR_IO. Params on the host. */
atr_status atr_safetensors_write(const char *path, const atr_model_info *info, const atr_params *params);

#endif
