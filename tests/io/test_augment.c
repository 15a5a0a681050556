#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <cmocka.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "core/rng.h"
#include "io/augment.h"
#include "io/letterbox.h"
#include "tests/support/picture.h"

enum { SIDE = 64, AREA = SIDE * SIDE, WIDTH = 120, HEIGHT = 90, BLOCK = 30, CODE = 16 };

/* A canvas and what is needed to fill it. */
typedef struct bench {
    atr_workspace workspace;
    uint8_t pixels[AREA * 3], labels[AREA];
} bench;

static void run(bench *b, const atr_augment *augment, uint64_t key, const atr_image *image,
                const uint8_t *mask)
{
    assert_int_equal(
        atr_augment_apply(augment, key, image, mask, SIDE, SIDE, b->pixels, b->labels, &b->workspace),
        ATR_OK);
}

static uint64_t key_of(uint64_t sample)
{
    return atr_rng_key(11, ATR_RNG_AUGMENT, 1, sample);
}

/* 4x3 blocks, each a class of its own; every channel of the picture says the class. */
static void make_blocks(uint8_t *pixels, uint8_t *mask)
{
    for (int y = 0; y < HEIGHT; y++)
        for (int x = 0; x < WIDTH; x++) {
            const int label = y / BLOCK * (WIDTH / BLOCK) + x / BLOCK;
            mask[y * WIDTH + x] = (uint8_t)label;
            memset(pixels + (y * WIDTH + x) * 3, label * CODE, 3);
        }
}

/* Whether labels within `reach` of (x,y) are all alike. */
static int inside_one_block(const uint8_t *labels, int x, int y, int reach)
{
    for (int j = y - reach; j <= y + reach; j++)
        for (int i = x - reach; i <= x + reach; i++)
            if (i < 0 || j < 0 || i >= SIDE || j >= SIDE || labels[j * SIDE + i] != labels[y * SIDE + x])
                return 0;
    return 1;
}

static void picture_and_mask_move_alike(void **state)
{
    uint8_t *pixels = malloc(WIDTH * HEIGHT * 3), *mask = malloc(WIDTH * HEIGHT);
    const atr_image image = {WIDTH, HEIGHT, 3, pixels};
    const double no = 0;
    bench b = {0};
    atr_augment augment;
    int64_t checked = 0;

    (void)state;
    make_blocks(pixels, mask);
    atr_augment_defaults(&augment);
    assert_int_equal(atr_augment_set(&augment, "hsv", &no, 1), ATR_OK);
    assert_int_equal(atr_augment_set(&augment, "rotate", (const double[]){30, 0.5}, 2), ATR_OK);
    for (uint64_t sample = 0; sample < 200; sample++) {
        run(&b, &augment, key_of(sample), &image, mask);
        for (int y = 0; y < SIDE; y++)
            for (int x = 0; x < SIDE; x++)
                if (inside_one_block(b.labels, x, y, 5)) {
                    const int label = b.labels[y * SIDE + x],
                              wanted = label == 255 ? ATR_PAD_GREY : label * CODE;
                    assert_in_range(b.pixels[(y * SIDE + x) * 3] + 2, wanted, wanted + 4);
                    checked += label != 255;
                }
    }
    assert_true(checked > 200 * AREA / 20);
    free(pixels);
    free(mask);
    atr_workspace_free(&b.workspace);
}

static void a_row_that_is_off_does_nothing(void **state)
{
    uint8_t *pixels = picture_make(SIDE, SIDE, 3), *mask = picture_make(SIDE, SIDE, 1);
    const atr_image image = {SIDE, SIDE, 3, pixels};
    bench b = {0};

    (void)state;
    for (int kind = 0; kind < ATR_AUGMENT_KINDS; kind++) {
        const atr_augment_row *row = &atr_augment_rows[kind];
        const double off = 0;
        double on[ATR_AUGMENT_VALUES];
        atr_augment augment;
        int changed = 0;
        for (int i = 0; i < row->count; i++)
            on[i] = row->value[i].initial;
        atr_augment_none(&augment);
        if (kind == ATR_AUGMENT_PLACE) /* needs room */
            assert_int_equal(atr_augment_set(&augment, "scale", (const double[]){0.5}, 1), ATR_OK);
        run(&b, &augment, 0, &image, mask);
        const uint64_t still =
            picture_hash(b.pixels, sizeof b.pixels) ^ picture_hash(b.labels, sizeof b.labels);
        if (kind != ATR_AUGMENT_PLACE) {
            assert_memory_equal(b.pixels, pixels, sizeof b.pixels);
            assert_memory_equal(b.labels, mask, sizeof b.labels);
        }
        for (int pass = 0; pass < 2; pass++) {
            assert_int_equal(
                atr_augment_set(&augment, row->name, pass == 0 ? on : &off, pass == 0 ? row->count : 1), 0);
            for (uint64_t sample = 0; sample < 20; sample++) {
                run(&b, &augment, key_of(sample), &image, mask);
                const uint64_t now =
                    picture_hash(b.pixels, sizeof b.pixels) ^ picture_hash(b.labels, sizeof b.labels);
                if (pass == 1)
                    assert_true(now == still);
                changed += now != still;
            }
        }
        assert_true(changed > 0);
    }
    free(pixels);
    free(mask);
    atr_workspace_free(&b.workspace);
}

