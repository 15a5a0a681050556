#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <cmocka.h>
#include <stdlib.h>
#include <string.h>

#include "io/colour.h"
#include "io/warp.h"
#include "tests/support/picture.h"

/* The drawn picture of this size through OpenCV 4.8.1 gave the golden numbers. */
enum { W = 64, H = 48 };

static void blur_is_opencvs_bit_for_bit(void **state)
{
    uint8_t *pixels = picture_make(W, H, 3);
    atr_workspace workspace = {0};

    (void)state;
    assert_int_equal(atr_blur_rgb(W, H, pixels, &workspace), ATR_OK);
    assert_true(picture_hash(pixels, W * H * 3) == UINT64_C(0x51d7e5e3cb834839));
    free(pixels);
    atr_workspace_free(&workspace);
}

/* warpAffine(getRotationMatrix2D((32,24), -degrees, 1)), cubic with border 128, nearest with border 255. */
static void rotation_is_opencvs_bit_for_bit(void **state)
{
    static const struct {
        double degrees;
        uint64_t rgb, labels;
    } golden[] = {{7, UINT64_C(0x4f91980ed0e9f2ce), UINT64_C(0xf090a9db5374a6ae)},
                  {-10, UINT64_C(0x366cb3256de7feae), UINT64_C(0xf9209deb45f1cff9)},
                  {90, UINT64_C(0x64792dbee3a77b85), UINT64_C(0xd9cf1128a54a1f25)}};
    atr_workspace workspace = {0};

    (void)state;
    for (size_t g = 0; g < sizeof golden / sizeof *golden; g++) {
        const atr_rotation rotation = {golden[g].degrees, W / 2, H / 2};
        uint8_t *pixels = picture_make(W, H, 3), *labels = picture_make(W, H, 1);
        assert_int_equal(atr_rotate_rgb(&rotation, 128, W, H, pixels, &workspace), ATR_OK);
        assert_int_equal(atr_rotate_labels(&rotation, 255, W, H, labels, &workspace), ATR_OK);
        assert_true(picture_hash(pixels, W * H * 3) == golden[g].rgb);
        assert_true(picture_hash(labels, W * H) == golden[g].labels);
        free(pixels);
        free(labels);
    }
    atr_workspace_free(&workspace);
}

/* A mark right of the centre moves down when the canvas is turned clockwise. */
static void positive_angles_turn_clockwise(void **state)
{
    enum { SIDE = 21 };
    const atr_rotation quarter = {90, SIDE / 2, SIDE / 2};
    uint8_t labels[SIDE * SIDE] = {0};
    atr_workspace workspace = {0};

    (void)state;
    labels[SIDE / 2 * SIDE + SIDE - 3] = 1;
    assert_int_equal(atr_rotate_labels(&quarter, 0, SIDE, SIDE, labels, &workspace), ATR_OK);
    assert_int_equal(labels[(SIDE - 3) * SIDE + SIDE / 2], 1);
    atr_workspace_free(&workspace);
}

/* cvtColor to HSV, the three tables, cvtColor back. */
static void recolouring_is_opencvs_bit_for_bit(void **state)
{
    static const struct {
        double factor[3];
        uint64_t hash;
    } golden[] = {{{1.05, 1.4, 0.8}, UINT64_C(0xdc2d21c3a493cdb3)},
                  {{0.93, 0.5, 1.2}, UINT64_C(0x78d5f16875321d41)},
                  {{1, 1, 1}, UINT64_C(0xaf4a45c10436ae5c)}};

    (void)state;
    for (size_t g = 0; g < sizeof golden / sizeof *golden; g++) {
        uint8_t *pixels = picture_make(W, H, 3);
        atr_hsv_scale(golden[g].factor, W * H, pixels);
        assert_true(picture_hash(pixels, W * H * 3) == golden[g].hash);
        free(pixels);
    }
}

static void pure_colours_have_their_hues(void **state)
{
    static const uint8_t rgb[6][3] = {{255, 0, 0},   {255, 255, 0}, {0, 255, 0},
                                      {0, 255, 255}, {0, 0, 255},   {255, 0, 255}};
    uint8_t hsv[3], back[3];

    (void)state;
    for (int i = 0; i < 6; i++) {
        atr_rgb_to_hsv(rgb[i], hsv);
        assert_int_equal(hsv[0], 30 * i);
        assert_int_equal(hsv[1], 255);
        assert_int_equal(hsv[2], 255);
        atr_hsv_to_rgb(hsv, back);
        for (int c = 0; c < 3; c++) /* results are cut, so 254.99 is 254 */
            assert_in_range(back[c], rgb[i][c] == 0 ? 0 : rgb[i][c] - 1, rgb[i][c]);
    }
}

/* Seven pixels are too few for vectors: many at once must become what they become in sevens. */
static void vectors_recolour_as_the_plain_loop(void **state)
{
    enum { STEP = 5, LEVELS = 52, COUNT = LEVELS * LEVELS * LEVELS, FEW = 7 };
    static const double factors[][3] = {{0.93, 0.5, 1.2}, {1.1, 1.7, 0.7}};
    uint8_t *once = malloc(3 * COUNT), *pieces = malloc(3 * COUNT);

    (void)state;
    for (size_t f = 0; f < sizeof factors / sizeof *factors; f++) {
        for (int i = 0; i < COUNT; i++) {
            once[3 * i] = (uint8_t)(STEP * (i % LEVELS));
            once[3 * i + 1] = (uint8_t)(STEP * (i / LEVELS % LEVELS));
            once[3 * i + 2] = (uint8_t)(STEP * (i / LEVELS / LEVELS));
        }
        memcpy(pieces, once, 3 * COUNT);
        atr_hsv_scale(factors[f], COUNT, once);
        for (int i = 0; i < COUNT; i += FEW)
            atr_hsv_scale(factors[f], COUNT - i < FEW ? COUNT - i : FEW, pieces + 3 * i);
        assert_memory_equal(once, pieces, 3 * COUNT);
    }
    free(once);
    free(pieces);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(blur_is_opencvs_bit_for_bit),
        cmocka_unit_test(rotation_is_opencvs_bit_for_bit),
        cmocka_unit_test(positive_angles_turn_clockwise),
        cmocka_unit_test(recolouring_is_opencvs_bit_for_bit),
        cmocka_unit_test(vectors_recolour_as_the_plain_loop),
        cmocka_unit_test(pure_colours_have_their_hues),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
