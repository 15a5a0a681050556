#include "tests/support/voc.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "core/rng.h"
#include "io/image.h"
#include "tests/support/scratch.h"

static void must(atr_status status)
{
    if (status != ATR_OK)
        fail_msg("%s", atr_status_message());
}

/* Smooth noise, so that JPEG files stay small and no two seeds look alike. */
static atr_image draw(int64_t width, int64_t height, uint64_t seed)
{
    atr_image image = {width, height, 3, NULL};

    must(ATR_NEW(width * height * 3, &image.pixels));
    for (int64_t i = 0; i < width * height * 3; i++)
        image.pixels[i] = (uint8_t)(atr_rng_u64(seed, (uint64_t)(i / 24)) & 0xFF);
    return image;
}

/* SOI, then an APP1 segment with nothing but the orientation, then the rest. */
static void write_turned(const char *path, const uint8_t *bytes, size_t size, int orientation)
{
    const uint8_t app1[] = {0xFF, 0xE1, 0, 34, 'E', 'x', 'i', 'f', 0, 0,
                            'M',  'M',  0, 42, 0,   0,   0,   8,   0, 1,
                            1,    18,   0, 3,  0,   0,   0,   1,   0, (uint8_t)orientation,
                            0,    0,    0, 0,  0,   0};
    uint8_t *joined = malloc(size + sizeof app1);

    assert_non_null(joined);
    memcpy(joined, bytes, 2);
    memcpy(joined + 2, app1, sizeof app1);
    memcpy(joined + 2 + sizeof app1, bytes + 2, size - 2);
    scratch_write(path, joined, size + sizeof app1);
    free(joined);
}

void voc_jpeg(const char *path, int64_t width, int64_t height, uint64_t seed, int orientation)
{
    atr_image image = draw(width, height, seed);
    void *bytes = NULL;
    size_t size = 0;

    must(atr_jpeg_encode(&image, 90, &bytes, &size));
    if (orientation == 0)
        scratch_write(path, bytes, size);
    else
        write_turned(path, bytes, size, orientation);
    atr_free(bytes);
    atr_image_free(&image);
}

void voc_png(const char *path, int64_t width, int64_t height, uint64_t seed)
{
    atr_image image = draw(width, height, seed);
    void *bytes = NULL;
    size_t size = 0;

    must(atr_png_encode(&image, &bytes, &size));
    scratch_write(path, bytes, size);
    atr_free(bytes);
    atr_image_free(&image);
}

void voc_mask(const char *path, int64_t width, int64_t height, const uint8_t *values)
{
    uint8_t palette[256][3];
    void *bytes = NULL;
    size_t size = 0;

    atr_palette_voc(palette);
    must(atr_png_encode_indexed(values, width, height, (const uint8_t(*)[3])palette, &bytes, &size));
    scratch_write(path, bytes, size);
    atr_free(bytes);
}

void voc_box_mask(const char *path, int64_t width, int64_t height, uint8_t outside, uint8_t inside)
{
    uint8_t *values = malloc((size_t)(width * height));

    assert_non_null(values);
    for (int64_t y = 0; y < height; y++)
        for (int64_t x = 0; x < width; x++) {
            const int in = x >= width / 4 && x < 3 * width / 4 && y >= height / 4 && y < 3 * height / 4;
            values[y * width + x] = in ? inside : outside;
        }
    voc_mask(path, width, height, values);
    free(values);
}

void voc_pair(const char *root, const char *name, int64_t width, int64_t height, uint64_t seed,
              uint8_t inside)
{
    voc_jpeg(scratch_text("%s/JPEGImages/%s.jpg", root, name), width, height, seed, 0);
    voc_box_mask(scratch_text("%s/SegmentationClass/%s.png", root, name), width, height, 0, inside);
}

void voc_list(const char *root, const char *list, const char *text)
{
    scratch_write_text(scratch_text("%s/ImageSets/Segmentation/%s.txt", root, list), text);
}

void voc_make(const char *root, int train, int val)
{
    const int counts[2] = {train, val};

    for (int part = 0; part < 2; part++) {
        char *list = calloc((size_t)counts[part] + 1, 8);
        assert_non_null(list);
        for (int i = 0; i < counts[part]; i++) {
            const char *name = scratch_text("%c%03d", part == 0 ? 't' : 'v', i);
            voc_pair(root, name, 17 + 5 * (i % 4), 31 - 3 * (i % 5), (uint64_t)(1000 * part + i),
                     (uint8_t)(1 + i % 2));
            strcat(strcat(list, name), "\n");
        }
        voc_list(root, part == 0 ? "train" : "val", list);
        free(list);
    }
}
