/* --log-samples: which samples a step was computed on, as the ranks say it. */
#include <string.h>

#include "apps/train_impl.h"
#include "core/deal.h"

/* A rank's part of a step is no larger: one picture more than its share in each pass. */
static int64_t most_samples(const atr_trainer *trainer)
{
    const int64_t size = atr_comm_size(trainer->comm);

    return (trainer->phase->batch + size - 1) / size + trainer->options->accumulate;
}

/* From parts by rank, [size,1+most] with the count first, to the order of the global batch. */
static void put_in_order(const atr_trainer *trainer, int64_t *parts, int64_t global_count, int64_t *out)
{
    const int64_t size = atr_comm_size(trainer->comm), row = 1 + most_samples(trainer);
    const int64_t passes = atr_deal_passes(global_count, trainer->phase->batch, trainer->options->accumulate);

    for (int64_t rank = 0; rank < size; rank++)
        parts[rank * row] = 1; /* where its next sample stands */
    for (int64_t pass = 0; pass < passes; pass++)
        for (int64_t rank = 0; rank < size; rank++) {
            const atr_share share = atr_deal_pass(global_count, passes, pass, size, rank, rank + 1);
            int64_t *const part = parts + rank * row;
            memcpy(out + share.first, part + part[0], (size_t)share.count * sizeof *out);
            part[0] += share.count;
        }
}

atr_status atr_train_gather_samples(atr_trainer *trainer, const atr_batch *batch)
{
    const int64_t size = atr_comm_size(trainer->comm), row = 1 + most_samples(trainer);
    int64_t *mine = NULL, *parts = NULL;
    atr_status status = ATR_OK;

    atr_free(trainer->step_samples);
    trainer->step_samples = NULL;
    status = ATR_NEW(row, &mine);
    if (status == ATR_OK)
        status = ATR_NEW(size * row, &parts);
    if (status == ATR_OK)
        status = ATR_NEW(batch->global_count, &trainer->step_samples);
    ATR_TRY(atr_comm_agree(trainer->comm, status));
    mine[0] = batch->count;
    memcpy(mine + 1, batch->samples, (size_t)batch->count * sizeof *mine);
    ATR_TRY(atr_comm_gather(trainer->comm, mine, (size_t)row * sizeof *mine, parts));
    put_in_order(trainer, parts, batch->global_count, trainer->step_samples);

done:
    atr_free(parts);
    atr_free(mine);
    return status;
}
