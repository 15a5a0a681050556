#ifndef ATR_DNN_EMA_H
#define ATR_DNN_EMA_H

#include "core/params.h"
#include "dnn/backend.h"

/* A moving average of a network over its updates, of parameters and running statistics alike, which generalises better than the
 * network of the last step (Polyak & Juditsky 1992; Tarvainen & Valpola 2017):
 *
 *     mean += (1 - d) (values - mean),   d = min(decay, (1 + t) / (10 + t)) at update t = 1, 2, ...
 *
 * The smaller d at first lets it forget where it began. What does not change (frozen) keeps its bits. */
typedef struct atr_ema atr_ema;

/* Begins at the values of `params`. Borrows the back end. ATR_ERR_USAGE unless 0 < decay < 1. */
atr_status atr_ema_create(double decay, const atr_params *params, atr_backend *backend, atr_ema **out);
void atr_ema_destroy(atr_ema *ema);

/* After an update of `params`, which have the names and shapes of those that it was made from. */
atr_status atr_ema_update(atr_ema *ema, const atr_params *params);

/* The average as a network; owned by the ema. May be written (a run that goes on), with the number of updates it has seen. */
atr_params *atr_ema_params(atr_ema *ema);
int64_t atr_ema_steps(const atr_ema *ema);
void atr_ema_set_steps(atr_ema *ema, int64_t steps);

#endif
