#ifndef ATR_APPS_BENCH_PROFILE_H
#define ATR_APPS_BENCH_PROFILE_H

#include <jansson.h>

#include "dnn/plan.h"

/* Where the time of `atrous bench` goes: the fastest run of each step of a plan, summed by kind of step, beside what the machine
 * could do. Minima, because other work on the machine can only add to a time. */

/* What this machine reaches with one back end and its threads, measured. */
typedef struct atr_bench_limits {
    double flop_per_s;  /* of a dense 3x3 convolution of 128 channels on a map of 32x32, run directly */
    double bytes_per_s; /* of a copy larger than the caches: read plus written */
} atr_bench_limits;

/* Takes about half a second. */
atr_status atr_bench_limits_measure(atr_backend *backend, atr_bench_limits *out);

typedef struct atr_bench_profile atr_bench_profile;

/* Borrows the plan, and switches its profile on. */
atr_status atr_bench_profile_create(atr_plan *plan, const atr_bench_limits *limits, atr_bench_profile **out);
void atr_bench_profile_destroy(atr_bench_profile *profile);

/* Starts and ends one run. `loss` and `update`: seconds that those took in it; 0: there were none. `total`: of the whole run. */
void atr_bench_profile_begin(atr_bench_profile *profile);
void atr_bench_profile_end(atr_bench_profile *profile, double loss, double update, double total);

/* The two tables. */
void atr_bench_profile_print(const atr_bench_profile *profile);
/* Adds `limits`, `kinds` and `steps` to an object: docs/commands.md says what their members mean. */
void atr_bench_profile_json(const atr_bench_profile *profile, json_t *into);

#endif
