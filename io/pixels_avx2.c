#include "io/pixels_impl.h"

#include <string.h>

#include "core/cpu.h"

bool atr_pixels_have_avx2(void)
{
    return atr_isa_level() >= ATR_ISA_AVX2;
}

#if defined(__x86_64__)

#include <immintrin.h>

#define AVX2 __attribute__((target("avx2")))

enum { RESIZE_BITS = 22, ROTATE_BITS = 15, HUE_SHIFT = 12, HUES = 180 };

/* ---- colour ------------------------------------------------------------------------------------------------------------- */

/* Eight pixels as three vectors of eight 32-bit numbers. */
typedef struct planes {
    __m256i a, b, c;
} planes;

AVX2 static planes load_pixels(const uint8_t *p)
{
    const __m256i spread = _mm256_setr_epi8(0, 1, 2, -1, 3, 4, 5, -1, 6, 7, 8, -1, 9, 10, 11, -1, 4, 5, 6, -1,
                                            7, 8, 9, -1, 10, 11, 12, -1, 13, 14, 15, -1);
    const __m256i low = _mm256_set1_epi32(255);
    const __m256i bytes =
        _mm256_inserti128_si256(_mm256_castsi128_si256(_mm_loadu_si128((const __m128i *)(const void *)p)),
                                _mm_loadu_si128((const __m128i *)(const void *)(p + 8)), 1);
    const __m256i rgb = _mm256_shuffle_epi8(bytes, spread);

    return (planes){_mm256_and_si256(rgb, low), _mm256_and_si256(_mm256_srli_epi32(rgb, 8), low),
                    _mm256_srli_epi32(rgb, 16)};
}

AVX2 static void store_pixels(planes p, uint8_t *out)
{
    const __m256i gather = _mm256_setr_epi8(0, 1, 2, 4, 5, 6, 8, 9, 10, 12, 13, 14, -1, -1, -1, -1, 0, 1, 2,
                                            4, 5, 6, 8, 9, 10, 12, 13, 14, -1, -1, -1, -1);
    const __m256i rgb =
        _mm256_or_si256(p.a, _mm256_or_si256(_mm256_slli_epi32(p.b, 8), _mm256_slli_epi32(p.c, 16)));
    const __m256i packed = _mm256_shuffle_epi8(rgb, gather);
    const __m128i second = _mm256_extracti128_si256(packed, 1);
    const int32_t last = _mm_extract_epi32(second, 2);

    _mm_storeu_si128((__m128i *)(void *)out, _mm256_castsi256_si128(packed));
    _mm_storel_epi64((__m128i *)(void *)(out + 12),
                     second); /* not beyond these pixels: the next ones are still to be read */
    memcpy(out + 20, &last, sizeof last);
}

AVX2 static __m256i look_up(const int32_t table[256], __m256i index)
{
    return _mm256_i32gather_epi32(table, index, 4);
}

AVX2 static planes to_hsv(const atr_hsv_tables *t, planes rgb)
{
    const __m256i half = _mm256_set1_epi32(1 << (HUE_SHIFT - 1)), r = rgb.a, g = rgb.b, b = rgb.c;
    const __m256i most = _mm256_max_epi32(r, _mm256_max_epi32(g, b));
    const __m256i span = _mm256_sub_epi32(most, _mm256_min_epi32(r, _mm256_min_epi32(g, b)));
    const __m256i of_red = _mm256_sub_epi32(g, b);
    const __m256i of_green = _mm256_add_epi32(_mm256_sub_epi32(b, r), _mm256_slli_epi32(span, 1));
    const __m256i of_blue = _mm256_add_epi32(_mm256_sub_epi32(r, g), _mm256_slli_epi32(span, 2));
    const __m256i red = _mm256_cmpeq_epi32(most, r), green = _mm256_cmpeq_epi32(most, g);
    const __m256i sixth = _mm256_blendv_epi8(_mm256_blendv_epi8(of_blue, of_green, green), of_red, red);
    const __m256i turned = _mm256_srai_epi32(
        _mm256_add_epi32(_mm256_mullo_epi32(sixth, look_up(t->per_span, span)), half), HUE_SHIFT);
    const __m256i below = _mm256_srai_epi32(turned, 31);
    const __m256i saturation = _mm256_srai_epi32(
        _mm256_add_epi32(_mm256_mullo_epi32(span, look_up(t->per_value, most)), half), HUE_SHIFT);

    return (planes){_mm256_add_epi32(turned, _mm256_and_si256(below, _mm256_set1_epi32(HUES))), saturation,
                    most};
}

