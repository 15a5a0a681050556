#include "io/colour.h"

#include <math.h>

#include "io/pixels_impl.h"

/* Divisions by a table of 12-bit fixed-point reciprocals. */
enum { SHIFT = 12, HALF = 1 << (SHIFT - 1), HUES = 180 };

static void fill_reciprocals(atr_hsv_tables *t)
{
    t->per_value[0] = t->per_span[0] = 0;
    for (int i = 1; i < 256; i++) {
        t->per_value[i] = (int32_t)lrint((255 << SHIFT) / (double)i);
        t->per_span[i] = (int32_t)lrint((HUES << SHIFT) / (6.0 * i));
    }
}

static inline void to_hsv(const atr_hsv_tables *t, const uint8_t *rgb, uint8_t *hsv)
{
    const int r = rgb[0], g = rgb[1], b = rgb[2];
    const int most = r > g ? (r > b ? r : b) : (g > b ? g : b),
              least = r < g ? (r < b ? r : b) : (g < b ? g : b);
    const int span = most - least;
    const int sixth = most == r   ? g - b
                      : most == g ? b - r + 2 * span
                                  : r - g + 4 * span; /* hue in units of span/60 degrees */
    const int hue = (sixth * t->per_span[span] + HALF) >> SHIFT;

    hsv[0] = (uint8_t)(hue < 0 ? hue + HUES : hue);
    hsv[1] = (uint8_t)((span * t->per_value[most] + HALF) >> SHIFT);
    hsv[2] = (uint8_t)most;
}

/* In each sixth of the circle one channel is V, one V(1-S), and one lies between: V(1 - S f) where f falls or rises. The middle
 * one is rounded once (a fused multiply-add, done in double), results are cut, not rounded: as OpenCV's vector code does. */
static inline void to_rgb(const uint8_t *hsv, uint8_t *rgb)
{
    static const uint8_t place[6][3] = {{0, 1, 2}, {1, 0, 2}, {1, 2, 0}, {2, 1, 0}, {2, 0, 1}, {0, 2, 1}};
    const float position = (float)hsv[0] * (6.0f / HUES), s = (float)hsv[1] * (1 / 255.0f),
                v = (float)hsv[2] * (1 / 255.0f);
    const int sector = (int)position;
    const float fraction = position - (float)sector, f = sector % 2 == 1 ? fraction : 1 - fraction;
    const float middle = v * (float)(1 - (double)s * f), low = v * (1 - s);
    const uint8_t *at = place[sector % 6];

    rgb[at[0]] = (uint8_t)(v * 255);
    rgb[at[1]] = (uint8_t)(middle * 255);
    rgb[at[2]] = (uint8_t)(low * 255);
}

void atr_rgb_to_hsv(const uint8_t rgb[3], uint8_t hsv[3])
{
    atr_hsv_tables tables;

    fill_reciprocals(&tables);
    to_hsv(&tables, rgb, hsv);
}

void atr_hsv_to_rgb(const uint8_t hsv[3], uint8_t rgb[3])
{
    to_rgb(hsv, rgb);
}

void atr_hsv_scale(const double factor[3], int64_t count, uint8_t *pixels)
{
    atr_hsv_tables t;

    fill_reciprocals(&t);
    for (int i = 0; i < 256; i++) {
        t.hue[i] = (uint8_t)fmod(i * factor[0], HUES);
        t.saturation[i] = (uint8_t)fmin(i * factor[1], 255);
        t.value[i] = (uint8_t)fmin(i * factor[2], 255);
    }
    const int64_t done = atr_pixels_have_avx2() ? atr_hsv_scale_avx2(&t, count, pixels) : 0;
    pixels += 3 * done;
    for (int64_t i = done; i < count; i++, pixels += 3) {
        uint8_t hsv[3];
        to_hsv(&t, pixels, hsv);
        hsv[0] = (uint8_t)t.hue[hsv[0]];
        hsv[1] = (uint8_t)t.saturation[hsv[1]];
        hsv[2] = (uint8_t)t.value[hsv[2]];
        to_rgb(hsv, pixels);
    }
}
