#ifndef ATR_DNN_CPU_TILES_IMPL_H
#define ATR_DNN_CPU_TILES_IMPL_H

#include "dnn/cpu/cpu_impl.h"

/* The tiles of m x m outputs that minimal filtering (winograd.c in f32, int8_winograd.c in integers) cuts a map into. A convolution
 * with dilation d is d^2 convolutions without, each on every d-th row and column; so pixels of a tile are d apart. */

typedef struct atr_cpu_origin {
    int32_t n, y, x; /* picture and first output of a tile */
} atr_cpu_origin;

typedef struct atr_cpu_tiles {
    int m;
    int64_t count;
    atr_cpu_origin *origins; /* [count], picture by picture, row by row */
} atr_cpu_tiles;

/* The tiles of a 3x3 convolution with output of shape `y`; atr_cpu_tiles_free() takes half-made ones. */
atr_status atr_cpu_tiles_create(const atr_conv_attr *conv, const int64_t y[4], int m, atr_cpu_tiles *out);
void atr_cpu_tiles_free(atr_cpu_tiles *tiles);

/* Of the pixels at, at + d, ... numbers first .. end-1 lie in [0, size). */
void atr_cpu_inside(int64_t at, int64_t d, int64_t size, int64_t *first, int64_t *end);

/* Bytes from one point of all tiles to the next, where it takes `bytes`: an odd number of cache lines, or the points of a tile, which
 * are written and read side by side, fall into a few sets of a cache and push each other out. */
int64_t atr_cpu_plane(int64_t bytes);

static inline int64_t atr_cpu_ceil_div(int64_t a, int64_t b)
{
    return (a + b - 1) / b;
}

static inline int64_t atr_cpu_round_up(int64_t value, int64_t step)
{
    return atr_cpu_ceil_div(value, step) * step;
}

#endif
