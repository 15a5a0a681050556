#include "core/bf16.h"

#include <string.h>

/* Loops that compilers vectorise: no branches, one width. */

static inline uint32_t bits_of(float value)
{
    uint32_t bits;

    memcpy(&bits, &value, sizeof bits);
    return bits;
}

static inline float float_of(uint32_t bits)
{
    float value;

    memcpy(&value, &bits, sizeof value);
    return value;
}

/* The bits of the nearest bf16. */
static inline uint32_t nearest(uint32_t bits)
{
    const uint32_t rounded = (bits + 0x7FFFu + (bits >> 16 & 1u)) >> 16, quiet = bits >> 16 | 0x40u;

    return (bits & 0x7FFFFFFFu) > 0x7F800000u ? quiet : rounded;
}

void atr_bf16_widen(const uint16_t *restrict from, int64_t count, float *restrict to)
{
    for (int64_t i = 0; i < count; i++)
        to[i] = float_of((uint32_t)from[i] << 16);
}

void atr_bf16_narrow(const float *restrict from, int64_t count, uint16_t *restrict to)
{
    for (int64_t i = 0; i < count; i++)
        to[i] = (uint16_t)nearest(bits_of(from[i]));
}

void atr_bf16_round(const float *from, int64_t count, float *to)
{
    for (int64_t i = 0; i < count; i++)
        to[i] = float_of(nearest(bits_of(from[i])) << 16);
}
