#include "dist/reducer.h"

struct atr_reducer {
    atr_comm *comm;
    atr_params *params;
    int64_t ready; /* elements at the front of the gradient block that are final */
};

atr_status atr_reducer_create(atr_comm *comm, atr_params *params, atr_reducer **out)
{
    atr_status status = ATR_OK;
    atr_reducer *reducer = NULL;

    *out = NULL;
    ATR_TRY(ATR_NEW(1, &reducer));
    reducer->comm = comm;
    reducer->params = params;
    *out = reducer;

done:
    return status;
}

void atr_reducer_destroy(atr_reducer *reducer)
{
    atr_free(reducer);
}

void atr_reducer_begin(atr_reducer *reducer)
{
    reducer->ready = 0;
}

atr_status atr_reducer_ready(void *user, int64_t offset, int64_t count)
{
    atr_reducer *const reducer = user;
    const int64_t end = offset + count;

    if (offset < reducer->ready || count < 0 || end > atr_params_flat_count(reducer->params))
        return atr_fail(ATR_ERR_INTERNAL, "gradients %lld..%lld reported after %lld", (long long)offset,
                        (long long)end, (long long)reducer->ready);
    reducer->ready = end;
    return ATR_OK;
}

atr_status atr_reducer_wait(atr_reducer *reducer)
{
    float *const gradients = atr_params_flat_gradients(reducer->params);
    atr_span span = {0, 0};
    atr_status status = ATR_OK;

    while (status == ATR_OK && atr_params_next_span(reducer->params, false, &span))
        status = atr_comm_sum_f32(reducer->comm, gradients + span.offset, span.count);
    return status;
}
