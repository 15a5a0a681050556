#ifndef ATR_DNN_CPU_VEC_IMPL_H
#define ATR_DNN_CPU_VEC_IMPL_H

#include <stdint.h>

#if defined(__x86_64__)
#include <immintrin.h>
#endif

/* Vectors of floats as wide as the including file may use: that file sets the target by a pragma before it includes this one.
 * Operators + - * / are the compiler's; what has no operator is a function here. Everything is inlined. */

#define ATR_INLINE static inline __attribute__((always_inline, unused))

#if defined(__AVX512F__)
enum { LANES = 16 };
#elif defined(__AVX2__)
enum { LANES = 8 };
#else
enum { LANES = 4 };
#endif

/* The tile of sums of a product a b that stays in registers. */
enum {
    PRODUCT_VECTORS = 2,                 /* of b, side by side */
    PRODUCT_ROWS = LANES == 16 ? 12 : 6, /* of a: as many as there are registers for */
};

typedef float vec __attribute__((vector_size(LANES * sizeof(float))));
typedef int32_t ivec __attribute__((vector_size(LANES * sizeof(float))));
/* The same in memory, at any address of a float. */
typedef float vec_at __attribute__((vector_size(LANES * sizeof(float)), aligned(sizeof(float)), may_alias));
typedef int32_t ivec_at
    __attribute__((vector_size(LANES * sizeof(float)), aligned(sizeof(float)), may_alias));

ATR_INLINE vec vec_set(float x)
{
    return x - (vec){0.0f};
}

ATR_INLINE vec vec_zero(void)
{
    return (vec){0.0f};
}

ATR_INLINE vec vec_load(const float *from)
{
    return *(const vec_at *)from;
}

ATR_INLINE void vec_store(float *to, vec v)
{
    *(vec_at *)to = v;
}

/* 0, 1, 2 ... */
ATR_INLINE ivec vec_iota(void)
{
    ivec v;

    for (int i = 0; i < LANES; i++)
        v[i] = i;
    return v;
}

#if defined(__AVX512F__)

/* a*b + c in one rounding where the machine has it. */
ATR_INLINE vec vec_fma(vec a, vec b, vec c)
{
    return (vec)_mm512_fmadd_ps((__m512)a, (__m512)b, (__m512)c);
}

/* The first `count` lanes (1..LANES); the others are 0 and not touched in memory. */
ATR_INLINE vec vec_load_part(const float *from, int64_t count)
{
    return count >= LANES ? vec_load(from)
                          : (vec)_mm512_maskz_loadu_ps((__mmask16)((1u << count) - 1u), from);
}

ATR_INLINE void vec_store_part(float *to, vec v, int64_t count)
{
    if (count >= LANES)
        vec_store(to, v);
    else
        _mm512_mask_storeu_ps(to, (__mmask16)((1u << count) - 1u), (__m512)v);
}

/* The larger and the smaller; where one is NaN, the second. */
ATR_INLINE vec vec_max(vec a, vec b)
{
    return (vec)_mm512_max_ps((__m512)a, (__m512)b);
}

ATR_INLINE vec vec_min(vec a, vec b)
{
    return (vec)_mm512_min_ps((__m512)a, (__m512)b);
}

/* v where low < x < high, else 0. */
ATR_INLINE vec vec_keep_between(vec v, vec x, vec low, vec high)
{
    const __mmask16 above = _mm512_cmp_ps_mask((__m512)x, (__m512)low, _CMP_GT_OQ);

    return (vec)_mm512_maskz_mov_ps(_mm512_mask_cmp_ps_mask(above, (__m512)x, (__m512)high, _CMP_LT_OQ),
                                    (__m512)v);
}

ATR_INLINE vec vec_sqrt(vec v)
{
    return (vec)_mm512_sqrt_ps((__m512)v);
}

/* Nearest integers. */
ATR_INLINE vec vec_round(vec v)
{
    return (vec)_mm512_roundscale_ps((__m512)v, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC);
}

ATR_INLINE float vec_sum(vec v)
{
    return _mm512_reduce_add_ps((__m512)v);
}

ATR_INLINE float vec_largest(vec v)
{
    return _mm512_reduce_max_ps((__m512)v);
}

/* The first lane that holds x, or LANES. */
ATR_INLINE int vec_find(vec v, float x)
{
    return __builtin_ctz(1u << LANES | _mm512_cmp_ps_mask((__m512)v, (__m512)vec_set(x), _CMP_EQ_OQ));
}

#elif defined(__AVX2__)

ATR_INLINE vec vec_fma(vec a, vec b, vec c)
{
    return (vec)_mm256_fmadd_ps((__m256)a, (__m256)b, (__m256)c);
}

