/* The sums between nodes (flat: between ranks). f32: MPI's own all-reduce. bf16: MPI would round every partial sum, so the two halves of
 * an all-reduce are done here: each rank gets its piece of everybody's bucket, adds it up in f32 in the order of the ranks, rounds
 * once and sends it to all. */
#include <math.h>
#include <string.h>

#include "core/timer.h"
#include "dist/reducer_impl.h"

static int64_t pieces(const atr_reducer *reducer)
{
    return reducer->lanes[0].size;
}

static bool wants_bf16(const atr_reducer *reducer)
{
    return reducer->options.wire == ATR_WIRE_BF16 && pieces(reducer) > 1;
}

atr_status atr_wire_open(atr_reducer *reducer)
{
    atr_status status = ATR_OK;

    if (wants_bf16(reducer)) {
        const int64_t most = reducer->flat + reducer->capacity * pieces(reducer);
        ATR_TRY(ATR_NEW(reducer->flat, &reducer->residual));
        ATR_TRY(ATR_NEW(most, &reducer->outgoing));
        ATR_TRY(ATR_NEW(most, &reducer->incoming));
    } else if (!reducer->hierarchical) {
        ATR_TRY(ATR_NEW(reducer->flat, &reducer->received));
    }

done:
    return status;
}

void atr_wire_close(atr_reducer *reducer)
{
    atr_free(reducer->received);
    atr_free(reducer->residual);
    atr_free(reducer->outgoing);
    atr_free(reducer->incoming);
}

void atr_wire_cut(atr_reducer *reducer)
{
    int64_t at = 0;

    if (!wants_bf16(reducer))
        return;
    for (int64_t i = 0; i < reducer->count; i++) {
        atr_bucket *const bucket = &reducer->buckets[i];
        bucket->piece = (reducer->facts[i].count + pieces(reducer) - 1) / pieces(reducer);
        bucket->at = at;
        at += bucket->piece * pieces(reducer);
    }
}

/* As atr_f32_to_bf16() and atr_bf16_to_f32(), in a form that the compiler makes vectors of. */
static inline uint16_t round_bf16(float value)
{
    uint32_t bits;

    memcpy(&bits, &value, sizeof bits);
    const uint32_t rounded = (bits + 0x7fff + ((bits >> 16) & 1)) >> 16, quiet = (bits >> 16) | 0x40;
    return (uint16_t)((bits & 0x7fffffff) > 0x7f800000 ? quiet : rounded);
}

static inline float widen(uint16_t half)
{
    const uint32_t bits = (uint32_t)half << 16;
    float value;

    memcpy(&value, &bits, sizeof value);
    return value;
}

/* What is left of a number after rounding; of one that is not finite nothing, for it would stay for ever. */
static inline float remainder_of(float value, uint16_t half)
{
    const float rest = value - widen(half);

    return fabsf(rest) <= 3.4e38F ? rest : 0;
}

/* out = bf16(in + residual); residual: what that took. */
static void shrink(const float *in, int64_t count, float *residual, uint16_t *out)
{
    for (int64_t i = 0; i < count; i++) {
        const float value = in[i] + residual[i];
        out[i] = round_bf16(value);
        residual[i] = remainder_of(value, out[i]);
    }
}

/* Adds up this rank's piece of what all sent, into the first of the pieces. What rounding the sum takes goes the same way as that of this
 * rank's own gradients: it is added in the next step. */
static void sum_piece(const atr_reducer *reducer, int64_t index)
{
    const atr_bucket *const bucket = &reducer->buckets[index];
    const atr_reducer_bucket *const fact = &reducer->facts[index];
    const int64_t first = bucket->piece * reducer->lanes[0].rank;
    const int64_t left = fact->count - first, count = left < bucket->piece ? left : bucket->piece;
    uint16_t *const in = reducer->incoming + bucket->at;

    for (int64_t i = 0; i < count; i++) {
        float sum = widen(in[i]);
        for (int64_t r = 1; r < pieces(reducer); r++)
            sum += widen(in[r * bucket->piece + i]);
        in[i] = round_bf16(sum);
        reducer->residual[fact->offset + first + i] += remainder_of(sum, in[i]);
    }
}

/* What this rank gives and where the sum is to be. */
static float *source_of(const atr_reducer *reducer)
{
    return reducer->hierarchical ? reducer->node.slots : atr_params_flat_gradients(reducer->params);
}

static float *target_of(const atr_reducer *reducer)
{
    if (reducer->hierarchical)
        return reducer->node.result;
    return reducer->received != NULL ? reducer->received : atr_params_flat_gradients(reducer->params);
}

atr_status atr_wire_send(atr_reducer *reducer, int64_t index)
{
    atr_bucket *const bucket = &reducer->buckets[index];
    const atr_reducer_bucket *const fact = &reducer->facts[index];
    const float *const source = source_of(reducer) + fact->offset;
    const atr_transport *const transport = reducer->comm->transport;

    bucket->stage = ATR_BUCKET_SENT;
    if (!wants_bf16(reducer))
        return transport->start(&reducer->lanes[0], ATR_TRANSFER_SUM, source,
                                target_of(reducer) + fact->offset, fact->count, &bucket->request);
    const double start = atr_seconds();
    shrink(source, fact->count, reducer->residual + fact->offset, reducer->outgoing + bucket->at);
    reducer->converting += atr_seconds() - start;
    return transport->start(&reducer->lanes[0], ATR_TRANSFER_SCATTER, reducer->outgoing + bucket->at,
                            reducer->incoming + bucket->at, bucket->piece, &bucket->request);
}

static void expand(const atr_reducer *reducer, int64_t index)
{
    const atr_reducer_bucket *const fact = &reducer->facts[index];
    const uint16_t *const in = reducer->outgoing + reducer->buckets[index].at;
    float *const out = target_of(reducer) + fact->offset;

    for (int64_t i = 0; i < fact->count; i++)
        out[i] = widen(in[i]);
}

/* Pieces have arrived: this rank's goes to all, once those of the buckets before have gone; into `outgoing`, which has been read. */
static atr_status collect(atr_reducer *reducer, int64_t index)
{
    atr_bucket *const bucket = &reducer->buckets[index];

    const double start = atr_seconds();
    sum_piece(reducer, index);
    reducer->converting += atr_seconds() - start;
    reducer->collected++;
    bucket->stage = ATR_BUCKET_COLLECTED;
    return reducer->comm->transport->start(&reducer->lanes[1], ATR_TRANSFER_COLLECT,
                                           reducer->incoming + bucket->at, reducer->outgoing + bucket->at,
                                           bucket->piece, &bucket->request);
}

atr_status atr_wire_advance(atr_reducer *reducer, int64_t index, bool *moved)
{
    atr_bucket *const bucket = &reducer->buckets[index];
    const bool halfway = wants_bf16(reducer) && bucket->stage == ATR_BUCKET_SENT;
    bool done = false;
    atr_status status = ATR_OK;

    ATR_TRY(reducer->comm->transport->test(&bucket->request, &done)); /* of one that is done: true again */
    if (!done || (halfway && reducer->collected != index))
        goto done;
    *moved = true;
    if (halfway) {
        ATR_TRY(collect(reducer, index));
    } else {
        const double start = atr_seconds();
        if (bucket->stage == ATR_BUCKET_COLLECTED)
            expand(reducer, index);
        reducer->converting += atr_seconds() - start;
        bucket->stage = ATR_BUCKET_DONE;
    }

done:
    return status;
}
