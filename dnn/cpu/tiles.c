#include "dnn/cpu/tiles_impl.h"

/* Tiles of m outputs, d apart, that cover an axis: over all d phases. */
static int64_t tiles_of_axis(int64_t size, int64_t d, int64_t m)
{
    int64_t count = 0;

    for (int64_t phase = 0; phase < d && phase < size; phase++)
        count += atr_cpu_ceil_div(atr_cpu_ceil_div(size - phase, d), m);
    return count;
}

int atr_cpu_winograd_tile(const atr_conv_attr *conv, const int64_t y[4])
{
    int best = 2;
    double least = 0;

    for (int m = 2; m <= ATR_CPU_TILE_MOST; m++) {
        const double tiles =
            (double)(tiles_of_axis(y[1], conv->dilation, m) * tiles_of_axis(y[2], conv->dilation, m));
        const double products = tiles * (m + 2) * (m + 2);
        if (m == 2 || products < least) {
            best = m;
            least = products;
        }
    }
    return best;
}

static void place_tiles(const int64_t y[4], int64_t d, int m, atr_cpu_origin *at)
{
    const int64_t span = d * m;

    for (int64_t n = 0; n < y[0]; n++)
        for (int64_t phase_y = 0; phase_y < d && phase_y < y[1]; phase_y++)
            for (int64_t row = phase_y; row < y[1]; row += span)
                for (int64_t phase_x = 0; phase_x < d && phase_x < y[2]; phase_x++)
                    for (int64_t column = phase_x; column < y[2]; column += span)
                        *at++ = (atr_cpu_origin){(int32_t)n, (int32_t)row, (int32_t)column};
}

atr_status atr_cpu_tiles_create(const atr_conv_attr *conv, const int64_t y[4], int m, atr_cpu_tiles *out)
{
    const int64_t d = conv->dilation;
    atr_status status = ATR_OK;

    *out = (atr_cpu_tiles){.m = m, .count = y[0] * tiles_of_axis(y[1], d, m) * tiles_of_axis(y[2], d, m)};
    ATR_TRY(ATR_NEW(out->count, &out->origins));
    place_tiles(y, d, m, out->origins);
done:
    return status;
}

void atr_cpu_tiles_free(atr_cpu_tiles *tiles)
{
    atr_free(tiles->origins);
    *tiles = (atr_cpu_tiles){0};
}

void atr_cpu_inside(int64_t at, int64_t d, int64_t size, int64_t *first, int64_t *end)
{
    *first = at >= 0 ? 0 : atr_cpu_ceil_div(-at, d);
    *end = at >= size ? 0 : atr_cpu_ceil_div(size - at, d);
}

int64_t atr_cpu_plane(int64_t bytes)
{
    enum { LINE = 64 };

    return (atr_cpu_ceil_div(bytes, LINE) | 1) * LINE;
}
