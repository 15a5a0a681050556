#include "io/image_impl.h"

#include <string.h>

static const uint8_t png_signature[8] = {0x89, 'P', 'N', 'G', '\r', '\n', 0x1a, '\n'};

atr_image_format atr_image_sniff(const void *bytes, size_t size)
{
    static const uint8_t jpeg_start[3] = {0xff, 0xd8, 0xff};

    if (size >= sizeof png_signature && memcmp(bytes, png_signature, sizeof png_signature) == 0)
        return ATR_IMAGE_PNG;
    if (size >= sizeof jpeg_start && memcmp(bytes, jpeg_start, sizeof jpeg_start) == 0)
        return ATR_IMAGE_JPEG;
    return ATR_IMAGE_UNKNOWN;
}

/* What it may be instead, by its first bytes, so that the message can say how to go on. */
static atr_status unknown_format(const void *bytes, size_t size)
{
    static const struct {
        const char *start, *name;
        size_t offset;
    } known[] = {{"GIF8", "a GIF", 0},
                 {"BM", "a BMP", 0},
                 {"II*", "a TIFF", 0},
                 {"MM", "a TIFF", 0},
                 {"WEBP", "a WebP", 8},
                 {"ftyp", "a HEIC, AVIF or video file", 4},
                 {"<", "a text file", 0},
                 {"{", "a text file", 0},
                 {"version https://git-lfs", "a Git LFS pointer", 0}};

    if (size == 0)
        return atr_fail(ATR_ERR_DATA, "the file is empty");
    for (size_t i = 0; i < sizeof known / sizeof *known; i++) {
        const size_t length = strlen(known[i].start);
        if (size >= known[i].offset + length &&
            memcmp((const uint8_t *)bytes + known[i].offset, known[i].start, length) == 0)
            return atr_fail(ATR_ERR_DATA, "looks like %s; PNG and JPEG are read: convert it to PNG",
                            known[i].name);
    }
    return atr_fail(ATR_ERR_DATA, "neither PNG nor JPEG by its first bytes; convert it to PNG");
}

atr_status atr_image_check_size(const char *format, int64_t width, int64_t height, int64_t pixels_per_byte,
                                size_t size)
{
    int64_t pixels = 0;

    if (width < 1 || height < 1)
        return atr_fail(ATR_ERR_DATA, "%s says %lldx%lld pixels", format, (long long)width,
                        (long long)height);
    if (__builtin_mul_overflow(width, height, &pixels) || pixels > ATR_IMAGE_MAX_PIXELS)
        return atr_fail(ATR_ERR_DATA, "%s says %lldx%lld pixels; the limit is %lld in all: cut it into tiles",
                        format, (long long)width, (long long)height, (long long)ATR_IMAGE_MAX_PIXELS);
    if (pixels / pixels_per_byte > (int64_t)size)
        return atr_fail(ATR_ERR_DATA,
                        "%s says %lldx%lld pixels but has only %zu bytes, too few for that: damaged or cut "
                        "off, copy it again",
                        format, (long long)width, (long long)height, size);
    return ATR_OK;
}

atr_status atr_image_probe(const void *bytes, size_t size, atr_image_info *out)
{
    *out = (atr_image_info){.orientation = 1};
    switch (atr_image_sniff(bytes, size)) {
    case ATR_IMAGE_PNG:
        return atr_png_probe(bytes, size, out);
    case ATR_IMAGE_JPEG:
        return atr_jpeg_probe(bytes, size, out);
    case ATR_IMAGE_UNKNOWN:
        break;
    }
    return unknown_format(bytes, size);
}

atr_status atr_image_decode_rgb(const void *bytes, size_t size, bool apply_orientation, atr_image *out)
{
    return atr_image_decode_rgb_shrunk(bytes, size, apply_orientation, 1, out);
}

