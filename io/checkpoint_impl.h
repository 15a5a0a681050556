#ifndef ATR_IO_CHECKPOINT_IMPL_H
#define ATR_IO_CHECKPOINT_IMPL_H

#include "io/checkpoint.h"

/* The names inside a checkpoint, shared by its writer and its reader; described in docs/checkpoints.md. */

#define CKPT_FORMAT  "atrous checkpoint"
#define CKPT_MODEL   "model"
#define CKPT_PARAMS  "params"
#define CKPT_OPTIM   "optim"
#define CKPT_TRAIN   "train"
#define CKPT_TRAINED CKPT_TRAIN "/params"

enum { CKPT_VERSION = 1 };

/* Writes a whole sealed and synced file under `partial`, without renaming it. */
atr_status atr_checkpoint_write_partial(const char *partial, const atr_checkpoint *ckpt);

/* Whether a description is complete and in bounds: told by the writer (ATR_ERR_USAGE) and the reader (ATR_ERR_DATA). */
atr_status atr_model_info_check(const atr_model_info *info, atr_status fault);

#endif
