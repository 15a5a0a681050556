#include "dnn/ema.h"

#include <math.h>

struct atr_ema {
    double decay;
    atr_backend *backend; /* borrowed */
    atr_params *mean;
    int64_t steps;
};

atr_status atr_ema_create(double decay, const atr_params *params, atr_backend *backend, atr_ema **out)
{
    const int64_t count = atr_params_count(params);
    atr_param_spec *specs = NULL;
    atr_ema *ema = NULL;
    atr_status status = ATR_OK;

    *out = NULL;
    if (!(decay > 0.0 && decay < 1.0))
        return atr_fail(ATR_ERR_USAGE, "decay %g of the average: must lie between 0 and 1", decay);
    ATR_TRY(ATR_NEW(1, &ema));
    ATR_TRY(ATR_NEW(count, &specs));
    for (int64_t i = 0; i < count; i++)
        specs[i] = *atr_params_spec(params, i);
    ATR_TRY(atr_params_create_plain(specs, count, atr_backend_allocator(backend), &ema->mean));
    ATR_TRY(atr_params_copy(params, ema->mean));
    ema->decay = decay;
    ema->backend = backend;
    *out = ema;
    ema = NULL;

done:
    atr_free(specs);
    atr_ema_destroy(ema);
    return status;
}

void atr_ema_destroy(atr_ema *ema)
{
    if (ema == NULL)
        return;
    atr_params_destroy(ema->mean);
    atr_free(ema);
}

/* Counters are no numbers to average. */
static void copy_counters(const atr_params *from, atr_params *to)
{
    for (int64_t i = 0; i < atr_params_count(from); i++)
        if (atr_params_spec(from, i)->kind == ATR_PARAM_TRACKED)
            *(int64_t *)atr_params_value(to, i).data = *(const int64_t *)atr_params_value(from, i).data;
}

atr_status atr_ema_update(atr_ema *ema, const atr_params *params)
{
    const atr_backend_table *const table = ema->backend->table;
    const double t = (double)(ema->steps + 1), weight = 1.0 - fmin(ema->decay, (1.0 + t) / (10.0 + t));
    atr_status status = ATR_OK;

    atr_backend_enter(ema->backend);
    ATR_TRY(table->average(ema->backend, atr_params_flat_values(ema->mean), atr_params_flat_values(params),
                           atr_params_flat_count(params), weight));
    ATR_TRY(table->average(ema->backend, atr_params_flat_buffers(ema->mean), atr_params_flat_buffers(params),
                           atr_params_buffer_count(params), weight));
    copy_counters(params, ema->mean);
    ema->steps++;
    atr_params_touch(ema->mean);

done:
    return status;
}

atr_params *atr_ema_params(atr_ema *ema)
{
    return ema->mean;
}

int64_t atr_ema_steps(const atr_ema *ema)
{
    return ema->steps;
}

void atr_ema_set_steps(atr_ema *ema, int64_t steps)
{
    ema->steps = steps;
}
