#include "dist/norm_ranks.h"

static atr_status sum(void *user, double *values, int64_t count)
{
    return atr_comm_sum_f64(user, values, count);
}

atr_status atr_norm_ranks_open(atr_comm *job, int64_t count, atr_norm_ranks *out)
{
    const int rank = atr_comm_rank(job), size = atr_comm_size(job);
    const int each = count < 1 ? 1 : count < size ? (int)count : size;
    const int first = rank - rank % each;
    atr_status status = ATR_OK;

    *out = (atr_norm_ranks){
        .first = first, .end = first + each < size ? first + each : size, .all = each == size && size > 1};
    if (each == 1)
        return ATR_OK;
    ATR_TRY(atr_comm_split(job, rank / each, &out->comm));
    out->group = (atr_norm_group){sum, out->comm};

done:
    return status;
}

void atr_norm_ranks_close(atr_norm_ranks *ranks)
{
    atr_comm_close(ranks->comm);
    *ranks = (atr_norm_ranks){0};
}

const atr_norm_group *atr_norm_ranks_group(const atr_norm_ranks *ranks)
{
    return ranks->end - ranks->first > 1 ? &ranks->group : NULL;
}
