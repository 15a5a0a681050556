#include <math.h>

#include "dnn/ref/ref_impl.h"

/* g' = scale g + wd p;  m = momentum m + g';  p -= lr (nesterov ? g' + momentum m : m) */
atr_status atr_ref_sgd(atr_backend *backend, const atr_update_args *args)
{
    (void)backend;
#pragma omp parallel for
    for (int64_t i = 0; i < args->count; i++) {
        const double p = (double)args->values[i];
        const double g = args->scale * (double)args->gradients[i] + args->weight_decay * p;
        const double m = args->momentum * (double)args->m[i] + g;
        args->m[i] = (float)m;
        args->values[i] = (float)(p - args->lr * (args->nesterov ? g + args->momentum * m : m));
    }
    return ATR_OK;
}

/* g' = scale g + wd p;  m = b1 m + (1-b1) g';  v = b2 v + (1-b2) g'^2
 * p -= lr (m / (1-b1^t)) / (sqrt(v / (1-b2^t)) + eps)
 * AdamW:  g' = scale g;  p -= lr wd p  before */
atr_status atr_ref_adam(atr_backend *backend, const atr_update_args *args)
{
    const double b1 = args->momentum, b2 = args->beta2;
    const double unbias1 = 1.0 / (1.0 - pow(b1, (double)args->step));
    const double unbias2 = 1.0 / (1.0 - pow(b2, (double)args->step));
    const double decay = args->decoupled ? 0.0 : args->weight_decay;
    const double shrink = args->decoupled ? args->lr * args->weight_decay : 0.0;

    (void)backend;
#pragma omp parallel for
    for (int64_t i = 0; i < args->count; i++) {
        const double p = (double)args->values[i];
        const double g = args->scale * (double)args->gradients[i] + decay * p;
        const double m = b1 * (double)args->m[i] + (1.0 - b1) * g;
        const double v = b2 * (double)args->v[i] + (1.0 - b2) * g * g;
        args->m[i] = (float)m;
        args->v[i] = (float)v;
        args->values[i] =
            (float)(p - shrink * p - args->lr * (m * unbias1) / (sqrt(v * unbias2) + args->eps));
    }
    return ATR_OK;
}

atr_status atr_ref_accumulate(atr_backend *backend, float *to, const float *from, int64_t count)
{
    (void)backend;
#pragma omp parallel for
    for (int64_t i = 0; i < count; i++)
        to[i] += from[i];
    return ATR_OK;
}

atr_status atr_ref_average(atr_backend *backend, float *mean, const float *values, int64_t count,
                           double weight)
{
    (void)backend;
#pragma omp parallel for
    for (int64_t i = 0; i < count; i++)
        mean[i] = (float)((double)mean[i] + weight * ((double)values[i] - (double)mean[i]));
    return ATR_OK;
}

/* Parts of fixed bounds, added in order: the same sum for any number of threads. */
atr_status atr_ref_sum_squares(atr_backend *backend, const float *values, int64_t count, double *out)
{
    enum { PARTS = 64 };
    double parts[PARTS];

    (void)backend;
#pragma omp parallel for
    for (int64_t part = 0; part < PARTS; part++) {
        double sum = 0.0;
        for (int64_t i = count * part / PARTS; i < count * (part + 1) / PARTS; i++)
            sum += (double)values[i] * (double)values[i];
        parts[part] = sum;
    }
    *out = 0.0;
    for (int part = 0; part < PARTS; part++)
        *out += parts[part];
    return ATR_OK;
}
