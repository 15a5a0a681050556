#ifndef ATR_IO_RUN_LOCK_H
#define ATR_IO_RUN_LOCK_H

#include "core/status.h"

/* One job at a time writes to the folder of a run. FOLDER/.lock carries a lock of the file system (fcntl), which the system takes
 * away from a process that has ended, however it ended; over NFS the file server does. The file says who has it, and stays. Where
 * a file system has no locks, the file's time of change decides: its holder touches it (atr_run_lock_beat), and one that was not touched for
 * two minutes, or whose process on this node is gone, counts for nothing. */
typedef struct atr_run_lock atr_run_lock;

/* ATR_ERR_USAGE (R04): another job holds the folder; the message names its node, process and start. A holder that has
 * not touched the file for a while, as a node that went down, is waited for first: two minutes, for file servers give
 * locks of lost clients back after a time. */
atr_status atr_run_lock_take(const char *folder, atr_run_lock **out);

/* Whether somebody holds the folder, without taking it. ATR_RUN_UNKNOWN: it was never locked. */
typedef enum atr_run_use { ATR_RUN_UNKNOWN, ATR_RUN_FREE, ATR_RUN_HELD } atr_run_use;
atr_run_use atr_run_lock_look(const char *folder);

/* Says that the holder is at work. To be called often; does something every 20 s. Not for a thread that must not hang with the file system. */
void atr_run_lock_beat(atr_run_lock *lock);

/* Gives the folder free. Takes NULL. */
void atr_run_lock_release(atr_run_lock *lock);

#endif
