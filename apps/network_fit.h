#ifndef ATR_APPS_NETWORK_FIT_H
#define ATR_APPS_NETWORK_FIT_H

#include "core/status.h"

/* Latency (s) and bandwidth (bytes/s in each direction) of a network, from what `atrous bench comm --json` measured of exchanges
 * between two ranks, by medians: the time of the smallest size; and the best rate of all sizes down to a sixteenth of the largest one
 * (a small one may fit into some buffer, and one whose packet was lost waits for a time-out: neither is the network's rate).
 * ATR_ERR_DATA: no such file, or not two sizes. */
atr_status atr_network_fit(const char *path, double *latency, double *bandwidth);

#endif