static void all_off_is_the_letterbox(void **state)
{
    uint8_t *pixels = picture_make(WIDTH, HEIGHT, 3), *mask = picture_make(WIDTH, HEIGHT, 1);
    uint8_t wanted[AREA * 3], wanted_labels[AREA];
    const atr_image image = {WIDTH, HEIGHT, 3, pixels};
    bench b = {0};
    atr_augment augment;

    (void)state;
    atr_augment_none(&augment);
    run(&b, &augment, 5, &image, mask);
    assert_int_equal(atr_fit_canvas(ATR_FIT_LETTERBOX, &image, mask, SIDE, SIDE, 255, wanted, wanted_labels,
                                    NULL, &b.workspace),
                     ATR_OK);
    assert_memory_equal(b.pixels, wanted, sizeof wanted);
    assert_memory_equal(b.labels, wanted_labels, sizeof wanted_labels);
    free(pixels);
    free(mask);
    atr_workspace_free(&b.workspace);
}

static void the_same_key_gives_the_same_bytes(void **state)
{
    uint8_t *pixels = picture_make(WIDTH, HEIGHT, 3), *mask = picture_make(WIDTH, HEIGHT, 1);
    const atr_image image = {WIDTH, HEIGHT, 3, pixels};
    bench one = {0}, two = {0};
    atr_augment augment;

    (void)state;
    atr_augment_defaults(&augment);
    for (uint64_t sample = 0; sample < 20; sample++) {
        run(&one, &augment, key_of(sample), &image, mask);
        run(&two, &augment, key_of(19 - sample), &image, mask); /* its workspace holds another past */
        run(&two, &augment, key_of(sample), &image, mask);
        assert_memory_equal(one.pixels, two.pixels, sizeof one.pixels);
        assert_memory_equal(one.labels, two.labels, sizeof one.labels);
    }
    free(pixels);
    free(mask);
    atr_workspace_free(&one.workspace);
    atr_workspace_free(&two.workspace);
}

static void switching_a_row_off_leaves_the_other_decisions(void **state)
{
    atr_augment all, some;
    const double no = 0;

    (void)state;
    atr_augment_defaults(&all);
    some = all;
    assert_int_equal(atr_augment_set(&some, "flip", &no, 1), ATR_OK);
    assert_int_equal(atr_augment_set(&some, "blur", &no, 1), ATR_OK);
    for (uint64_t sample = 0; sample < 50; sample++) {
        const atr_augment_draw a = atr_augment_decide(&all, key_of(sample), 48, 36, 32, 32);
        const atr_augment_draw b = atr_augment_decide(&some, key_of(sample), 48, 36, 32, 32);
        assert_int_equal(a.to_width, b.to_width);
        assert_int_equal(a.to_height, b.to_height);
        assert_int_equal(a.x, b.x);
        assert_int_equal(a.y, b.y);
        assert_true(a.angle == b.angle);
        assert_memory_equal(a.hsv, b.hsv, sizeof a.hsv);
        assert_false(b.flip || b.blur);
    }
}

static void decisions_are_as_frequent_as_asked(void **state)
{
    enum { SAMPLES = 4000 };
    int flips = 0, blurs = 0, turns = 0, steepest = 0;
    int64_t smallest = INT64_MAX, largest = 0;
    atr_augment augment;

    (void)state;
    atr_augment_defaults(&augment);
    for (uint64_t sample = 0; sample < SAMPLES; sample++) {
        const atr_augment_draw d = atr_augment_decide(&augment, key_of(sample), 100, 100, 256, 256);
        const int64_t longer = d.to_width > d.to_height ? d.to_width : d.to_height;
        const int angle = (int)fabs(d.angle);
        flips += d.flip;
        blurs += d.blur;
        turns += angle != 0;
        steepest = angle > steepest ? angle : steepest;
        smallest = longer < smallest ? longer : smallest;
        largest = longer > largest ? longer : largest;
    }
    assert_in_range(flips, SAMPLES * 47 / 100, SAMPLES * 53 / 100);
    assert_in_range(blurs, SAMPLES * 22 / 100, SAMPLES * 28 / 100);
    assert_in_range(turns, SAMPLES * 21 / 100, SAMPLES * 27 / 100);
    assert_int_equal(steepest, 10);
    assert_in_range(smallest, 64, 68);
    assert_in_range(largest, 506, 512);
}

