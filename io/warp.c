#include "io/warp.h"

#include <math.h>
#include <string.h>

#include "io/pixels_impl.h"

/* Positions have 10 fractional bits while they are summed and 5 when they choose weights; weights have 15. */
enum {
    POSITION_BITS = 10,
    POSITION_ONE = 1 << POSITION_BITS,
    STEP_BITS = 5,
    STEPS = 1 << STEP_BITS,
    WEIGHT_BITS = 15,
    WEIGHT_ONE = 1 << WEIGHT_BITS,
    TAPS = 4,
    MARGIN = 4, /* pixels of border around the copy, so that no tap needs a bounds check */
    BEHIND = 4, /* bytes behind it that vectors may read */
    BLUR_REACH = 2,
    BLOCK = 64 /* pixels whose places are found before their taps are read */
};

/* Where canvas pixel (x,y) comes from: (across_x[x] + origin_x(y), across_y[x] + origin_y(y)), in POSITION_ONE-ths. */
typedef struct inverse {
    double m[6];                  /* source x = m0 x + m1 y + m2, source y = m3 x + m4 y + m5 */
    int32_t *across_x, *across_y; /* [width] */
} inverse;

static int32_t to_position(double pixels)
{
    const double scaled = pixels * POSITION_ONE;

    return (int32_t)lrint(fmin(fmax(scaled, INT32_MIN / 2), INT32_MAX / 2));
}

/* The rotation's matrix is inverted by the general formula, and not by turning the other way: the last bits of the products
 * decide how exact halves are rounded. */
static void invert_rotation(const atr_rotation *r, inverse *out)
{
    const double pi = 3.14159265358979323846;
    const double c = cos(-r->degrees * pi / 180), s = sin(-r->degrees * pi / 180);
    const double cx = (double)r->centre_x, cy = (double)r->centre_y;
    const double tx = (1 - c) * cx - s * cy, ty = s * cx + (1 - c) * cy;
    const double scale = 1 / (c * c - s * -s);
    double *m = out->m;

    m[0] = c * scale;
    m[1] = s * -scale;
    m[3] = -s * -scale;
    m[4] = c * scale;
    m[2] = -m[0] * tx - m[1] * ty;
    m[5] = -m[3] * tx - m[4] * ty;
}

static void fill_across(int64_t width, inverse *map)
{
    for (int64_t x = 0; x < width; x++) {
        map->across_x[x] = to_position(map->m[0] * (double)x);
        map->across_y[x] = to_position(map->m[3] * (double)x);
    }
}

static void cubic(float x, float w[TAPS])
{
    const float a = -0.75f;

    w[0] = ((a * (x + 1) - 5 * a) * (x + 1) + 8 * a) * (x + 1) - 4 * a;
    w[1] = ((a + 2) * x - (a + 3)) * x * x + 1;
    w[2] = ((a + 2) * (1 - x) - (a + 3)) * (1 - x) * (1 - x) + 1;
    w[3] = 1 - w[0] - w[1] - w[2];
}

/* Makes 16 rounded weights sum to WEIGHT_ONE, so that an even area stays as it is: the largest of the last four inner ones gets what
 * is missing, the smallest gives what is too much. */
static void settle(int16_t w[TAPS * TAPS])
{
    static const int inner[4] = {2 * TAPS + 2, 2 * TAPS + 3, 3 * TAPS + 2, 3 * TAPS + 3};
    int sum = 0, least = inner[0], most = inner[0];

    for (int i = 0; i < TAPS * TAPS; i++)
        sum += w[i];
    for (int i = 1; i < 4; i++) {
        if (w[inner[i]] < w[least])
            least = inner[i];
        else if (w[inner[i]] > w[most])
            most = inner[i];
    }
    int16_t *chosen = &w[sum < WEIGHT_ONE ? most : least];
    *chosen = (int16_t)(*chosen + WEIGHT_ONE - sum);
}

/* table [STEPS (y),STEPS (x),TAPS (y),TAPS (x)] */
static void fill_weights(int16_t *table)
{
    float axis[STEPS][TAPS];

    for (int i = 0; i < STEPS; i++)
        cubic((float)i / STEPS, axis[i]);
    for (int y = 0; y < STEPS; y++)
        for (int x = 0; x < STEPS; x++, table += TAPS * TAPS) {
            for (int i = 0; i < TAPS * TAPS; i++)
                table[i] =
                    (int16_t)lrintf(fminf(axis[y][i / TAPS] * axis[x][i % TAPS] * WEIGHT_ONE, INT16_MAX));
            settle(table);
        }
}

