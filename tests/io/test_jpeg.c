#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <cmocka.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <jpeglib.h>

#include "io/image.h"
#include "tests/support/picture.h"

enum { W = 45, H = 31 };

/* A smooth picture, which JPEG keeps nearly as it is. */
static uint8_t smooth(int64_t x, int64_t y, int64_t c)
{
    return (uint8_t)(40 + 3 * x + (c == 1 ? y : 2 * y) + 10 * c);
}

static uint8_t *make_smooth(int64_t width, int64_t height, int64_t channels)
{
    uint8_t *pixels = malloc((size_t)(width * height * channels));

    for (int64_t i = 0; i < width * height * channels; i++)
        pixels[i] = smooth(i / channels % width, i / channels / width, i % channels);
    return pixels;
}

/* A JPEG by libjpeg directly, for the kinds the library does not write. */
static unsigned char *make(J_COLOR_SPACE given, J_COLOR_SPACE stored, int channels, int progressive,
                           unsigned long *size)
{
    struct jpeg_compress_struct writer;
    struct jpeg_error_mgr errors;
    unsigned char *bytes = NULL;
    uint8_t *pixels = make_smooth(W, H, channels);

    *size = 0;
    writer.err = jpeg_std_error(&errors);
    jpeg_create_compress(&writer);
    jpeg_mem_dest(&writer, &bytes, size);
    writer.image_width = W;
    writer.image_height = H;
    writer.input_components = channels;
    writer.in_color_space = given;
    jpeg_set_defaults(&writer);
    jpeg_set_colorspace(&writer, stored);
    jpeg_set_quality(&writer, 100, TRUE);
    for (int c = 0; c < channels; c++)
        writer.comp_info[c].h_samp_factor = writer.comp_info[c].v_samp_factor = 1;
    if (progressive)
        jpeg_simple_progression(&writer);
    jpeg_start_compress(&writer, TRUE);
    for (int y = 0; y < H; y++) {
        JSAMPROW row = pixels + y * W * channels;
        jpeg_write_scanlines(&writer, &row, 1);
    }
    jpeg_finish_compress(&writer);
    jpeg_destroy_compress(&writer);
    free(pixels);
    return bytes;
}

static void assert_near(int value, int wanted, int off)
{
    assert_in_range(value + off, wanted, wanted + 2 * off);
}

static void colour_survives_a_round_trip(void **state)
{
    const atr_image image = {W, H, 3, make_smooth(W, H, 3)};
    void *bytes = NULL;
    size_t size = 0;
    atr_image back;
    atr_image_info info;

    (void)state;
    assert_int_equal(atr_jpeg_encode(&image, 95, &bytes, &size), ATR_OK);
    assert_int_equal(atr_image_probe(bytes, size, &info), ATR_OK);
    assert_int_equal(info.format, ATR_IMAGE_JPEG);
    assert_int_equal(info.width, W);
    assert_int_equal(info.height, H);
    assert_int_equal(info.channels, 3);
    assert_int_equal(info.bits, 8);
    assert_int_equal(info.orientation, 1);
    assert_int_equal(atr_image_decode_rgb(bytes, size, true, &back), ATR_OK);
    for (int i = 0; i < W * H * 3; i++)
        assert_near(back.pixels[i], image.pixels[i], 8);
    atr_image_free(&back);
    atr_free(bytes);
    free(image.pixels);
}

static void grey_is_spread_over_three_channels(void **state)
{
    const atr_image image = {W, H, 1, make_smooth(W, H, 1)};
    void *bytes = NULL;
    size_t size = 0;
    atr_image back;
    atr_mask mask;

    (void)state;
    assert_int_equal(atr_jpeg_encode(&image, 100, &bytes, &size), ATR_OK);
    assert_int_equal(atr_image_decode_rgb(bytes, size, true, &back), ATR_OK);
    assert_int_equal(atr_mask_decode(bytes, size, &mask), ATR_OK);
    for (int i = 0; i < W * H; i++) {
        assert_near(back.pixels[3 * i], image.pixels[i], 2);
        assert_int_equal(back.pixels[3 * i], back.pixels[3 * i + 1]);
        assert_int_equal(back.pixels[3 * i], back.pixels[3 * i + 2]);
        assert_int_equal(back.pixels[3 * i], mask.values[i]);
    }
    atr_image_free(&back);
    atr_mask_free(&mask);
    atr_free(bytes);
    free(image.pixels);
}

