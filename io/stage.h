#ifndef ATR_IO_STAGE_H
#define ATR_IO_STAGE_H

#include <stdbool.h>

#include "core/mem.h"

/* A copy of a data set's file near the processes that read it: on a node's own disk or in /dev/shm, made once by the processes of
 * the node together, found again by later runs.
 *
 *   FOLDER/atrous-UID/KEY/NAME           the copy; NAME.partial until it is whole
 *                         NAME.record    what it is a copy of, and a checksum of each piece that has arrived
 *   FOLDER/atrous-UID/lock               one job at a time copies there
 *
 * KEY is made of the source's seal, length and time of last change: another content never finds an old copy. Pieces are copied at
 * their own places and noted once they are there, so that several processes copy at once, a killed copy goes on, and two that write at
 * once where locks are refused write the same bytes.
 *
 * One process of the node leads: it calls everything; the others open, copy and close.
 *
 *     each file, all:     atr_stage_open(); leader: atr_stage_find(): nothing more to do where all are good; atr_stage_room()
 *     leader:             atr_stage_lock(); each file: atr_stage_find() again; atr_stage_room(); each file: atr_stage_prepare()
 *     each file, all:     atr_stage_copy()
 *     leader:             each file: atr_stage_finish(); atr_stage_unlock() */

typedef struct atr_stage atr_stage;

/* What is there of a copy. */
typedef enum atr_stage_state {
    ATR_STAGE_GOOD,    /* the copy is whole and of this source */
    ATR_STAGE_PARTIAL, /* nothing, or NAME.partial: to be copied there */
    ATR_STAGE_DOUBTED /* a whole copy that differs from its record: to be checked piece by piece, and repaired */
} atr_stage_state;

/* Looks at `source` and names its copy in `folder`, which must exist; writes nothing. ATR_ERR_DATA where the source is no sealed file
 * (as atr_h5_seal_key()), ATR_ERR_USAGE: no such folder. */
atr_status atr_stage_open(const char *source, const char *folder, atr_stage **out);
void atr_stage_close(atr_stage *stage);

const char *atr_stage_source(const atr_stage *stage); /* borrowed */
const char *atr_stage_copy_path(const atr_stage *stage);
int64_t atr_stage_bytes(const atr_stage *stage);
/* Identity of the source; processes that work together must have the same. */
uint64_t atr_stage_key(const atr_stage *stage);

/* Leader. Judges what is there: a good copy has the record, length, time of change and seal that it should have. Bulk bytes are not
 * read: each sample has a checksum that is compared when it is read. */
atr_stage_state atr_stage_find(atr_stage *stage);

/* Leader. Takes the lock of `folder`'s copies: `*lock` is a descriptor, or -1 where somebody else has it; -2 where the file system
 * has no locks, which is as good. Makes the folder above them: ATR_ERR_IO where it belongs to another user. */
atr_status atr_stage_lock(const char *folder, int *lock);
void atr_stage_unlock(int lock);

/* Leader. Whether `stages` [count] that are not good fit into `folder`: P04 (ATR_ERR_IO) with the numbers where they do not. In
 * tmpfs free memory counts, too. */
atr_status atr_stage_room(const char *folder, atr_stage *const *stages, int64_t count);

/* Leader. Makes record and file, and takes its place on the disk. P04. */
atr_status atr_stage_prepare(atr_stage *stage);

/* Part `part` of `parts` of the pieces: checks those that are noted, copies the others. `state`: what the leader found. Ends early
 * where `stop` (NULL: never) says so: ATR_ERR_STOPPED. Adds to `*copied` and `*kept` (bytes). */
atr_status atr_stage_copy(atr_stage *stage, atr_stage_state state, int part, int parts,
                          bool (*stop)(void *user), void *user, int64_t *copied, int64_t *kept);

/* Leader, after all parts: syncs, gives the copy its name, marks it good. ATR_ERR_DATA where the source has changed meanwhile. */
atr_status atr_stage_finish(atr_stage *stage);

/* A sample of the copy `path` was found damaged: the next atr_stage_find() calls it doubted. Never fails; any process, any time. */
void atr_stage_doubt(const char *path);

#endif
