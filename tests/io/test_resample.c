#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <cmocka.h>
#include <stdlib.h>
#include <string.h>

#include "core/rng.h"
#include "io/resample.h"
#include "tests/support/picture.h"

/* Pillow 10.4: Image.resize of the drawn picture with BICUBIC (all channels) and NEAREST (channel 0). */
static void results_are_pillows_bit_for_bit(void **state)
{
    static const struct {
        int64_t width, height, to_width, to_height;
        uint64_t bicubic, nearest;
        uint8_t middle[3];
    } golden[] = {
        {23, 17, 50, 41, UINT64_C(0xdf12a6a3fe3b4974), UINT64_C(0xa356dd0d8b3ca02f), {190, 16, 69}},
        {64, 48, 20, 15, UINT64_C(0x59df603141a2ae41), UINT64_C(0x6ffb6a6cbd027a6f), {134, 137, 134}},
        {31, 40, 31, 7, UINT64_C(0xd1cdbf25030946ed), UINT64_C(0xcfbe4baafd2f7d06), {127, 146, 134}},
        {19, 60, 57, 11, UINT64_C(0xca22b03368f8ab97), UINT64_C(0x68ca8c627bdf6210), {140, 142, 144}},
        {1, 9, 5, 4, UINT64_C(0xa024bc0ec9afbb2d), UINT64_C(0x1315cbfad9e28b9d), {119, 180, 129}},
        {100, 3, 7, 3, UINT64_C(0x948994f40662d62e), UINT64_C(0x363015a6dc671d02), {135, 132, 122}},
    };
    atr_workspace workspace = {0};

    (void)state;
    for (size_t g = 0; g < sizeof golden / sizeof *golden; g++) {
        const int64_t w = golden[g].to_width, h = golden[g].to_height;
        const atr_resize resize = atr_resize_whole(golden[g].width, golden[g].height, w, h);
        uint8_t *src = picture_make(golden[g].width, golden[g].height, 3), *dst = malloc((size_t)(w * h * 3));
        assert_int_equal(atr_resize_bicubic(&resize, 3, src, dst, w * 3, &workspace), ATR_OK);
        assert_memory_equal(dst + (h / 2 * w + w / 2) * 3, golden[g].middle, 3);
        assert_true(picture_hash(dst, (size_t)(w * h * 3)) == golden[g].bicubic);
        free(src);
        src = picture_make(golden[g].width, golden[g].height, 1);
        assert_int_equal(atr_resize_nearest(&resize, src, dst, w, &workspace), ATR_OK);
        assert_true(picture_hash(dst, (size_t)(w * h)) == golden[g].nearest);
        free(src);
        free(dst);
    }
    atr_workspace_free(&workspace);
}

/* Compares the window of a resize, mirrored or not, with the same piece of the whole result. */
static void check_window(const atr_resize *part, int channels, atr_workspace *workspace)
{
    const atr_resize all =
        atr_resize_whole(part->from_width, part->from_height, part->to_width, part->to_height);
    const atr_box *w = &part->window;
    uint8_t *src = picture_make(all.from_width, all.from_height, channels);
    uint8_t *whole = malloc((size_t)(all.to_width * all.to_height * channels));
    uint8_t *piece = malloc((size_t)(w->width * w->height * channels));

    for (int nearest = 0; nearest <= (channels == 1); nearest++) {
        if (nearest) {
            assert_int_equal(atr_resize_nearest(&all, src, whole, all.to_width, workspace), ATR_OK);
            assert_int_equal(atr_resize_nearest(part, src, piece, w->width, workspace), ATR_OK);
        } else {
            assert_int_equal(
                atr_resize_bicubic(&all, channels, src, whole, all.to_width * channels, workspace), ATR_OK);
            assert_int_equal(atr_resize_bicubic(part, channels, src, piece, w->width * channels, workspace),
                             ATR_OK);
        }
        for (int64_t y = 0; y < w->height; y++)
            for (int64_t x = 0; x < w->width; x++) {
                const int64_t seen = w->x + x, column = part->flip ? all.to_width - 1 - seen : seen;
                assert_memory_equal(piece + (y * w->width + x) * channels,
                                    whole + ((w->y + y) * all.to_width + column) * channels,
                                    (size_t)channels);
            }
    }
    free(src);
    free(whole);
    free(piece);
}

