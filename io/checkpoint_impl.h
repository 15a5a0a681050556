#ifndef ATR_IO_CHECKPOINT_IMPL_H
#define ATR_IO_CHECKPOINT_IMPL_H

#include "io/checkpoint.h"
#include "io/h5.h"

/* The names inside a checkpoint, shared by its writer and its reader; described in docs/checkpoints.md. */

#define CKPT_FORMAT  "atrous checkpoint"
#define CKPT_MODEL   "model"
#define CKPT_PARAMS  "params"
#define CKPT_OPTIM   "optim"
#define CKPT_TRAIN   "train"
#define CKPT_TRAINED CKPT_TRAIN "/params"
#define CKPT_UNSENT  CKPT_TRAIN "/unsent"
#define CKPT_INT8    "int8"

enum { CKPT_VERSION = 1 };

/* Writes a whole sealed and synced file under `partial`, without renaming it. */
atr_status atr_checkpoint_write_partial(const char *partial, const atr_checkpoint *ckpt);

/* Writes the table of places: where the values of each parameter lie in the file. */
atr_status atr_checkpoint_write_places(atr_h5 *file, const atr_params *params);

/* Writes the steps of integers. */
atr_status atr_checkpoint_write_quant(atr_h5 *file, const atr_quant *quant);
atr_status atr_checkpoint_read_quant(const atr_h5 *file, atr_quant *out);

/* Reads all parameters straight to where they belong, by the table of places, where the file has one and its names, shapes and types are
 * just those of `params`. *fits is false otherwise: nothing was read then, and the general way finds out what is different. Of `report` only what was
 * loaded and what is not finite is filled. */
atr_status atr_checkpoint_read_in_place(const atr_h5 *file, atr_params *params, atr_load_report *report,
                                        bool *fits);

/* The same without reading: values stay in the file, which is mapped (core/params.h). */
atr_status atr_checkpoint_map_in_place(const atr_h5 *file, atr_params *params, bool *fits);

/* Whether a description is complete and in bounds: told by the writer (ATR_ERR_USAGE) and the reader (ATR_ERR_DATA). */
atr_status atr_model_info_check(const atr_model_info *info, atr_status fault);

#endif
