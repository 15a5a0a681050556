#ifndef ATR_IO_RASTER_H
#define ATR_IO_RASTER_H

#include "io/image.h"

/* Filled shapes drawn into a mask, pixel for pixel as Pillow's ImageDraw draws them (version 13, mode L, outline equal to fill).
 * labelme and most converters make their masks with it, so the same annotation gives the same labels here. Its rules are not
 * those of a geometry book: coordinates are cut off to whole pixels, the outline belongs to the shape, crossings are
 * rounded in float.
 *
 * Coordinates are pixels, x to the right and y down, not farther than ATR_RASTER_FAR from 0; what lies outside of the mask is
 * clipped. `mask->values` [height,width] gets `value` in each pixel of the shape. */

#define ATR_RASTER_FAR 1e8

/* Corners in any order. */
void atr_raster_rectangle(atr_mask *mask, const double a[2], const double b[2], uint16_t value);

/* The ellipse that touches the box low..high. One of no extent in both directions draws nothing. */
void atr_raster_ellipse(atr_mask *mask, const double low[2], const double high[2], uint16_t value);

/* xy [count,2] corners, even-odd rule, closed by itself. ATR_ERR_DATA where it would take hours to draw. */
atr_status atr_raster_polygon(atr_mask *mask, const double *xy, int64_t count, uint16_t value);

/* xy [count,2]: lines of `width` pixels from point to point, each with butt ends, without joints between them. */
atr_status atr_raster_lines(atr_mask *mask, const double *xy, int64_t count, int width, uint16_t value);

#endif
