#ifndef ATR_IO_LOADER_IMPL_H
#define ATR_IO_LOADER_IMPL_H

#include "io/loader.h"

/* Scratch of one loader thread; starts as {0}. */
typedef struct atr_sample_workspace {
    atr_workspace resample;
    uint8_t *pixels; /* [room,3] */
    int64_t room;    /* pixels */
} atr_sample_workspace;

void atr_sample_workspace_free(atr_sample_workspace *workspace);

/* Where one sample goes. */
typedef struct atr_sample_target {
    int64_t height, width;
    float *image;    /* [height,width,3] f32 */
    uint8_t *labels; /* [height,width] u8 */
    atr_box *box;
    int64_t *valid; /* labels that are not ATR_IGNORE */
} atr_sample_target;

/* Reads sample `index`, augments it (train) or fits it to the canvas (val), and scales it to floats. */
atr_status atr_sample_make(const atr_dataset *dataset, const atr_loader_config *config, int64_t index,
                           int64_t epoch, const atr_sample_target *target, atr_sample_workspace *workspace);

#endif
