#ifndef ATR_APPS_RUNREAD_H
#define ATR_APPS_RUNREAD_H

#include <stdbool.h>

#include "dnn/metrics.h"

/* What log.jsonl of a run says. */

typedef struct atr_run_eval {
    double epoch, step, miou, pixel_accuracy;
    double loss; /* NaN where the log does not say */
    int64_t classes;
    double iou[ATR_MAX_CLASSES]; /* NaN where absent */
} atr_run_eval;

typedef struct atr_run_history {
    int64_t step_count;
    double *epoch, *step, *loss, *lr, *images_per_s; /* [step_count]; owned */
    int64_t eval_count;
    atr_run_eval *evals; /* owned */
    char **data;         /* [data_count] names of the data set's files as the run was given them; owned */
    int64_t data_count;  /* 0 where the log does not say */
    bool started;        /* the log tells of a start */
    bool ended;          /* the log's last word is that the run is done, or was stopped */
} atr_run_history;

/* Reads FOLDER/log.jsonl. A torn last line (a killed run) is left out; any other line that is no JSON object is ATR_ERR_DATA with
 * its number. Free with atr_run_history_free(). */
atr_status atr_run_history_read(const char *folder, atr_run_history *out);
void atr_run_history_free(atr_run_history *history);

#endif
