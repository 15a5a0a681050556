#ifndef ATR_IO_RESAMPLE_H
#define ATR_IO_RESAMPLE_H

#include <stdbool.h>

#include "io/workspace.h"

/* Resizing of 8-bit pictures and label maps, with the results of Pillow's Image.resize bit for bit: networks trained with
 * PyTorch pipelines see exactly the pixels they were trained on. Only the wanted window of the result is computed. */

/* A rectangle in pixels; x and y count from the upper left corner. */
typedef struct atr_box {
    int64_t x, y, width, height;
} atr_box;

/* A picture of from_width x from_height is resized to to_width x to_height (all >= 1), mirrored left to right if `flip`, and
 * of that the rectangle `window` is kept (it must lie inside). */
typedef struct atr_resize {
    int64_t from_width, from_height;
    int64_t to_width, to_height;
    bool flip;
    atr_box window;
    /* Where not 0, the bicubic resize takes the first so many source pixels for the whole: a picture that was decoded at 1/8 of 403
     * pixels has 51 of them and ends within the last. At most from_width, from_height. */
    double extent_width, extent_height;
} atr_resize;

/* The whole picture, not mirrored. */
atr_resize atr_resize_whole(int64_t from_width, int64_t from_height, int64_t to_width, int64_t to_height);

/* The whole picture, brought down to `largest` on its longer side where that is longer; its aspect stays, no side vanishes. */
atr_resize atr_resize_within(int64_t width, int64_t height, int64_t largest);

/* Bicubic convolution (Keys 1981, a = -1/2), its support widened when shrinking so that nothing aliases; rows first, then
 * columns, 8 bits between. src [from_height,from_width,channels] u8, dense, channels 1..4;
 * dst [window.height,window.width,channels] u8 with dst_stride bytes from row to row. */
atr_status atr_resize_bicubic(const atr_resize *resize, int channels, const uint8_t *src, uint8_t *dst,
                              int64_t dst_stride, atr_workspace *workspace);

/* Nearest neighbour, for label maps: destination pixel i takes source pixel floor((i + 1/2) * from / to).
 * src [from_height,from_width] u8, dst [window.height,window.width] u8 with dst_stride bytes from row to row. */
atr_status atr_resize_nearest(const atr_resize *resize, const uint8_t *src, uint8_t *dst, int64_t dst_stride,
                              atr_workspace *workspace);

#endif
