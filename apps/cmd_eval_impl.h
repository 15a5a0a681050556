#ifndef ATR_APPS_CMD_EVAL_IMPL_H
#define ATR_APPS_CMD_EVAL_IMPL_H

#include "apps/evaluate.h"

/* The two ways of `atrous eval`: a network, or masks that were predicted before. */

typedef struct atr_eval_options {
    const char *out, *split, *size, *stage, *predictions, *classes, *list;
    atr_list ignore;
    int fit;
    bool json, plots;
    atr_session_options session;
} atr_eval_options;

/* The clock of the progress line. */
typedef struct atr_eval_clock {
    double started;
    int columns; /* of the terminal; 0: no line */
} atr_eval_clock;
void atr_eval_progress(void *user, int64_t done, int64_t total);

/* Prints, and writes files and charts into the folder of the options. `*partly`: the charts could not be drawn, which was said. */
atr_status atr_eval_report(const atr_eval_options *options, const atr_evaluated *what, bool *partly);

/* Scores the folder of the options against `truth`, a data set or a folder. Not collective. `*partly`: some files could not be
 * scored. */
atr_status atr_eval_folder(const atr_eval_options *options, const char *truth, bool *partly);

#endif
