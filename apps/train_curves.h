#ifndef ATR_APPS_TRAIN_CURVES_H
#define ATR_APPS_TRAIN_CURVES_H

#include "apps/runlog.h"

/* The two pictures of a run's progress, epoch_loss.png (mean loss of each epoch, loss on val, both smoothed) and
 * epoch_miou.png, in its folder. gnuplot draws them while training goes on, one of a kind at a time; where it cannot, that is
 * said once and no more is tried: a picture never stops a run. */

typedef struct atr_train_curves atr_train_curves;

/* Begins with what the folder's log says of earlier parts of the run. */
atr_status atr_train_curves_open(const char *folder, atr_train_curves **out);
/* Draws what is not drawn yet, and waits for it. Takes NULL. */
void atr_train_curves_close(atr_train_curves *curves);

/* A step and an evaluation of the run. ATR_ERR_MEMORY. */
atr_status atr_train_curves_step(atr_train_curves *curves, const atr_log_step *record);
atr_status atr_train_curves_eval(atr_train_curves *curves, const atr_log_eval *record);

/* An epoch is over: draws, unless gnuplot is still busy with the one before. False: no more pictures, atr_status_message() says why; that
 * is told once. */
bool atr_train_curves_draw(atr_train_curves *curves);

#endif
