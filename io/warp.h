#ifndef ATR_IO_WARP_H
#define ATR_IO_WARP_H

#include "io/workspace.h"

/* Filters and rotation of 8-bit canvases in place, with OpenCV's results (fixed-point cubic, 1/32 pixel positions). */

/* A rotation about pixel (centre_x, centre_y) of a canvas. */
typedef struct atr_rotation {
    double degrees; /* clockwise as seen on the screen */
    int64_t centre_x, centre_y;
} atr_rotation;

/* Bicubic (a = -3/4); outside the canvas everything is `border`. pixels [height,width,3] u8, dense, changed in place. */
atr_status atr_rotate_rgb(const atr_rotation *rotation, uint8_t border, int64_t width, int64_t height,
                          uint8_t *pixels, atr_workspace *workspace);

/* Nearest neighbour, for class ids [height,width] u8. */
atr_status atr_rotate_labels(const atr_rotation *rotation, uint8_t border, int64_t width, int64_t height,
                             uint8_t *labels, atr_workspace *workspace);

/* 5x5 Gaussian blur with the binomial weights 1 4 6 4 1 (sigma 1), mirrored at the border without repeating the edge pixel.
 * pixels [height,width,3] u8, dense, changed in place. */
atr_status atr_blur_rgb(int64_t width, int64_t height, uint8_t *pixels, atr_workspace *workspace);

#endif
