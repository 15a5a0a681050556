#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <cmocka.h>
#include <png.h>
#include <stdlib.h>
#include <string.h>

#include "io/image.h"
#include "tests/support/picture.h"

/* A PNG made by libpng directly, so that every kind can be made, not only those the library writes. */
typedef struct made {
    uint8_t *bytes;
    size_t size;
} made;

static void append(png_structp png, png_bytep bytes, size_t count)
{
    made *out = png_get_io_ptr(png);

    out->bytes = realloc(out->bytes, out->size + count);
    assert_non_null(out->bytes);
    memcpy(out->bytes + out->size, bytes, count);
    out->size += count;
}

static void no_flush(png_structp png)
{
    (void)png;
}

static int samples_of(int type)
{
    return 1 + (type & PNG_COLOR_MASK_COLOR && type != PNG_COLOR_TYPE_PALETTE ? 2 : 0) +
           (type & PNG_COLOR_MASK_ALPHA ? 1 : 0);
}

/* Stored sample c of pixel (x,y). */
static int stored(int x, int y, int c, int bits)
{
    const int wide = picture_sample(x, y, c) << 8 | picture_sample(y, x, c + 1);

    return wide >> (16 - bits);
}

static void colour_of(int index, uint8_t rgb[3])
{
    rgb[0] = (uint8_t)(255 - index);
    rgb[1] = (uint8_t)(index * 3);
    rgb[2] = (uint8_t)(index / 2);
}

static void set_palette_and_transparency(png_structp png, png_infop info, int type, int bits)
{
    png_color colours[256];
    png_byte alpha[1] = {0};
    png_color_16 key = {0, 0, 0, 0, 0};

    for (int i = 0; i < 256; i++) {
        uint8_t rgb[3];
        colour_of(i, rgb);
        colours[i] = (png_color){rgb[0], rgb[1], rgb[2]};
    }
    if (type == PNG_COLOR_TYPE_PALETTE)
        png_set_PLTE(png, info, colours, 1 << bits);
    if ((type & PNG_COLOR_MASK_ALPHA) == 0)
        png_set_tRNS(png, info, alpha, 1, &key);
}

static made make(int width, int height, int type, int bits, int interlace, int transparency)
{
    const int samples = samples_of(type), row_bytes = (width * samples * bits + 7) / 8;
    made out = {0};
    png_structp png = png_create_write_struct(PNG_LIBPNG_VER_STRING, NULL, NULL, NULL);
    png_infop info = png_create_info_struct(png);
    uint8_t *pixels = calloc((size_t)row_bytes * (size_t)height, 1),
            **rows = calloc((size_t)height, sizeof *rows);

    for (int y = 0; y < height; y++) {
        rows[y] = pixels + y * row_bytes;
        for (int i = 0; i < width * samples; i++) {
            const int value = stored(i / samples, y, i % samples, bits);
            if (bits == 16) {
                rows[y][2 * i] = (uint8_t)(value >> 8);
                rows[y][2 * i + 1] = (uint8_t)value;
            } else {
                rows[y][i * bits / 8] = (uint8_t)(rows[y][i * bits / 8] | value << (8 - bits - i * bits % 8));
            }
        }
    }
    png_set_write_fn(png, &out, append, no_flush);
    png_set_IHDR(png, info, (png_uint_32)width, (png_uint_32)height, bits, type,
                 interlace ? PNG_INTERLACE_ADAM7 : PNG_INTERLACE_NONE, PNG_COMPRESSION_TYPE_DEFAULT,
                 PNG_FILTER_TYPE_DEFAULT);
    if (type == PNG_COLOR_TYPE_PALETTE || transparency)
        set_palette_and_transparency(png, info, type, bits);
    png_set_gAMA(png, info, 0.3); /* must change nothing */
    png_set_rows(png, info, rows);
    png_write_png(png, info, PNG_TRANSFORM_IDENTITY, NULL);
    png_destroy_write_struct(&png, &info);
    free(rows);
    free(pixels);
    return out;
}

/* What the network should see of stored pixel (x,y). */
static void expected_rgb(int x, int y, int type, int bits, uint8_t rgb[3])
{
    if (type == PNG_COLOR_TYPE_PALETTE) {
        colour_of(stored(x, y, 0, bits), rgb);
        return;
    }
    for (int c = 0; c < 3; c++) {
        const int value = stored(x, y, type & PNG_COLOR_MASK_COLOR ? c : 0, bits);
        rgb[c] = (uint8_t)(bits == 16 ? value >> 8 : value * (255 / ((1 << bits) - 1)));
    }
}

