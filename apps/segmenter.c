#include "apps/segmenter.h"

#include <string.h>

#include "io/augment.h"
#include "io/labels.h"
#include "io/letterbox.h"

/* Pictures of a folder often come in a few sizes: plans for the last ones are kept. */
enum { PLANS = 4 };

typedef struct sized_plan {
    int64_t height, width;
    atr_plan *plan;
    int64_t used; /* clock of the last use */
} sized_plan;

struct atr_segmenter {
    const atr_model_info *info;
    const atr_graph *graph;
    atr_params *params;
    atr_backend *backend;
    atr_fit_mode fit;
    int64_t height, width; /* of the canvas; 0 with ATR_RUN_NONE */
    sized_plan plans[PLANS];
    sized_plan *current;
    int64_t clock;
    uint8_t *pixels; /* canvas [height,width,channels] */
    float *input;    /* the same as the network wants it */
    int64_t room;    /* elements of both */
    atr_workspace workspace;
};

const char *const atr_fit_mode_names[] = {"letterbox", "stretch", "none", NULL};

atr_status atr_fit_mode_parse(const char *name, atr_fit_mode *out)
{
    for (int i = 0; atr_fit_mode_names[i] != NULL; i++)
        if (strcmp(name, atr_fit_mode_names[i]) == 0) {
            *out = (atr_fit_mode)i;
            return ATR_OK;
        }
    return atr_fail(ATR_ERR_USAGE, "'%s' is no way to fit a picture (letterbox, stretch, none)", name);
}

atr_status atr_segmenter_create(const atr_model_info *info, const atr_graph *graph, atr_params *params,
                                atr_backend *backend, atr_fit_mode fit, int64_t height, int64_t width,
                                atr_segmenter **out)
{
    atr_status status = ATR_OK;
    atr_segmenter *s = NULL;

    *out = NULL;
    ATR_TRY(ATR_NEW(1, &s));
    s->info = info;
    s->graph = graph;
    s->params = params;
    s->backend = backend;
    s->fit = fit;
    if (fit != ATR_RUN_NONE) {
        s->height = height > 0 ? height : info->height;
        s->width = width > 0 ? width : info->width;
        if (s->height < 1 || s->width < 1) {
            status = atr_fail(ATR_ERR_USAGE,
                              "the model does not say its input size: give --size HxW, or --fit none");
            goto done;
        }
        if (s->height > ATR_IMAGE_MAX_PIXELS / s->width) {
            status = atr_fail(ATR_ERR_SHAPE, "an input of %lldx%lld pixels is too large",
                              (long long)s->height, (long long)s->width);
            goto done;
        }
    }
    *out = s;
    s = NULL;
done:
    atr_segmenter_destroy(s);
    return status;
}

void atr_segmenter_destroy(atr_segmenter *segmenter)
{
    if (segmenter == NULL)
        return;
    for (int i = 0; i < PLANS; i++)
        atr_plan_destroy(segmenter->plans[i].plan);
    atr_free(segmenter->pixels);
    atr_free(segmenter->input);
    atr_workspace_free(&segmenter->workspace);
    atr_free(segmenter);
}

/* The plan for a size, made in the place of the one that was not used for longest. */
static atr_status choose_plan(atr_segmenter *s, int64_t height, int64_t width)
{
    const atr_plan_options options = {
        .mode = ATR_INFER, .batch = 1, .height = height, .width = width, .rewrites = ATR_REWRITE_ALL};
    sized_plan *oldest = &s->plans[0];

    s->clock++;
    for (int i = 0; i < PLANS; i++) {
        sized_plan *p = &s->plans[i];
        if (p->plan != NULL && p->height == height && p->width == width) {
            p->used = s->clock;
            s->current = p;
            return ATR_OK;
        }
        if (p->used < oldest->used)
            oldest = p;
    }
    s->current = NULL;
    atr_plan_destroy(oldest->plan);
    *oldest = (sized_plan){height, width, NULL, s->clock};
    const atr_status status = atr_plan_create(s->graph, s->params, s->backend, &options, &oldest->plan);
    if (status == ATR_OK)
        s->current = oldest;
    return status;
}

static atr_status reserve(atr_segmenter *s, int64_t elements)
{
    atr_status status = ATR_OK;

    if (elements <= s->room)
        return ATR_OK;
    atr_free(s->pixels);
    atr_free(s->input);
    s->pixels = NULL;
    s->input = NULL;
    s->room = 0;
    ATR_TRY(ATR_NEW(elements, &s->pixels));
    ATR_TRY(ATR_NEW(elements, &s->input));
    s->room = elements;
done:
    return status;
}

