#ifndef ATR_IO_PIXELS_IMPL_H
#define ATR_IO_PIXELS_IMPL_H

#include <stdbool.h>
#include <stdint.h>

/* The inner loops of augmentation for processors with AVX2: the same integers and roundings as the plain loops beside which they
 * stand, so that a sample does not depend on the machine. Each does as much as fits its vectors; the plain loop does the rest. */

/* Whether they may be used here: the processor, and ATR_ISA. */
bool atr_pixels_have_avx2(void);

/* What recolouring looks up, one 32-bit number each. */
typedef struct atr_hsv_tables {
    int32_t per_value[256], per_span[256];         /* reciprocals: 255/v, 30/span */
    int32_t hue[256], saturation[256], value[256]; /* what becomes of the three */
} atr_hsv_tables;

/* Recolours pixels [count,3] in place; returns how many it did. */
int64_t atr_hsv_scale_avx2(const atr_hsv_tables *tables, int64_t count, uint8_t *pixels);

/* One row of RGB pixels for a resize: dst pixel i = sum over t < count[i] of weight[i taps + t] src[first[i] + t], 22 bits of fraction.
 * Reads one byte behind the last source pixel used. */
void atr_resize_row_avx2(int64_t pixels, int64_t taps, const int32_t *first, const int32_t *count,
                         const int32_t *weight, const uint8_t *src, uint8_t *dst);

/* One row of samples: dst[s] = sum over t < count of weight[t] src[t stride + s]; returns how many samples it did. */
int64_t atr_resize_column_avx2(const int32_t *weight, int32_t count, const uint8_t *src, int64_t stride,
                               int64_t samples, uint8_t *dst);

/* A pixel of a rotation: 4x4 RGB taps from `src` on, rows `stride` bytes apart, with weights [4,4] of 15 bits. Reads four bytes behind
 * the last tap of a row. `from` [count]: offsets of the upper left taps; `weight` [count]: offsets into `weights`. */
void atr_rotate_row_avx2(int64_t count, const uint8_t *src, int64_t stride, const int64_t *from,
                         const int16_t *weights, const int32_t *weight, uint8_t *dst);

#endif
