#ifndef ATR_APPS_STAGE_H
#define ATR_APPS_STAGE_H

#include "core/text.h"
#include "dist/comm.h"
#include "io/dataset.h"

/* `--stage DIR`: the ranks of each node copy the data set's files to the node's own disk together, once, and read them there. The
 * files' part of it is io/stage.h. */

typedef struct atr_staged {
    atr_dataset_file
        *files; /* [count] what to open: copies and what they are copies of; owned, as are their strings */
    int64_t count;
} atr_staged;

/* Copies of `sources` [count] in `folder`, made or found. `*said`: on rank 0, one line on what was done, how long it took and how fast.
 * Collective; the status is agreed. ATR_ERR_IO with P04: no room, before anything is copied; ATR_ERR_STOPPED: asked to stop meanwhile, what
 * was copied is kept for the next start. */
atr_status atr_stage_files(atr_comm *comm, const char *folder, char *const *sources, int64_t count,
                           atr_staged *out, atr_text *said);
void atr_staged_free(atr_staged *staged);

/* The data set of copies of the files that `names` [count] mean (atr_dataset_files()). Collective; the status is agreed. `*said`, owned by the
 * caller, and errors as above. */
atr_status atr_stage_open_dataset(atr_comm *comm, const char *folder, const char *const *names, int64_t count,
                                  atr_dataset **out, atr_text *said);

#endif