/* The picture as the network wants it, in s->input; `*box` is where it lies on the canvas. */
static atr_status prepare(atr_segmenter *s, const atr_image *picture, atr_box *box)
{
    atr_status status = ATR_OK;
    const int64_t height = s->current->height, width = s->current->width;
    const uint8_t *pixels = picture->pixels;

    ATR_TRY(reserve(s, height * width * picture->channels));
    *box = (atr_box){.x = 0, .y = 0, .width = width, .height = height};
    if (s->fit != ATR_RUN_NONE) {
        const atr_fit fit = s->fit == ATR_RUN_LETTERBOX ? ATR_FIT_LETTERBOX : ATR_FIT_STRETCH;
        ATR_TRY(atr_fit_canvas(fit, picture, NULL, width, height, 0, s->pixels, NULL, box, &s->workspace));
        pixels = s->pixels;
    }
    atr_pixels_to_f32(pixels, height * width, (int)picture->channels, s->info->scale, s->info->offset,
                      s->input);
done:
    return status;
}

atr_status atr_segmenter_run(atr_segmenter *s, const atr_image *picture, const atr_segmentation *wanted)
{
    atr_status status = ATR_OK;
    const bool own_size = s->fit == ATR_RUN_NONE;
    atr_box box;

    if (picture->channels != s->info->channels)
        return atr_fail(ATR_ERR_SHAPE, "the picture has %lld channels, the model wants %lld",
                        (long long)picture->channels, (long long)s->info->channels);
    ATR_TRY(choose_plan(s, own_size ? picture->height : s->height, own_size ? picture->width : s->width));
    ATR_TRY(prepare(s, picture, &box));
    ATR_TRY(atr_plan_forward(s->current->plan, s->input));
    const atr_segment_args args = {.box_y = box.y,
                                   .box_x = box.x,
                                   .box_h = box.height,
                                   .box_w = box.width,
                                   .out_h = picture->height,
                                   .out_w = picture->width,
                                   .ids = wanted->ids,
                                   .probabilities = wanted->probabilities,
                                   .confidence = wanted->confidence};
    ATR_TRY(atr_plan_segment(s->current->plan, 0, &args));
done:
    return status;
}

/* What the loss is divided by. */
static double weight_of(const uint8_t *labels, int64_t count, const float *class_weights, int64_t classes)
{
    double sum = 0;

    for (int64_t i = 0; i < count; i++)
        if (labels[i] < classes)
            sum += class_weights != NULL ? (double)class_weights[labels[i]] : 1.0;
    return sum;
}

atr_status atr_segmenter_loss(atr_segmenter *s, const uint8_t *truth, int64_t width, int64_t height,
                              const float *class_weights, double *loss, double *weight)
{
    atr_status status = ATR_OK;
    const atr_fit fit = s->fit == ATR_RUN_LETTERBOX ? ATR_FIT_LETTERBOX : ATR_FIT_STRETCH;
    uint8_t *labels = NULL;

    if (s->current == NULL)
        return atr_fail(ATR_ERR_USAGE, "there is no loss before a picture was run");
    const int64_t rows = s->current->height, columns = s->current->width;
    ATR_TRY(ATR_NEW(rows * columns, &labels));
    ATR_TRY(atr_fit_labels(fit, truth, width, height, columns, rows, ATR_IGNORE, labels, &s->workspace));
    *weight = weight_of(labels, rows * columns, class_weights, s->info->classes);
    ATR_TRY(atr_plan_cross_entropy(s->current->plan, labels, class_weights, 1.0, loss));

done:
    atr_free(labels);
    return status;
}

void atr_segmenter_logits_size(const atr_segmenter *segmenter, int64_t *height, int64_t *width)
{
    *height = segmenter->current == NULL ? 0 : segmenter->current->height;
    *width = segmenter->current == NULL ? 0 : segmenter->current->width;
}

atr_status atr_segmenter_logits(atr_segmenter *segmenter, float *out)
{
    if (segmenter->current == NULL)
        return atr_fail(ATR_ERR_USAGE, "there are no logits before a picture was run");
    return atr_plan_enlarge(segmenter->current->plan, 0, out);
}
