#ifndef ATR_APPS_SHAPES_H
#define ATR_APPS_SHAPES_H

#include "io/image.h"

/* Pictures of simple shapes with their label maps: a data set that needs no download. */

enum {
    ATR_SHAPE_CLASSES = 6, /* background, disc, box, triangle, ring, dot */
    ATR_SHAPE_DOT = 5      /* the last: only where it is asked for */
};

extern const char *const atr_shape_names[ATR_SHAPE_CLASSES];

/* Draws picture `index` of the data set `seed`: `picture` RGB u8, `ids` [height,width] u8 class ids. The same numbers give the
 * same bytes. `rare` > 0: every third picture shows one dot over its shapes, of such a size that this share of all pictures'
 * pixels are dots; 0: none, and the other shapes are the same. Both are owned by the caller (atr_image_free, atr_free). */
atr_status atr_shapes_draw(uint64_t seed, int64_t index, int64_t width, int64_t height, double rare,
                           atr_image *picture, uint8_t **ids);

#endif
