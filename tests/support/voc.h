#ifndef ATR_TESTS_SUPPORT_VOC_H
#define ATR_TESTS_SUPPORT_VOC_H

#include <stdint.h>

/* Files of made data sets in VOC layout. Failures end the test. */

/* A picture of noise as JPEG, with an EXIF orientation where it is not 0. */
void voc_jpeg(const char *path, int64_t width, int64_t height, uint64_t seed, int orientation);
/* The same as RGB PNG. */
void voc_png(const char *path, int64_t width, int64_t height, uint64_t seed);

/* values [height,width] u8 as an indexed PNG. */
void voc_mask(const char *path, int64_t width, int64_t height, const uint8_t *values);

/* The same of one value, with a box of another value of a quarter of the area in the middle. */
void voc_box_mask(const char *path, int64_t width, int64_t height, uint8_t outside, uint8_t inside);

/* ROOT/JPEGImages/NAME.jpg and ROOT/SegmentationClass/NAME.png, a box of class `inside` on background. */
void voc_pair(const char *root, const char *name, int64_t width, int64_t height, uint64_t seed,
              uint8_t inside);

/* ROOT/ImageSets/Segmentation/LIST.txt */
void voc_list(const char *root, const char *list, const char *text);

/* A data set of `train` and `val` pairs named t000.., v000.. with odd sizes and classes 0..2, all listed. */
void voc_make(const char *root, int train, int val);

#endif
