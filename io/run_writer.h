#ifndef ATR_IO_RUN_WRITER_H
#define ATR_IO_RUN_WRITER_H

#include "io/checkpoint.h"

/* Writes the checkpoints of a run (atr_run_save) behind the training: a start takes a copy, and a thread makes the file of it. The
 * file is, byte by byte, that of atr_run_save() at the moment of the start.
 *
 * Memory: one copy of what the checkpoint holds (values, buffers, moments, and the trained values beside an average), kept between
 * checkpoints. Time: a start first waits for the checkpoint before it, so there is never more than one under way.
 * HDF5 is used by one thread at a time: between a start and the wait that follows it, no other thread of the process may call
 * what reads or writes HDF5 files (a data set that is open is read without HDF5). Not collective: rank 0 alone. */
typedef struct atr_run_writer atr_run_writer;

/* ATR_ERR_MEMORY. */
atr_status atr_run_writer_create(const char *folder, atr_run_writer **out);

/* Waits for a checkpoint under way. Takes NULL. */
void atr_run_writer_destroy(atr_run_writer *writer);

/* Begins to write `ckpt`, which may change as soon as this returns, but for `unsent`: it stays until the next wait. The status is that of the checkpoint before; where it
 * failed, nothing is begun. Where `behind` is false, and where there is no memory for a copy, it is written before this returns. */
atr_status atr_run_writer_start(atr_run_writer *writer, const atr_checkpoint *ckpt, bool best, bool behind);

/* How the checkpoints fared that are written up to now; does not wait. A failure stays. Messages as atr_run_save(). */
atr_status atr_run_writer_check(atr_run_writer *writer);

/* The same after the one under way is written. */
atr_status atr_run_writer_wait(atr_run_writer *writer);

/* The global step of the last checkpoint that was written whole; -1: none yet. Seconds that writing it took. */
int64_t atr_run_writer_step(atr_run_writer *writer);
double atr_run_writer_seconds(atr_run_writer *writer);

#endif
