#ifndef ATR_CORE_RNG_H
#define ATR_CORE_RNG_H

#include <stdint.h>

/* Random numbers as a pure function of a key and a counter (splitmix64; Steele, Lea, Flood, OOPSLA 2014):
 * any thread or rank computes number i of a stream without the ones before it. */

/* What a stream is for; each purpose is independent of the others. */
typedef enum atr_rng_purpose {
    ATR_RNG_INIT = 1, /* initial weights: a = parameter */
    ATR_RNG_SHUFFLE,  /* order of samples: a = epoch */
    ATR_RNG_AUGMENT,  /* a = epoch, b = sample */
    ATR_RNG_DROPOUT,  /* a = epoch, b = sample; the layer is mixed in by the plan */
    ATR_RNG_SAMPLE,   /* the drawn data set of `atrous sample` */
    ATR_RNG_TEST
} atr_rng_purpose;

/* The finaliser of splitmix64: a bijection of 64-bit words. */
static inline uint64_t atr_mix64(uint64_t x)
{
    x = (x ^ (x >> 30)) * 0xBF58476D1CE4E5B9u;
    x = (x ^ (x >> 27)) * 0x94D049BB133111EBu;
    return x ^ (x >> 31);
}

/* Number `i` of stream `key`, uniform over all 64-bit words. */
static inline uint64_t atr_rng_u64(uint64_t key, uint64_t i)
{
    return atr_mix64(key + i * 0x9E3779B97F4A7C15u);
}

/* Uniform in [0,1), a multiple of 2^-24: exact in float and double. */
static inline double atr_rng_unit(uint64_t key, uint64_t i)
{
    return (double)(atr_rng_u64(key, i) >> 40) * 0x1p-24;
}

/* The key of stream (seed, purpose, a, b). */
uint64_t atr_rng_key(uint64_t seed, atr_rng_purpose purpose, uint64_t a, uint64_t b);

/* Standard normal number `i` of the stream (Box-Muller on counters 2i and 2i+1). */
double atr_rng_normal(uint64_t key, uint64_t i);

/* Uniform over 0..bound-1 (bound >= 1), by multiplication: bias below bound * 2^-64. */
uint64_t atr_rng_below(uint64_t key, uint64_t i, uint64_t bound);

/* A permutation of 0..count-1 into `order` (Fisher-Yates with numbers 0..count-2 of the stream). */
void atr_rng_shuffle(uint64_t key, int64_t count, int64_t *order);

/* 64-bit FNV-1a of a string: names as keys. */
uint64_t atr_fnv1a64(const char *text);

#endif
