#ifndef ATR_APPS_STOP_H
#define ATR_APPS_STOP_H

#include <stdbool.h>

/* A polite request to stop: SIGTERM, SIGINT, or SIGUSR1 (which mpirun passes on to all ranks, and batch systems can send some
 * time before the end). The first one is remembered; a second one ends the process as usual. Nor does a reader of the output that goes
 * away end the process (SIGPIPE): ^C at `atrous train ... | tee log` ends tee first, and the run has still to be saved. */
void atr_stop_watch(void);
bool atr_stop_wanted(void);
/* "SIGTERM", or "" where nobody asked. */
const char *atr_stop_signal(void);

#endif
