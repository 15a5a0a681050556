/* Convolution in 8-bit integers. Included once per instruction level.
 *
 * Products are made of 16-bit numbers and added in pairs to 32-bit sums (vpmaddwd): as many products per cycle on AVX2 as its 8-bit
 * instruction reaches, which saturates at 16 bits and would make results depend on the machine. Sums are exact here. */

#include "dnn/cpu/kernels_impl.h"
#include "dnn/cpu/vec_impl.h"

enum {
    INT8_VECTORS = 2,                /* vectors of channels side by side */
    INT8_ROWS = LANES == 16 ? 12 : 6 /* pixels side by side: a weight is read once for all */
};

typedef uint32_t uvec __attribute__((vector_size(LANES * sizeof(float))));
typedef uint8_t byte_vec __attribute__((vector_size(LANES)));
typedef byte_vec byte_vec_at __attribute__((aligned(1), may_alias));

#if defined(__AVX512F__)

/* sum + a.low b.low + a.high b.high of signed 16-bit halves, in each lane, modulo 2^32. */
ATR_INLINE ivec int8_add_pairs(ivec sum, ivec a, ivec b)
{
    return (ivec)((uvec)sum + (uvec)_mm512_madd_epi16((__m512i)a, (__m512i)b));
}

/* Lane c: byte c of `low` in the lower half, of `high` in the upper one. */
ATR_INLINE ivec int8_pair_bytes(const uint8_t *low, const uint8_t *high)
{
    const __m128i a = _mm_loadu_si128((const __m128i *)low), b = _mm_loadu_si128((const __m128i *)high);

    return (ivec)_mm512_cvtepu8_epi16(_mm256_set_m128i(_mm_unpackhi_epi8(a, b), _mm_unpacklo_epi8(a, b)));
}

/* Lanes in 0..255 as bytes. */
ATR_INLINE void int8_store_bytes(uint8_t *to, ivec v)
{
    _mm_storeu_si128((__m128i *)to, _mm512_cvtepi32_epi8((__m512i)v));
}

ATR_INLINE void int8_store_two(uint8_t *to, ivec first, ivec second)
{
    int8_store_bytes(to, first);
    int8_store_bytes(to + LANES, second);
}

ATR_INLINE ivec int8_nearest(vec v)
{
    return (ivec)_mm512_cvtps_epi32((__m512)v);
}

#elif defined(__AVX2__)

ATR_INLINE ivec int8_add_pairs(ivec sum, ivec a, ivec b)
{
    return (ivec)((uvec)sum + (uvec)_mm256_madd_epi16((__m256i)a, (__m256i)b));
}

ATR_INLINE ivec int8_pair_bytes(const uint8_t *low, const uint8_t *high)
{
    const __m128i a = _mm_loadl_epi64((const __m128i *)low), b = _mm_loadl_epi64((const __m128i *)high);

    return (ivec)_mm256_cvtepu8_epi16(_mm_unpacklo_epi8(a, b));
}

ATR_INLINE void int8_store_bytes(uint8_t *to, ivec v)
{
    const __m128i low = _mm256_castsi256_si128((__m256i)v), high = _mm256_extracti128_si256((__m256i)v, 1);
    const __m128i words = _mm_packs_epi32(low, high);

    _mm_storel_epi64((__m128i *)to, _mm_packus_epi16(words, words));
}

ATR_INLINE void int8_store_two(uint8_t *to, ivec first, ivec second)
{
    const __m256i words = _mm256_permute4x64_epi64(_mm256_packs_epi32((__m256i)first, (__m256i)second), 0xd8);

    _mm_storeu_si128((__m128i *)to,
                     _mm_packus_epi16(_mm256_castsi256_si128(words), _mm256_extracti128_si256(words, 1)));
}

ATR_INLINE ivec int8_nearest(vec v)
{
    return (ivec)_mm256_cvtps_epi32((__m256)v);
}

#else

ATR_INLINE ivec int8_add_pairs(ivec sum, ivec a, ivec b)
{
    const ivec a_low = (ivec)((uvec)a << 16) >> 16, b_low = (ivec)((uvec)b << 16) >> 16;

    return (ivec)((uvec)sum + (uvec)(a_low * b_low) + (uvec)((a >> 16) * (b >> 16)));
}

ATR_INLINE ivec int8_pair_bytes(const uint8_t *low, const uint8_t *high)
{
    ivec v;

    for (int i = 0; i < LANES; i++)
        v[i] = low[i] | high[i] << 16;
    return v;
}

