#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <cmocka.h>
#include <stdlib.h>
#include <string.h>

#include "io/letterbox.h"
#include "tests/support/picture.h"

static void the_box_is_the_references(void **state)
{
    static const struct {
        int64_t width, height, canvas_width, canvas_height;
        atr_box box;
    } cases[] = {
        {480, 360, 256, 256, {0, 32, 256, 192}},
        {360, 480, 256, 256, {32, 0, 192, 256}},
        {500, 375, 512, 512, {0, 64, 512, 384}},
        {333, 500, 512, 512, {86, 0, 340, 512}},
        {1, 1, 7, 5, {1, 0, 5, 5}},
        {10000, 1, 64, 64, {0, 31, 64, 1}},
        {100, 100, 101, 99, {1, 0, 99, 99}},
    };

    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        const atr_box box = atr_fit_box(ATR_FIT_LETTERBOX, cases[i].width, cases[i].height,
                                        cases[i].canvas_width, cases[i].canvas_height);
        assert_int_equal(box.x, cases[i].box.x);
        assert_int_equal(box.y, cases[i].box.y);
        assert_int_equal(box.width, cases[i].box.width);
        assert_int_equal(box.height, cases[i].box.height);
    }
}

static void around_the_picture_is_grey_and_padding(void **state)
{
    enum { W = 20, H = 10, SIDE = 16 };
    uint8_t *source = picture_make(W, H, 3), mask[W * H], pixels[SIDE * SIDE * 3], labels[SIDE * SIDE];
    const atr_image image = {W, H, 3, source};
    atr_workspace workspace = {0};
    atr_box box;

    (void)state;
    memset(mask, 3, sizeof mask);
    assert_int_equal(
        atr_fit_canvas(ATR_FIT_LETTERBOX, &image, mask, SIDE, SIDE, 255, pixels, labels, &box, &workspace),
        ATR_OK);
    assert_int_equal(box.y, 4);
    assert_int_equal(box.height, 8);
    for (int64_t y = 0; y < SIDE; y++)
        for (int64_t x = 0; x < SIDE; x++) {
            const int inside = y >= box.y && y < box.y + box.height;
            assert_int_equal(labels[y * SIDE + x], inside ? 3 : 255);
            for (int c = 0; c < 3 && !inside; c++)
                assert_int_equal(pixels[(y * SIDE + x) * 3 + c], ATR_PAD_GREY);
        }
    free(source);
    atr_workspace_free(&workspace);
}

static void the_pictures_own_size_changes_nothing(void **state)
{
    enum { W = 9, H = 5 };
    uint8_t *source = picture_make(W, H, 3), pixels[W * H * 3];
    const atr_image image = {W, H, 3, source};
    atr_workspace workspace = {0};

    (void)state;
    for (int fit = ATR_FIT_LETTERBOX; fit <= ATR_FIT_STRETCH; fit++) {
        memset(pixels, 0, sizeof pixels);
        assert_int_equal(
            atr_fit_canvas((atr_fit)fit, &image, NULL, W, H, 255, pixels, NULL, NULL, &workspace), ATR_OK);
        assert_memory_equal(pixels, source, sizeof pixels);
    }
    free(source);
    atr_workspace_free(&workspace);
}

static void stretch_fills_the_canvas(void **state)
{
    enum { W = 3, H = 40, SIDE = 8 };
    uint8_t *source = picture_make(W, H, 3), mask[W * H], pixels[SIDE * SIDE * 3], labels[SIDE * SIDE];
    const atr_image image = {W, H, 3, source};
    atr_workspace workspace = {0};
    atr_box box;

    (void)state;
    memset(mask, 9, sizeof mask);
    assert_int_equal(
        atr_fit_canvas(ATR_FIT_STRETCH, &image, mask, SIDE, SIDE, 255, pixels, labels, &box, &workspace),
        ATR_OK);
    assert_int_equal(box.width, SIDE);
    assert_int_equal(box.height, SIDE);
    for (int i = 0; i < SIDE * SIDE; i++)
        assert_int_equal(labels[i], 9);
    free(source);
    atr_workspace_free(&workspace);
}

static void an_empty_canvas_is_refused(void **state)
{
    uint8_t pixel[3] = {0};
    const atr_image image = {1, 1, 3, pixel};
    atr_workspace workspace = {0};

    (void)state;
    assert_int_equal(atr_fit_canvas(ATR_FIT_STRETCH, &image, NULL, 0, 4, 255, pixel, NULL, NULL, &workspace),
                     ATR_ERR_SHAPE);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_box_is_the_references),
        cmocka_unit_test(around_the_picture_is_grey_and_padding),
        cmocka_unit_test(the_pictures_own_size_changes_nothing),
        cmocka_unit_test(stretch_fills_the_canvas),
        cmocka_unit_test(an_empty_canvas_is_refused),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
