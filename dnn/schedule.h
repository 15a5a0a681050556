#ifndef ATR_DNN_SCHEDULE_H
#define ATR_DNN_SCHEDULE_H

#include "core/status.h"
#include "dnn/optim.h"

/* Learning rate by epoch, as the reference's get_lr_scheduler (formulas at the definition). */
typedef enum atr_schedule_kind { ATR_SCHEDULE_COS, ATR_SCHEDULE_STEP } atr_schedule_kind;

typedef struct atr_schedule {
    atr_schedule_kind kind;
    double lr, min_lr;
    int64_t epochs; /* total; `step` needs at least 10 */
} atr_schedule;

/* ATR_ERR_USAGE for rates or totals that make no sense. */
atr_status atr_schedule_check(const atr_schedule *schedule);
double atr_schedule_at(const atr_schedule *schedule, int64_t epoch);

/* The reference's batch-size scaling: lr = clamp(batch/16 init, lo, hi), min_lr = clamp(batch/16 min, lo/100, hi/100),
 * (lo, hi) = (5e-4, 1e-1) with SGD, and the backbone's own with Adam: (3e-4, 5e-4), Xception (1e-4, 1e-4). `batch` is the global batch. */
void atr_schedule_fit(atr_optim_kind optim, const char *backbone, int64_t batch, double init_lr,
                      double min_lr, double *lr, double *min_lr_fit);

atr_status atr_schedule_kind_parse(const char *name, atr_schedule_kind *out);

#endif
