#ifndef ATR_DNN_SCHEDULE_H
#define ATR_DNN_SCHEDULE_H

#include <stdbool.h>

#include "core/status.h"
#include "dnn/optim.h"

/* Learning rate over the epochs: `cos` and `step` as the reference's get_lr_scheduler, once per epoch; `poly` as in DeepLab's own
 * training (Chen et al. 2017), at every step. Formulas at the definition. */
typedef enum atr_schedule_kind { ATR_SCHEDULE_COS, ATR_SCHEDULE_STEP, ATR_SCHEDULE_POLY } atr_schedule_kind;

typedef struct atr_schedule {
    atr_schedule_kind kind;
    double lr, min_lr;
    int64_t epochs;  /* total; `step` needs at least 10 */
    double power;    /* poly */
    bool own_warmup; /* `warmup` counts, instead of what the kind has: cos up to 3 epochs, the others none */
    double warmup;   /* epochs in which the rate rises to where the schedule is */
} atr_schedule;

/* ATR_ERR_USAGE for rates, totals, powers or a warm-up that make no sense. */
atr_status atr_schedule_check(const atr_schedule *schedule);
/* The rate `step` steps after the start of `epoch` (both from 0), an epoch having `steps`. */
double atr_schedule_at(const atr_schedule *schedule, int64_t epoch, int64_t step, int64_t steps);

/* The reference's batch-size scaling: lr = clamp(batch/16 init, lo, hi), min_lr = clamp(batch/16 min, lo/100, hi/100),
 * (lo, hi) = (5e-4, 1e-1) with SGD, and the backbone's own with Adam and AdamW: (3e-4, 5e-4), Xception (1e-4, 1e-4). `batch` is the
 * global batch. */
void atr_schedule_fit(atr_optim_kind optim, const char *backbone, int64_t batch, double init_lr,
                      double min_lr, double *lr, double *min_lr_fit);

/* Updates that the reference wants a run to have: 15000 with SGD, 5000 with the others. */
int64_t atr_schedule_wanted_steps(atr_optim_kind optim);

atr_status atr_schedule_kind_parse(const char *name, atr_schedule_kind *out);
/* And back. */
const char *atr_schedule_kind_name(atr_schedule_kind kind);

#endif
