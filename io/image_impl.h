#ifndef ATR_IO_IMAGE_IMPL_H
#define ATR_IO_IMAGE_IMPL_H

#include "io/image.h"

/* The codecs behind image.h; only io/ sees these. */

/* Header only; out->orientation is set too. */
atr_status atr_png_probe(const void *bytes, size_t size, atr_image_info *out);
atr_status atr_jpeg_probe(const void *bytes, size_t size, atr_image_info *out);

/* As stored, no orientation applied. `out` is empty on failure. */
atr_status atr_png_decode_rgb(const void *bytes, size_t size, atr_image *out);
/* `shrink` 1, 2, 4 or 8: each side divided by it, rounded up. */
atr_status atr_jpeg_decode_rgb(const void *bytes, size_t size, int shrink, atr_image *out);
atr_status atr_png_decode_mask(const void *bytes, size_t size, atr_mask *out);
atr_status atr_jpeg_decode_mask(const void *bytes, size_t size, atr_mask *out);

/* Refuses sizes over ATR_IMAGE_MAX_PIXELS, and sizes that a file of `size` bytes cannot hold, whose format packs at most
 * `pixels_per_byte` into a byte. So a tiny file can never make us take gigabytes. */
atr_status atr_image_check_size(const char *format, int64_t width, int64_t height, int64_t pixels_per_byte,
                                size_t size);

/* A growing output of an encoder. */
typedef struct atr_image_sink {
    uint8_t *bytes;
    int64_t used, size;
} atr_image_sink;
atr_status atr_image_sink_put(atr_image_sink *sink, const void *bytes, size_t count);

#endif