static int32_t clamp(int32_t value, int64_t least, int64_t most)
{
    return (int32_t)(value < least ? least : value > most ? most : value);
}

/* One pixel: src points at the first channel of the upper left tap, rows `stride` bytes apart. */
static inline void cubic_pixel(const uint8_t *src, int64_t stride, const int16_t *weight, uint8_t *dst)
{
    int32_t sum[3] = {WEIGHT_ONE / 2, WEIGHT_ONE / 2, WEIGHT_ONE / 2};

    for (int row = 0; row < TAPS; row++, src += stride, weight += TAPS)
        for (int t = 0; t < TAPS; t++)
            for (int c = 0; c < 3; c++)
                sum[c] += src[3 * t + c] * weight[t];
    for (int c = 0; c < 3; c++)
        dst[c] = (uint8_t)clamp(sum[c] >> WEIGHT_BITS, 0, 255);
}

/* A copy of pixels [height,width,channels] with `margin` pixels of `border` on each side. */
static void copfrom_ybordered(const uint8_t *pixels, int64_t width, int64_t height, int64_t channels,
                              int64_t margin, uint8_t border, uint8_t *out)
{
    const int64_t stride = (width + 2 * margin) * channels;

    memset(out, border, (size_t)(stride * (height + 2 * margin)));
    for (int64_t y = 0; y < height; y++)
        memcpy(out + (y + margin) * stride + margin * channels, pixels + y * width * channels,
               (size_t)(width * channels));
}

/* Pieces of the workspace for a rotation. */
typedef struct rotor {
    inverse map;
    int16_t *weights;
    uint8_t *copy; /* [height+2 MARGIN,width+2 MARGIN,channels] */
} rotor;

static atr_status prepare(const atr_rotation *rotation, int64_t width, int64_t height, int64_t channels,
                          uint8_t border, const uint8_t *pixels, atr_workspace *workspace, rotor *out)
{
    const size_t across = atr_align_up((size_t)width * sizeof(int32_t));
    const size_t weights = (size_t)STEPS * STEPS * TAPS * TAPS * sizeof(int16_t);
    const size_t copy = (size_t)((width + 2 * MARGIN) * (height + 2 * MARGIN) * channels) + BEHIND;
    atr_status status = ATR_OK;

    ATR_TRY(atr_workspace_reserve(workspace, (int64_t)(2 * across + weights + copy)));
    out->map.across_x = (int32_t *)(void *)workspace->bytes;
    out->map.across_y = (int32_t *)(void *)(workspace->bytes + across);
    out->weights = (int16_t *)(void *)(workspace->bytes + 2 * across);
    out->copy = workspace->bytes + 2 * across + weights;
    invert_rotation(rotation, &out->map);
    fill_across(width, &out->map);
    copfrom_ybordered(pixels, width, height, channels, MARGIN, border, out->copy);

done:
    return status;
}

/* Pixels [count] of a row: `from` says where their upper left taps lie, `weight` where their weights. */
static void rotate_block(const rotor *work, int64_t count, const uint8_t *src, int64_t stride,
                         const int64_t *from, const int32_t *weight, uint8_t *dst)
{
    if (atr_pixels_have_avx2()) {
        atr_rotate_row_avx2(count, src, stride, from, work->weights, weight, dst);
        return;
    }
    for (int64_t i = 0; i < count; i++)
        cubic_pixel(src + from[i], stride, work->weights + weight[i], dst + 3 * i);
}

atr_status atr_rotate_rgb(const atr_rotation *rotation, uint8_t border, int64_t width, int64_t height,
                          uint8_t *pixels, atr_workspace *workspace)
{
    const int64_t stride = (width + 2 * MARGIN) * 3;
    const int32_t half = POSITION_ONE / STEPS / 2;
    int64_t from[BLOCK];
    int32_t weight[BLOCK];
    rotor work;
    atr_status status = ATR_OK;

    ATR_TRY(prepare(rotation, width, height, 3, border, pixels, workspace, &work));
    fill_weights(work.weights);
    for (int64_t y = 0; y < height; y++) {
        const int32_t origin_x = to_position(work.map.m[1] * (double)y + work.map.m[2]) + half;
        const int32_t origin_y = to_position(work.map.m[4] * (double)y + work.map.m[5]) + half;
        for (int64_t begin = 0; begin < width; begin += BLOCK) {
            const int64_t count = width - begin < BLOCK ? width - begin : BLOCK;
            for (int64_t i = 0; i < count; i++) {
                const int32_t from_x =
                    (origin_x + work.map.across_x[begin + i]) >> (POSITION_BITS - STEP_BITS);
                const int32_t from_y =
                    (origin_y + work.map.across_y[begin + i]) >> (POSITION_BITS - STEP_BITS);
                const int32_t column = clamp(from_x >> STEP_BITS, 1 - MARGIN, width + 1) + MARGIN - 1;
                const int32_t row = clamp(from_y >> STEP_BITS, 1 - MARGIN, height + 1) + MARGIN - 1;
                from[i] = row * stride + column * 3;
                weight[i] = ((from_y & (STEPS - 1)) * STEPS + (from_x & (STEPS - 1))) * TAPS * TAPS;
            }
            rotate_block(&work, count, work.copy, stride, from, weight, pixels);
            pixels += 3 * count;
        }
    }

done:
    return status;
}

