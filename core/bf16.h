#ifndef ATR_CORE_BF16_H
#define ATR_CORE_BF16_H

#include <stdint.h>

/* Rows of bfloat16, the upper half of a float: the same range, 8 bits of mantissa. To f32 is exact; from f32 rounds to nearest, ties
 * to even, and NaN stays NaN, element by element as atr_f32_to_bf16() does. */

void atr_bf16_widen(const uint16_t *from, int64_t count, float *to);
void atr_bf16_narrow(const float *from, int64_t count, uint16_t *to);
/* to[i] = the bf16 nearest to from[i], as a float; `to` may be `from`. */
void atr_bf16_round(const float *from, int64_t count, float *to);

#endif
