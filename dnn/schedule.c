#include "dnn/schedule.h"

#include <math.h>
#include <string.h>

#include "dnn/model.h"

/* With T epochs in all, e counted from 0, and warm epochs of warm-up:
 *
 *     cos:  warm = clamp(0.1 T, 1, 3) unless given    tail = clamp(0.3 T, 1, 15)
 *           e >= T - tail: min_lr
 *           else:          min_lr + (lr - min_lr) (1 + cos(pi (e - warm) / (T - warm - tail))) / 2
 *     step: lr (min_lr/lr)^(k/9),  k = floor(e / (T/10)): ten equal stages from lr to min_lr
 *     poly: min_lr + (lr - min_lr) (1 - (e - warm) / (T - warm))^power,  e with its fraction
 *
 *     e <= warm:  start + (top - start) (e/warm)^2,  start = max(0.1 top, 1e-6), top the rate without warm-up (cos, poly: lr) */

static const double PI = 3.14159265358979323846;

static const char *const names[] = {
    [ATR_SCHEDULE_COS] = "cos", [ATR_SCHEDULE_STEP] = "step", [ATR_SCHEDULE_POLY] = "poly"};

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
    if (schedule->kind == ATR_SCHEDULE_POLY && !(schedule->power > 0.0 && isfinite(schedule->power)))
        return atr_fail(ATR_ERR_USAGE, "power %g of schedule poly: must be above 0", schedule->power);
    if (schedule->own_warmup && !(schedule->warmup >= 0.0 && schedule->warmup < (double)schedule->epochs))
        return atr_fail(ATR_ERR_USAGE, "warm-up of %g epochs: must end before the %lld epochs of the run",
                        schedule->warmup, (long long)schedule->epochs);
    return ATR_OK;
}

/* Epochs of warm-up. */
static double warm_epochs(const atr_schedule *schedule)
{
    if (schedule->own_warmup)
        return schedule->warmup;
    return schedule->kind == ATR_SCHEDULE_COS ? clamp(0.1 * (double)schedule->epochs, 1.0, 3.0) : 0.0;
}

static double cosine(const atr_schedule *schedule, double epoch, double warm)
{
    const double total = (double)schedule->epochs, lr = schedule->lr, least = schedule->min_lr;
    const double tail = clamp(0.3 * total, 1.0, 15.0);

    if (epoch <= warm)
        return lr;
    if (epoch >= total - tail)
        return least;
    return least + 0.5 * (lr - least) * (1.0 + cos(PI * (epoch - warm) / (total - warm - tail)));
}

static double poly(const atr_schedule *schedule, double epoch, double warm)
{
    const double lr = schedule->lr, least = schedule->min_lr;
    const double left = 1.0 - (epoch - warm) / ((double)schedule->epochs - warm);

    return epoch <= warm ? lr : least + (lr - least) * pow(fmax(left, 0.0), schedule->power);
}

/* The stage is the floor of the exact quotient of the two doubles, which fmod() knows; epoch / length may round up to the
 * next whole number. */
static double staged(const atr_schedule *schedule, double epoch)
{
    const double length = (double)schedule->epochs / 10.0;
    const double stage = round((epoch - fmod(epoch, length)) / length);

    return schedule->lr * pow(schedule->min_lr / schedule->lr, stage / 9.0);
}

double atr_schedule_at(const atr_schedule *schedule, int64_t epoch, int64_t step, int64_t steps)
{
    const double warm = warm_epochs(schedule);
    double at = (double)epoch, top = 0.0;

    if (schedule->kind == ATR_SCHEDULE_POLY && steps > 0)
        at += (double)step / (double)steps;
    if (schedule->kind == ATR_SCHEDULE_COS)
        top = cosine(schedule, at, warm);
    else
        top = schedule->kind == ATR_SCHEDULE_STEP ? staged(schedule, at) : poly(schedule, at, warm);
    if (warm <= 0.0 || at > warm)
        return top;
    const double start = fmax(0.1 * top, 1e-6);
    return start + (top - start) * (at / warm) * (at / warm);
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

int64_t atr_schedule_wanted_steps(atr_optim_kind optim)
{
    return optim == ATR_OPTIM_SGD ? 15000 : 5000;
}

atr_status atr_schedule_kind_parse(const char *name, atr_schedule_kind *out)
{
    for (int i = 0; i <= ATR_SCHEDULE_POLY; i++)
        if (strcmp(name, names[i]) == 0) {
            *out = (atr_schedule_kind)i;
            return ATR_OK;
        }
    return atr_fail(ATR_ERR_USAGE, "no schedule '%s' (have: cos, step, poly)", name);
}

const char *atr_schedule_kind_name(atr_schedule_kind kind)
{
    return names[kind];
}
