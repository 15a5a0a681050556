/* Inner loops of 3x3 convolutions by minimal filtering (dnn/cpu/winograd.c says how): transforms of tiles, and the product between
 * them. Included once per instruction level. */

#include "dnn/cpu/kernels_impl.h"
#include "dnn/cpu/vec_impl.h"

enum {
    TILE_MOST = ATR_CPU_TILE_MOST, /* outputs along a side of a tile */
    POINTS_MOST = TILE_MOST + 2,
};

/* One line of a tile through the three transforms, for `m` outputs (2, 3 or 4) and m + 2 points: those of winograd.c. */
ATR_INLINE void input_line(int m, const vec *x, vec *t)
{
    if (m == 2) {
        t[0] = x[2] - x[0];
        t[1] = x[1] + x[2];
        t[2] = x[2] - x[1];
        t[3] = x[3] - x[1];
    } else if (m == 3) {
        const vec two = vec_set(2.0f), odd = x[3] - x[1];
        t[0] = vec_fma(two, x[0] - x[2], odd);
        t[1] = vec_fma(vec_set(-2.0f), x[1], x[3] - x[2]);
        t[2] = vec_fma(two, x[1], vec_fma(vec_set(-3.0f), x[2], x[3]));
        t[3] = odd;
        t[4] = vec_fma(vec_set(-2.0f), odd, x[4] - x[2]);
    } else {
        const float a = ATR_CPU_POINT_A, b = ATR_CPU_POINT_B;
        const vec both = vec_set(a * a * b * b), sum = vec_set(-(a * a + b * b));
        const vec even_a = vec_fma(vec_set(-b * b), x[2], x[4]);
        const vec odd_a = vec_set(a) * vec_fma(vec_set(-b * b), x[1], x[3]);
        const vec even_b = vec_fma(vec_set(-a * a), x[2], x[4]);
        const vec odd_b = vec_set(b) * vec_fma(vec_set(-a * a), x[1], x[3]);
        t[0] = vec_fma(both, x[0], vec_fma(sum, x[2], x[4]));
        t[1] = even_a + odd_a;
        t[2] = even_a - odd_a;
        t[3] = even_b + odd_b;
        t[4] = even_b - odd_b;
        t[5] = vec_fma(both, x[1], vec_fma(sum, x[3], x[5]));
    }
}

ATR_INLINE void output_line(int m, const vec *t, vec *y)
{
    if (m == 2) {
        y[0] = t[0] + (t[1] + t[2]);
        y[1] = (t[1] - t[2]) + t[3];
    } else if (m == 3) {
        const vec sum = t[1] + t[2], difference = t[1] - t[2];
        y[0] = t[0] + sum + t[3];
        y[1] = vec_fma(vec_set(2.0f), t[3], difference);
        y[2] = vec_fma(vec_set(4.0f), t[3], sum) + t[4];
    } else {
        const float a = ATR_CPU_POINT_A, b = ATR_CPU_POINT_B;
        const vec sum_a = t[1] + t[2], difference_a = t[1] - t[2];
        const vec sum_b = t[3] + t[4], difference_b = t[3] - t[4];
        y[0] = t[0] + (sum_a + sum_b);
        y[1] = vec_fma(vec_set(a), difference_a, vec_set(b) * difference_b);
        y[2] = vec_fma(vec_set(a * a), sum_a, vec_set(b * b) * sum_b);
        y[3] = vec_fma(vec_set(a * a * a), difference_a, vec_fma(vec_set(b * b * b), difference_b, t[5]));
    }
}

/* The transpose of output_line(). */
ATR_INLINE void spread_line(int m, const vec *y, vec *t)
{
    if (m == 2) {
        t[0] = y[0];
        t[1] = y[0] + y[1];
        t[2] = y[0] - y[1];
        t[3] = y[1];
    } else if (m == 3) {
        const vec even = y[0] + y[2];
        t[0] = y[0];
        t[1] = even + y[1];
        t[2] = even - y[1];
        t[3] = vec_fma(vec_set(4.0f), y[2], vec_fma(vec_set(2.0f), y[1], y[0]));
        t[4] = y[2];
    } else {
        const float a = ATR_CPU_POINT_A, b = ATR_CPU_POINT_B;
        const vec even_a = vec_fma(vec_set(a * a), y[2], y[0]);
        const vec odd_a = vec_set(a) * vec_fma(vec_set(a * a), y[3], y[1]);
        const vec even_b = vec_fma(vec_set(b * b), y[2], y[0]);
        const vec odd_b = vec_set(b) * vec_fma(vec_set(b * b), y[3], y[1]);
        t[0] = y[0];
        t[1] = even_a + odd_a;
        t[2] = even_a - odd_a;
        t[3] = even_b + odd_b;
        t[4] = even_b - odd_b;
        t[5] = y[3];
    }
}

