#ifndef ATR_APPS_SEGMENTER_IMPL_H
#define ATR_APPS_SEGMENTER_IMPL_H

#include "apps/segmenter.h"
#include "io/resample.h"

/* Inside the segmenter: its plans, and the mean over views. */

typedef struct atr_extent {
    int64_t height, width;
} atr_extent;

/* One way to look at a picture: its canvas at a scale, mirrored or not. */
typedef struct atr_view {
    double scale;
    bool down, across; /* mirrored upside down, left to right */
    atr_extent size;   /* of the canvas */
} atr_view;

/* How many views there are, and number `index` of them; its size is left to the caller. */
int64_t atr_view_count(const atr_views *views);
atr_view atr_view_at(const atr_views *views, int64_t index);

/* Sums of logits over views, on the canvas of the plain view. Grows and is kept from batch to batch; starts as {0}. */
typedef struct atr_blend {
    int64_t count, classes;
    atr_extent size;
    float *sums;    /* [count,classes,height,width] */
    atr_box *boxes; /* [count]: where each picture lies on the plain canvas */
    float *one;     /* [classes,height,width] of one view, then [height,width,classes] of the mean */
    int64_t sum_room, box_room, one_room;
} atr_blend;

/* Zero sums for `count` pictures; boxes are the caller's to fill. */
atr_status atr_blend_begin(atr_blend *blend, int64_t count, int64_t classes, atr_extent size);

/* Adds the logits of picture `n` in the last forward of `plan`: turned back, the view's box `box` brought to the plain one by
 * bilinear interpolation with half-pixel centres; beyond it the edge repeats. */
atr_status atr_blend_add(atr_blend *blend, int64_t n, atr_plan *plan, const atr_view *view, atr_box box);

/* The mean over `views`, and of it what `args` wants (logits, height and width are filled in here) and, unless NULL, `logits`
 * [classes,height,width]. */
atr_status atr_blend_end(atr_blend *blend, int64_t n, int64_t views, atr_backend *backend,
                         atr_segment_args *args, float *logits);
void atr_blend_free(atr_blend *blend);

/* Pictures of a folder often come in a few sizes: plans for the last ones are kept, more where views need more. */
enum { SEGMENTER_PLANS = 4, SEGMENTER_PLANS_MAX = ATR_SCALES_MAX };

typedef struct sized_plan {
    int64_t batch;
    atr_extent size;
    atr_plan *plan;
    int64_t used; /* clock of the last use */
} sized_plan;

struct atr_segmenter {
    const atr_model_info *info;
    const atr_graph *graph;
    atr_params *params;
    atr_backend *backend;
    atr_memory_guard *memory; /* NULL: nobody is asked */
    const atr_quant *quant;   /* NULL: all in floats */
    atr_plan_watch_fn watch;
    void *watch_user;
    atr_fit_mode fit;
    int64_t height, width; /* of the canvas; 0 with ATR_RUN_NONE */
    atr_views views;
    sized_plan plans[SEGMENTER_PLANS_MAX];
    int plan_limit;    /* of them in use */
    atr_plan *current; /* of the last forward */
    atr_extent single; /* canvas of the last picture; 0: several pictures or views were run, or nothing yet */
    int64_t clock;
    uint8_t *pixels; /* one canvas [height,width,channels] */
    float *input;    /* [batch,height,width,channels] as the network wants it */
    atr_box *boxes;  /* [batch]: where each picture lies on its canvas in the last forward */
    int64_t pixel_room, input_room, box_room;
    atr_blend blend;
    atr_workspace workspace;
};

/* Canvas of a picture at a scale of the network's size, and the place of the picture on a canvas. */
atr_extent atr_segmenter_canvas(const atr_segmenter *s, const atr_image *picture, double scale);
atr_box atr_segmenter_box(const atr_segmenter *s, const atr_image *picture, atr_extent canvas);

#endif