ATR_INLINE void int8_store_bytes(uint8_t *to, ivec v)
{
    for (int i = 0; i < LANES; i++)
        to[i] = (uint8_t)v[i];
}

ATR_INLINE void int8_store_two(uint8_t *to, ivec first, ivec second)
{
    int8_store_bytes(to, first);
    int8_store_bytes(to + LANES, second);
}

ATR_INLINE ivec int8_nearest(vec v)
{
    return __builtin_convertvector(vec_round(v), ivec);
}

#endif

/* The first `count` bytes of a pixel as numbers; what lies behind is not touched. */
ATR_INLINE vec int8_load_part(const uint8_t *from, int64_t count)
{
    byte_vec bytes = {0};

    if (count >= LANES)
        return __builtin_convertvector(__builtin_convertvector(*(const byte_vec_at *)from, ivec), vec);
    for (int i = 0; i < count; i++)
        bytes[i] = from[i];
    return __builtin_convertvector(__builtin_convertvector(bytes, ivec), vec);
}

/* Numbers v, integers by now or not, plus zero as bytes. */
ATR_INLINE void int8_store_part(uint8_t *to, vec v, int32_t zero, int64_t count)
{
    uint8_t some[LANES];

    if (count >= LANES) {
        int8_store_bytes(to, int8_nearest(v) + zero);
        return;
    }
    int8_store_bytes(some, int8_nearest(v) + zero);
    for (int i = 0; i < count; i++)
        to[i] = some[i];
}

/* What becomes of the sums of channels c.. of pixel p, before it is stored; `part` of the vector's lanes are channels. */
ATR_INLINE vec int8_value(const atr_cpu_int8_end *end, int64_t p, int64_t c, ivec sums, int64_t part)
{
    vec v = vec_fma(vec_load_part(end->scale + c, part), __builtin_convertvector(sums, vec),
                    vec_load_part(end->shift + c, part));

    if (end->residual_bytes != NULL)
        v = vec_fma(vec_load_part(end->added + c, part),
                    int8_load_part(end->residual_bytes + p * end->residual_stride + c, part) -
                        vec_set(end->residual_zero),
                    v);
    else if (end->residual != NULL)
        v = vec_fma(vec_load_part(end->added + c, part),
                    vec_load_part(end->residual + p * end->residual_stride + c, part), v);
    return vec_act(v, vec_load_part(end->low + c, part), vec_load_part(end->high + c, part));
}

ATR_INLINE void int8_finish(const atr_cpu_int8_end *end, int64_t p, int64_t c, ivec sums, int64_t part)
{
    const vec v = int8_value(end, p, c, sums, part);

    if (end->bytes != NULL)
        int8_store_part(end->bytes + p * end->stride + c, v, end->zero, part);
    else
        vec_store_part(end->floats + p * end->stride + c, v, part);
}

/* The same for two whole vectors. */
ATR_INLINE void int8_finish_two(const atr_cpu_int8_end *end, int64_t p, int64_t c, ivec first, ivec second)
{
    const vec a = int8_value(end, p, c, first, LANES), b = int8_value(end, p, c + LANES, second, LANES);

    if (end->bytes != NULL) {
        int8_store_two(end->bytes + p * end->stride + c, int8_nearest(a) + end->zero,
                       int8_nearest(b) + end->zero);
    } else {
        vec_store(end->floats + p * end->stride + c, a);
        vec_store(end->floats + p * end->stride + c + LANES, b);
    }
}

/* INT8_ROWS pixels from p on by `vectors` vectors of channels from c on, the last one with `part` channels. */
ATR_INLINE void int8_block(const atr_cpu_int8_product *b, const int16_t *weights, int64_t p, int64_t c,
                           int vectors, int64_t part)
{
    const int64_t row = 2 * b->pairs;
    const int16_t *x = b->x + p * row;
    ivec sums[INT8_ROWS][INT8_VECTORS] = {{{0}}};

    for (int64_t k = 0; k < b->pairs; k++) {
        ivec w[INT8_VECTORS];
        for (int v = 0; v < vectors; v++)
            w[v] = *(const ivec_at *)(weights + (k * INT8_VECTORS + v) * 2 * LANES);
        for (int r = 0; r < INT8_ROWS; r++) {
            int32_t pair;
            __builtin_memcpy(&pair, x + r * row + 2 * k, sizeof pair);
            const ivec both = pair - (ivec){0};
            for (int v = 0; v < vectors; v++)
                sums[r][v] = int8_add_pairs(sums[r][v], both, w[v]);
        }
    }
    if (b->sums != NULL) {
#pragma GCC unroll 12
        for (int r = 0; r < INT8_ROWS; r++)
            for (int v = 0; v < vectors && p + r < b->pixels; v++)
                *(ivec_at *)(b->sums + (p + r) * b->sums_pitch + c + v * LANES) = sums[r][v];
        return;
    }
    const atr_cpu_int8_end end = b->end; /* a copy, which no store can reach */
#pragma GCC unroll 12
    for (int r = 0; r < INT8_ROWS; r++) { /* unrolled, or the sums would not stay in registers */
        if (p + r >= b->pixels)
            continue;
        if (vectors == 2 && part == LANES) {
            int8_finish_two(&end, p + r, c, sums[r][0], sums[r][1]);
            continue;
        }
        for (int v = 0; v < vectors; v++)
            int8_finish(&end, p + r, c + v * LANES, sums[r][v], v == vectors - 1 ? part : LANES);
    }
}

