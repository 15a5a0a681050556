#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include <math.h>

#include "core/tensor.h"

static void a_fresh_view_is_contiguous_in_c_order(void **state)
{
    float data[2 * 3 * 4 * 5];
    const atr_tensor t = atr_tensor_nhwc(ATR_F32, 2, 3, 4, 5, data);

    (void)state;
    assert_int_equal(t.rank, 4);
    assert_int_equal(t.strides[0], 60);
    assert_int_equal(t.strides[1], 20);
    assert_int_equal(t.strides[2], 5);
    assert_int_equal(t.strides[3], 1);
    assert_int_equal(atr_tensor_count(&t), 120);
    assert_true(atr_tensor_contiguous(&t));
    assert_ptr_equal(t.data, data);
}

static void a_slice_is_not_contiguous_unless_the_gap_is_never_stepped_over(void **state)
{
    atr_tensor t = atr_tensor_nhwc(ATR_F32, 1, 3, 4, 5, NULL);

    (void)state;
    t.dims[3] = 2; /* two of five channels */
    assert_false(atr_tensor_contiguous(&t));
    t = atr_tensor_nhwc(ATR_F32, 1, 3, 4, 5, NULL);
    t.strides[0] = 999; /* of a dimension with one entry */
    assert_true(atr_tensor_contiguous(&t));
}

static void a_scalar_has_one_element(void **state)
{
    const atr_tensor t = atr_tensor_make(ATR_I64, 0, NULL, NULL);

    (void)state;
    assert_int_equal(atr_tensor_count(&t), 1);
    assert_true(atr_tensor_contiguous(&t));
}

static void shapes_compare_by_rank_and_dimensions(void **state)
{
    const atr_tensor a = atr_tensor_nhwc(ATR_F32, 1, 2, 3, 4, NULL),
                     b = atr_tensor_nhwc(ATR_U8, 1, 2, 3, 4, NULL);
    const atr_tensor c = atr_tensor_nhwc(ATR_F32, 1, 2, 4, 3, NULL);
    const atr_tensor d = atr_tensor_make(ATR_F32, 3, (const int64_t[]){1, 2, 3}, NULL);

    (void)state;
    assert_true(atr_tensor_same_shape(&a, &b));
    assert_false(atr_tensor_same_shape(&a, &c));
    assert_false(atr_tensor_same_shape(&a, &d));
}

static void shapes_are_written_in_brackets(void **state)
{
    char text[128];
    const int64_t wide[] = {INT64_MAX, INT64_MIN, INT64_MAX, INT64_MIN, INT64_MAX, INT64_MIN};

    (void)state;
    assert_string_equal(atr_shape_text(4, (const int64_t[]){2, 3, 65, 65}, text), "[2,3,65,65]");
    assert_string_equal(atr_shape_text(0, NULL, text), "[]");
    atr_shape_text(6, wide, text);
    assert_in_range(strlen(text), 90, 127);
}

static void every_type_has_a_size_and_a_name(void **state)
{
    const size_t bytes[ATR_DTYPES] = {4, 2, 2, 8, 1, 1, 4, 8};

    (void)state;
    for (int i = 0; i < ATR_DTYPES; i++) {
        assert_int_equal(atr_dtype_bytes((atr_dtype)i), bytes[i]);
        assert_non_null(atr_dtype_name((atr_dtype)i));
    }
}

static void every_bf16_survives_the_way_through_float(void **state)
{
    (void)state;
    for (uint32_t bits = 0; bits < 0x10000; bits++) {
        const float value = atr_bf16_to_f32((uint16_t)bits);
        if (isnan(value))
            assert_true(isnan(atr_bf16_to_f32(atr_f32_to_bf16(value))));
        else
            assert_int_equal(atr_f32_to_bf16(value), bits);
    }
}

static void bf16_rounds_to_nearest_ties_to_even(void **state)
{
    (void)state;
    assert_int_equal(atr_f32_to_bf16(1.0f), 0x3F80);
    assert_int_equal(atr_f32_to_bf16(1.0f + 0x1p-8f), 0x3F80);            /* tie, down to even */
    assert_int_equal(atr_f32_to_bf16(1.0f + 0x1p-8f + 0x1p-20f), 0x3F81); /* above the tie */
    assert_int_equal(atr_f32_to_bf16(1.0f + 0x3p-8f), 0x3F82);            /* tie, up to even */
    assert_int_equal(atr_f32_to_bf16(INFINITY), 0x7F80);
    assert_int_equal(atr_f32_to_bf16(-INFINITY), 0xFF80);
    assert_int_equal(atr_f32_to_bf16(3.4028235e38f), 0x7F80);
    assert_true(isnan(atr_bf16_to_f32(atr_f32_to_bf16(NAN))));
}

static void f16_is_read_exactly(void **state)
{
    (void)state;
    assert_true(atr_f16_to_f32(0x3C00) == 1.0f);
    assert_true(atr_f16_to_f32(0xC000) == -2.0f);
    assert_true(atr_f16_to_f32(0x7BFF) == 65504.0f);
    assert_true(atr_f16_to_f32(0x0400) == 0x1p-14f);
    assert_true(atr_f16_to_f32(0x0001) == 0x1p-24f);
    assert_true(atr_f16_to_f32(0x03FF) == 1023 * 0x1p-24f);
    assert_true(atr_f16_to_f32(0x3555) == 1365 * 0x1p-12f);
    assert_true(signbit(atr_f16_to_f32(0x8000)) && atr_f16_to_f32(0x8000) == 0);
    assert_true(isinf(atr_f16_to_f32(0x7C00)) && isinf(atr_f16_to_f32(0xFC00)));
    assert_true(isnan(atr_f16_to_f32(0x7E01)));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_fresh_view_is_contiguous_in_c_order),
        cmocka_unit_test(a_slice_is_not_contiguous_unless_the_gap_is_never_stepped_over),
        cmocka_unit_test(a_scalar_has_one_element),
        cmocka_unit_test(shapes_compare_by_rank_and_dimensions),
        cmocka_unit_test(shapes_are_written_in_brackets),
        cmocka_unit_test(every_type_has_a_size_and_a_name),
        cmocka_unit_test(every_bf16_survives_the_way_through_float),
        cmocka_unit_test(bf16_rounds_to_nearest_ties_to_even),
        cmocka_unit_test(f16_is_read_exactly),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