static void outside_is_ignore_or_zero_as_asked(void **state)
{
    uint8_t *pixels = picture_make(WIDTH, HEIGHT, 3), *mask = calloc(WIDTH * HEIGHT, 1);
    const atr_image image = {WIDTH, HEIGHT, 3, pixels};
    bench b = {0};
    atr_augment augment;

    (void)state;
    atr_augment_none(&augment);
    memset(mask, 7, WIDTH * HEIGHT);
    run(&b, &augment, 0, &image, mask);
    assert_int_equal(b.labels[0], 255);
    augment.padding = 0;
    run(&b, &augment, 0, &image, mask);
    assert_int_equal(b.labels[0], 0);
    assert_int_equal(b.labels[AREA / 2], 7);
    free(pixels);
    free(mask);
    atr_workspace_free(&b.workspace);
}

static void one_pixel_and_thin_pictures_are_fine(void **state)
{
    static const int64_t sizes[][2] = {{1, 1}, {1, 500}, {500, 1}, {3, 2}, {17, 301}};
    static const int64_t canvases[][2] = {{1, 1}, {1, 40}, {33, 1}, {7, 5}};
    uint8_t pixels[33 * 40 * 3], labels[33 * 40];
    atr_workspace workspace = {0};
    atr_augment augment;

    (void)state;
    atr_augment_defaults(&augment);
    assert_int_equal(atr_augment_set(&augment, "scale", (const double[]){0.01, 16}, 2), ATR_OK);
    assert_int_equal(atr_augment_set(&augment, "rotate", (const double[]){180, 1}, 2), ATR_OK);
    assert_int_equal(atr_augment_set(&augment, "blur", (const double[]){1}, 1), ATR_OK);
    for (size_t s = 0; s < sizeof sizes / sizeof *sizes; s++) {
        const int64_t w = sizes[s][0], h = sizes[s][1];
        uint8_t *source = picture_make(w, h, 3), *mask = picture_make(w, h, 1);
        const atr_image image = {w, h, 3, source};
        for (uint64_t i = 0; i < 200; i++)
            assert_int_equal(atr_augment_apply(&augment, key_of(i), &image, i % 2 ? mask : NULL,
                                               canvases[i % 4][0], canvases[i % 4][1], pixels, labels,
                                               &workspace),
                             ATR_OK);
        free(source);
        free(mask);
    }
    atr_workspace_free(&workspace);
}

static void settings_are_checked_and_named(void **state)
{
    atr_augment augment, before;
    const double zero = 0, low = 0.5, nan_value = (double)NAN, many[] = {1, 1, 1, 1}, crossed[] = {2, 1};

    (void)state;
    atr_augment_defaults(&augment);
    before = augment;
    assert_int_equal(atr_augment_set(&augment, "flop", &zero, 1), ATR_ERR_USAGE);
    assert_non_null(strstr(atr_status_message(), "flip"));
    assert_int_equal(atr_augment_set(&augment, "flip", many + 1, 2), ATR_ERR_USAGE);
    assert_int_equal(atr_augment_set(&augment, "hsv", many, 4), ATR_ERR_USAGE);
    assert_int_equal(atr_augment_set(&augment, "blur", (const double[]){1.5}, 1), ATR_ERR_USAGE);
    assert_non_null(strstr(atr_status_message(), "probability is 1.5, must be 0 to 1"));
    assert_int_equal(atr_augment_set(&augment, "blur", &nan_value, 1), ATR_ERR_USAGE);
    assert_int_equal(atr_augment_set(&augment, "scale", crossed, 2), ATR_ERR_USAGE);
    assert_memory_equal(&augment, &before, sizeof before);
    assert_int_equal(atr_augment_set(&augment, "scale", &low, 1), ATR_OK);
    assert_true(augment.value[ATR_AUGMENT_SCALE][0] == 0.5 && augment.value[ATR_AUGMENT_SCALE][1] == 0.5);
    assert_int_equal(atr_augment_set(&augment, "rotate", &zero, 1), ATR_OK);
    assert_int_equal(atr_augment_set(&augment, "rotate", (const double[]){5}, 1), ATR_OK);
    assert_true(augment.value[ATR_AUGMENT_ROTATE][1] == 0.25);
}

static void samples_become_the_nearest_f32(void **state)
{
    const double scale[3] = {1 / 255.0, 1 / 255.0, 2}, offset[3] = {0, 0, -1};
    uint8_t levels[256 * 3];
    float out[256 * 3];

    (void)state;
    for (int i = 0; i < 256 * 3; i++)
        levels[i] = (uint8_t)(i / 3);
    atr_pixels_to_f32(levels, 256, 3, scale, offset, out);
    for (int i = 0; i < 256; i++) {
        assert_true(out[3 * i] == (float)(i / 255.0));
        assert_true(out[3 * i + 1] == (float)(i / 255.0));
        assert_true(out[3 * i + 2] == (float)(2 * i - 1));
    }
}

