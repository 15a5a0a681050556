#ifndef ATR_APPS_STOP_H
#define ATR_APPS_STOP_H

#include <stdbool.h>

#include "core/status.h"

/* A polite request to stop: SIGTERM, SIGINT, SIGHUP, or SIGUSR1 (which mpirun passes on to all ranks, and batch systems can send
 * some time before the end). It is remembered, and nothing else happens; only a second SIGINT, which a person at a terminal
 * sends, ends the process as usual: batch systems and launchers may send theirs twice. SIGHUP stays ignored where it is
 * (nohup). Nor does a reader of the output that goes away end the process (SIGPIPE): ^C at `atrous train ... | tee log` ends tee
 * first, and the run has still to be saved. To be called first of all: what comes before it ends the process. */
void atr_stop_watch(void);
bool atr_stop_wanted(void);
/* "SIGTERM", or "" where nobody asked. */
const char *atr_stop_signal(void);
/* Seconds since the first signal; 0 where none came. */
double atr_stop_since(void);

/* A time to live: "5400" (seconds), "90m", "1h30m", "2d", "1:30:00" (hours, minutes, seconds), "30:00" (minutes, seconds) or "1-12:00:00"
 * (days first), as batch systems write them. ATR_ERR_USAGE. */
atr_status atr_duration_parse(const char *text, double *seconds);

/* Seconds from now until the batch system ends this job, as Slurm says in SLURM_JOB_END_TIME (seconds since 1970); INFINITY where it
 * is not said. */
double atr_stop_job_seconds(void);

#endif
