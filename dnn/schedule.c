#include "dnn/schedule.h"

#include <math.h>
#include <string.h>

#include "dnn/model.h"

/* With T epochs in all, e counted from 0:
 *
 *     cos:  warm = clamp(0.1 T, 1, 3)    start = max(0.1 lr, 1e-6)    tail = clamp(0.3 T, 1, 15)
 *           e <= warm:     start + (lr - start) (e/warm)^2
 *           e >= T - tail: min_lr
 *           else:          min_lr + (lr - min_lr) (1 + cos(pi (e - warm) / (T - warm - tail))) / 2
 *     step: lr (min_lr/lr)^(k/9),  k = floor(e / (T/10)): ten equal stages from lr to min_lr */

static const double PI = 3.14159265358979323846;

static const char *const names[] = {[ATR_SCHEDULE_COS] = "cos", [ATR_SCHEDULE_STEP] = "step"};

static double clamp(double x, double low, double high)
{
    return fmin(fmax(x, low), high);
}

atr_status atr_schedule_check(const atr_schedule *schedule)
{
    if (!isfinite(schedule->lr) || schedule->lr <= 0.0)
        return atr_fail(ATR_ERR_USAGE, "learning rate %g: must be above 0", schedule->lr);
    if (!(schedule->min_lr >= 0.0 && schedule->min_lr <= schedule->lr))
        return atr_fail(ATR_ERR_USAGE, "least learning rate %g: must lie between 0 and the learning rate %g",
                        schedule->min_lr, schedule->lr);
    if (schedule->epochs < 1)
        return atr_fail(ATR_ERR_USAGE, "%lld epochs: at least 1 is needed", (long long)schedule->epochs);
    if (schedule->kind == ATR_SCHEDULE_STEP && schedule->epochs < 10)
        return atr_fail(ATR_ERR_USAGE,
                        "schedule step has ten stages, so it needs at least 10 epochs, not %lld",
                        (long long)schedule->epochs);
    return ATR_OK;
}

static double cosine(const atr_schedule *schedule, double epoch)
{
    const double total = (double)schedule->epochs, lr = schedule->lr, least = schedule->min_lr;
    const double warm = clamp(0.1 * total, 1.0, 3.0), tail = clamp(0.3 * total, 1.0, 15.0);
    const double start = fmax(0.1 * lr, 1e-6);

    if (epoch <= warm)
        return start + (lr - start) * (epoch / warm) * (epoch / warm);
    if (epoch >= total - tail)
        return least;
    return least + 0.5 * (lr - least) * (1.0 + cos(PI * (epoch - warm) / (total - warm - tail)));
}

/* The stage is the floor of the exact quotient of the two doubles, which fmod() knows; epoch / length may round up to the
 * next whole number. */
static double staged(const atr_schedule *schedule, double epoch)
{
    const double length = (double)schedule->epochs / 10.0;
    const double stage = round((epoch - fmod(epoch, length)) / length);

    return schedule->lr * pow(schedule->min_lr / schedule->lr, stage / 9.0);
}

double atr_schedule_at(const atr_schedule *schedule, int64_t epoch)
{
    return schedule->kind == ATR_SCHEDULE_COS ? cosine(schedule, (double)epoch)
                                              : staged(schedule, (double)epoch);
}

/* Limits of the rate with SGD; those with Adam are the backbone's. */
static const double sgd_least_rate = 5e-4, sgd_most_rate = 1e-1;

void atr_schedule_fit(atr_optim_kind optim, const char *backbone, int64_t batch, double init_lr,
                      double min_lr, double *lr, double *min_lr_fit)
{
    const atr_backbone *const found = atr_backbone_find(backbone);
    const bool adam = optim != ATR_OPTIM_SGD && found != NULL;
    const double low = adam ? found->adam_least_rate : sgd_least_rate;
    const double high = adam ? found->adam_most_rate : sgd_most_rate;
    const double share = (double)batch / 16.0;

    *lr = clamp(share * init_lr, low, high);
    *min_lr_fit = clamp(share * min_lr, low * 1e-2, high * 1e-2);
}

atr_status atr_schedule_kind_parse(const char *name, atr_schedule_kind *out)
{
    for (int i = 0; i <= ATR_SCHEDULE_STEP; i++)
        if (strcmp(name, names[i]) == 0) {
            *out = (atr_schedule_kind)i;
            return ATR_OK;
        }
    return atr_fail(ATR_ERR_USAGE, "no schedule '%s' (have: cos, step)", name);
}
