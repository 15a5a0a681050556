#ifndef ATR_APPS_REDUCER_OPTIONS_H
#define ATR_APPS_REDUCER_OPTIONS_H

#include "core/options.h"
#include "dist/reducer.h"

/* How gradients are summed over the ranks, as the command line says it. */
typedef struct atr_reducer_choice {
    int allreduce, wire, progress;
    double bucket_mb;
} atr_reducer_choice;

/* Rows for an atr_reducer_choice. */
extern const atr_option atr_reducer_rows[];

atr_reducer_options atr_reducer_options_from(const atr_reducer_choice *choice);

#endif
