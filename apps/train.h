#ifndef ATR_APPS_TRAIN_H
#define ATR_APPS_TRAIN_H

#include "apps/train_options.h"

/* A training run from its options to its end, over all ranks of `comm`. */

typedef struct atr_trainer atr_trainer;

/* Collective; the status is agreed. Opens everything: data set, run folder, back end, model (new, from --weights, or resumed),
 * plan, optimiser, loader, log. Borrows its arguments, `parsed` being what filled `options`,
 * `data` [data_count] names of files, see atr_dataset_files(). `started`: when the program was, by atr_seconds(). */
atr_status atr_trainer_create(const atr_options *parsed, const atr_train_options *options,
                              const char *const *data, int64_t data_count, atr_comm *comm, double started,
                              atr_trainer **out);
void atr_trainer_destroy(atr_trainer *trainer);

/* Collective; the status is agreed. Runs to the end of the last epoch. ATR_ERR_STOPPED: stopped on request, saved, can be
 * resumed. ATR_ERR_NUMERIC: T01. */
atr_status atr_trainer_run(atr_trainer *trainer);

#endif