/* (float)(1 - (double)s f), in each half by itself. */
AVX2 static __m256 one_minus_product(__m256 s, __m256 f)
{
    const __m256d one = _mm256_set1_pd(1.0);
    const __m256d low =
        _mm256_mul_pd(_mm256_cvtps_pd(_mm256_castps256_ps128(s)), _mm256_cvtps_pd(_mm256_castps256_ps128(f)));
    const __m256d high = _mm256_mul_pd(_mm256_cvtps_pd(_mm256_extractf128_ps(s, 1)),
                                       _mm256_cvtps_pd(_mm256_extractf128_ps(f, 1)));

    return _mm256_set_m128(_mm256_cvtpd_ps(_mm256_sub_pd(one, high)),
                           _mm256_cvtpd_ps(_mm256_sub_pd(one, low)));
}

/* Highest, middle and lowest channel as bytes 0, 1, 2 of a number; which of them red, green and blue are goes by the sector. */
AVX2 static planes to_rgb(planes hsv)
{
    const __m256i shift_red = _mm256_setr_epi32(0, 8, 16, 16, 8, 0, 0, 0);
    const __m256i shift_green = _mm256_setr_epi32(8, 0, 0, 8, 16, 16, 0, 0);
    const __m256i shift_blue = _mm256_setr_epi32(16, 16, 8, 0, 0, 8, 0, 0);
    const __m256 unit = _mm256_set1_ps(1 / 255.0f), full = _mm256_set1_ps(255), one = _mm256_set1_ps(1);
    const __m256 position = _mm256_mul_ps(_mm256_cvtepi32_ps(hsv.a), _mm256_set1_ps(6.0f / HUES));
    const __m256 s = _mm256_mul_ps(_mm256_cvtepi32_ps(hsv.b), unit),
                 v = _mm256_mul_ps(_mm256_cvtepi32_ps(hsv.c), unit);
    const __m256i sector = _mm256_cvttps_epi32(position), low_bits = _mm256_set1_epi32(255);
    const __m256 fraction = _mm256_sub_ps(position, _mm256_cvtepi32_ps(sector));
    const __m256 odd = _mm256_castsi256_ps(_mm256_slli_epi32(sector, 31)); /* blends look at the sign */
    const __m256 f = _mm256_blendv_ps(_mm256_sub_ps(one, fraction), fraction, odd);
    const __m256 middle = _mm256_mul_ps(v, one_minus_product(s, f)),
                 low = _mm256_mul_ps(v, _mm256_sub_ps(one, s));
    const __m256i three = _mm256_or_si256(
        _mm256_cvttps_epi32(_mm256_mul_ps(v, full)),
        _mm256_or_si256(_mm256_slli_epi32(_mm256_cvttps_epi32(_mm256_mul_ps(middle, full)), 8),
                        _mm256_slli_epi32(_mm256_cvttps_epi32(_mm256_mul_ps(low, full)), 16)));

    return (planes){
        _mm256_and_si256(_mm256_srlv_epi32(three, _mm256_permutevar8x32_epi32(shift_red, sector)), low_bits),
        _mm256_and_si256(_mm256_srlv_epi32(three, _mm256_permutevar8x32_epi32(shift_green, sector)),
                         low_bits),
        _mm256_and_si256(_mm256_srlv_epi32(three, _mm256_permutevar8x32_epi32(shift_blue, sector)),
                         low_bits)};
}

AVX2 int64_t atr_hsv_scale_avx2(const atr_hsv_tables *tables, int64_t count, uint8_t *pixels)
{
    int64_t done = 0;

    for (; done + 8 <= count; done += 8, pixels += 24) {
        planes hsv = to_hsv(tables, load_pixels(pixels));
        hsv.a = look_up(tables->hue, hsv.a);
        hsv.b = look_up(tables->saturation, hsv.b);
        hsv.c = look_up(tables->value, hsv.c);
        store_pixels(to_rgb(hsv), pixels);
    }
    return done;
}

/* ---- resize ------------------------------------------------------------------------------------------------------------- */

AVX2 static void store_rgb(__m128i sums, int bits, uint8_t *dst)
{
    const __m128i words = _mm_packs_epi32(_mm_sra_epi32(sums, _mm_cvtsi32_si128(bits)), _mm_setzero_si128());
    const int32_t rgb = _mm_cvtsi128_si32(_mm_packus_epi16(words, words));

    memcpy(dst, &rgb, 3);
}

AVX2 void atr_resize_row_avx2(int64_t pixels, int64_t taps, const int32_t *first, const int32_t *count,
                              const int32_t *weight, const uint8_t *src, uint8_t *dst)
{
    const __m128i half = _mm_set1_epi32(1 << (RESIZE_BITS - 1));

    for (int64_t i = 0; i < pixels; i++, weight += taps, dst += 3) {
        const uint8_t *pixel = src + 3 * (int64_t)first[i];
        __m128i sums = half;
        for (int32_t t = 0; t < count[i]; t++, pixel += 3) {
            int32_t bytes;
            memcpy(&bytes, pixel, sizeof bytes);
            sums = _mm_add_epi32(sums, _mm_mullo_epi32(_mm_cvtepu8_epi32(_mm_cvtsi32_si128(bytes)),
                                                       _mm_set1_epi32(weight[t])));
        }
        store_rgb(sums, RESIZE_BITS, dst);
    }
}

