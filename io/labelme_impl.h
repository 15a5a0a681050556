#ifndef ATR_IO_LABELME_IMPL_H
#define ATR_IO_LABELME_IMPL_H

#include <jansson.h>

#include "io/source_impl.h"

/* Where the picture of the annotation file `annotation` lies: at `image_path`, seen from that file's folder, or, for data that has moved,
 * under the same name beside it. `*out`: NULL where it is nowhere, nor in the folder above `root` or below; atr_free. */
atr_status atr_labelme_picture(const char *root, const char *annotation, const char *image_path, char **out);

/* The labels of one labelme file: all that is in "shapes", drawn by labelme's own rules (its shape_to_mask and
 * shapes_to_label): in order, so that a later shape covers an earlier one, over class 0. A shape's group does not matter for
 * semantic labels. */

/* Checks every shape of `root` and draws them onto out->mask, which the caller made (zeros; none: only checks). Faults become
 * findings about `subject`: L07 for each unknown label, one F01 for the shapes that cannot be drawn. `*good`: there are none. */
atr_status atr_labelme_draw(const atr_source *source, const char *subject, const json_t *root,
                            atr_findings *findings, atr_mask *mask, bool *good);

#endif
