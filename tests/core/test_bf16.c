#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>

#include "core/bf16.h"
#include "core/tensor.h"

/* Rows of bf16 against the conversions of single numbers (tests/core/test_tensor.c). */

enum { ROW = 65536 };

static float of_bits(uint32_t bits)
{
    float value;

    memcpy(&value, &bits, sizeof value);
    return value;
}

static void every_bf16_widens_exactly_and_comes_back(void **state)
{
    static uint16_t row[ROW], back[ROW];
    static float wide[ROW];

    (void)state;
    for (int i = 0; i < ROW; i++)
        row[i] = (uint16_t)i;
    atr_bf16_widen(row, ROW, wide);
    atr_bf16_narrow(wide, ROW, back);
    for (int i = 0; i < ROW; i++) {
        const float one = atr_bf16_to_f32(row[i]);
        assert_memory_equal(&one, &wide[i], sizeof one);
        if (isnan(one))
            assert_true(isnan(atr_bf16_to_f32(back[i])));
        else
            assert_int_equal(back[i], row[i]);
    }
}

static void rows_round_as_single_numbers_do(void **state)
{
    static const uint32_t lower[] = {0, 1, 0x7FFF, 0x8000, 0x8001, 0xFFFF};
    static float row[ROW], rounded[ROW];
    static uint16_t narrow[ROW];

    (void)state;
    for (size_t k = 0; k < sizeof lower / sizeof lower[0]; k++) {
        for (uint32_t i = 0; i < ROW; i++)
            row[i] = of_bits(i << 16 | lower[k]);
        atr_bf16_narrow(row, ROW, narrow);
        atr_bf16_round(row, ROW, rounded);
        for (int i = 0; i < ROW; i++) {
            const uint16_t want = atr_f32_to_bf16(row[i]);
            const float wide = atr_bf16_to_f32(want);
            assert_int_equal(narrow[i], want);
            assert_memory_equal(&rounded[i], &wide, sizeof wide);
        }
    }
}

static void ties_go_to_even(void **state)
{
    const float row[] = {1.0f + 0x1p-8f, 1.0f + 0x3p-8f, -1.0f - 0x1p-8f, 0x1.FFp127f};
    const float want[] = {1.0f, 1.0f + 0x1p-6f, -1.0f, INFINITY};
    float rounded[4];

    (void)state;
    atr_bf16_round(row, 4, rounded);
    for (int i = 0; i < 4; i++)
        assert_true(rounded[i] == want[i]);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_bf16_widens_exactly_and_comes_back),
        cmocka_unit_test(rows_round_as_single_numbers_do),
        cmocka_unit_test(ties_go_to_even),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
