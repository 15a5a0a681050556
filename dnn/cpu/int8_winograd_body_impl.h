/* Inner loops of 3x3 convolutions in integers by minimal filtering (dnn/cpu/int8_winograd.c says how): the transforms of tiles. Included
 * once per instruction level, behind int8_body_impl.h. */

enum { SHORTS = 2 * LANES }; /* 16-bit numbers in a vector */

typedef int16_t svec __attribute__((vector_size(SHORTS * sizeof(int16_t))));
typedef svec svec_at __attribute__((aligned(2), may_alias));
typedef uint8_t short_bytes __attribute__((vector_size(SHORTS)));
typedef short_bytes short_bytes_at __attribute__((aligned(1), may_alias));

/* One line of m + 2 pixels at the points 0, 1, -1 (2, -2) and infinity, for `m` outputs. */
ATR_INLINE void int8_input_line(int m, const svec *x, svec *t)
{
    if (m == 2) {
        t[0] = x[2] - x[0];
        t[1] = x[1] + x[2];
        t[2] = x[2] - x[1];
        t[3] = x[3] - x[1];
    } else if (m == 3) {
        const svec odd = x[3] - x[1];
        t[0] = ((x[0] - x[2]) << 1) + odd;
        t[1] = x[3] - x[2] - (x[1] << 1);
        t[2] = x[3] + (x[1] << 1) - (x[2] << 1) - x[2];
        t[3] = odd;
        t[4] = x[4] - x[2] - (odd << 1);
    } else {
        const svec even_1 = x[4] - (x[2] << 2), odd_1 = x[3] - (x[1] << 2);
        const svec even_2 = x[4] - x[2], odd_2 = (x[3] - x[1]) << 1;
        t[0] = ((x[0] - x[2]) << 2) + even_2;
        t[1] = even_1 + odd_1;
        t[2] = even_1 - odd_1;
        t[3] = even_2 + odd_2;
        t[4] = even_2 - odd_2;
        t[5] = ((x[1] - x[3]) << 2) + (x[5] - x[3]);
    }
}

/* Points to outputs, 2, 6 or 24 times too large, modulo 2^32. */
ATR_INLINE void int8_output_line(int m, const uvec *t, uvec *y)
{
    if (m == 2) {
        y[0] = t[1] + t[2] - (t[0] << 1);
        y[1] = t[1] - t[2] + (t[3] << 1);
    } else if (m == 3) {
        const uvec triple = (t[1] << 1) + t[1];
        y[0] = (t[0] << 1) + t[0] + t[3] - t[2] - triple;
        y[1] = t[2] + (t[3] << 1) - triple;
        y[2] = (t[3] << 2) + (t[4] << 2) + (t[4] << 1) - t[2] - triple;
    } else {
        const uvec sum_1 = t[1] + t[2], difference_1 = (t[1] - t[2]) << 2;
        const uvec sum_2 = t[3] + t[4], difference_2 = t[3] - t[4];
        y[0] = sum_2 + ((t[0] - sum_1) << 2) + (t[0] << 1);
        y[1] = (difference_2 << 1) - difference_1;
        y[2] = (sum_2 - sum_1) << 2;
        y[3] = (difference_2 << 3) - difference_1 + (t[5] << 4) + (t[5] << 3);
    }
}

/* y * factor^2 modulo 2^32 to y: the odd part of the square, 9 or 1, has an inverse; the rest is a shift. */
ATR_INLINE ivec int8_outputs(int m, uvec y)
{
    const uint32_t ninth = 0x38E38E39u;

    if (m == 2)
        return (ivec)y >> 2;
    return (ivec)(y * ninth) >> (m == 3 ? 2 : 6);
}

/* Channels c .. c+part-1 of a pixel without their zero. */
ATR_INLINE svec int8_load_shorts(const uint8_t *from, int64_t part, int16_t zero)
{
    short_bytes bytes = {0};

    if (part >= SHORTS)
        return __builtin_convertvector(*(const short_bytes_at *)from, svec) - zero;
    for (int i = 0; i < part; i++)
        bytes[i] = from[i];
    return __builtin_convertvector(bytes, svec) - zero;
}

