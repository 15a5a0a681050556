#ifndef ATR_APPS_SEGMENTER_H
#define ATR_APPS_SEGMENTER_H

#include "apps/memory.h"
#include "dnn/model.h"
#include "dnn/plan.h"
#include "io/checkpoint.h"
#include "io/image.h"

/* Pictures through a network: brought to the network's size, forward, label map at the picture's own size. Training's
 * evaluation, `eval`, `predict` and the public library all come through here, so that they give the same answers.
 * One segmenter is used by one thread at a time. */

typedef enum atr_fit_mode {
    ATR_RUN_LETTERBOX, /* aspect kept, padded to the network's size; probabilities cut out and enlarged */
    ATR_RUN_STRETCH,   /* both sides resized to the network's size; probabilities resized back */
    ATR_RUN_NONE       /* the network runs at the picture's own size */
} atr_fit_mode;

/* "letterbox", "stretch", "none", NULL: for options. */
extern const char *const atr_fit_mode_names[];
/* ATR_ERR_USAGE for another word. */
atr_status atr_fit_mode_parse(const char *name, atr_fit_mode *out);

typedef struct atr_segmenter atr_segmenter;

/* Borrows everything until atr_segmenter_destroy(). `height` and `width`: canvas of letterbox and stretch; 0: the model's own.
 * ATR_ERR_USAGE where neither says a size, or where one is given to ATR_RUN_NONE. */
atr_status atr_segmenter_create(const atr_model_info *info, const atr_graph *graph, atr_params *params,
                                atr_backend *backend, atr_fit_mode fit, int64_t height, int64_t width,
                                atr_segmenter **out);
void atr_segmenter_destroy(atr_segmenter *segmenter);

/* Test-time augmentation: the network sees each picture in several views, each at a scale of the network's size and as it is
 * or mirrored; the class scores before softmax are turned back, brought to the size of the plain view, and averaged. */
typedef enum atr_mirror {
    ATR_MIRROR_NONE,
    ATR_MIRROR_FLIP, /* also left to right */
    ATR_MIRROR_ALL   /* also left to right, upside down, and both: for pictures taken from above */
} atr_mirror;

/* "none", "flip", "flip-all", NULL: for options. */
extern const char *const atr_mirror_names[];

enum { ATR_SCALES_MAX = 16 };

typedef struct atr_views {
    atr_mirror mirror;
    int scale_count;               /* 0: one view at scale 1 */
    double scales[ATR_SCALES_MAX]; /* of the network's height and width, which are rounded to whole pixels */
} atr_views;

/* Sets the views of all following pictures; copied. One view at scale 1, unmirrored, is the plain run bit for bit.
 * ATR_ERR_USAGE for a scale outside of 1/16..16 or too many of them. */
atr_status atr_segmenter_set_views(atr_segmenter *segmenter, const atr_views *views);

/* Plans are asked for memory from now on (apps/memory.h). Borrowed; several segmenters may share one. */
void atr_segmenter_set_memory(atr_segmenter *segmenter, atr_memory_guard *guard);

/* Layers that `quant` knows run in integers (see atr_plan_options); NULL or empty: none. Borrowed; plans made so far go. */
void atr_segmenter_set_quant(atr_segmenter *segmenter, const atr_quant *quant);

/* Lets `watch` see what the steps of all following passes write (atr_plan_watch()); NULL ends it. */
void atr_segmenter_watch(atr_segmenter *segmenter, atr_plan_watch_fn watch, void *user);
/* The plan of the last pass; NULL before. Borrowed until the next one. */
const atr_plan *atr_segmenter_plan(const atr_segmenter *segmenter);

/* Makes the plan for passes of `batch` pictures now, so that it is there when the first ones have been read. Nothing to do where the
 * size is not known before (ATR_RUN_NONE). */
atr_status atr_segmenter_prepare(atr_segmenter *segmenter, int64_t batch);

/* What is wanted of a picture of height x width; any may be NULL. */
typedef struct atr_segmentation {
    uint8_t *ids;         /* [height,width] class ids */
    float *probabilities; /* [classes,height,width] */
    float *confidence;    /* [height,width] probability of ids */
    float
        *logits; /* [classes,H,W] before softmax, at the network's output size (atr_segmenter_logits_size) */
} atr_segmentation;

/* Runs one picture (RGB u8, as many channels as the model wants: ATR_ERR_SHAPE otherwise). Notices changed parameters. */
atr_status atr_segmenter_run(atr_segmenter *segmenter, const atr_image *picture,
                             const atr_segmentation *wanted);

/* Runs pictures [count] together, one forward pass for all. With ATR_RUN_NONE they must be of one size (ATR_ERR_SHAPE). Each gets
 * what it would have got alone, bit for bit. */
atr_status atr_segmenter_run_batch(atr_segmenter *segmenter, const atr_image *const *pictures,
                                   const atr_segmentation *wanted, int64_t count);

/* Cross-entropy of the picture of the last atr_segmenter_run(), of the size width x height, against its class ids `truth`
 * [height,width]: *loss is the sum over the network's output of -w_t ln p_t, *weight the sum of w_t; the truth is brought to
 * that size as the picture was, padding and ignored pixels count nowhere. class_weights [classes], NULL: all 1.
 * ATR_ERR_USAGE before a picture, and where the last run had several pictures or views. */
atr_status atr_segmenter_loss(atr_segmenter *segmenter, const uint8_t *truth, int64_t width, int64_t height,
                              const float *class_weights, double *loss, double *weight);

/* Size of the network's output, H x W, for this picture. */
void atr_segmenter_logits_size(const atr_segmenter *segmenter, const atr_image *picture, int64_t *height,
                               int64_t *width);

#endif
