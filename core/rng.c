#include "core/rng.h"

#include <math.h>

uint64_t atr_rng_key(uint64_t seed, atr_rng_purpose purpose, uint64_t a, uint64_t b)
{
    uint64_t key = atr_mix64(seed + 0x9E3779B97F4A7C15u);

    key = atr_mix64(key ^ ((uint64_t)purpose * 0xD1B54A32D192ED03u));
    key = atr_mix64(key + a * 0x8CB92BA72F3D8DD7u + 1);
    return atr_mix64(key + b * 0xAEF17502108EF2D9u + 2);
}

double atr_rng_normal(uint64_t key, uint64_t i)
{
    const double u = 1.0 - (double)(atr_rng_u64(key, 2 * i) >> 11) * 0x1p-53; /* (0,1] */
    const double v = (double)(atr_rng_u64(key, 2 * i + 1) >> 11) * 0x1p-53;

    return sqrt(-2.0 * log(u)) * cos(6.283185307179586 * v);
}

uint64_t atr_rng_below(uint64_t key, uint64_t i, uint64_t bound)
{
    __extension__ typedef unsigned __int128 wide;

    return (uint64_t)((wide)atr_rng_u64(key, i) * bound >> 64);
}

void atr_rng_shuffle(uint64_t key, int64_t count, int64_t *order)
{
    for (int64_t i = 0; i < count; i++)
        order[i] = i;
    for (int64_t i = count - 1; i > 0; i--) {
        const int64_t j = (int64_t)atr_rng_below(key, (uint64_t)(count - 1 - i), (uint64_t)i + 1);
        const int64_t moved = order[i];
        order[i] = order[j];
        order[j] = moved;
    }
}

uint64_t atr_fnv1a64(const char *text)
{
    uint64_t hash = 0xCBF29CE484222325u;

    for (; *text != '\0'; text++)
        hash = (hash ^ (unsigned char)*text) * 0x100000001B3u;
    return hash;
}
