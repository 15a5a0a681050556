#ifndef ATR_TESTS_SUPPORT_CHECKPOINT_SAMPLE_H
#define ATR_TESTS_SUPPORT_CHECKPOINT_SAMPLE_H

#include "io/checkpoint.h"

/* A checkpoint with something of everything. Failures end the test. */

enum { CHECKPOINT_SPECS = 8 };

/* A small network's worth of parameters, of every kind, with odd sizes. */
extern const atr_param_spec checkpoint_specs[CHECKPOINT_SPECS];

/* All that a checkpoint holds, filled from a seed, and a folder to write it to. */
typedef struct checkpoint_sample {
    char *folder;
    atr_model_info info;
    atr_params *params;
    float *first, *second; /* moments */
    atr_optim_state optim;
    atr_extra extras[2];
    atr_train_state state;
    atr_checkpoint ckpt;
} checkpoint_sample;

/* A model's description with something in every field. */
void checkpoint_sample_info(atr_model_info *info);

void checkpoint_sample_make(checkpoint_sample *s, uint64_t seed);
void checkpoint_sample_free(checkpoint_sample *s);

/* Values that differ with `seed`; gaps between parameters stay zero. */
void checkpoint_sample_fill(atr_params *params, uint64_t seed);

#endif
