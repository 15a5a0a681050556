#include "tests/support/weights_json.h"

#include <jansson.h>
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "core/rng.h"
#include "io/path.h"
#include "tests/support/parity.h"
#include "tests/support/scratch.h"

const char *weights_json_path(const char *name)
{
    const char *shared = parity_shared();
    const char *path = shared == NULL ? NULL : scratch_text("%s/parity/%s", shared, name);

    if (path != NULL && atr_path_exists(path))
        return path;
    print_message("shared data absent: parity/%s\n", name);
    return NULL;
}

double weights_number(const atr_tensor *tensor, int64_t i)
{
    switch (tensor->type) {
    case ATR_F32:
        return ((const float *)tensor->data)[i];
    case ATR_F64:
        return ((const double *)tensor->data)[i];
    case ATR_F16:
        return atr_f16_to_f32(((const uint16_t *)tensor->data)[i]);
    case ATR_BF16:
        return atr_bf16_to_f32(((const uint16_t *)tensor->data)[i]);
    case ATR_I64:
        return (double)((const int64_t *)tensor->data)[i];
    case ATR_I32:
        return ((const int32_t *)tensor->data)[i];
    case ATR_I8:
        return ((const int8_t *)tensor->data)[i];
    default:
        return ((const uint8_t *)tensor->data)[i];
    }
}

static const char *type_name(atr_dtype type)
{
    static const char *const names[ATR_DTYPES] = {
        [ATR_F32] = "float32", [ATR_BF16] = "bfloat16", [ATR_F16] = "float16", [ATR_F64] = "float64",
        [ATR_U8] = "uint8",    [ATR_I8] = "int8",       [ATR_I32] = "int32",   [ATR_I64] = "int64",
    };
    return names[type];
}

static void check_tensor(const atr_weights *weights, int64_t index, const json_t *expected)
{
    const atr_tensor *tensor = atr_weights_tensor(weights, index);
    const json_t *shape = json_object_get(expected, "shape"), *first = json_object_get(expected, "first");
    double sum = 0, magnitude = 0;

    assert_string_equal(atr_weights_name(weights, index),
                        json_string_value(json_object_get(expected, "name")));
    assert_string_equal(type_name(tensor->type), json_string_value(json_object_get(expected, "dtype")));
    assert_int_equal(tensor->rank, json_array_size(shape));
    for (int i = 0; i < tensor->rank; i++)
        assert_int_equal(tensor->dims[i], json_integer_value(json_array_get(shape, (size_t)i)));
    assert_true(atr_tensor_contiguous(tensor));
    for (size_t i = 0; i < json_array_size(first); i++)
        assert_true(weights_number(tensor, (int64_t)i) == json_number_value(json_array_get(first, i)));
    for (int64_t i = 0; i < atr_tensor_count(tensor); i++) {
        sum += weights_number(tensor, i);
        magnitude += fabs(weights_number(tensor, i));
    }
    /* Sums differ by the order of additions in double. */
    assert_true(fabs(sum - json_number_value(json_object_get(expected, "sum"))) <= 1e-12 * magnitude);
}

static void check_meta(const atr_weights *weights, const json_t *document)
{
    const json_t *epoch = json_object_get(document, "epoch");
    bool found = epoch == NULL;

    for (int64_t i = 0; i < atr_weights_meta_count(weights); i++)
        if (strcmp(atr_weights_meta_key(weights, i), "epoch") == 0)
            found = found || atoll(atr_weights_meta_value(weights, i)) == json_integer_value(epoch);
    assert_true(found);
}

int64_t weights_json_check(const char *name)
{
    const char *path = weights_json_path(scratch_text("%s.json", name));
    json_error_t error;
    atr_weights *weights = NULL;

    if (path == NULL)
        return -1;
    json_t *document = json_load_file(path, 0, &error);
    assert_non_null(document);
    const json_t *tensors = json_object_get(document, "tensors");
    const char *file = weights_json_path(json_string_value(json_object_get(document, "file")));
    assert_non_null(file);
    if (atr_weights_read(file, &weights) != ATR_OK)
        fail_msg("%s", atr_status_message());
    assert_int_equal(atr_weights_count(weights), json_array_size(tensors));
    for (int64_t i = 0; i < atr_weights_count(weights); i++)
        check_tensor(weights, i, json_array_get(tensors, (size_t)i));
    check_meta(weights, document);
    const int64_t count = atr_weights_count(weights);
    atr_weights_destroy(weights);
    json_decref(document);
    return count;
}

size_t weights_damage(uint8_t *bytes, size_t size, int64_t round)
{
    const uint64_t key = atr_rng_key(7, ATR_RNG_TEST, (uint64_t)round, size);

    if (round % 4 == 0)
        return (size_t)atr_rng_below(key, 0, size);
    const uint64_t flips = 1 + atr_rng_below(key, 1, 8);
    for (uint64_t i = 0; i < flips; i++)
        bytes[atr_rng_below(key, 2 + 2 * i, size)] ^= (uint8_t)(1u << atr_rng_below(key, 3 + 2 * i, 8));
    return size;
}
