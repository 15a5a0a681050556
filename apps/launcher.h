#ifndef ATR_APPS_LAUNCHER_H
#define ATR_APPS_LAUNCHER_H

/* Makes an mpirun that started this very process end at once; takes a third of a second. For a job that has lost a node: mpirun's orders to its daemon
 * there are under way as long as TCP tries, a quarter of an hour, and it waits for them. Elsewhere (srun, a daemon on another
 * node) nothing happens. */
void atr_launcher_hurry(void);

#endif