static void a_window_is_a_piece_of_the_whole(void **state)
{
    atr_workspace workspace = {0};

    (void)state;
    for (uint64_t round = 0; round < 60; round++) {
        const uint64_t key = atr_rng_key(7, ATR_RNG_TEST, round, 0);
        atr_resize r = {.flip = round % 2 == 1};
        r.from_width = 1 + (int64_t)atr_rng_below(key, 0, 60);
        r.from_height = 1 + (int64_t)atr_rng_below(key, 1, 60);
        r.to_width = 1 + (int64_t)atr_rng_below(key, 2, 90);
        r.to_height = 1 + (int64_t)atr_rng_below(key, 3, 90);
        r.window.x = (int64_t)atr_rng_below(key, 4, (uint64_t)r.to_width);
        r.window.y = (int64_t)atr_rng_below(key, 5, (uint64_t)r.to_height);
        r.window.width = 1 + (int64_t)atr_rng_below(key, 6, (uint64_t)(r.to_width - r.window.x));
        r.window.height = 1 + (int64_t)atr_rng_below(key, 7, (uint64_t)(r.to_height - r.window.y));
        check_window(&r, 1 + (int)(round % 4), &workspace);
    }
    atr_workspace_free(&workspace);
}

static void the_same_size_is_the_same_picture(void **state)
{
    const atr_resize same = atr_resize_whole(13, 7, 13, 7);
    uint8_t *src = picture_make(13, 7, 3), dst[13 * 7 * 3];
    atr_workspace workspace = {0};

    (void)state;
    assert_int_equal(atr_resize_bicubic(&same, 3, src, dst, 13 * 3, &workspace), ATR_OK);
    assert_memory_equal(dst, src, sizeof dst);
    assert_int_equal(atr_resize_nearest(&same, src, dst, 13, &workspace), ATR_OK);
    assert_memory_equal(dst, src, 13 * 7);
    free(src);
    atr_workspace_free(&workspace);
}

static void an_even_picture_stays_even(void **state)
{
    uint8_t src[90 * 70], dst[200 * 3];
    atr_workspace workspace = {0};

    (void)state;
    memset(src, 200, sizeof src);
    for (int64_t side = 1; side <= 200; side += 33) {
        const atr_resize resize = atr_resize_whole(90, 70, side, 3);
        assert_int_equal(atr_resize_bicubic(&resize, 1, src, dst, side, &workspace), ATR_OK);
        for (int64_t i = 0; i < side * 3; i++)
            assert_int_equal(dst[i], 200);
    }
    atr_workspace_free(&workspace);
}

static void senseless_sizes_are_refused(void **state)
{
    atr_resize resize = atr_resize_whole(4, 4, 0, 4);
    uint8_t pixels[64] = {0};
    atr_workspace workspace = {0};

    (void)state;
    assert_int_equal(atr_resize_bicubic(&resize, 3, pixels, pixels, 12, &workspace), ATR_ERR_SHAPE);
    resize = atr_resize_whole(4, 4, 4, 4);
    resize.window.x = 1;
    assert_int_equal(atr_resize_nearest(&resize, pixels, pixels, 4, &workspace), ATR_ERR_SHAPE);
    resize.window.x = 0;
    assert_int_equal(atr_resize_bicubic(&resize, 5, pixels, pixels, 20, &workspace), ATR_ERR_SHAPE);
    atr_workspace_free(&workspace);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(results_are_pillows_bit_for_bit),
        cmocka_unit_test(a_window_is_a_piece_of_the_whole),
        cmocka_unit_test(the_same_size_is_the_same_picture),
        cmocka_unit_test(an_even_picture_stays_even),
        cmocka_unit_test(senseless_sizes_are_refused),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
