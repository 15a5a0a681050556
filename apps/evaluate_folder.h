#ifndef ATR_APPS_EVALUATE_FOLDER_H
#define ATR_APPS_EVALUATE_FOLDER_H

#include "dnn/metrics.h"
#include "io/dataset.h"
#include "io/mask_folder.h"

/* Scores of masks that some program has predicted, file by file, against the truth of a data set or of another folder. No network
 * runs. */

typedef struct atr_folder_task {
    const atr_mask_folder *predictions;
    const atr_class_list *classes;

    /* The truth: a split of a data set, or the masks of `truth` by their names. */
    const atr_dataset *dataset;
    atr_split split;
    const atr_mask_folder *truth;
    const atr_label_map *truth_map;
    const char *const *names; /* [name_count] those of `truth` that are scored; NULL: all */
    int64_t name_count;

    int threads;
    void (*progress)(void *user, int64_t done, int64_t total); /* may be NULL */
    void *user;
} atr_folder_task;

/* Adds all pairs that fit to `out`, which is cleared first, and says in `*wanted` and `*scored` how many there should be and were.
 * What does not fit becomes a finding and is left out: L06 no prediction, L05 sizes differ, F01, L02, L03 and L04 as in
 * io/mask_folder.h, F03 a listed name without truth; files that nothing asks for are a warning (F06). The counts are the same
 * for any number of threads. ATR_ERR_DATA when nothing is to be scored; not collective. */
atr_status atr_evaluate_folder(const atr_folder_task *task, atr_confusion *out, atr_findings *findings,
                               int64_t *wanted, int64_t *scored);

#endif
