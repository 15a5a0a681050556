#include "apps/render.h"

#include <string.h>

/* The dimmed picture comes from a table: video has many pixels. */
void atr_render_overlay(const uint8_t *picture, const uint8_t *ids, int64_t pixels,
                        const uint8_t palette[256][3], double alpha, uint8_t *out)
{
    double dimmed[256];

    for (int i = 0; i < 256; i++)
        dimmed[i] = (1 - alpha) * i;
    for (int64_t p = 0; p < pixels; p++)
        for (int c = 0; c < 3; c++)
            out[3 * p + c] = (uint8_t)(dimmed[picture[3 * p + c]] + alpha * palette[ids[p]][c] + 0.5);
}

void atr_render_colour(const uint8_t *ids, int64_t pixels, const uint8_t palette[256][3], uint8_t *out)
{
    for (int64_t p = 0; p < pixels; p++)
        memcpy(out + 3 * p, palette[ids[p]], 3);
}

void atr_render_cutout(const uint8_t *picture, const uint8_t *ids, int64_t pixels, const bool kept[256],
                       int channels, uint8_t *out)
{
    memset(out, 0, (size_t)(pixels * channels));
    for (int64_t p = 0; p < pixels; p++) {
        if (!kept[ids[p]])
            continue;
        memcpy(out + channels * p, picture + 3 * p, 3);
        if (channels == 4)
            out[4 * p + 3] = 255;
    }
}

static float level(float share, float most)
{
    const float value = share * most + 0.5f;

    return value >= most ? most : value > 0 ? value : 0; /* not a number becomes 0 */
}

void atr_render_grey8(const float *shares, int64_t pixels, uint8_t *out)
{
    for (int64_t p = 0; p < pixels; p++)
        out[p] = (uint8_t)level(shares[p], 255.0f);
}

void atr_render_grey16(const float *shares, int64_t pixels, uint16_t *out)
{
    for (int64_t p = 0; p < pixels; p++)
        out[p] = (uint16_t)level(shares[p], 65535.0f);
}
