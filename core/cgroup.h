#ifndef ATR_CORE_CGROUP_H
#define ATR_CORE_CGROUP_H

#include <stdint.h>

/* Limits of this process's control group and of all groups above it (containers, batch systems), versions 1 and 2. `root` stands
 * before /proc and /sys; "" is the machine's own. */

/* The CPU quota (v2 `cpu.max`, v1 `cpu.cfs_quota_us`), in CPUs; 0 where there is none or it cannot be read. */
double atr_cgroup_cpus(const char *root);

/* The memory limit (v2 `memory.max`, v1 `memory.limit_in_bytes`), in bytes; 0 where there is none or it cannot be read. */
int64_t atr_cgroup_memory(const char *root);

#endif
