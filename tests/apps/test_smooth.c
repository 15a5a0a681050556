/* Smoothing of curves. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <cmocka.h>
#include <math.h>

#include "apps/smooth.h"
#include "tests/support/network.h"

static void cubics_stay_as_they_are_up_to_the_ends(void **state)
{
    double values[21], out[21];

    (void)state;
    for (int i = 0; i < 21; i++)
        values[i] = 3 - 2.0 * i + 0.5 * i * i - 0.02 * i * i * i;
    for (int window = 5; window <= 21; window += 2) {
        must(atr_smooth_cubic(values, 21, window, out));
        for (int i = 0; i < 21; i++)
            assert_true(fabs(out[i] - values[i]) < 1e-10);
    }
}

/* Savitzky and Golay's own table: (-3, 12, 17, 12, -3) / 35 in the middle; its end rows by least squares. */
static void an_impulse_gives_the_published_weights(void **state)
{
    const double values[9] = {0, 0, 0, 0, 1, 0, 0, 0, 0};
    const double wanted[9] = {0, 0, -3.0 / 35, 12.0 / 35, 17.0 / 35, 12.0 / 35, -3.0 / 35, 0, 0};
    double out[9], last[5];

    (void)state;
    must(atr_smooth_cubic(values, 9, 5, out));
    for (int i = 2; i < 7; i++)
        assert_true(fabs(out[i] - wanted[i]) < 1e-14);
    /* The cubic through (0,0,0,0,1): at the ends -1/70, 4/70, -6/70, 4/70 less than the values. */
    must(atr_smooth_cubic(values + 0, 5, 5, last));
    const double residual[5] = {1, -4, 6, -4, 1};
    for (int i = 0; i < 5; i++)
        assert_true(fabs(last[i] - ((i == 4) - residual[i] / 70)) < 1e-14);
}

static void too_few_values_and_even_windows_are_refused(void **state)
{
    const double values[4] = {1, 2, 3, 4};
    double out[4];

    (void)state;
    assert_int_equal(atr_smooth_cubic(values, 4, 5, out), ATR_ERR_USAGE);
    assert_int_equal(atr_smooth_cubic(values, 4, 4, out), ATR_ERR_USAGE);
    assert_int_equal(atr_smooth_cubic(values, 0, 5, out), ATR_ERR_USAGE);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(cubics_stay_as_they_are_up_to_the_ends),
        cmocka_unit_test(an_impulse_gives_the_published_weights),
        cmocka_unit_test(too_few_values_and_even_windows_are_refused),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
