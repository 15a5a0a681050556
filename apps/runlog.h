#ifndef ATR_APPS_RUNLOG_H
#define ATR_APPS_RUNLOG_H

#include "core/text.h"
#include "dnn/metrics.h"

/* log.jsonl of a run: one JSON object per line, each written in one stroke, so that a killed run leaves at most one torn last
 * line. The keys are fixed names that other programs rely on (docs/training.md). Real numbers are the shortest text that
 * gives the same double back; what is not finite is null. */

/* Pieces of JSON text, used for metrics.json too. */
void atr_json_real(atr_text *text, double value);
void atr_json_reals(atr_text *text, const double *values, int64_t count);
void atr_json_integers(atr_text *text, const int64_t *values, int64_t count);
/* A quoted string; what is not UTF-8 becomes '?'. */
void atr_json_string(atr_text *text, const char *value);

typedef struct atr_runlog atr_runlog;

/* Opens FOLDER/log.jsonl for appending. `steps` >= 0: the run goes on after this many steps; lines of later steps, and a torn
 * line, are taken out. */
atr_status atr_runlog_open(const char *folder, int64_t steps, atr_runlog **out);
void atr_runlog_close(atr_runlog *log);

/* Where the time of a step went, in s, on rank 0. */
typedef struct atr_step_times {
    double load;    /* waiting for samples */
    double compute; /* forward, loss, backward; sums of gradients run beside it */
    double exposed; /* communication that nothing hides, waiting for slower ranks included */
    double update;  /* of the parameters */
    double step;    /* all of it */
} atr_step_times;

typedef struct atr_log_step {
    int64_t epoch, step; /* counted from 1 */
    double loss, lr, images_per_s;
    double f_score; /* NaN where no pixel has a class */
    double gradient_norm;
    atr_step_times times;
    const int64_t *samples; /* [sample_count] numbers in the data set; NULL: not to be listed */
    int64_t sample_count;
} atr_log_step;
atr_status atr_runlog_step(atr_runlog *log, const atr_log_step *record);

typedef struct atr_log_eval {
    int64_t epoch, step;
    const char *split;
    const atr_scores *scores;
    double loss; /* cross-entropy; NaN: not known */
    double seconds;
    bool best; /* the best so far */
} atr_log_eval;
atr_status atr_runlog_eval(atr_runlog *log, const atr_log_eval *record);

/* Any other line: `text` is a whole JSON object without a newline; it is taken and emptied. */
atr_status atr_runlog_line(atr_runlog *log, atr_text *text);

#endif
