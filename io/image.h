#ifndef ATR_IO_IMAGE_H
#define ATR_IO_IMAGE_H

#include <stdbool.h>

#include "core/mem.h"

/* Pictures in memory and their codecs (PNG by libpng, JPEG by libjpeg-turbo). The kind of file is told by its first bytes,
 * never by its name. Decoders trust nothing: damaged, truncated or absurd input (over ATR_IMAGE_MAX_PIXELS) is ATR_ERR_DATA. */

#define ATR_IMAGE_MAX_PIXELS ((int64_t)1 << 30)

/* 8-bit samples, row by row, channels interleaved: pixels [height,width,channels] u8, owned (atr_image_free). */
typedef struct atr_image {
    int64_t width, height, channels;
    uint8_t *pixels;
} atr_image;

typedef enum atr_image_format { ATR_IMAGE_UNKNOWN, ATR_IMAGE_PNG, ATR_IMAGE_JPEG } atr_image_format;

/* What the header says, without decoding pixels. */
typedef struct atr_image_info {
    atr_image_format format;
    int64_t width, height; /* as stored, before any orientation */
    int channels;          /* as stored: 1 grey or palette, 2 grey+alpha, 3 RGB, 4 RGBA (JPEG: 1, 3 or 4) */
    int bits;              /* per sample as stored: 1, 2, 4, 8, 16 */
    bool palette;          /* indexed colour */
    int orientation;       /* EXIF orientation 1..8 (JPEG APP1, PNG eXIf); 1 where absent or senseless */
} atr_image_info;

atr_image_format atr_image_sniff(const void *bytes, size_t size);
atr_status atr_image_probe(const void *bytes, size_t size, atr_image_info *out);

/* A picture for the network as 8-bit RGB: grey and palette expanded, 16 bit scaled to 8 (high byte), alpha dropped, EXIF
 * orientation applied when asked. */
atr_status atr_image_decode_rgb(const void *bytes, size_t size, bool apply_orientation, atr_image *out);

/* The same, but a JPEG is decoded straight to 1/`shrink` of its sides (2, 4 or 8), each rounded up, in a fraction of the time; other files
 * come in full. *out says its size. */
atr_status atr_image_decode_rgb_shrunk(const void *bytes, size_t size, bool apply_orientation, int shrink,
                                       atr_image *out);

/* A mask as stored label values: palette indices or grey levels, 1-16 bit, one channel, never converted by gamma or palette.
 * 16-bit values are kept whole: `values` [height,width] u16, owned (atr_free). RGB or RGBA masks are ATR_ERR_DATA (code L03
 * is the caller's business): ask atr_image_probe first. JPEG masks decode as grey (the label gate finds them, L04). */
typedef struct atr_mask {
    int64_t width, height;
    uint16_t *values;
} atr_mask;
atr_status atr_mask_decode(const void *bytes, size_t size, atr_mask *out);

/* Turns a picture or mask by an EXIF orientation (1..8) in place (dimensions may swap). */
atr_status atr_image_orient(atr_image *image, int orientation);
atr_status atr_mask_orient(atr_mask *mask, int orientation);

void atr_image_free(atr_image *image);
void atr_mask_free(atr_mask *mask);

/* Class ids as an indexed PNG: ids [height,width] u8 with row stride in bytes; palette [256,3] RGB (see atr_palette_voc).
 * Writes into memory; *bytes is owned by the caller (atr_free). Deterministic. */
atr_status atr_png_encode_indexed(const uint8_t *ids, int64_t width, int64_t height,
                                  const uint8_t palette[256][3], void **bytes, size_t *size);
/* channels 1 (grey), 3 (RGB) or 4 (RGBA), 8 bit. */
atr_status atr_png_encode(const atr_image *image, void **bytes, size_t *size);
/* 16-bit grey. */
atr_status atr_png_encode_grey16(const uint16_t *values, int64_t width, int64_t height, void **bytes,
                                 size_t *size);
/* JPEG, quality 1..100, channels 1 or 3. */
atr_status atr_jpeg_encode(const atr_image *image, int quality, void **bytes, size_t *size);

/* The PASCAL VOC colour map: bits of the id spread over R, G, B. */
void atr_palette_voc(uint8_t palette[256][3]);

/* Whole small files. Reading refuses over `limit` bytes (0: 1 GiB), and anything but a plain file; a zero byte follows the
 * contents, which *size does not count; *bytes is owned by the caller (atr_free). Writing goes to a temporary name in the same folder, is
 * synced and renamed, so that a reader sees the old file or the new one. */
atr_status atr_file_read(const char *path, size_t limit, void **bytes, size_t *size);

/* Exactly `count` bytes at `offset` of an open file; any thread. ATR_ERR_IO, ATR_ERR_DATA where the file ends before. */
atr_status atr_file_read_at(int descriptor, int64_t offset, void *bytes, size_t count);
atr_status atr_file_write(const char *path, const void *bytes, size_t size);

#endif
