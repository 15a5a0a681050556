#ifndef ATR_IO_LETTERBOX_H
#define ATR_IO_LETTERBOX_H

#include "io/image.h"
#include "io/resample.h"

/* How a picture of any size meets a network of fixed size. No chance is involved: this is for validation and prediction. */

enum { ATR_PAD_GREY = 128 }; /* what pictures are padded with, all channels */

typedef enum atr_fit {
    ATR_FIT_LETTERBOX, /* aspect kept, centred, the rest is grey */
    ATR_FIT_STRETCH    /* both sides resized to the canvas */
} atr_fit;

/* Where a picture of width x height lies on a canvas of canvas_width x canvas_height: to crop the prediction afterwards.
 * Letterbox: scale = min of both ratios, sides truncated to whole pixels (at least 1), centred. */
atr_box atr_fit_box(atr_fit fit, int64_t width, int64_t height, int64_t canvas_width, int64_t canvas_height);

/* Lays `image` (and `mask`, its class ids [image->height,image->width] u8; NULL if there is none) on a canvas: pictures
 * bicubic on grey, masks nearest neighbour on `padding` (255, the ignore value; 0 as the reference does).
 * pixels [canvas_height,canvas_width,image->channels] u8; labels [canvas_height,canvas_width] u8, NULL where mask is.
 * *box, if not NULL, gets atr_fit_box(). */
atr_status atr_fit_canvas(atr_fit fit, const atr_image *image, const uint8_t *mask, int64_t canvas_width,
                          int64_t canvas_height, uint8_t padding, uint8_t *pixels, uint8_t *labels,
                          atr_box *box, atr_workspace *workspace);

/* The same for class ids alone: `mask` [height,width] u8 to labels [canvas_height,canvas_width] u8. */
atr_status atr_fit_labels(atr_fit fit, const uint8_t *mask, int64_t width, int64_t height,
                          int64_t canvas_width, int64_t canvas_height, uint8_t padding, uint8_t *labels,
                          atr_workspace *workspace);

#endif