static void check_rgb(const made *file, int width, int height, int type, int bits)
{
    atr_image image;

    assert_int_equal(atr_image_decode_rgb(file->bytes, file->size, true, &image), ATR_OK);
    assert_int_equal(image.width, width);
    assert_int_equal(image.height, height);
    assert_int_equal(image.channels, 3);
    for (int y = 0; y < height; y++)
        for (int x = 0; x < width; x++) {
            uint8_t rgb[3];
            expected_rgb(x, y, type, bits, rgb);
            assert_memory_equal(image.pixels + (y * width + x) * 3, rgb, 3);
        }
    atr_image_free(&image);
}

static void check_mask(const made *file, int width, int height, int type, int bits)
{
    atr_mask mask;
    const atr_status status = atr_mask_decode(file->bytes, file->size, &mask);

    if (type & PNG_COLOR_MASK_COLOR && type != PNG_COLOR_TYPE_PALETTE) {
        assert_int_equal(status, ATR_ERR_DATA);
        assert_null(mask.values);
        return;
    }
    assert_int_equal(status, ATR_OK);
    assert_int_equal(mask.width, width);
    assert_int_equal(mask.height, height);
    for (int y = 0; y < height; y++)
        for (int x = 0; x < width; x++)
            assert_int_equal(mask.values[y * width + x], stored(x, y, 0, bits));
    atr_mask_free(&mask);
}

static void check_probe(const made *file, int width, int height, int type, int bits)
{
    atr_image_info info;

    assert_int_equal(atr_image_probe(file->bytes, file->size, &info), ATR_OK);
    assert_int_equal(info.format, ATR_IMAGE_PNG);
    assert_int_equal(info.width, width);
    assert_int_equal(info.height, height);
    assert_int_equal(info.channels, samples_of(type));
    assert_int_equal(info.bits, bits);
    assert_int_equal(info.palette, type == PNG_COLOR_TYPE_PALETTE);
    assert_int_equal(info.orientation, 1);
}

static void every_kind_of_png_reads_right(void **state)
{
    static const struct {
        int type, bits;
    } kinds[] = {{PNG_COLOR_TYPE_GRAY, 1},    {PNG_COLOR_TYPE_GRAY, 2},        {PNG_COLOR_TYPE_GRAY, 4},
                 {PNG_COLOR_TYPE_GRAY, 8},    {PNG_COLOR_TYPE_GRAY, 16},       {PNG_COLOR_TYPE_PALETTE, 1},
                 {PNG_COLOR_TYPE_PALETTE, 2}, {PNG_COLOR_TYPE_PALETTE, 4},     {PNG_COLOR_TYPE_PALETTE, 8},
                 {PNG_COLOR_TYPE_RGB, 8},     {PNG_COLOR_TYPE_RGB, 16},        {PNG_COLOR_TYPE_GRAY_ALPHA, 8},
                 {PNG_COLOR_TYPE_RGBA, 8},    {PNG_COLOR_TYPE_GRAY_ALPHA, 16}, {PNG_COLOR_TYPE_RGBA, 16}};
    static const int sizes[][2] = {{1, 1}, {1, 9}, {13, 1}, {17, 11}};

    (void)state;
    for (size_t k = 0; k < sizeof kinds / sizeof *kinds; k++)
        for (size_t s = 0; s < sizeof sizes / sizeof *sizes; s++)
            for (int variant = 0; variant < 4; variant++) {
                const int width = sizes[s][0], height = sizes[s][1], type = kinds[k].type,
                          bits = kinds[k].bits;
                const made file = make(width, height, type, bits, variant & 1, variant & 2);
                check_probe(&file, width, height, type, bits);
                check_rgb(&file, width, height, type, bits);
                check_mask(&file, width, height, type, bits);
                free(file.bytes);
            }
}

static void what_is_written_reads_back(void **state)
{
    (void)state;
    for (int64_t channels = 1; channels <= 4; channels++) {
        atr_image image = {21, 13, channels, picture_make(21, 13, channels)}, back;
        void *bytes = NULL, *again = NULL;
        size_t size = 0, size_again = 0;
        if (channels == 2) {
            assert_int_equal(atr_png_encode(&image, &bytes, &size), ATR_ERR_USAGE);
            free(image.pixels);
            continue;
        }
        assert_int_equal(atr_png_encode(&image, &bytes, &size), ATR_OK);
        assert_int_equal(atr_png_encode(&image, &again, &size_again), ATR_OK);
        assert_int_equal(size, size_again);
        assert_memory_equal(bytes, again, size);
        assert_int_equal(atr_image_decode_rgb(bytes, size, false, &back), ATR_OK);
        for (int64_t i = 0; i < 21 * 13; i++)
            for (int64_t c = 0; c < 3; c++)
                assert_int_equal(back.pixels[3 * i + c],
                                 image.pixels[channels * i + (channels == 1 ? 0 : c)]);
        atr_image_free(&back);
        atr_free(bytes);
        atr_free(again);
        free(image.pixels);
    }
}