/* Channels c .. c+part-1 of the pixels of a tile of `side` pixels, 0 outside the map. */
ATR_INLINE void load_tile(const atr_cpu_patch *tile, int side, int64_t c, int64_t part, vec *to)
{
    for (int i = 0; i < side; i++)
        for (int j = 0; j < side; j++)
            to[i * side + j] = i >= tile->first_y && i < tile->end_y && j >= tile->first_x && j < tile->end_x
                                   ? vec_load_part(tile->pixels + i * tile->row + j * tile->column + c, part)
                                   : vec_zero();
}

/* The same where all pixels lie inside. */
ATR_INLINE void load_inner_tile(const atr_cpu_patch *tile, int side, int64_t c, int64_t part, vec *to)
{
    for (int i = 0; i < side; i++)
        for (int j = 0; j < side; j++)
            to[i * side + j] = vec_load_part(tile->pixels + i * tile->row + j * tile->column + c, part);
}

/* `side` x `side` pixels to `points` x `points`, along y, then along x; stores point by point. */
ATR_INLINE void transform_in(int m, bool spread, const vec *pixels, int64_t c, int64_t part, float *to,
                             int64_t plane)
{
    const int points = m + 2, side = spread ? m : points;
    vec half[POINTS_MOST * POINTS_MOST], line[POINTS_MOST], out[POINTS_MOST];

    for (int j = 0; j < side; j++) {
        for (int i = 0; i < side; i++)
            line[i] = pixels[i * side + j];
        if (spread)
            spread_line(m, line, out);
        else
            input_line(m, line, out);
        for (int i = 0; i < points; i++)
            half[i * side + j] = out[i];
    }
    for (int i = 0; i < points; i++) {
        if (spread)
            spread_line(m, half + i * side, out);
        else
            input_line(m, half + i * side, out);
        for (int j = 0; j < points; j++)
            vec_store_part(to + (i * points + j) * plane + c, out[j], part);
    }
}

ATR_INLINE void tile_in(int m, bool spread, const atr_cpu_patch *tile, int64_t channels, float *to,
                        int64_t plane)
{
    const int side = spread ? m : m + 2;
    const bool inner = tile->first_y <= 0 && tile->first_x <= 0 && tile->end_y >= side && tile->end_x >= side;
    vec pixels[POINTS_MOST * POINTS_MOST];
    int64_t c = 0;

    for (; inner && c + LANES <= channels; c += LANES) {
        load_inner_tile(tile, side, c, LANES, pixels);
        transform_in(m, spread, pixels, c, LANES, to, plane);
    }
    for (; c < channels; c += LANES) {
        const int64_t part = channels - c < LANES ? channels - c : LANES;
        load_tile(tile, side, c, part, pixels);
        transform_in(m, spread, pixels, c, part, to, plane);
    }
}

static void tile_input(int m, const atr_cpu_patch *tile, int64_t channels, float *to, int64_t plane)
{
    if (m == 2)
        tile_in(2, false, tile, channels, to, plane);
    else if (m == 3)
        tile_in(3, false, tile, channels, to, plane);
    else
        tile_in(4, false, tile, channels, to, plane);
}

static void tile_spread(int m, const atr_cpu_patch *tile, int64_t channels, float *to, int64_t plane)
{
    if (m == 2)
        tile_in(2, true, tile, channels, to, plane);
    else if (m == 3)
        tile_in(3, true, tile, channels, to, plane);
    else
        tile_in(4, true, tile, channels, to, plane);
}

