#include "core/tensor.h"

#include <assert.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

static const struct {
    size_t bytes;
    const char *name;
} dtypes[ATR_DTYPES] = {
    [ATR_F32] = {4, "float32"}, [ATR_BF16] = {2, "bfloat16"}, [ATR_F16] = {2, "float16"},
    [ATR_F64] = {8, "float64"}, [ATR_U8] = {1, "uint8"},      [ATR_I8] = {1, "int8"},
    [ATR_I32] = {4, "int32"},   [ATR_I64] = {8, "int64"},
};

size_t atr_dtype_bytes(atr_dtype type)
{
    return dtypes[type].bytes;
}

const char *atr_dtype_name(atr_dtype type)
{
    return dtypes[type].name;
}

atr_tensor atr_tensor_make(atr_dtype type, int rank, const int64_t *dims, void *data)
{
    atr_tensor tensor = {.type = type, .rank = rank, .data = data};
    int64_t stride = 1;

    assert(rank >= 0 && rank <= ATR_MAX_RANK);
    for (int i = rank - 1; i >= 0; i--) {
        tensor.dims[i] = dims[i];
        tensor.strides[i] = stride;
        stride *= dims[i];
    }
    return tensor;
}

atr_tensor atr_tensor_nhwc(atr_dtype type, int64_t n, int64_t h, int64_t w, int64_t c, void *data)
{
    return atr_tensor_make(type, 4, (const int64_t[]){n, h, w, c}, data);
}

int64_t atr_tensor_count(const atr_tensor *tensor)
{
    int64_t count = 1;

    for (int i = 0; i < tensor->rank; i++)
        count *= tensor->dims[i];
    return count;
}

bool atr_tensor_contiguous(const atr_tensor *tensor)
{
    int64_t stride = 1;

    for (int i = tensor->rank - 1; i >= 0; i--) {
        if (tensor->dims[i] != 1 && tensor->strides[i] != stride)
            return false;
        stride *= tensor->dims[i];
    }
    return true;
}

bool atr_tensor_same_shape(const atr_tensor *a, const atr_tensor *b)
{
    return a->rank == b->rank && memcmp(a->dims, b->dims, (size_t)a->rank * sizeof a->dims[0]) == 0;
}

char *atr_shape_text(int rank, const int64_t *dims, char *text)
{
    size_t used = 0;

    text[used++] = '[';
    for (int i = 0; i < rank && used < 96; i++)
        used += (size_t)snprintf(text + used, 128 - used, i == 0 ? "%lld" : ",%lld", (long long)dims[i]);
    text[used++] = ']';
    text[used] = '\0';
    return text;
}

float atr_bf16_to_f32(uint16_t bits)
{
    const uint32_t wide = (uint32_t)bits << 16;
    float value;

    memcpy(&value, &wide, sizeof value);
    return value;
}

float atr_f16_to_f32(uint16_t bits)
{
    const int exponent = bits >> 10 & 31;
    const int fraction = bits & 1023;
    float value;

    if (exponent == 31)
        value = fraction == 0 ? INFINITY : NAN;
    else if (exponent == 0)
        value = ldexpf((float)fraction, -24);
    else
        value = ldexpf((float)(fraction + 1024), exponent - 25);
    return bits >> 15 ? -value : value;
}

uint16_t atr_f32_to_bf16(float value)
{
    uint32_t bits;

    memcpy(&bits, &value, sizeof bits);
    if ((bits & 0x7FFFFFFFu) > 0x7F800000u)
        return (uint16_t)(bits >> 16 | 0x40u);
    return (uint16_t)((bits + 0x7FFFu + (bits >> 16 & 1u)) >> 16);
}
