#ifndef ATR_APPS_NETWORK_FIT_H
#define ATR_APPS_NETWORK_FIT_H

#include "core/status.h"

/* Latency (s) and bandwidth (bytes/s in each direction) of a network, from what `atrous bench comm --json` measured: the line
 * t = a + n/B through the medians of the exchanges between two ranks, by least squares of relative errors, for sizes span orders
 * of magnitude. ATR_ERR_DATA: no such file, or not two sizes. */
atr_status atr_network_fit(const char *path, double *latency, double *bandwidth);

#endif