static void int8_product(const atr_cpu_int8_product *b)
{
    enum { STRIP = INT8_VECTORS * LANES };

    for (int64_t c = 0; c < b->channels; c += STRIP) {
        const int16_t *weights = b->weights + c * 2 * b->strip_pairs;
        const int64_t left = b->channels - c;
        for (int64_t p = 0; p < b->pixels; p += INT8_ROWS)
            if (left >= STRIP)
                int8_block(b, weights, p, c, INT8_VECTORS, LANES);
            else if (left > LANES)
                int8_block(b, weights, p, c, INT8_VECTORS, left - LANES);
            else
                int8_block(b, weights, p, c, 1, left);
    }
}

/* Channels c .. c+part-1 of depthwise pixel p. */
ATR_INLINE void int8_taps_block(const atr_cpu_int8_taps *t, const atr_cpu_int8_end *end, int64_t p, int64_t c,
                                int vectors, int64_t part)
{
    ivec sums[2];
    uint8_t low[LANES] = {0}, high[LANES] = {0};

    for (int v = 0; v < vectors; v++)
        sums[v] = *(const ivec_at *)(t->start + c + v * LANES);
    for (int64_t k = 0; k < t->pairs; k++) {
        const uint8_t *a = t->taps[2 * k] + p * t->step + c, *b = t->taps[2 * k + 1] + p * t->step + c;
        if (part < LANES) {
            for (int i = 0; i < part; i++) {
                low[i] = a[i];
                high[i] = b[i];
            }
            a = low;
            b = high;
        }
        for (int v = 0; v < vectors; v++)
            sums[v] = int8_add_pairs(sums[v], int8_pair_bytes(a + v * LANES, b + v * LANES),
                                     *(const ivec_at *)(t->weights + k * t->padded + c + v * LANES));
    }
    if (vectors == 2)
        int8_finish_two(end, p, c, sums[0], sums[1]);
    else
        int8_finish(end, p, c, sums[0], part);
}

static void int8_taps(const atr_cpu_int8_taps *t)
{
    const atr_cpu_int8_end end = t->end;

    for (int64_t p = 0; p < t->pixels; p++) {
        int64_t c = 0;
        for (; c + 2 * LANES <= t->channels; c += 2 * LANES)
            int8_taps_block(t, &end, p, c, 2, LANES);
        for (; c + LANES <= t->channels; c += LANES)
            int8_taps_block(t, &end, p, c, 1, LANES);
        if (c < t->channels)
            int8_taps_block(t, &end, p, c, 1, t->channels - c);
    }
}

static void widen_bytes(const uint8_t *from, int64_t count, int16_t zero, int16_t *to)
{
    for (int64_t i = 0; i < count; i++)
        to[i] = (int16_t)(from[i] - zero);
}

static void quantise(const float *from, int64_t from_stride, uint8_t *to, int64_t to_stride, int64_t pixels,
                     int64_t channels, const float *inverse, int32_t zero)
{
    const vec low = vec_set((float)-zero), high = vec_set((float)(255 - zero));

    for (int64_t p = 0; p < pixels; p++, from += from_stride, to += to_stride)
        for (int64_t c = 0; c < channels; c += LANES) {
            const int64_t part = channels - c < LANES ? channels - c : LANES;
            const vec v = vec_load_part(from + c, part) * vec_load_part(inverse + c, part);
            int8_store_part(to + c, vec_min(vec_max(v, low), high), zero, part); /* NaN becomes the lowest */
        }
}