ATR_INLINE void int8_tile_block(int m, const atr_cpu_byte_patch *tile, bool inner, int64_t c, int64_t part,
                                int16_t zero, int16_t *to, int64_t plane)
{
    const int points = m + 2;
    svec half[(ATR_CPU_TILE_MOST + 2) * (ATR_CPU_TILE_MOST + 2)], line[ATR_CPU_TILE_MOST + 2],
        out[ATR_CPU_TILE_MOST + 2];

    for (int j = 0; j < points; j++) {
        const bool inside_x = j >= tile->first_x && j < tile->end_x;
        for (int i = 0; i < points; i++)
            line[i] = inner || (inside_x && i >= tile->first_y && i < tile->end_y)
                          ? int8_load_shorts(tile->pixels + i * tile->row + j * tile->column + c, part, zero)
                          : (svec){0};
        int8_input_line(m, line, out);
        for (int i = 0; i < points; i++)
            half[i * points + j] = out[i];
    }
    for (int i = 0; i < points; i++) {
        int8_input_line(m, half + i * points, out);
        for (int j = 0; j < points; j++)
            *(svec_at *)(to + (i * points + j) * plane + c) = out[j];
    }
}

ATR_INLINE void int8_tile_in(int m, const atr_cpu_byte_patch *tile, int64_t channels, int16_t zero,
                             int16_t *to, int64_t plane)
{
    const int side = m + 2;
    const bool inner = tile->first_y <= 0 && tile->first_x <= 0 && tile->end_y >= side && tile->end_x >= side;
    int64_t c = 0;

    for (; inner && c + SHORTS <= channels; c += SHORTS)
        int8_tile_block(m, tile, true, c, SHORTS, zero, to, plane);
    for (; c < channels; c += SHORTS)
        int8_tile_block(m, tile, false, c, channels - c, zero, to, plane);
}

static void int8_tile_input(int m, const atr_cpu_byte_patch *tile, int64_t channels, int16_t zero,
                            int16_t *to, int64_t plane)
{
    if (m == 2)
        int8_tile_in(2, tile, channels, zero, to, plane);
    else if (m == 3)
        int8_tile_in(3, tile, channels, zero, to, plane);
    else
        int8_tile_in(4, tile, channels, zero, to, plane);
}

/* Channels c .. c+part-1 of a tile of outputs. */
ATR_INLINE void int8_output_block(int m, const int32_t *from, int64_t plane, int64_t c, int64_t part,
                                  const atr_cpu_int8_tile *tile, const atr_cpu_int8_end *end)
{
    const int points = m + 2;
    uvec half[ATR_CPU_TILE_MOST * (ATR_CPU_TILE_MOST + 2)], line[ATR_CPU_TILE_MOST + 2],
        out[ATR_CPU_TILE_MOST];

    for (int j = 0; j < points; j++) {
        for (int i = 0; i < points; i++)
            line[i] = (uvec) * (const ivec_at *)(from + (i * points + j) * plane + c);
        int8_output_line(m, line, out);
        for (int i = 0; i < m; i++)
            half[i * points + j] = out[i];
    }
    for (int i = 0; i < m && i < tile->rows; i++) {
        int8_output_line(m, half + i * points, out);
        for (int j = 0; j < m; j++)
            if (j < tile->columns)
                int8_finish(end, i * tile->row + j * tile->column, c, int8_outputs(m, out[j]), part);
    }
}

ATR_INLINE void int8_tile_out(int m, const int32_t *from, int64_t plane, const atr_cpu_int8_tile *tile)
{
    const atr_cpu_int8_end end = tile->end; /* a copy, which no store can reach */
    int64_t c = 0;

    for (; c + LANES <= tile->channels; c += LANES)
        int8_output_block(m, from, plane, c, LANES, tile, &end);
    if (c < tile->channels)
        int8_output_block(m, from, plane, c, tile->channels - c, tile, &end);
}

static void int8_tile_output(int m, const int32_t *from, int64_t plane, const atr_cpu_int8_tile *tile)
{
    if (m == 2)
        int8_tile_out(2, from, plane, tile);
    else if (m == 3)
        int8_tile_out(3, from, plane, tile);
    else
        int8_tile_out(4, from, plane, tile);
}
