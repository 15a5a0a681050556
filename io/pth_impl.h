#ifndef ATR_IO_PTH_IMPL_H
#define ATR_IO_PTH_IMPL_H

#include "io/names.h"
#include "io/pickle.h"
#include "io/weights_impl.h"

/* What the pickle inside a PyTorch file says: storages (flat arrays of one type, stored beside the pickle) and tensors as
 * views of them. Both containers, zip and the one before, read the storages' bytes and then gather. */

enum { ATR_PTH_TEXT = 128 };

typedef struct pth_storage {
    char key[ATR_PTH_TEXT]; /* names its bytes in the container */
    atr_dtype type;
    int64_t count; /* elements */
    void *data;    /* [count] of type, owned by the weights once read; NULL before, or when empty */
} pth_storage;

typedef struct pth_view {
    const char *name; /* not closed by a zero; lies in the pickle's bytes */
    size_t length;
    int64_t storage; /* index */
    int64_t offset;  /* in elements */
    int rank;
    int64_t dims[ATR_MAX_RANK], strides[ATR_MAX_RANK];
} pth_view;

typedef struct pth_state {
    atr_pickle *pickle;
    int64_t storage_count, storage_capacity;
    pth_storage *storages;
    atr_names *keys; /* key -> storage */
    int64_t view_count;
    pth_view *views;
} pth_state;

/* Whether a weight file may name this global. */
bool atr_pth_allows(const char *global);

/* Reads the pickle at the front of `bytes` (which must outlive `state`), lists storages and tensors, and adds the scalars beside
 * the tensors to `weights` as metadata. `*used` (may be NULL): length of the pickle. */
atr_status atr_pth_state_read(const void *bytes, size_t size, atr_weights *weights, size_t *used,
                              pth_state *state);

/* Notes the storages of all that the pickle holds, also of an optimiser that nobody asked for: the old container stores one
 * behind the other, and their sizes must be known to find the next. */
atr_status atr_pth_note_storages(pth_state *state);

void atr_pth_state_free(pth_state *state);

/* Adds the tensors to `weights`; all storages must have been read. `budget`: most bytes that strided views may take. */
atr_status atr_pth_gather(const pth_state *state, int64_t budget, atr_weights *weights);

#endif