/* Channels c .. c+part-1 of a tile of outputs. */
ATR_INLINE void output_block(int m, const float *from, int64_t plane, int64_t c, int64_t part,
                             const atr_cpu_patch *tile, const atr_cpu_finish *finish)
{
    const int points = m + 2;
    const vec low = vec_set(finish->clamp.low), high = vec_set(finish->clamp.high);
    const vec bias = finish->bias != NULL ? vec_load_part(finish->bias + c, part) : vec_zero();
    vec half[TILE_MOST * POINTS_MOST], line[POINTS_MOST], out[TILE_MOST];

    for (int j = 0; j < points; j++) {
        for (int i = 0; i < points; i++)
            line[i] = vec_load_part(from + (i * points + j) * plane + c, part);
        output_line(m, line, out);
        for (int i = 0; i < m; i++)
            half[i * points + j] = out[i];
    }
    for (int i = 0; i < m && i < tile->end_y; i++) {
        output_line(m, half + i * points, out);
        for (int j = 0; j < m; j++) {
            vec y = out[j] + bias;
            if (j >= tile->end_x)
                continue;
            if (finish->residual != NULL)
                y = y +
                    vec_load_part(
                        finish->residual + i * finish->residual_row + j * finish->residual_column + c, part);
            vec_store_part(tile->pixels + i * tile->row + j * tile->column + c, vec_act(y, low, high), part);
        }
    }
}

ATR_INLINE void output_channels(int m, const float *from, int64_t plane, int64_t channels,
                                const atr_cpu_patch *tile, const atr_cpu_finish *finish)
{
    int64_t c = 0;

    for (; c + LANES <= channels; c += LANES)
        output_block(m, from, plane, c, LANES, tile, finish);
    if (c < channels)
        output_block(m, from, plane, c, channels - c, tile, finish);
}

static void tile_output(int m, const float *from, int64_t plane, int64_t channels, const atr_cpu_patch *tile,
                        const atr_cpu_finish *finish)
{
    if (m == 2)
        output_channels(2, from, plane, channels, tile, finish);
    else if (m == 3)
        output_channels(3, from, plane, channels, tile, finish);
    else
        output_channels(4, from, plane, channels, tile, finish);
}

/* `rows` rows of a by one strip of b. Each element is one chain of sums in the order of depth, wherever it lies, added to what is there at the end. */
ATR_INLINE void product_rows(const float *a, int64_t a_row, int64_t depth, const float *b, const float *next,
                             float *to, int64_t to_row, int rows, bool add)
{
    vec sums[PRODUCT_ROWS][PRODUCT_VECTORS];

    for (int i = 0; i < rows; i++)
        for (int v = 0; v < PRODUCT_VECTORS; v++)
            sums[i][v] = vec_zero();
    for (int64_t k = 0; k < depth; k++, b += PRODUCT_VECTORS * LANES) {
        vec right[PRODUCT_VECTORS];
        if (next != NULL)
            __builtin_prefetch(next + k * PRODUCT_VECTORS * LANES, 0, 2);
        for (int v = 0; v < PRODUCT_VECTORS; v++)
            right[v] = vec_load(b + v * LANES);
        for (int i = 0; i < rows; i++) {
            const vec left = vec_set(a[i * a_row + k]);
            for (int v = 0; v < PRODUCT_VECTORS; v++)
                sums[i][v] = vec_fma(left, right[v], sums[i][v]);
        }
    }
    for (int i = 0; i < rows; i++)
        for (int v = 0; v < PRODUCT_VECTORS; v++)
            vec_store(to + i * to_row + v * LANES,
                      add ? vec_load(to + i * to_row + v * LANES) + sums[i][v] : sums[i][v]);
}

/* The first rows ask for the next strip, which comes from far away: it is there when they are done. */
static void product(const float *a, int64_t a_row, int64_t rows, int64_t depth, const float *b,
                    const float *next, float *to, int64_t to_row, bool add)
{
    if (rows >= PRODUCT_ROWS) {
        product_rows(a, a_row, depth, b, next, to, to_row, PRODUCT_ROWS, add);
        a += PRODUCT_ROWS * a_row;
        to += PRODUCT_ROWS * to_row;
        rows -= PRODUCT_ROWS;
    }
    for (; rows >= PRODUCT_ROWS; rows -= PRODUCT_ROWS) {
        product_rows(a, a_row, depth, b, NULL, to, to_row, PRODUCT_ROWS, add);
        a += PRODUCT_ROWS * a_row;
        to += PRODUCT_ROWS * to_row;
    }
    for (; rows >= 4; rows -= 4) {
        product_rows(a, a_row, depth, b, NULL, to, to_row, 4, add);
        a += 4 * a_row;
        to += 4 * to_row;
    }
    for (; rows > 0; rows--) {
        product_rows(a, a_row, depth, b, NULL, to, to_row, 1, add);
        a += a_row;
        to += to_row;
    }
}
