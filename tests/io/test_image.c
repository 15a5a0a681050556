#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <cmocka.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "io/image.h"
#include "tests/support/picture.h"
#include "tests/support/scratch.h"

static void what_cannot_be_read_is_named(void **state)
{
    static const struct {
        const char *bytes, *named;
        size_t size;
    } files[] = {{"", "empty", 0},          {"GIF89a......", "GIF", 12}, {"BM..........", "BMP", 12},
                 {"II*\0....", "TIFF", 8},  {"\x89PNG", "neither", 4},   {"RIFF....WEBPVP8 ", "WebP", 16},
                 {"\xff\xd8", "neither", 2}};

    (void)state;
    for (size_t i = 0; i < sizeof files / sizeof *files; i++) {
        atr_image image;
        atr_image_info info;
        atr_mask mask;
        assert_int_equal(atr_image_sniff(files[i].bytes, files[i].size), ATR_IMAGE_UNKNOWN);
        assert_int_equal(atr_image_probe(files[i].bytes, files[i].size, &info), ATR_ERR_DATA);
        assert_int_equal(atr_mask_decode(files[i].bytes, files[i].size, &mask), ATR_ERR_DATA);
        assert_int_equal(atr_image_decode_rgb(files[i].bytes, files[i].size, true, &image), ATR_ERR_DATA);
        assert_non_null(strstr(atr_status_message(), files[i].named));
    }
}

/* 2 rows of 3: 1 2 3 / 4 5 6 */
static void every_orientation_turns_masks_as_exif_says(void **state)
{
    static const struct {
        int64_t width;
        uint16_t values[6];
    } wanted[9] = {{0, {0}},
                   {3, {1, 2, 3, 4, 5, 6}},
                   {3, {3, 2, 1, 6, 5, 4}},
                   {3, {6, 5, 4, 3, 2, 1}},
                   {3, {4, 5, 6, 1, 2, 3}},
                   {2, {1, 4, 2, 5, 3, 6}},
                   {2, {4, 1, 5, 2, 6, 3}},
                   {2, {6, 3, 5, 2, 4, 1}},
                   {2, {3, 6, 2, 5, 1, 4}}};

    (void)state;
    for (int orientation = 1; orientation <= 8; orientation++) {
        atr_mask mask = {3, 2, NULL};
        assert_int_equal(ATR_NEW(6, &mask.values), ATR_OK);
        for (uint16_t i = 0; i < 6; i++)
            mask.values[i] = (uint16_t)(i + 1);
        assert_int_equal(atr_mask_orient(&mask, orientation), ATR_OK);
        assert_int_equal(mask.width, wanted[orientation].width);
        assert_int_equal(mask.width * mask.height, 6);
        assert_memory_equal(mask.values, wanted[orientation].values, sizeof wanted[orientation].values);
        atr_mask_free(&mask);
    }
}

static void pictures_turn_pixel_by_pixel(void **state)
{
    atr_image image = {5, 4, 3, NULL};

    (void)state;
    assert_int_equal(ATR_NEW(60, &image.pixels), ATR_OK);
    for (int i = 0; i < 60; i++)
        image.pixels[i] = (uint8_t)i;
    assert_int_equal(atr_image_orient(&image, 6), ATR_OK); /* the left side comes to the top */
    assert_int_equal(image.width, 4);
    assert_int_equal(image.height, 5);
    assert_memory_equal(image.pixels, ((const uint8_t[]){45, 46, 47, 30, 31, 32}), 6);
    assert_int_equal(atr_image_orient(&image, 9), ATR_ERR_USAGE);
    assert_int_equal(atr_image_orient(&image, 0), ATR_ERR_USAGE);
    atr_image_free(&image);
    atr_image_free(&image); /* twice is harmless */
}

static void the_palette_is_pascal_vocs(void **state)
{
    uint8_t palette[256][3];

    (void)state;
    atr_palette_voc(palette);
    assert_memory_equal(palette[0], ((const uint8_t[]){0, 0, 0}), 3);
    assert_memory_equal(palette[1], ((const uint8_t[]){128, 0, 0}), 3);
    assert_memory_equal(palette[6], ((const uint8_t[]){0, 128, 128}), 3);
    assert_memory_equal(palette[15], ((const uint8_t[]){192, 128, 128}), 3);
    assert_memory_equal(palette[20], ((const uint8_t[]){0, 64, 128}), 3);
    assert_memory_equal(palette[255], ((const uint8_t[]){224, 224, 192}), 3);
}

static void files_are_written_whole_and_read_back(void **state)
{
    char *folder = scratch_create();
    const char *path = scratch_text("%s/a.bin", folder);
    void *bytes = NULL;
    size_t size = 0;

    (void)state;
    assert_int_equal(atr_file_write(path, "first", 5), ATR_OK);
    assert_int_equal(atr_file_write(path, "other", 5), ATR_OK);
    assert_int_equal(atr_file_read(path, 0, &bytes, &size), ATR_OK);
    assert_int_equal(size, 5);
    assert_string_equal(bytes, "other");
    atr_free(bytes);
    assert_int_equal(atr_file_write(path, "", 0), ATR_OK);
    assert_int_equal(atr_file_read(path, 0, &bytes, &size), ATR_OK);
    assert_int_equal(size, 0);
    assert_non_null(bytes);
    atr_free(bytes);
    scratch_remove(folder);
}

static void files_that_cannot_be_are_named(void **state)
{
    char *folder = scratch_create();
    const char *path = scratch_text("%s/big", folder), *pipe_path = scratch_text("%s/pipe", folder);
    void *bytes = NULL;
    size_t size = 0;

    (void)state;
    assert_int_equal(atr_file_write(path, "12345678", 8), ATR_OK);
    assert_int_equal(atr_file_read(path, 7, &bytes, &size), ATR_ERR_DATA);
    assert_non_null(strstr(atr_status_message(), "limit of 7"));
    assert_int_equal(atr_file_read(scratch_text("%s/none", folder), 0, &bytes, &size), ATR_ERR_NOT_FOUND);
    assert_int_equal(atr_file_read(folder, 0, &bytes, &size), ATR_ERR_IO);
    assert_non_null(strstr(atr_status_message(), "folder"));
    assert_int_equal(mkfifo(pipe_path, 0600), 0);
    assert_int_equal(atr_file_read(pipe_path, 0, &bytes, &size), ATR_ERR_IO); /* and does not wait */
    assert_null(bytes);
    assert_int_not_equal(atr_file_write(scratch_text("%s/no/such/folder", folder), "x", 1), ATR_OK);
    scratch_remove(folder);
}

static void a_failed_write_leaves_the_old_file(void **state)
{
    char *folder = scratch_create();
    const char *path = scratch_text("%s/taken", folder);

    (void)state;
    assert_int_equal(mkdir(path, 0700), 0); /* nothing can be renamed onto a folder */
    assert_int_not_equal(atr_file_write(path, "x", 1), ATR_OK);
    assert_int_not_equal(access(scratch_text("%s/taken.partial", folder), F_OK), 0);
    scratch_remove(folder);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_cannot_be_read_is_named),
        cmocka_unit_test(every_orientation_turns_masks_as_exif_says),
        cmocka_unit_test(pictures_turn_pixel_by_pixel),
        cmocka_unit_test(the_palette_is_pascal_vocs),
        cmocka_unit_test(files_are_written_whole_and_read_back),
        cmocka_unit_test(files_that_cannot_be_are_named),
        cmocka_unit_test(a_failed_write_leaves_the_old_file),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
