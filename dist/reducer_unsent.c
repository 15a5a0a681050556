/* What bf16 on the wire still owes to the sums, between two steps, for checkpoints. */
#include <sched.h>
#include <string.h>

#include "dist/reducer_impl.h"

/* Ranks that round what they send; 0: nobody does. */
static int64_t senders(const atr_reducer *reducer)
{
    const int64_t count = reducer->hierarchical ? reducer->nodes : reducer->comm->size;

    return reducer->options.wire == ATR_WIRE_BF16 && count > 1 ? count : 0;
}

int64_t atr_reducer_unsent_blocks(const atr_reducer *reducer, int64_t most)
{
    return senders(reducer) > most ? 1 : senders(reducer);
}

/* One operation of the first lane, to its end. Nothing on ranks that are not in it. */
static atr_status transfer(atr_reducer *reducer, atr_transfer what, const float *send, float *recv)
{
    atr_comm *const comm = reducer->comm;
    const atr_transport *const transport = comm->transport;
    atr_request request;
    bool done = false;
    atr_status status = ATR_OK;

    if (reducer->residual == NULL)
        return ATR_OK;
    atr_comm_take_turn(comm);
    ATR_TRY(atr_comm_give_turn(
        comm, transport->start(&reducer->lanes[0], what, send, recv, reducer->flat, &request)));
    while (!done) {
        atr_comm_take_turn(comm);
        ATR_TRY(atr_comm_give_turn(comm, transport->test(&request, &done)));
        if (!done)
            sched_yield();
    }

done:
    return status;
}

atr_status atr_reducer_unsent_get(atr_reducer *reducer, int64_t most, float *blocks)
{
    const bool root = atr_comm_rank(reducer->comm) == 0;
    float *other = NULL; /* for the sum, on ranks that do not want it */
    atr_status status = ATR_OK;

    if (senders(reducer) <= most)
        return transfer(reducer, ATR_TRANSFER_GATHER, reducer->residual, blocks);
    ATR_TRY(atr_comm_agree(reducer->comm, root ? ATR_OK : ATR_NEW(reducer->flat, &other)));
    ATR_TRY(transfer(reducer, ATR_TRANSFER_SUM, reducer->residual, root ? blocks : other));

done:
    atr_free(other);
    return status;
}

/* Rank 0 brings all of it, in the next step. */
static void take_sum(const atr_reducer *reducer, const float *blocks, int64_t count)
{
    if (reducer->residual == NULL)
        return;
    memset(reducer->residual, 0, (size_t)reducer->flat * sizeof *reducer->residual);
    if (atr_comm_rank(reducer->comm) != 0)
        return;
    for (int64_t k = 0; k < count; k++)
        for (int64_t i = 0; i < reducer->flat; i++)
            reducer->residual[i] += blocks[k * reducer->flat + i];
}

atr_status atr_reducer_unsent_set(atr_reducer *reducer, const float *blocks, int64_t count)
{
    if (count == senders(reducer))
        return transfer(reducer, ATR_TRANSFER_DEAL, blocks, reducer->residual);
    take_sum(reducer, blocks, count);
    return ATR_OK;
}
