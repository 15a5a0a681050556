#ifndef ATROUS_H
#define ATROUS_H

/* libatrous: semantic segmentation of pictures in memory with a trained model file.
 *
 *     atrous_model *model = NULL;
 *     if (atrous_open("model.h5", NULL, &model) != 0)
 *         return fail(atrous_message());
 *     atrous_picture picture = {width, height, pixels};
 *     atrous_segment(model, &picture, ids, NULL);
 *     atrous_close(model);
 *
 * Functions give 0 when done, else a code other than 0 and words in atrous_message(). The library never prints and never
 * exits; NULL and sizes without meaning are refused, not followed. Threads: different models may be used at the same time by
 * different threads; calls on one model wait for each other. A model runs with as many OpenMP threads as it was opened
 * with: who runs two models at once gives each its share (atrous_settings.threads). */

#include <stddef.h>
#include <stdint.h>

#if defined(__GNUC__)
#define ATROUS_API __attribute__((visibility("default")))
#else
#define ATROUS_API
#endif

#ifdef __cplusplus
extern "C" {
#endif

typedef struct atrous_model atrous_model;

/* How a picture meets the network. */
typedef enum atrous_fit {
    ATROUS_FIT_MODEL,     /* as the model file says */
    ATROUS_FIT_LETTERBOX, /* aspect kept, padded to the network's size */
    ATROUS_FIT_STRETCH,   /* resized to the network's size */
    ATROUS_FIT_NONE       /* the network runs at the picture's own size */
} atrous_fit;

/* Type of the network's activations between layers. */
typedef enum atrous_precision {
    ATROUS_PRECISION_MODEL, /* int8 where the model file is a quantised one, else f32 */
    ATROUS_PRECISION_F32,
    ATROUS_PRECISION_BF16, /* half the memory; faster where the processor multiplies it natively, slower elsewhere */
    ATROUS_PRECISION_AUTO, /* bf16 where it is native and measured to be faster; remembered in the user's cache folder */
    ATROUS_PRECISION_INT8 /* 8-bit integers; the model file must be one that `atrous quantize` made */
} atrous_precision;

/* All zero is a good choice: every field has a default at 0. */
typedef struct atrous_settings {
    int threads; /* 0: as many as CPUs were given to this process */
    atrous_fit fit;
    int height,
        width; /* network's input size for letterbox and stretch; 0: the model's. 0 where the network runs at the
                        * picture's own size */
    atrous_precision precision;
} atrous_settings;

/* 8-bit RGB, row by row, no padding between rows: pixels[(y * width + x) * 3 + channel]. Borrowed during the call. */
typedef struct atrous_picture {
    int width, height;
    const uint8_t *pixels;
} atrous_picture;

/* Opens a model file. `settings` may be NULL. On failure `*model` is NULL. */
ATROUS_API int atrous_open(const char *path, const atrous_settings *settings, atrous_model **model);

/* Frees the model; takes NULL. No other call on it may be under way. */
ATROUS_API void atrous_close(atrous_model *model);

/* How many classes it tells apart, and the name of one ("" where the model has none; NULL out of range). */
ATROUS_API int atrous_class_count(const atrous_model *model);
ATROUS_API const char *atrous_class_name(const atrous_model *model, int class_id);

/* Colour of a class as RGB; black out of range. */
ATROUS_API void atrous_class_colour(const atrous_model *model, int class_id, uint8_t rgb[3]);

/* Segments a picture at its own size. ids: [height * width] class ids. probabilities: [classes * height * width], class by
 * class, adding up to 1 at each pixel. Either may be NULL. Both are the caller's memory. */
ATROUS_API int atrous_segment(atrous_model *model, const atrous_picture *picture, uint8_t *ids,
                              float *probabilities);

/* What went wrong in this thread's last failing call; "" if none. Valid until its next failure. */
ATROUS_API const char *atrous_message(void);

/* "0.1.0" */
ATROUS_API const char *atrous_version(void);

#ifdef __cplusplus
}
#endif

#endif
