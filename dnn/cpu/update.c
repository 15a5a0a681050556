/* Optimisers' passes over the flat blocks, and the norm of the gradient (formulas: dnn/backend.h). */
#include <math.h>

#include "dnn/cpu/cpu_impl.h"

static atr_cpu_update in_f32(const atr_update_args *args)
{
    return (atr_cpu_update){.values = args->values,
                            .m = args->m,
                            .v = args->v,
                            .gradients = args->gradients,
                            .lr = (float)args->lr,
                            .scale = (float)args->scale,
                            .weight_decay = args->decoupled ? 0 : (float)args->weight_decay,
                            .shrink = args->decoupled ? (float)(args->lr * args->weight_decay) : 0,
                            .momentum = (float)args->momentum,
                            .beta2 = (float)args->beta2,
                            .eps = (float)args->eps,
                            .rest1 = (float)(1.0 - args->momentum),
                            .rest2 = (float)(1.0 - args->beta2),
                            .nesterov = args->nesterov};
}

/* Parts end between cache lines. */
static atr_cpu_range lines_of(int64_t count, int parts, int part)
{
    enum { LINE = 16 };
    const atr_cpu_range lines = atr_cpu_share((count + LINE - 1) / LINE, parts, part);

    return (atr_cpu_range){lines.first * LINE, atr_cpu_min(count, lines.end * LINE)};
}

atr_status atr_cpu_sgd(atr_backend *backend, const atr_update_args *args)
{
    const atr_cpu_kernels *kernels = atr_cpu_kernels_of(backend);
    const atr_cpu_update update = in_f32(args);

#pragma omp parallel for schedule(static)
    for (int part = 0; part < backend->threads; part++) {
        const atr_cpu_range range = lines_of(args->count, backend->threads, part);
        kernels->sgd(&update, range.first, range.end);
    }
    return ATR_OK;
}

atr_status atr_cpu_adam(atr_backend *backend, const atr_update_args *args)
{
    const atr_cpu_kernels *kernels = atr_cpu_kernels_of(backend);
    atr_cpu_update update = in_f32(args);

    update.lr = (float)(args->lr / (1.0 - pow(args->momentum, (double)args->step)));
    update.unbias2 = (float)(1.0 / (1.0 - pow(args->beta2, (double)args->step)));
#pragma omp parallel for schedule(static)
    for (int part = 0; part < backend->threads; part++) {
        const atr_cpu_range range = lines_of(args->count, backend->threads, part);
        kernels->adam(&update, range.first, range.end);
    }
    return ATR_OK;
}

atr_status atr_cpu_accumulate(atr_backend *backend, float *to, const float *from, int64_t count)
{
    const atr_cpu_kernels *kernels = atr_cpu_kernels_of(backend);

#pragma omp parallel for schedule(static)
    for (int part = 0; part < backend->threads; part++) {
        const atr_cpu_range range = lines_of(count, backend->threads, part);
        kernels->accumulate(to, from, range.first, range.end);
    }
    return ATR_OK;
}

atr_status atr_cpu_average(atr_backend *backend, float *mean, const float *values, int64_t count,
                           double weight)
{
    const atr_cpu_kernels *kernels = atr_cpu_kernels_of(backend);

#pragma omp parallel for schedule(static)
    for (int part = 0; part < backend->threads; part++) {
        const atr_cpu_range range = lines_of(count, backend->threads, part);
        kernels->average(mean, values, range.first, range.end, (float)weight);
    }
    return ATR_OK;
}

/* Parts of fixed bounds, added in order: the same sum for any number of threads. */
atr_status atr_cpu_sum_squares(atr_backend *backend, const float *values, int64_t count, double *out)
{
    enum { PARTS = 64 };
    const atr_cpu_kernels *kernels = atr_cpu_kernels_of(backend);
    double parts[PARTS];

#pragma omp parallel for schedule(static)
    for (int part = 0; part < PARTS; part++) {
        const atr_cpu_range range = atr_cpu_share(count, PARTS, part);
        parts[part] = kernels->sum_squares(values + range.first, range.end - range.first);
    }
    *out = 0.0;
    for (int part = 0; part < PARTS; part++)
        *out += parts[part];
    return ATR_OK;
}
