#include "tests/support/picture.h"

#include <stdlib.h>
#include <string.h>

#include "core/rng.h"

uint8_t picture_sample(int64_t x, int64_t y, int64_t c)
{
    return (uint8_t)(x * 37 + y * 91 + c * 53 + x * y * 7);
}

uint8_t *picture_make(int64_t width, int64_t height, int64_t channels)
{
    uint8_t *pixels = malloc((size_t)(width * height * channels));

    if (pixels == NULL)
        abort();
    for (int64_t i = 0; i < width * height * channels; i++)
        pixels[i] = picture_sample(i / channels % width, i / channels / width, i % channels);
    return pixels;
}

uint64_t picture_hash(const void *bytes, size_t size)
{
    const uint8_t *b = bytes;
    uint64_t hash = UINT64_C(14695981039346656037);

    for (size_t i = 0; i < size; i++)
        hash = (hash ^ b[i]) * UINT64_C(1099511628211);
    return hash;
}

int picture_damage(const void *bytes, size_t size, uint64_t seed, int (*read)(const void *bytes, size_t size))
{
    int refused = 0;

    for (uint64_t round = 0; round < 1000; round++) {
        const uint64_t key = atr_rng_key(seed, ATR_RNG_TEST, round, 0);
        const size_t kept = round % 2 == 0 ? (size_t)atr_rng_below(key, 0, size) : size;
        uint8_t *copy = malloc(kept == 0 ? 1 : kept);
        if (copy == NULL)
            abort();
        memcpy(copy, bytes, kept);
        for (uint64_t flip = 0; round % 2 == 1 && flip < 1 + round / 2 % 8; flip++) {
            const uint64_t bit = atr_rng_below(key, flip + 1, 8 * size);
            copy[bit / 8] = (uint8_t)(copy[bit / 8] ^ 1 << bit % 8);
        }
        refused += read(copy, kept) != 0;
        free(copy);
    }
    return refused;
}
