#ifndef ATR_APPS_EVALUATE_H
#define ATR_APPS_EVALUATE_H

#include "apps/segmenter.h"
#include "apps/session.h"
#include "core/text.h"
#include "dnn/metrics.h"
#include "io/dataset.h"

/* Scores of a network on a split, at each picture's own size, over all ranks. */

typedef struct atr_evaluate_options {
    atr_split split;
    atr_fit_mode fit;
    int64_t height, width; /* network's input; 0: the model's own */
    /* Told on rank 0 how far the work is, over all ranks; may be NULL. */
    void (*progress)(void *user, int64_t done, int64_t total);
    void *user;
} atr_evaluate_options;

/* Collective over the session's comm; the status is agreed. Every sample is counted exactly once, whatever the number of ranks;
 * pictures run one by one, so the counts do not depend on it either. `out` [classes] must be initialised; it is cleared first
 * and then the same on all ranks. ATR_ERR_DATA when the split is empty, ATR_ERR_USAGE when data set and model differ in
 * their classes. */
atr_status atr_evaluate(const atr_session *session, const atr_dataset *dataset,
                        const atr_evaluate_options *options, atr_confusion *out);

/* The class that a network predicts everywhere although the truth has others, or -1 (T02). */
int64_t atr_only_class(const atr_scores *scores);

/* Warns (T02) through the log when there is such a class, with what the data set says about it. */
void atr_warn_only_class(const atr_scores *scores, const atr_dataset *dataset, atr_split split);

/* What metrics.json holds, appended to `text`. */
void atr_evaluate_json(const atr_dataset *dataset, const atr_evaluate_options *options,
                       const atr_confusion *confusion, atr_text *text);

/* FOLDER/metrics.json and FOLDER/confusion.csv (rows truth, columns prediction, no heading); the folder exists.
 * Not collective. */
atr_status atr_evaluate_write(const char *folder, const atr_dataset *dataset,
                              const atr_evaluate_options *options, const atr_confusion *confusion);

#endif