static void class_ids_keep_their_numbers_and_show_the_palette(void **state)
{
    uint8_t palette[256][3], *ids = picture_make(33, 7, 1);
    void *bytes = NULL;
    size_t size = 0;
    atr_mask mask;
    atr_image image;

    (void)state;
    atr_palette_voc(palette);
    assert_int_equal(atr_png_encode_indexed(ids, 33, 7, (const uint8_t(*)[3])palette, &bytes, &size), ATR_OK);
    assert_int_equal(atr_mask_decode(bytes, size, &mask), ATR_OK);
    assert_int_equal(atr_image_decode_rgb(bytes, size, true, &image), ATR_OK);
    for (int i = 0; i < 33 * 7; i++) {
        assert_int_equal(mask.values[i], ids[i]);
        assert_memory_equal(image.pixels + 3 * i, palette[ids[i]], 3);
    }
    atr_mask_free(&mask);
    atr_image_free(&image);
    atr_free(bytes);
    free(ids);
}

static void sixteen_bit_grey_keeps_every_bit(void **state)
{
    uint16_t values[5 * 300];
    void *bytes = NULL;
    size_t size = 0;
    atr_mask mask;

    (void)state;
    for (int i = 0; i < 5 * 300; i++)
        values[i] = (uint16_t)(i * 43);
    assert_int_equal(atr_png_encode_grey16(values, 300, 5, &bytes, &size), ATR_OK);
    assert_int_equal(atr_mask_decode(bytes, size, &mask), ATR_OK);
    assert_memory_equal(mask.values, values, sizeof values);
    atr_mask_free(&mask);
    atr_free(bytes);
}

/* A header that promises 2^15 x 2^15 RGBA pixels of 16 bits, and nothing behind it. */
static void a_bomb_is_refused_before_memory_is_taken(void **state)
{
    made file = make(1, 1, PNG_COLOR_TYPE_RGBA, 16, 0, 0);
    atr_image image;
    atr_image_info info;

    (void)state;
    for (int i = 0; i < 2; i++) {
        const uint32_t side = i == 0 ? 1 << 15 : 1 << 16;
        png_save_uint_32(file.bytes + 16, side);
        png_save_uint_32(file.bytes + 20, side);
        uint32_t crc = 0xffffffff;
        for (size_t b = 12; b < 29; b++) {
            crc ^= file.bytes[b];
            for (int bit = 0; bit < 8; bit++)
                crc = crc >> 1 ^ (crc & 1 ? 0xedb88320 : 0);
        }
        png_save_uint_32(file.bytes + 29, ~crc);
        assert_int_equal(atr_image_probe(file.bytes, file.size, &info), ATR_ERR_DATA);
        assert_int_equal(atr_image_decode_rgb(file.bytes, file.size, true, &image), ATR_ERR_DATA);
        assert_non_null(strstr(atr_status_message(), i == 0 ? "too few" : "limit"));
    }
    free(file.bytes);
}

static void every_cut_is_refused(void **state)
{
    const made file = make(9, 9, PNG_COLOR_TYPE_RGB, 8, 1, 0);

    (void)state;
    for (size_t kept = 0; kept < file.size; kept++) {
        uint8_t *cut = malloc(kept + 1);
        atr_image image;
        atr_mask mask;
        memcpy(cut, file.bytes, kept);
        assert_int_equal(atr_image_decode_rgb(cut, kept, true, &image), ATR_ERR_DATA);
        assert_null(image.pixels);
        assert_true(atr_status_message()[0] != 0);
        assert_int_equal(atr_mask_decode(cut, kept, &mask), ATR_ERR_DATA);
        free(cut);
    }
    free(file.bytes);
}

/* 0 if it could be read: then it must be whole. */
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

static void damaged_files_give_messages(void **state)
{
    static const int types[] = {PNG_COLOR_TYPE_PALETTE, PNG_COLOR_TYPE_RGB, PNG_COLOR_TYPE_GRAY};

    (void)state;
    for (uint64_t i = 0; i < 3; i++) {
        const made file = make(37, 29, types[i], 8, i == 1, i == 2);
        assert_true(picture_damage(file.bytes, file.size, i, try_to_read) > 950);
        free(file.bytes);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_kind_of_png_reads_right),
        cmocka_unit_test(what_is_written_reads_back),
        cmocka_unit_test(class_ids_keep_their_numbers_and_show_the_palette),
        cmocka_unit_test(sixteen_bit_grey_keeps_every_bit),
        cmocka_unit_test(a_bomb_is_refused_before_memory_is_taken),
        cmocka_unit_test(every_cut_is_refused),
        cmocka_unit_test(damaged_files_give_messages),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
