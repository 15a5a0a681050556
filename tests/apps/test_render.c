#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <cmocka.h>
#include <math.h>
#include <string.h>

#include "apps/render.h"

static const uint8_t picture[9] = {10, 20, 30, 200, 100, 50, 1, 2, 3};
static const uint8_t ids[3] = {0, 2, 1};

static void a_cutout_is_transparent_black_where_nothing_is_kept(void **state)
{
    const bool kept[256] = {[2] = true};
    uint8_t rgba[12], rgb[9];

    (void)state;
    memset(rgba, 7, sizeof rgba);
    memset(rgb, 7, sizeof rgb);
    atr_render_cutout(picture, ids, 3, kept, 4, rgba);
    atr_render_cutout(picture, ids, 3, kept, 3, rgb);
    assert_memory_equal(rgba, ((uint8_t[]){0, 0, 0, 0, 200, 100, 50, 255, 0, 0, 0, 0}), 12);
    assert_memory_equal(rgb, ((uint8_t[]){0, 0, 0, 200, 100, 50, 0, 0, 0}), 9);
}

static void an_overlay_mixes_by_alpha_and_rounds(void **state)
{
    const uint8_t palette[256][3] = {{0, 0, 0}, {255, 255, 255}, {100, 0, 3}};
    uint8_t out[9];

    (void)state;
    atr_render_overlay(picture, ids, 3, palette, 0.7, out);
    for (int i = 0; i < 9; i++)
        assert_int_equal(out[i], (int)lround(0.3 * picture[i] + 0.7 * palette[ids[i / 3]][i % 3]));
    atr_render_colour(ids, 3, palette, out);
    assert_memory_equal(out, ((uint8_t[]){0, 0, 0, 100, 0, 3, 255, 255, 255}), 9);
}

static void shares_become_grey_levels_within_bounds(void **state)
{
    const float shares[] = {0, 1, 0.5f, -0.1f, 1.2f, NAN, 1.0f / 255, 0.9981f};
    uint8_t low[8];
    uint16_t high[8];

    (void)state;
    atr_render_grey8(shares, 8, low);
    atr_render_grey16(shares, 8, high);
    assert_memory_equal(low, ((uint8_t[]){0, 255, 128, 0, 255, 0, 1, 255}), 8);
    assert_memory_equal(high, ((uint16_t[]){0, 65535, 32768, 0, 65535, 0, 257, 65410}), 16);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_cutout_is_transparent_black_where_nothing_is_kept),
        cmocka_unit_test(an_overlay_mixes_by_alpha_and_rounds),
        cmocka_unit_test(shares_become_grey_levels_within_bounds),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
