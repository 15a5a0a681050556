#ifndef ATR_APPS_RENDER_H
#define ATR_APPS_RENDER_H

#include <stdbool.h>

#include "io/image.h"

/* What a label map looks like: pictures made of a picture (RGB u8, [pixels,3]) and its class ids ([pixels] u8). `out` may not be
 * the picture. */

/* Colours of the classes over the picture: (1 - alpha) picture + alpha colour, rounded. out [pixels,3]. */
void atr_render_overlay(const uint8_t *picture, const uint8_t *ids, int64_t pixels,
                        const uint8_t palette[256][3], double alpha, uint8_t *out);

/* The colours alone. out [pixels,3]. */
void atr_render_colour(const uint8_t *ids, int64_t pixels, const uint8_t palette[256][3], uint8_t *out);

/* The picture where its class is kept, black elsewhere. channels 3: out [pixels,3]; channels 4: out [pixels,4] with an alpha of 255
 * where kept and 0 elsewhere. */
void atr_render_cutout(const uint8_t *picture, const uint8_t *ids, int64_t pixels, const bool kept[256],
                       int channels, uint8_t *out);

/* Shares in 0..1 as grey levels, rounded: 0..255 and 0..65535. */
void atr_render_grey8(const float *shares, int64_t pixels, uint8_t *out);
void atr_render_grey16(const float *shares, int64_t pixels, uint16_t *out);

#endif
