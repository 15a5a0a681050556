#ifndef ATR_APPS_SEGMENTER_H
#define ATR_APPS_SEGMENTER_H

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
 * ATR_ERR_USAGE where neither says a size. */
atr_status atr_segmenter_create(const atr_model_info *info, const atr_graph *graph, atr_params *params,
                                atr_backend *backend, atr_fit_mode fit, int64_t height, int64_t width,
                                atr_segmenter **out);
void atr_segmenter_destroy(atr_segmenter *segmenter);

/* What is wanted of a picture of height x width; any may be NULL. */
typedef struct atr_segmentation {
    uint8_t *ids;         /* [height,width] class ids */
    float *probabilities; /* [classes,height,width] */
    float *confidence;    /* [height,width] probability of ids */
} atr_segmentation;

/* Runs one picture (RGB u8, as many channels as the model wants: ATR_ERR_SHAPE otherwise). Notices changed parameters. */
atr_status atr_segmenter_run(atr_segmenter *segmenter, const atr_image *picture,
                             const atr_segmentation *wanted);

/* Cross-entropy of the last picture, of the size width x height, against its class ids `truth` [height,width]: *loss is the sum over
 * the network's output of -w_t ln p_t, *weight the sum of w_t; the truth is brought to that size as the picture was, padding
 * and ignored pixels count nowhere. class_weights [classes], NULL: all 1. */
atr_status atr_segmenter_loss(atr_segmenter *segmenter, const uint8_t *truth, int64_t width, int64_t height,
                              const float *class_weights, double *loss, double *weight);

/* Size of the network's output for the last picture, and its logits [classes,height,width] f32 before softmax. */
void atr_segmenter_logits_size(const atr_segmenter *segmenter, int64_t *height, int64_t *width);
atr_status atr_segmenter_logits(atr_segmenter *segmenter, float *out);

#endif