atr_status atr_rotate_labels(const atr_rotation *rotation, uint8_t border, int64_t width, int64_t height,
                             uint8_t *labels, atr_workspace *workspace)
{
    const int64_t stride = width + 2 * MARGIN;
    rotor work;
    atr_status status = ATR_OK;

    ATR_TRY(prepare(rotation, width, height, 1, border, labels, workspace, &work));
    const uint8_t *corner = work.copy + MARGIN * (stride + 1);
    for (int64_t y = 0; y < height; y++) {
        const int32_t origin_x = to_position(work.map.m[1] * (double)y + work.map.m[2]) + POSITION_ONE / 2;
        const int32_t origin_y = to_position(work.map.m[4] * (double)y + work.map.m[5]) + POSITION_ONE / 2;
        for (int64_t x = 0; x < width; x++, labels++) {
            const int32_t from_x = (origin_x + work.map.across_x[x]) >> POSITION_BITS;
            const int32_t from_y = (origin_y + work.map.across_y[x]) >> POSITION_BITS;
            *labels = corner[(int64_t)clamp(from_y, -1, height) * stride + clamp(from_x, -1, width)];
        }
    }

done:
    return status;
}

/* Index of a mirrored axis: -1 is 1, -2 is 2, n is n-2; an axis of one pixel repeats it. */
static int64_t mirror(int64_t i, int64_t n)
{
    if (n == 1)
        return 0;
    while (i < 0 || i >= n)
        i = i < 0 ? -i : 2 * (n - 1) - i;
    return i;
}

/* sums [(width+4),3]: the weighted sum of five rows, with the mirrored margins. At most 16 * 255. */
static void blur_rows(const uint8_t *copy, int64_t width, int64_t height, int64_t y, uint16_t *sums)
{
    const int64_t stride = width * 3;
    const uint8_t *row[5];

    for (int i = 0; i < 5; i++)
        row[i] = copy + mirror(y + i - BLUR_REACH, height) * stride;
    uint16_t *inner = sums + BLUR_REACH * 3;
    for (int64_t s = 0; s < stride; s++)
        inner[s] = (uint16_t)(row[0][s] + row[4][s] + 4 * (row[1][s] + row[3][s]) + 6 * row[2][s]);
    for (int64_t i = 1; i <= BLUR_REACH; i++)
        for (int64_t c = 0; c < 3; c++) {
            inner[-3 * i + c] = inner[3 * mirror(-i, width) + c];
            inner[3 * (width - 1 + i) + c] = inner[3 * mirror(width - 1 + i, width) + c];
        }
}

atr_status atr_blur_rgb(int64_t width, int64_t height, uint8_t *pixels, atr_workspace *workspace)
{
    const int64_t stride = width * 3;
    const size_t sums_bytes = atr_align_up((size_t)(stride + 4 * BLUR_REACH * 3) * sizeof(uint16_t));
    atr_status status = ATR_OK;

    ATR_TRY(atr_workspace_reserve(workspace, (int64_t)sums_bytes + stride * height));
    uint16_t *sums = (uint16_t *)(void *)workspace->bytes;
    uint8_t *copy = workspace->bytes + sums_bytes;
    memcpy(copy, pixels, (size_t)(stride * height));
    for (int64_t y = 0; y < height; y++, pixels += stride) {
        blur_rows(copy, width, height, y, sums);
        for (int64_t s = 0; s < stride; s++)
            pixels[s] = (uint8_t)((sums[s] + sums[s + 12] + 4 * (sums[s + 3] + sums[s + 9]) +
                                   6 * sums[s + 6] + 128) >>
                                  8);
    }

done:
    return status;
}
