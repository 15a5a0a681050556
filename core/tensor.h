#ifndef ATR_CORE_TENSOR_H
#define ATR_CORE_TENSOR_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* A view: type, dimensions, strides in elements, pointer. It owns nothing; copy it freely. */

enum { ATR_MAX_RANK = 6 };

typedef enum atr_dtype {
    ATR_F32,
    ATR_BF16,
    ATR_F16,
    ATR_F64,
    ATR_U8,
    ATR_I8,
    ATR_I32,
    ATR_I64,
    ATR_DTYPES
} atr_dtype;

typedef struct atr_tensor {
    atr_dtype type;
    int rank;
    int64_t dims[ATR_MAX_RANK];
    int64_t strides[ATR_MAX_RANK]; /* in elements */
    void *data;
} atr_tensor;

size_t atr_dtype_bytes(atr_dtype type);
const char *atr_dtype_name(atr_dtype type);

/* A contiguous view of `data` in C order. */
atr_tensor atr_tensor_make(atr_dtype type, int rank, const int64_t *dims, void *data);

/* An activation [N,H,W,C] in C order. Dimension 0..3 are N, H, W, C throughout the program. */
atr_tensor atr_tensor_nhwc(atr_dtype type, int64_t n, int64_t h, int64_t w, int64_t c, void *data);

int64_t atr_tensor_count(const atr_tensor *tensor);
bool atr_tensor_contiguous(const atr_tensor *tensor);
bool atr_tensor_same_shape(const atr_tensor *a, const atr_tensor *b);

/* "[2,3,65,65]" into `text` (at least 128 bytes); returns `text`. */
char *atr_shape_text(int rank, const int64_t *dims, char *text);

/* bfloat16 and float16 bits to float, exact. */
float atr_bf16_to_f32(uint16_t bits);
float atr_f16_to_f32(uint16_t bits);
/* Rounds to nearest, ties to even; NaN stays NaN. */
uint16_t atr_f32_to_bf16(float value);

#endif