/* Ink is stored inverted: each of R, G, B is its channel times the fourth. */
static void inks_become_rgb(void **state)
{
    (void)state;
    for (int form = 0; form < 2; form++) {
        unsigned long size = 0;
        unsigned char *bytes = make(JCS_CMYK, form == 0 ? JCS_CMYK : JCS_YCCK, 4, 0, &size);
        atr_image image;
        atr_image_info info;
        assert_int_equal(atr_image_probe(bytes, size, &info), ATR_OK);
        assert_int_equal(info.channels, 4);
        assert_int_equal(atr_image_decode_rgb(bytes, size, true, &image), ATR_OK);
        for (int y = 0; y < H; y++)
            for (int x = 0; x < W; x++)
                for (int c = 0; c < 3; c++)
                    assert_near(image.pixels[(y * W + x) * 3 + c], smooth(x, y, c) * smooth(x, y, 3) / 255,
                                5);
        atr_image_free(&image);
        free(bytes);
    }
}

static void progressive_is_the_same_picture(void **state)
{
    unsigned long size[2];
    atr_image image[2];

    (void)state;
    for (int progressive = 0; progressive < 2; progressive++) {
        unsigned char *bytes = make(JCS_RGB, JCS_YCbCr, 3, progressive, &size[progressive]);
        assert_int_equal(atr_image_decode_rgb(bytes, size[progressive], true, &image[progressive]), ATR_OK);
        free(bytes);
    }
    assert_memory_equal(image[0].pixels, image[1].pixels, W * H * 3);
    atr_image_free(&image[0]);
    atr_image_free(&image[1]);
}

static void one_pixel_and_lines_are_fine(void **state)
{
    static const int64_t sizes[][2] = {{1, 1}, {1, 40}, {40, 1}, {9, 7}};

    (void)state;
    for (int i = 0; i < 4; i++) {
        const atr_image image = {sizes[i][0], sizes[i][1], 3, make_smooth(sizes[i][0], sizes[i][1], 3)};
        void *bytes = NULL;
        size_t size = 0;
        atr_image back;
        assert_int_equal(atr_jpeg_encode(&image, 90, &bytes, &size), ATR_OK);
        assert_int_equal(atr_image_decode_rgb(bytes, size, true, &back), ATR_OK);
        assert_int_equal(back.width, sizes[i][0]);
        assert_int_equal(back.height, sizes[i][1]);
        atr_image_free(&back);
        atr_free(bytes);
        free(image.pixels);
    }
}

static void senseless_encodings_are_refused(void **state)
{
    uint8_t pixel[4] = {0};
    void *bytes = NULL;
    size_t size = 0;

    (void)state;
    assert_int_equal(atr_jpeg_encode(&(atr_image){1, 1, 4, pixel}, 90, &bytes, &size), ATR_ERR_USAGE);
    assert_int_equal(atr_jpeg_encode(&(atr_image){1, 1, 3, pixel}, 0, &bytes, &size), ATR_ERR_USAGE);
    assert_int_equal(atr_jpeg_encode(&(atr_image){70000, 1, 3, pixel}, 90, &bytes, &size), ATR_ERR_USAGE);
    assert_null(bytes);
}

