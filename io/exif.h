#ifndef ATR_IO_EXIF_H
#define ATR_IO_EXIF_H

#include <stddef.h>

/* The orientation tag (0x0112) of an EXIF block: a TIFF structure, beginning "II" or "MM" (the "Exif\0\0" of JPEG's APP1
 * already taken off). 1..8; 1 (upright) where it is absent, senseless or out of the block's bounds. */
int atr_exif_orientation(const void *tiff, size_t size);

#endif
