#ifndef ATR_APPS_PLACEMENT_H
#define ATR_APPS_PLACEMENT_H

#include "apps/session.h"
#include "core/text.h"

/* Where the ranks of a job sit: a map of ranks, nodes, cores, NUMA domains and threads for the start of a run, and R02 where
 * ranks would sit on each other's cores. */

enum { ATR_PLACE_HOST_BYTES = 64, ATR_PLACE_DOMAINS_BYTES = 32 };

/* One rank. */
typedef struct atr_place {
    int node; /* the lowest rank of its node, which names the node */
    int threads;
    double quota; /* CPUs' worth of time that the node's control group allows; 0: no limit */
    atr_cpu_mask mask;
    char host[ATR_PLACE_HOST_BYTES];
    char domains[ATR_PLACE_DOMAINS_BYTES]; /* NUMA domains of the mask, "0" or "0-1"; "" where unknown */
} atr_place;

/* Collective. Places of all ranks, [size], on every rank; atr_free(). Agreed. */
atr_status atr_place_gather(const atr_session *session, atr_place **out);

/* The map: one line for each rank. Nodes that look alike (ranks, cores, domains, threads) are told once, with their number. */
void atr_place_map(const atr_place *places, int count, atr_text *text);

/* R02 into `text`, about the first node whose ranks may run on the same cores, or are more than it has cores or quota; nothing
 * where each rank has its own. */
void atr_place_warning(const atr_place *places, int count, atr_text *text);

#endif