AVX2 static __m256i eight_samples(const uint8_t *src)
{
    return _mm256_cvtepu8_epi32(_mm_loadl_epi64((const __m128i *)(const void *)src));
}

AVX2 int64_t atr_resize_column_avx2(const int32_t *weight, int32_t count, const uint8_t *src, int64_t stride,
                                    int64_t samples, uint8_t *dst)
{
    const __m256i half = _mm256_set1_epi32(1 << (RESIZE_BITS - 1));
    int64_t s = 0;

    for (; s + 16 <= samples; s += 16) {
        const uint8_t *row = src + s;
        __m256i a = half, b = half;
        for (int32_t t = 0; t < count; t++, row += stride) {
            const __m256i w = _mm256_set1_epi32(weight[t]);
            a = _mm256_add_epi32(a, _mm256_mullo_epi32(eight_samples(row), w));
            b = _mm256_add_epi32(b, _mm256_mullo_epi32(eight_samples(row + 8), w));
        }
        /* Packing works on each half of a vector: the permutation puts the quarters back in order. */
        const __m256i words = _mm256_permute4x64_epi64(
            _mm256_packs_epi32(_mm256_srai_epi32(a, RESIZE_BITS), _mm256_srai_epi32(b, RESIZE_BITS)), 0xd8);
        const __m128i bytes =
            _mm_packus_epi16(_mm256_castsi256_si128(words), _mm256_extracti128_si256(words, 1));
        _mm_storeu_si128((__m128i *)(void *)(dst + s), bytes);
    }
    return s;
}

/* ---- rotation ----------------------------------------------------------------------------------------------------------- */

AVX2 void atr_rotate_row_avx2(int64_t count, const uint8_t *src, int64_t stride, const int64_t *from,
                              const int16_t *weights, const int32_t *weight, uint8_t *dst)
{
    /* Taps 0 and 1, then 2 and 3, of each channel side by side as 16-bit numbers. */
    const __m128i first = _mm_setr_epi8(0, -1, 3, -1, 1, -1, 4, -1, 2, -1, 5, -1, -1, -1, -1, -1);
    const __m128i second = _mm_setr_epi8(6, -1, 9, -1, 7, -1, 10, -1, 8, -1, 11, -1, -1, -1, -1, -1);

    for (int64_t x = 0; x < count; x++, dst += 3) {
        const uint8_t *row = src + from[x];
        const int16_t *w = weights + weight[x];
        __m128i sums = _mm_set1_epi32(1 << (ROTATE_BITS - 1));
        for (int i = 0; i < 4; i++, row += stride, w += 4) {
            const __m128i taps = _mm_loadu_si128((const __m128i *)(const void *)row);
            int32_t pair[2];
            memcpy(pair, w, sizeof pair);
            sums =
                _mm_add_epi32(sums, _mm_madd_epi16(_mm_shuffle_epi8(taps, first), _mm_set1_epi32(pair[0])));
            sums =
                _mm_add_epi32(sums, _mm_madd_epi16(_mm_shuffle_epi8(taps, second), _mm_set1_epi32(pair[1])));
        }
        store_rgb(sums, ROTATE_BITS, dst);
    }
}

#else /* another processor: atr_isa_level() never reaches ATR_ISA_AVX2, nothing of this is called */

int64_t atr_hsv_scale_avx2(const atr_hsv_tables *tables, int64_t count, uint8_t *pixels)
{
    (void)tables, (void)count, (void)pixels;
    return 0;
}

void atr_resize_row_avx2(int64_t pixels, int64_t taps, const int32_t *first, const int32_t *count,
                         const int32_t *weight, const uint8_t *src, uint8_t *dst)
{
    (void)pixels, (void)taps, (void)first, (void)count, (void)weight, (void)src, (void)dst;
}

int64_t atr_resize_column_avx2(const int32_t *weight, int32_t count, const uint8_t *src, int64_t stride,
                               int64_t samples, uint8_t *dst)
{
    (void)weight, (void)count, (void)src, (void)stride, (void)samples, (void)dst;
    return 0;
}

void atr_rotate_row_avx2(int64_t count, const uint8_t *src, int64_t stride, const int64_t *from,
                         const int16_t *weights, const int32_t *weight, uint8_t *dst)
{
    (void)count, (void)src, (void)stride, (void)from, (void)weights, (void)weight, (void)dst;
}

#endif
