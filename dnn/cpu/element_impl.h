#ifndef ATR_DNN_CPU_ELEMENT_IMPL_H
#define ATR_DNN_CPU_ELEMENT_IMPL_H

#include "dnn/cpu/vec_impl.h"

/* Elements of activations as vectors of floats: f32, or bf16 where the including file defines ATR_CPU_BF16 first. bf16 is widened
 * exactly and stored rounded to nearest, ties to even (core/bf16.h), the same bits at every instruction level. */

#if defined(ATR_CPU_BF16)

typedef uint16_t elem;
typedef uint32_t uvec __attribute__((vector_size(LANES * sizeof(uint32_t))));
typedef uint16_t hvec __attribute__((vector_size(LANES * sizeof(uint16_t))));
typedef uint16_t hvec_at
    __attribute__((vector_size(LANES * sizeof(uint16_t)), aligned(sizeof(uint16_t)), may_alias));

ATR_INLINE vec vec_widen(hvec half)
{
    return (vec)(__builtin_convertvector(half, uvec) << 16);
}

/* The upper halves. */
ATR_INLINE hvec vec_upper(uvec bits)
{
#if defined(__AVX2__) && !defined(__AVX512F__)
    const __m256i upper = _mm256_srli_epi32((__m256i)bits, 16), packed = _mm256_packus_epi32(upper, upper);
    return (hvec)_mm256_castsi256_si128(_mm256_permute4x64_epi64(packed, 0x08));
#else
    return __builtin_convertvector(bits >> 16, hvec);
#endif
}

ATR_INLINE hvec vec_narrow(vec v)
{
    const uvec bits = (uvec)v, nan = (uvec)(v != v);
    const uvec rounded = bits + 0x7FFFu + (bits >> 16 & 1u), quiet = bits | 0x400000u;

    return vec_upper((nan & quiet) | (~nan & rounded));
}

ATR_INLINE vec elem_load(const elem *from)
{
    return vec_widen(*(const hvec_at *)from);
}

ATR_INLINE void elem_store(elem *to, vec v)
{
    *(hvec_at *)to = vec_narrow(v);
}

/* As vec_load_part() and vec_store_part(). */
ATR_INLINE vec elem_load_part(const elem *from, int64_t count)
{
    hvec half = {0};

    if (count >= LANES)
        return elem_load(from);
#if defined(__AVX512BW__) && defined(__AVX512VL__)
    half = (hvec)_mm256_maskz_loadu_epi16((__mmask16)((1u << count) - 1u), from);
#else
    for (int i = 0; i < count; i++)
        half[i] = from[i];
#endif
    return vec_widen(half);
}

ATR_INLINE void elem_store_part(elem *to, vec v, int64_t count)
{
    const hvec half = vec_narrow(v);

    if (count >= LANES) {
        *(hvec_at *)to = half;
        return;
    }
#if defined(__AVX512BW__) && defined(__AVX512VL__)
    _mm256_mask_storeu_epi16(to, (__mmask16)((1u << count) - 1u), (__m256i)half);
#else
    for (int i = 0; i < count; i++)
        to[i] = half[i];
#endif
}

#else

typedef float elem;

ATR_INLINE vec elem_load(const elem *from)
{
    return vec_load(from);
}

ATR_INLINE void elem_store(elem *to, vec v)
{
    vec_store(to, v);
}

ATR_INLINE vec elem_load_part(const elem *from, int64_t count)
{
    return vec_load_part(from, count);
}

ATR_INLINE void elem_store_part(elem *to, vec v, int64_t count)
{
    vec_store_part(to, v, count);
}

#endif

#endif
