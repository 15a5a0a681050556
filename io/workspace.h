#ifndef ATR_IO_WORKSPACE_H
#define ATR_IO_WORKSPACE_H

#include "core/mem.h"

/* Scratch memory that one thread keeps from picture to picture, so that resizing and augmenting allocate nothing once it
 * has grown to the largest picture seen. Start with {0}. What it holds has no meaning between calls. */
typedef struct atr_workspace {
    uint8_t *bytes;
    int64_t size;
} atr_workspace;

/* At least `size` bytes at workspace->bytes, aligned to ATR_ALIGN; earlier contents are lost. */
atr_status atr_workspace_reserve(atr_workspace *workspace, int64_t size);

void atr_workspace_free(atr_workspace *workspace);

#endif
