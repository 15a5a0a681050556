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
    int64_t height, width;    /* network's input; 0: the model's own */
    atr_memory_guard *memory; /* asked before a plan takes memory; NULL: nobody is */
    /* Told on rank 0 how far the work is, over all ranks; may be NULL. */
    void (*progress)(void *user, int64_t done, int64_t total);
    /* Asked on every rank between rounds of pictures; where one says yes, the evaluation ends on all with ATR_ERR_STOPPED. NULL: never. */
    bool (*stop)(void *user);
    int64_t step; /* of the training that it belongs to, for messages; else 0 */
    void *user;
    const float *class_weights; /* [classes] of `loss`; NULL: all 1 */
    /* Set, on all ranks, to the mean cross-entropy over all valid pixels of the network's outputs (see atr_segmenter_loss()); NaN
     * where there is none. The same for any number of ranks. NULL: not wanted. */
    double *loss;
} atr_evaluate_options;

/* Collective over the session's comm; the status is agreed. Every sample is counted exactly once, whatever the number of ranks;
 * pictures run one by one, so the counts do not depend on it either. `out` [classes] must be initialised; it is cleared first
 * and then the same on all ranks. ATR_ERR_DATA when the split is empty, ATR_ERR_USAGE when data set and model differ in
 * their classes. */
atr_status atr_evaluate(const atr_session *session, const atr_dataset *dataset,
                        const atr_evaluate_options *options, atr_confusion *out);

/* The class that a network predicts everywhere although the truth has others, or -1 (T02). */
int64_t atr_only_class(const atr_scores *scores);

/* Warns (T02) through the log when there is such a class, with what the data set says about it; `dataset` NULL: no more than the
 * names of `classes` and `where` ("val"). */
void atr_warn_only_class(const atr_scores *scores, const atr_dataset *dataset, const atr_class_list *classes,
                         const char *where);

/* What was scored, for tables and files; borrows everything. */
typedef struct atr_evaluated {
    const char *data;        /* of the truth: a data set or a folder */
    const char *split;       /* NULL: none, a folder */
    const char *fit;         /* NULL: no network ran */
    const char *predictions; /* folder of predicted masks; NULL: a network ran */
    int64_t images;          /* that were scored */
    int64_t wanted;          /* that should have been */
    const atr_class_list *classes;
    const atr_confusion *confusion;
    double loss; /* cross-entropy; NaN: none */
} atr_evaluated;

/* A table by class, then the means, on the standard output. */
void atr_evaluated_print(const atr_evaluated *what);

/* What metrics.json holds, appended to `text`. */
void atr_evaluated_json(const atr_evaluated *what, atr_text *text);

/* Into FOLDER, which exists: metrics.json, metrics.csv (a line for each class, then the means), confusion.csv (rows truth, columns
 * prediction, no heading). Not collective. */
atr_status atr_evaluated_write(const char *folder, const atr_evaluated *what);

/* Into FOLDER: miou.png, recall.png, precision.png, f1.png (bars by class) and confusion.png (each row in shares of its truth).
 * ATR_ERR_NOT_FOUND where there is no gnuplot. Not collective. */
atr_status atr_evaluated_draw(const char *folder, const atr_evaluated *what);

#endif