atr_status atr_image_decode_rgb_shrunk(const void *bytes, size_t size, bool apply_orientation, int shrink,
                                       atr_image *out)
{
    atr_status status = ATR_OK;
    atr_image_info info;

    *out = (atr_image){0};
    ATR_TRY(atr_image_probe(bytes, size, &info));
    if (info.format == ATR_IMAGE_PNG)
        ATR_TRY(atr_png_decode_rgb(bytes, size, out));
    else
        ATR_TRY(atr_jpeg_decode_rgb(bytes, size, shrink, out));
    if (apply_orientation)
        ATR_TRY(atr_image_orient(out, info.orientation));

done:
    if (status != ATR_OK)
        atr_image_free(out);
    return status;
}

atr_status atr_mask_decode(const void *bytes, size_t size, atr_mask *out)
{
    *out = (atr_mask){0};
    switch (atr_image_sniff(bytes, size)) {
    case ATR_IMAGE_PNG:
        return atr_png_decode_mask(bytes, size, out);
    case ATR_IMAGE_JPEG:
        return atr_jpeg_decode_mask(bytes, size, out);
    case ATR_IMAGE_UNKNOWN:
        break;
    }
    return unknown_format(bytes, size);
}

/* Turns rows of `element`-byte pixels by a step table: the source pixel of destination (0,0), and how far the source moves
 * for one step right and one step down, all in pixels. EXIF names the sides where stored row 0 and column 0 belong. */
static void turn(const uint8_t *src, int64_t width, int64_t height, size_t element, int orientation,
                 uint8_t *dst)
{
    const int64_t right = width - 1, bottom = (height - 1) * width;
    const struct {
        int64_t start, step_x, step_y;
    } move[9] = {[1] = {0, 1, width},
                 [2] = {right, -1, width},
                 [3] = {bottom + right, -1, -width},
                 [4] = {bottom, 1, -width},
                 [5] = {0, width, 1},
                 [6] = {bottom, -width, 1},
                 [7] = {bottom + right, -width, -1},
                 [8] = {right, width, -1}};
    const int64_t out_width = orientation >= 5 ? height : width,
                  out_height = orientation >= 5 ? width : height;

    for (int64_t y = 0; y < out_height; y++) {
        int64_t from = move[orientation].start + y * move[orientation].step_y;
        for (int64_t x = 0; x < out_width; x++, from += move[orientation].step_x, dst += element)
            memcpy(dst, src + (size_t)from * element, element);
    }
}

static atr_status orient(int orientation, size_t element, int64_t *width, int64_t *height, uint8_t **pixels)
{
    atr_status status = ATR_OK;
    uint8_t *turned = NULL;

    if (orientation < 1 || orientation > 8)
        return atr_fail(ATR_ERR_USAGE, "orientation %d: EXIF knows 1 to 8", orientation);
    if (orientation == 1)
        return ATR_OK;
    ATR_TRY(atr_alloc(*width * *height, element, (void **)&turned));
    turn(*pixels, *width, *height, element, orientation, turned);
    atr_free(*pixels);
    *pixels = turned;
    if (orientation >= 5) {
        const int64_t swapped = *width;
        *width = *height;
        *height = swapped;
    }

done:
    return status;
}

atr_status atr_image_orient(atr_image *image, int orientation)
{
    return orient(orientation, (size_t)image->channels, &image->width, &image->height, &image->pixels);
}

atr_status atr_mask_orient(atr_mask *mask, int orientation)
{
    uint8_t *bytes = (uint8_t *)mask->values;
    const atr_status status = orient(orientation, sizeof *mask->values, &mask->width, &mask->height, &bytes);

    mask->values = (uint16_t *)(void *)bytes;
    return status;
}

void atr_image_free(atr_image *image)
{
    atr_free(image->pixels);
    *image = (atr_image){0};
}

void atr_mask_free(atr_mask *mask)
{
    atr_free(mask->values);
    *mask = (atr_mask){0};
}

atr_status atr_image_sink_put(atr_image_sink *sink, const void *bytes, size_t count)
{
    const int64_t needed = sink->used + (int64_t)count;
    atr_status status = ATR_OK;

    if (needed > sink->size) {
        const int64_t size = needed + needed / 2 + 4096;
        ATR_TRY(atr_grow(sink->used, size, 1, (void **)&sink->bytes));
        sink->size = size;
    }
    memcpy(sink->bytes + sink->used, bytes, count);
    sink->used = needed;

done:
    return status;
}