/* A cut JPEG is a message and never a picture whose lower part is grey. */
static void every_cut_is_refused(void **state)
{
    (void)state;
    for (int progressive = 0; progressive < 2; progressive++) {
        unsigned long size = 0;
        unsigned char *bytes = make(JCS_RGB, JCS_YCbCr, 3, progressive, &size);
        for (unsigned long kept = 0; kept < size; kept++) {
            uint8_t *cut = malloc(kept + 1);
            atr_image image;
            memcpy(cut, bytes, kept);
            assert_int_equal(atr_image_decode_rgb(cut, kept, true, &image), ATR_ERR_DATA);
            assert_null(image.pixels);
            free(cut);
        }
        free(bytes);
    }
}

/* The frame header is made to promise 65000 x 65000 pixels. */
static void a_bomb_is_refused_before_memory_is_taken(void **state)
{
    unsigned long size = 0;
    unsigned char *bytes = make(JCS_RGB, JCS_YCbCr, 3, 0, &size);
    atr_image image;

    (void)state;
    for (unsigned long at = 0; at + 9 < size; at++)
        if (bytes[at] == 0xff && bytes[at + 1] == 0xc0) {
            bytes[at + 5] = bytes[at + 7] = 0x70;
            break;
        }
    assert_int_equal(atr_image_decode_rgb(bytes, size, true, &image), ATR_ERR_DATA);
    assert_non_null(strstr(atr_status_message(), "too few"));
    free(bytes);
}

/* A progressive file whose last scan is repeated over and over would keep a decoder busy for hours. */
static void endless_scans_are_refused(void **state)
{
    enum { COPIES = 2000 };
    unsigned long size = 0;
    unsigned char *bytes = make(JCS_RGB, JCS_YCbCr, 3, 1, &size);
    unsigned long scan = 0;
    atr_image image;

    (void)state;
    for (unsigned long at = 0; at + 1 < size; at++)
        if (bytes[at] == 0xff && bytes[at + 1] == 0xda)
            scan = at;
    const size_t length = size - 2 - scan;
    uint8_t *many = malloc(size + COPIES * length);
    memcpy(many, bytes, size - 2);
    for (size_t i = 0; i < COPIES; i++)
        memcpy(many + size - 2 + i * length, bytes + scan, length);
    memcpy(many + size - 2 + COPIES * length, bytes + size - 2, 2);
    assert_int_equal(atr_image_decode_rgb(many, size + COPIES * length, true, &image), ATR_ERR_DATA);
    free(many);
    free(bytes);
}

static int try_to_read(const void *bytes, size_t size)
{
    atr_image image;
    atr_mask mask;
    const atr_status status = atr_image_decode_rgb(bytes, size, true, &image);

    assert_true(status == ATR_OK ? image.pixels != NULL : image.pixels == NULL);
    assert_true(status == ATR_OK || strlen(atr_status_message()) > 10);
    atr_image_free(&image);
    if (atr_mask_decode(bytes, size, &mask) == ATR_OK)
        atr_mask_free(&mask);
    return status != ATR_OK;
}

static void damaged_files_give_messages_or_pictures(void **state)
{
    (void)state;
    for (int kind = 0; kind < 3; kind++) {
        unsigned long size = 0;
        unsigned char *bytes =
            kind < 2 ? make(JCS_RGB, JCS_YCbCr, 3, kind, &size) : make(JCS_CMYK, JCS_YCCK, 4, 0, &size);
        assert_true(picture_damage(bytes, size, (uint64_t)kind, try_to_read) >=
                    500); /* every cut, and more */
        free(bytes);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(colour_survives_a_round_trip),
        cmocka_unit_test(grey_is_spread_over_three_channels),
        cmocka_unit_test(inks_become_rgb),
        cmocka_unit_test(progressive_is_the_same_picture),
        cmocka_unit_test(one_pixel_and_lines_are_fine),
        cmocka_unit_test(senseless_encodings_are_refused),
        cmocka_unit_test(every_cut_is_refused),
        cmocka_unit_test(a_bomb_is_refused_before_memory_is_taken),
        cmocka_unit_test(endless_scans_are_refused),
        cmocka_unit_test(damaged_files_give_messages_or_pictures),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
