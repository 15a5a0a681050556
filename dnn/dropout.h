#ifndef ATR_DNN_DROPOUT_H
#define ATR_DNN_DROPOUT_H

#include "core/rng.h"

/* Which elements dropout keeps, as a pure function of (sample, layer, element): every back end, thread count and rank draws
 * the same mask, backward draws it again instead of storing it, and a device can do the same.
 *
 *     key  = mix64(sample key ^ stream)                  one per sample and layer
 *     word = number floor(e/4) of stream `key`           e = (y W + x) C + c, the element's index within its sample
 *     part = 16 bits of `word`, from bit 16 (e mod 4)
 *     kept if part >= round(65536 p)
 *
 * One 64-bit word serves four elements; p is met to within 2^-17. Kept elements are multiplied by 1/(1-p). */

static inline uint64_t atr_dropout_key(uint64_t sample_key, uint64_t stream)
{
    return atr_mix64(sample_key ^ stream);
}

/* A part below this is dropped: 0 for p = 0 (nothing is) to 65536 for p = 1 (everything is). */
static inline uint32_t atr_dropout_threshold(double p)
{
    return (uint32_t)(p * 65536.0 + 0.5);
}

static inline int atr_dropout_keeps(uint64_t key, int64_t element, uint32_t threshold)
{
    const uint64_t word = atr_rng_u64(key, (uint64_t)element / 4);

    return (uint32_t)(word >> 16 * (element % 4) & 0xFFFFu) >= threshold;
}

/* What a kept element is multiplied by. */
static inline float atr_dropout_scale(double p)
{
    return p < 1.0 ? (float)(1.0 / (1.0 - p)) : 0.0f;
}

#endif