/* A JPEG of soft waves, 403x301 pixels: no side is a multiple of 2. */
enum { PHOTO_WIDTH = 403, PHOTO_HEIGHT = 301 };

static void make_photo(void **bytes, size_t *size)
{
    uint8_t *pixels = malloc(PHOTO_WIDTH * PHOTO_HEIGHT * 3);
    const atr_image image = {PHOTO_WIDTH, PHOTO_HEIGHT, 3, pixels};

    for (int y = 0; y < PHOTO_HEIGHT; y++)
        for (int x = 0; x < PHOTO_WIDTH; x++)
            for (int c = 0; c < 3; c++)
                pixels[(y * PHOTO_WIDTH + x) * 3 + c] =
                    (uint8_t)lrint(128 + 100 * sin(x * 0.03 + c) * cos(y * 0.04 - c));
    assert_int_equal(atr_jpeg_encode(&image, 95, bytes, size), ATR_OK);
    free(pixels);
}

/* Decoded at a half to an eighth, where it is reduced at least as much: the labels to the bit, the picture within a few levels. */
static void a_jpeg_decoded_smaller_lies_where_it_lay(void **state)
{
    static const double scales[] = {0.5, 0.9, 1.5, 3, 5};
    static const int shrinks[] = {8, 4, 4, 2, 1};
    uint8_t *mask = picture_make(PHOTO_WIDTH, PHOTO_HEIGHT, 1);
    bench full = {.workspace = {0}}, small = {.workspace = {0}};
    void *bytes = NULL;
    size_t size = 0;

    (void)state;
    make_photo(&bytes, &size);
    for (int i = 0; i < 5; i++) {
        atr_augment augment;
        atr_image images[2];
        atr_augment_defaults(&augment);
        assert_int_equal(atr_augment_set(&augment, "scale", &scales[i], 1), ATR_OK);
        assert_int_equal(atr_augment_set(&augment, "aspect", &(double){0}, 1), ATR_OK);
        const atr_augment_draw draw =
            atr_augment_decide(&augment, key_of((uint64_t)i), PHOTO_WIDTH, PHOTO_HEIGHT, SIDE, SIDE);
        const int shrink = atr_augment_shrink(&draw);
        assert_int_equal(shrink, shrinks[i]);
        assert_int_equal(atr_image_decode_rgb_shrunk(bytes, size, true, 1, &images[0]), ATR_OK);
        assert_int_equal(atr_image_decode_rgb_shrunk(bytes, size, true, shrink, &images[1]), ATR_OK);
        assert_int_equal(images[1].width, (PHOTO_WIDTH + shrink - 1) / shrink);
        assert_int_equal(images[1].height, (PHOTO_HEIGHT + shrink - 1) / shrink);
        assert_int_equal(atr_augment_apply_draw(&augment, &draw, &images[0], mask, full.pixels, full.labels,
                                                &full.workspace),
                         ATR_OK);
        assert_int_equal(atr_augment_apply_draw(&augment, &draw, &images[1], mask, small.pixels, small.labels,
                                                &small.workspace),
                         ATR_OK);
        assert_memory_equal(full.labels, small.labels, AREA);
        int64_t sum = 0;
        for (int p = 0; p < 3 * AREA; p++)
            sum += abs(full.pixels[p] - small.pixels[p]);
        assert_true(sum < 2 * 3 * AREA);          /* 2 levels on average */
        assert_true((sum == 0) == (shrink == 1)); /* another picture is what it costs */
        atr_image_free(&images[0]);
        atr_image_free(&images[1]);
    }
    atr_free(bytes);
    free(mask);
    atr_workspace_free(&full.workspace);
    atr_workspace_free(&small.workspace);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(picture_and_mask_move_alike),
        cmocka_unit_test(a_row_that_is_off_does_nothing),
        cmocka_unit_test(all_off_is_the_letterbox),
        cmocka_unit_test(the_same_key_gives_the_same_bytes),
        cmocka_unit_test(switching_a_row_off_leaves_the_other_decisions),
        cmocka_unit_test(decisions_are_as_frequent_as_asked),
        cmocka_unit_test(outside_is_ignore_or_zero_as_asked),
        cmocka_unit_test(one_pixel_and_thin_pictures_are_fine),
        cmocka_unit_test(settings_are_checked_and_named),
        cmocka_unit_test(samples_become_the_nearest_f32),
        cmocka_unit_test(a_jpeg_decoded_smaller_lies_where_it_lay),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
