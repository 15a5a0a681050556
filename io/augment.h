#ifndef ATR_IO_AUGMENT_H
#define ATR_IO_AUGMENT_H

#include "io/image.h"
#include "io/resample.h"

/* Random changes of a training picture and its mask. Every kind of change is one row of a table; a row can be switched off or
 * set from the recipe. Picture and mask always get the same geometry. All randomness is a pure function of a key, so that a
 * sample looks the same on any number of ranks and threads. */

enum { ATR_AUGMENT_VALUES = 3 };

typedef enum atr_augment_kind {
    ATR_AUGMENT_ASPECT,
    ATR_AUGMENT_SCALE,
    ATR_AUGMENT_FLIP,
    ATR_AUGMENT_PLACE,
    ATR_AUGMENT_BLUR,
    ATR_AUGMENT_ROTATE,
    ATR_AUGMENT_HSV,
    ATR_AUGMENT_KINDS
} atr_augment_kind;

/* What chance decided for one sample, and what it means in pixels. */
typedef struct atr_augment_draw {
    int64_t from_width, from_height;     /* the picture */
    int64_t canvas_width, canvas_height; /* what the network sees */
    double aspect;                       /* width / height after the aspect's jitter */
    int64_t to_width, to_height;         /* the picture's size on the canvas, >= 1 */
    bool flip;
    int64_t x, y; /* the picture's upper left corner on the canvas; may be negative */
    bool blur;
    double angle;  /* degrees, clockwise; 0 means none */
    double hsv[3]; /* factors for hue, saturation, value */
    bool recolour; /* any of the three may differ from 1 */
} atr_augment_draw;

/* A canvas being worked on: pixels [height,width,3] u8, labels [height,width] u8 or NULL. */
typedef struct atr_augment_canvas {
    int64_t width, height;
    uint8_t *pixels, *labels;
    uint8_t padding; /* label outside the picture */
} atr_augment_canvas;

typedef struct atr_augment_row {
    const char *name; /* as in the recipe */
    const char *help;
    int count; /* of values used */
    struct {
        const char *name;
        double initial;     /* the reference's */
        double off;         /* where the row does nothing */
        double least, most; /* bounds, both allowed */
    } value[ATR_AUGMENT_VALUES];
    /* Makes this row's decision from its own numbers of stream `key`. */
    void (*draw)(const double *value, uint64_t key, atr_augment_draw *draw);
    /* Changes the canvas after the picture was laid on it; NULL for rows that only steer the laying. */
    atr_status (*apply)(const atr_augment_draw *draw, atr_augment_canvas *canvas, atr_workspace *workspace);
} atr_augment_row;

/* Rows in the order in which they work, index atr_augment_kind. */
extern const atr_augment_row atr_augment_rows[ATR_AUGMENT_KINDS];

typedef struct atr_augment {
    double value[ATR_AUGMENT_KINDS][ATR_AUGMENT_VALUES];
    uint8_t padding; /* label of pixels outside the picture: 255 (ignore), or 0 as the reference does */
} atr_augment;

/* The reference's strengths / everything off; padding 255 in both. */
void atr_augment_defaults(atr_augment *augment);
void atr_augment_none(atr_augment *augment);

/* Sets row `name` to `count` values; values not given stay (a single scale is both its ends). A single 0 switches the row off,
 * whatever its values mean.
 * ATR_ERR_USAGE names the bounds, or the rows there are. */
atr_status atr_augment_set(atr_augment *augment, const char *name, const double *values, int count);

/* The decisions for one sample. key: atr_rng_key(seed, ATR_RNG_AUGMENT, epoch, sample). */
atr_augment_draw atr_augment_decide(const atr_augment *augment, uint64_t key, int64_t width, int64_t height,
                                    int64_t canvas_width, int64_t canvas_height);

/* Draws and does it all: image [h,w,3] u8 and its class ids mask [h,w] u8 (or NULL) onto a canvas,
 * pixels [canvas_height,canvas_width,3] u8, labels [canvas_height,canvas_width] u8 (NULL where mask is). */
atr_status atr_augment_apply(const atr_augment *augment, uint64_t key, const atr_image *image,
                             const uint8_t *mask, int64_t canvas_width, int64_t canvas_height,
                             uint8_t *pixels, uint8_t *labels, atr_workspace *workspace);

/* The same for decisions that were made before: `mask` has the size that `draw` was made for, while `image` may be a smaller version of
 * the picture. Geometry goes by `draw` alone, so that the labels do not depend on the image's size. */
atr_status atr_augment_apply_draw(const atr_augment *augment, const atr_augment_draw *draw,
                                  const atr_image *image, const uint8_t *mask, uint8_t *pixels,
                                  uint8_t *labels, atr_workspace *workspace);

/* By how much a JPEG may be shrunk while it is decoded, without ever being enlarged afterwards: the largest of 8, 4, 2 and 1 by which
 * the picture is at least reduced on the canvas. */
int atr_augment_shrink(const atr_augment_draw *draw);

/* pixels [count,channels] u8 to out [count,channels] f32: x * scale[c] + offset[c], computed in double and rounded once, so
 * that scale 1/255 gives the f32 nearest to x/255. channels 1..4. */
void atr_pixels_to_f32(const uint8_t *pixels, int64_t count, int channels, const double *scale,
                       const double *offset, float *out);

#endif
