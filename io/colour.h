#ifndef ATR_IO_COLOUR_H
#define ATR_IO_COLOUR_H

#include <stdint.h>

/* Colour changes of 8-bit RGB pixels by way of 8-bit hue, saturation and value, with OpenCV's roundings: hue in steps of two
 * degrees (0..179), saturation and value 0..255. */

void atr_rgb_to_hsv(const uint8_t rgb[3], uint8_t hsv[3]);
void atr_hsv_to_rgb(const uint8_t hsv[3], uint8_t rgb[3]);

/* Multiplies hue (modulo the circle), saturation and value (both clipped) by factor[0..2] (>= 0). pixels [count,3] u8. */
void atr_hsv_scale(const double factor[3], int64_t count, uint8_t *pixels);

#endif
