#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include "dnn/class_weights.h"
#include "tests/support/rig.h"

/* Four classes, one of them without a pixel: n = 1000, 800, 150, 50; the last shows in a picture of 100 pixels. */
static const int64_t pixels[] = {800, 150, 0, 50}, area[] = {1000, 500, 0, 100};

static void weights_are_those_of_the_papers(void **state)
{
    const double want[ATR_WEIGHINGS][4] = {
        {1000.0 / (3 * 800), 1000.0 / (3 * 150), 0.0, 1000.0 / (3 * 50)},
        {sqrt(1000.0 / (3 * 800)), sqrt(1000.0 / (3 * 150)), 0.0, sqrt(1000.0 / (3 * 50))},
        {0.5 / 0.8, 0.5 / 0.3, 0.0, 0.5 / 0.5}, /* the median of 0.8, 0.3, 0.5 */
        {1.0 / log(1.02 + 0.8), 1.0 / log(1.02 + 0.15), 0.0, 1.0 / log(1.02 + 0.05)},
    };

    (void)state;
    for (int w = 0; w < ATR_WEIGHINGS; w++) {
        float got[4];
        atr_class_weights((atr_weighing)w, 4, pixels, area, got);
        for (int k = 0; k < 4; k++)
            rig_assert_near((double)got[k], want[w][k], 1e-6 * fmax(1.0, want[w][k]));
    }
}

static void the_median_of_an_even_count_lies_between_the_two_in_the_middle(void **state)
{
    const int64_t four[] = {10, 20, 30, 40}, pictures[] = {100, 100, 100, 100};
    float got[4];

    (void)state;
    atr_class_weights(ATR_WEIGH_MEDIAN, 4, four, pictures, got);
    rig_assert_near((double)got[0], 2.5, 1e-6);
    rig_assert_near((double)got[3], 0.625, 1e-6);
}

static void no_pixel_at_all_gives_no_weight_and_no_infinity(void **state)
{
    const int64_t none[3] = {0};

    (void)state;
    for (int w = 0; w < ATR_WEIGHINGS; w++) {
        float got[3] = {1.0f, 1.0f, 1.0f};
        atr_class_weights((atr_weighing)w, 3, none, none, got);
        for (int k = 0; k < 3; k++)
            assert_true(got[k] == 0.0f);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(weights_are_those_of_the_papers),
        cmocka_unit_test(the_median_of_an_even_count_lies_between_the_two_in_the_middle),
        cmocka_unit_test(no_pixel_at_all_gives_no_weight_and_no_infinity),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
