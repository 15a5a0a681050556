#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <cmocka.h>
#include <stdlib.h>
#include <string.h>

#include "core/rng.h"
#include "io/exif.h"
#include "io/image.h"
#include "tests/support/picture.h"

enum { BLOCK = 8 + 2 + 3 * 12 + 4, W = 32, H = 16 };

static void put(uint8_t *at, int big, int count, uint32_t value)
{
    for (int i = 0; i < count; i++)
        at[big ? count - 1 - i : i] = (uint8_t)(value >> 8 * i);
}

/* A directory of three entries, the orientation in the middle. */
static void make_block(uint8_t block[BLOCK], int big, uint32_t orientation)
{
    static const uint16_t tags[3] = {0x010f, 0x0112, 0x0132};

    memset(block, 0, BLOCK);
    memcpy(block, big ? "MM" : "II", 2);
    put(block + 2, big, 2, 42);
    put(block + 4, big, 4, 8);
    put(block + 8, big, 2, 3);
    for (int i = 0; i < 3; i++) {
        uint8_t *entry = block + 10 + 12 * i;
        put(entry, big, 2, tags[i]);
        put(entry + 2, big, 2, i == 1 ? 3 : 2);
        put(entry + 4, big, 4, i == 1 ? 1 : 20);
        put(entry + 8, big, i == 1 ? 2 : 4, i == 1 ? orientation : 0);
    }
}

static void all_eight_are_read_in_both_byte_orders(void **state)
{
    uint8_t block[BLOCK];

    (void)state;
    for (int big = 0; big < 2; big++)
        for (uint32_t orientation = 0; orientation < 12; orientation++) {
            make_block(block, big, orientation);
            assert_int_equal(atr_exif_orientation(block, BLOCK),
                             orientation >= 1 && orientation <= 8 ? orientation : 1);
        }
}

static void broken_blocks_are_upright(void **state)
{
    uint8_t block[BLOCK];

    (void)state;
    make_block(block, 0, 6);
    for (size_t kept = 0; kept < 10 + 24 - 2; kept++) {
        uint8_t *cut = malloc(kept + 1); /* exact, for the sanitizer */
        memcpy(cut + 1, block, kept);
        assert_int_equal(atr_exif_orientation(cut + 1, kept), 1);
        free(cut);
    }
    put(block + 4, 0, 4, 0xfffffff0);
    assert_int_equal(atr_exif_orientation(block, BLOCK), 1);
    for (uint64_t round = 0; round < 1000; round++) {
        uint8_t *noisy = malloc(BLOCK);
        make_block(noisy, round % 2 == 0, 3);
        for (uint64_t i = 0; i < 4; i++)
            noisy[atr_rng_below(round, 2 * i, BLOCK)] = (uint8_t)atr_rng_u64(round, 2 * i + 1);
        assert_in_range(atr_exif_orientation(noisy, BLOCK), 1, 8);
        free(noisy);
    }
}

static uint8_t *insert(const void *file, size_t size, size_t at, const void *piece, size_t length)
{
    uint8_t *out = malloc(size + length);

    memcpy(out, file, at);
    memcpy(out + at, piece, length);
    memcpy(out + at + length, (const uint8_t *)file + at, size - at);
    return out;
}

/* Where corner (0,0) of the stored picture must appear after turning by orientation o; +1 is right or bottom. */
static const int corner_of[9][2] = {{0, 0}, {0, 0}, {1, 0}, {1, 1}, {0, 1}, {0, 0}, {1, 0}, {1, 1}, {0, 1}};

/* The stored picture is dark but for a bright quarter in its upper left corner. */
static void check_turned(const uint8_t *file, size_t size, int orientation)
{
    atr_image_info info;
    atr_image image;

    assert_int_equal(atr_image_probe(file, size, &info), ATR_OK);
    assert_int_equal(info.orientation, orientation);
    assert_int_equal(atr_image_decode_rgb(file, size, true, &image), ATR_OK);
    assert_int_equal(image.width, orientation >= 5 ? H : W);
    assert_int_equal(image.height, orientation >= 5 ? W : H);
    for (int bottom = 0; bottom < 2; bottom++)
        for (int right = 0; right < 2; right++) {
            const int64_t x = right ? image.width - 2 : 1, y = bottom ? image.height - 2 : 1;
            const int bright = image.pixels[(y * image.width + x) * 3] > 128;
            assert_int_equal(bright,
                             right == corner_of[orientation][0] && bottom == corner_of[orientation][1]);
        }
    atr_image_free(&image);
    assert_int_equal(atr_image_decode_rgb(file, size, false, &image), ATR_OK);
    assert_int_equal(image.width, W);
    assert_true(image.pixels[0] > 128);
    atr_image_free(&image);
}

static uint8_t *make_marked(void)
{
    uint8_t *pixels = calloc(W * H * 3, 1);

    for (int y = 0; y < H / 2; y++)
        memset(pixels + y * W * 3, 255, W / 2 * 3);
    return pixels;
}

static void pictures_are_turned_upright_from_jpeg(void **state)
{
    const atr_image image = {W, H, 3, make_marked()};
    void *bytes = NULL;
    size_t size = 0;

    (void)state;
    assert_int_equal(atr_jpeg_encode(&image, 95, &bytes, &size), ATR_OK);
    for (int orientation = 1; orientation <= 8; orientation++) {
        uint8_t piece[4 + 6 + BLOCK] = {0xff, 0xe1, 0, 2 + 6 + BLOCK, 'E', 'x', 'i', 'f', 0, 0};
        make_block(piece + 10, orientation % 2, (uint32_t)orientation);
        uint8_t *file = insert(bytes, size, 2, piece, sizeof piece);
        check_turned(file, size + sizeof piece, orientation);
        free(file);
    }
    atr_free(bytes);
    free(image.pixels);
}

static void put_crc(uint8_t *chunk, size_t length)
{
    uint32_t crc = 0xffffffff;

    for (size_t i = 4; i < 8 + length; i++) {
        crc ^= chunk[i];
        for (int bit = 0; bit < 8; bit++)
            crc = crc >> 1 ^ (crc & 1 ? 0xedb88320 : 0);
    }
    put(chunk + 8 + length, 1, 4, ~crc);
}

/* eXIf right after the header, or at the end before IEND. */
static void pictures_are_turned_upright_from_png(void **state)
{
    const atr_image image = {W, H, 3, make_marked()};
    void *bytes = NULL;
    size_t size = 0;

    (void)state;
    assert_int_equal(atr_png_encode(&image, &bytes, &size), ATR_OK);
    for (int orientation = 1; orientation <= 8; orientation++)
        for (int late = 0; late < 2; late++) {
            uint8_t chunk[12 + BLOCK] = {0, 0, 0, BLOCK, 'e', 'X', 'I', 'f'};
            make_block(chunk + 8, late, (uint32_t)orientation);
            put_crc(chunk, BLOCK);
            uint8_t *file = insert(bytes, size, late ? size - 12 : 33, chunk, sizeof chunk);
            check_turned(file, size + sizeof chunk, orientation);
            free(file);
        }
    atr_free(bytes);
    free(image.pixels);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(all_eight_are_read_in_both_byte_orders),
        cmocka_unit_test(broken_blocks_are_upright),
        cmocka_unit_test(pictures_are_turned_upright_from_jpeg),
        cmocka_unit_test(pictures_are_turned_upright_from_png),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
