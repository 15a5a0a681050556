#ifndef ATR_CORE_MACHINE_H
#define ATR_CORE_MACHINE_H

#include "core/threads.h"

/* What Linux tells about the machine under a process: cores, caches, NUMA domains, memory. `atrous doctor` prints it, and the map of
 * ranks names the domains. Nothing here fails: what cannot be read stays 0. */

enum { ATR_MACHINE_CACHES = 4, ATR_MACHINE_DOMAINS = 64 };

typedef struct atr_cache {
    int level, instances;
    int64_t bytes; /* of one instance */
} atr_cache;

typedef struct atr_machine {
    int sockets, cores, cpus; /* physical cores; CPUs count hardware threads */
    int cache_count;
    atr_cache caches[ATR_MACHINE_CACHES]; /* of data, by level */
    int domain_count;                     /* NUMA domains that have CPUs */
    struct {
        int number; /* Linux's */
        atr_cpu_mask mask;
    } domains[ATR_MACHINE_DOMAINS];
    int16_t core_of[ATR_CPU_WORDS * 64];    /* [cpu] the lowest CPU of the same core */
    int64_t memory_bytes, memory_available; /* of the machine */
    int64_t memory_limit;                   /* of the control group; 0: none */
} atr_machine;

/* `root` stands before /proc and /sys; "" is the machine's own. */
void atr_machine_read(const char *root, atr_machine *out);

/* The NUMA domains alone, a few files in place of dozens for each CPU; all else is 0. Domains of memory alone are left out. */
void atr_machine_read_domains(const char *root, atr_machine *out);

/* Physical cores that `mask` touches. */
int atr_machine_cores_of(const atr_machine *machine, const atr_cpu_mask *mask);

/* Numbers of the NUMA domains that `mask` touches, "0" or "0-1", as a mask of domains. */
atr_cpu_mask atr_machine_domains_of(const atr_machine *machine, const atr_cpu_mask *mask);

/* The name of this node, "localhost" where it has none; cut to fit. Returns `name` [ATR_HOST_BYTES]. */
enum { ATR_HOST_BYTES = 64 };
char *atr_host_name(char *name);

/* The processor's name; `text` [ATR_PROCESSOR_BYTES] is "" where it is not told. Returns `text`. */
enum { ATR_PROCESSOR_BYTES = 256 };
char *atr_processor_name(const char *root, char *text);

#endif