ATR_INLINE __m256i vec_first(int64_t count)
{
    return _mm256_cmpgt_epi32(_mm256_set1_epi32((int)count), (__m256i)vec_iota());
}

ATR_INLINE vec vec_load_part(const float *from, int64_t count)
{
    return count >= LANES ? vec_load(from) : (vec)_mm256_maskload_ps(from, vec_first(count));
}

ATR_INLINE void vec_store_part(float *to, vec v, int64_t count)
{
    if (count >= LANES)
        vec_store(to, v);
    else
        _mm256_maskstore_ps(to, vec_first(count), (__m256)v);
}

ATR_INLINE vec vec_max(vec a, vec b)
{
    return (vec)_mm256_max_ps((__m256)a, (__m256)b);
}

ATR_INLINE vec vec_min(vec a, vec b)
{
    return (vec)_mm256_min_ps((__m256)a, (__m256)b);
}

ATR_INLINE vec vec_keep_between(vec v, vec x, vec low, vec high)
{
    return (vec)((ivec)v & (x > low) & (x < high));
}

ATR_INLINE vec vec_sqrt(vec v)
{
    return (vec)_mm256_sqrt_ps((__m256)v);
}

ATR_INLINE vec vec_round(vec v)
{
    return (vec)_mm256_round_ps((__m256)v, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC);
}

ATR_INLINE float vec_sum(vec v)
{
    __m128 s = _mm_add_ps(_mm256_castps256_ps128((__m256)v), _mm256_extractf128_ps((__m256)v, 1));

    s = _mm_add_ps(s, _mm_movehl_ps(s, s));
    return _mm_cvtss_f32(_mm_add_ss(s, _mm_movehdup_ps(s)));
}

ATR_INLINE float vec_largest(vec v)
{
    __m128 s = _mm_max_ps(_mm256_castps256_ps128((__m256)v), _mm256_extractf128_ps((__m256)v, 1));

    s = _mm_max_ps(s, _mm_movehl_ps(s, s));
    return _mm_cvtss_f32(_mm_max_ss(s, _mm_movehdup_ps(s)));
}

ATR_INLINE int vec_find(vec v, float x)
{
    return __builtin_ctz(1u << LANES | (unsigned)_mm256_movemask_ps((__m256)(v == vec_set(x))));
}

#else

ATR_INLINE vec vec_fma(vec a, vec b, vec c)
{
    return a * b + c;
}

ATR_INLINE vec vec_load_part(const float *from, int64_t count)
{
    vec v = {0.0f};

    if (count >= LANES)
        return vec_load(from);
    for (int i = 0; i < count; i++)
        v[i] = from[i];
    return v;
}

ATR_INLINE void vec_store_part(float *to, vec v, int64_t count)
{
    if (count >= LANES) {
        vec_store(to, v);
        return;
    }
    for (int i = 0; i < count; i++)
        to[i] = v[i];
}

ATR_INLINE vec vec_choose(ivec mask, vec yes, vec no)
{
    return (vec)((mask & (ivec)yes) | (~mask & (ivec)no));
}

ATR_INLINE vec vec_max(vec a, vec b)
{
    return vec_choose(a > b, a, b);
}

ATR_INLINE vec vec_min(vec a, vec b)
{
    return vec_choose(a < b, a, b);
}

ATR_INLINE vec vec_keep_between(vec v, vec x, vec low, vec high)
{
    return (vec)((ivec)v & (x > low) & (x < high));
}

ATR_INLINE vec vec_sqrt(vec v)
{
    for (int i = 0; i < LANES; i++)
        v[i] = __builtin_sqrtf(v[i]);
    return v;
}

ATR_INLINE float vec_sum(vec v)
{
    float sum = v[0];

    for (int i = 1; i < LANES; i++)
        sum += v[i];
    return sum;
}

ATR_INLINE float vec_largest(vec v)
{
    float most = v[0];

    for (int i = 1; i < LANES; i++)
        most = v[i] > most ? v[i] : most;
    return most;
}

ATR_INLINE int vec_find(vec v, float x)
{
    int i = 0;

    while (i < LANES && v[i] != x)
        i++;
    return i;
}

/* Right for |v| < 2^22, which is all that is asked: the sum has no room for a fraction. */
ATR_INLINE vec vec_round(vec v)
{
    const vec magic = vec_set(0x1.8p23f);

    return (v + magic) - magic;
}

#endif

/* act(v); NaN comes through. */
ATR_INLINE vec vec_act(vec v, vec low, vec high)
{
    return vec_min(high, vec_max(low, v));
}

/* *sum += x, with what rounding lost carried along (Kahan, CACM 1965). */
ATR_INLINE void vec_add_compensated(vec *sum, vec *lost, vec x)
{
    const vec term = x - *lost, total = *sum + term;

    *lost = (total - *sum) - term;
    *sum = total;
}

#endif
