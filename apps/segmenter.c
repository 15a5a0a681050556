#include <math.h>
#include <stdio.h>
#include <string.h>

#include "apps/segmenter_impl.h"
#include "core/log.h"
#include "io/augment.h"
#include "io/labels.h"
#include "io/letterbox.h"

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
    s->plan_limit = SEGMENTER_PLANS;
    s->views = (atr_views){.scale_count = 1, .scales = {1.0}};
    if (fit == ATR_RUN_NONE && (height > 0 || width > 0)) {
        status = atr_fail(ATR_ERR_USAGE, "with --fit none the network runs at each picture's own size: "
                                         "--size has no meaning");
        goto done;
    }
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

static void forget_plan(const atr_segmenter *s, sized_plan *old)
{
    if (old->plan != NULL && s->memory != NULL) {
        const atr_plan_needs needs = atr_plan_needs_of(old->plan);
        atr_memory_return(s->memory, needs.arena + needs.packed);
    }
    atr_plan_destroy(old->plan);
    old->plan = NULL;
}

void atr_segmenter_destroy(atr_segmenter *segmenter)
{
    if (segmenter == NULL)
        return;
    for (int i = 0; i < SEGMENTER_PLANS_MAX; i++)
        forget_plan(segmenter, &segmenter->plans[i]);
    atr_free(segmenter->pixels);
    atr_free(segmenter->input);
    atr_free(segmenter->boxes);
    atr_blend_free(&segmenter->blend);
    atr_workspace_free(&segmenter->workspace);
    atr_free(segmenter);
}

void atr_segmenter_set_memory(atr_segmenter *segmenter, atr_memory_guard *guard)
{
    segmenter->memory = guard;
}

/* What atr_plan_options.approve is told beside the needs. */
typedef struct question {
    const atr_segmenter *segmenter;
    const atr_plan_options *plan;
} question;

static atr_status ask_for_memory(void *user, const atr_plan_needs *needs)
{
    const question *const q = user;
    const atr_segmenter *const s = q->segmenter;
    const int64_t pixel = s->info->channels * (int64_t)sizeof(float);
    char work[128], text[ATR_MEMORY_TEXT_BYTES];
    int64_t total = 0;
    const atr_memory_request request = {.guard = s->memory,
                                        .work = work,
                                        .graph = s->graph,
                                        .params = s->params,
                                        .backend = s->backend,
                                        .plan = q->plan,
                                        .others = q->plan->batch * q->plan->height * q->plan->width * pixel,
                                        .each_pixel = pixel,
                                        .batch_step = 1,
                                        .size = s->fit == ATR_RUN_NONE ? "--fit letterbox --size" : "--size"};

    snprintf(work, sizeof work, "%lldx%lld%s, %lld picture%s in a pass,", (long long)q->plan->height,
             (long long)q->plan->width, s->fit == ATR_RUN_NONE ? " (a picture's own size)" : "",
             (long long)q->plan->batch, q->plan->batch == 1 ? "" : "s");
    const atr_status status = atr_memory_ask(&request, needs, &total);
    if (status == ATR_OK)
        atr_log(ATR_LOG_INFO, "%s takes %s of memory in all", work, atr_memory_text(total, text));
    return status;
}

void atr_segmenter_set_quant(atr_segmenter *segmenter, const atr_quant *quant)
{
    for (int i = 0; i < SEGMENTER_PLANS_MAX; i++) {
        atr_plan_destroy(segmenter->plans[i].plan);
        segmenter->plans[i] = (sized_plan){0};
    }
    segmenter->current = NULL;
    segmenter->quant = quant != NULL && quant->weights.count > 0 ? quant : NULL;
}

void atr_segmenter_watch(atr_segmenter *segmenter, atr_plan_watch_fn watch, void *user)
{
    segmenter->watch = watch;
    segmenter->watch_user = user;
}

const atr_plan *atr_segmenter_plan(const atr_segmenter *segmenter)
{
    return segmenter->current;
}

/* The plan for a size, made in the place of the one that was not used for longest. */
static atr_status choose_plan(atr_segmenter *s, int64_t batch, atr_extent size)
{
    atr_plan_options options = {.mode = ATR_INFER,
                                .batch = batch,
                                .height = size.height,
                                .width = size.width,
                                .quant = s->quant,
                                .rewrites = ATR_REWRITE_ALL};
    question asked = {s, &options};
    sized_plan *oldest = &s->plans[0];

    s->clock++;
    for (int i = 0; i < s->plan_limit; i++) {
        sized_plan *p = &s->plans[i];
        if (p->plan != NULL && p->batch == batch && p->size.height == size.height &&
            p->size.width == size.width) {
            p->used = s->clock;
            s->current = p->plan;
            return ATR_OK;
        }
        if (p->used < oldest->used)
            oldest = p;
    }
    s->current = NULL;
    forget_plan(s, oldest);
    *oldest = (sized_plan){batch, size, NULL, s->clock};
    if (s->memory != NULL) {
        options.approve = ask_for_memory;
        options.approve_user = &asked;
    }
    const atr_status status = atr_plan_create(s->graph, s->params, s->backend, &options, &oldest->plan);
    if (status == ATR_OK)
        s->current = oldest->plan;
    return status;
}

atr_status atr_segmenter_prepare(atr_segmenter *s, int64_t batch)
{
    const atr_image any = {0};

    atr_status status = ATR_OK;

    if (s->fit == ATR_RUN_NONE)
        return ATR_OK;
    ATR_TRY(choose_plan(s, batch, atr_segmenter_canvas(s, &any, atr_view_at(&s->views, 0).scale)));
    ATR_TRY(atr_plan_pack(s->current));
done:
    return status;
}

/* Room for `pictures` of `size`: their boxes, the network's input, and one canvas. */
static atr_status reserve(atr_segmenter *s, int64_t pictures, atr_extent size)
{
    atr_status status = ATR_OK;
    const int64_t canvas = size.height * size.width * s->info->channels;

    if (pictures > s->box_room) {
        atr_free(s->boxes);
        s->boxes = NULL;
        s->box_room = 0;
        ATR_TRY(ATR_NEW(pictures, &s->boxes));
        s->box_room = pictures;
    }
    if (canvas > s->pixel_room) {
        atr_free(s->pixels);
        s->pixels = NULL;
        s->pixel_room = 0;
        ATR_TRY(ATR_NEW(canvas, &s->pixels));
        s->pixel_room = canvas;
    }
    if (pictures * canvas > s->input_room) {
        atr_free(s->input);
        s->input = NULL;
        s->input_room = 0;
        ATR_TRY(ATR_NEW(pictures * canvas, &s->input));
        s->input_room = pictures * canvas;
    }
done:
    return status;
}

/* Mirrors a canvas in place: reversing all pixels turns it upside down and left to right at once. */
static void mirror(uint8_t *pixels, int64_t height, int64_t width, int64_t channels, bool down, bool across)
{
    for (int64_t y = 0; y < (down ? (height + 1) / 2 : height); y++) {
        const int64_t other = down ? height - 1 - y : y;
        for (int64_t x = 0; x < width; x++) {
            const int64_t to = across ? width - 1 - x : x;
            if (other == y && to <= x)
                continue; /* in one row each pair is swapped once */
            for (int64_t c = 0; c < channels; c++) {
                uint8_t *a = &pixels[(y * width + x) * channels + c];
                uint8_t *b = &pixels[(other * width + to) * channels + c];
                const uint8_t kept = *a;
                *a = *b;
                *b = kept;
            }
        }
    }
}

static atr_fit canvas_fit(const atr_segmenter *s)
{
    return s->fit == ATR_RUN_LETTERBOX ? ATR_FIT_LETTERBOX : ATR_FIT_STRETCH;
}

/* One picture as the network wants it in this view, in `input`; `*box` is where it lies on the unmirrored canvas. */
static atr_status prepare(atr_segmenter *s, const atr_image *picture, const atr_view *view, float *input,
                          atr_box *box)
{
    atr_status status = ATR_OK;
    const int64_t height = view->size.height, width = view->size.width;
    const bool own_size = height == picture->height && width == picture->width;
    const uint8_t *pixels = s->pixels;

    *box = (atr_box){.x = 0, .y = 0, .width = width, .height = height};
    if (s->fit != ATR_RUN_NONE || !own_size) {
        ATR_TRY(atr_fit_canvas(canvas_fit(s), picture, NULL, width, height, 0, s->pixels, NULL, box,
                               &s->workspace));
    } else if (view->down || view->across) {
        memcpy(s->pixels, picture->pixels, (size_t)(height * width * picture->channels));
    } else {
        pixels = picture->pixels;
    }
    if (view->down || view->across)
        mirror(s->pixels, height, width, picture->channels, view->down, view->across);
    atr_pixels_to_f32(pixels, height * width, (int)picture->channels, s->info->scale, s->info->offset, input);
done:
    return status;
}

/* All pictures in one view through the network; their boxes are in s->boxes. */
static atr_status forward(atr_segmenter *s, const atr_image *const *pictures, int64_t count,
                          const atr_view *view)
{
    atr_status status = ATR_OK;
    const int64_t canvas = view->size.height * view->size.width * s->info->channels;

    ATR_TRY(choose_plan(s, count, view->size));
    ATR_TRY(reserve(s, count, view->size));
    for (int64_t i = 0; i < count; i++)
        ATR_TRY(prepare(s, pictures[i], view, s->input + i * canvas, &s->boxes[i]));
    atr_plan_watch(s->current, s->watch, s->watch_user);
    ATR_TRY(atr_plan_forward(s->current, s->input));
done:
    return status;
}

static atr_segment_args segment_args(const atr_image *picture, atr_box box, const atr_segmentation *wanted)
{
    return (atr_segment_args){.box_y = box.y,
                              .box_x = box.x,
                              .box_h = box.height,
                              .box_w = box.width,
                              .out_h = picture->height,
                              .out_w = picture->width,
                              .ids = wanted->ids,
                              .probabilities = wanted->probabilities,
                              .confidence = wanted->confidence};
}

static atr_status run_plain(atr_segmenter *s, const atr_image *const *pictures,
                            const atr_segmentation *wanted, int64_t count)
{
    atr_status status = ATR_OK;
    const atr_view view = {.size = atr_segmenter_canvas(s, pictures[0], 1.0)};

    ATR_TRY(forward(s, pictures, count, &view));
    for (int64_t i = 0; i < count; i++) {
        const atr_segment_args args = segment_args(pictures[i], s->boxes[i], &wanted[i]);
        if (args.ids != NULL || args.probabilities != NULL || args.confidence != NULL)
            ATR_TRY(atr_plan_segment(s->current, i, &args));
        if (wanted[i].logits != NULL)
            ATR_TRY(atr_plan_enlarge(s->current, i, wanted[i].logits));
    }
done:
    return status;
}

/* Every view adds its logits to the mean, from which the label maps are made in the end. */
static atr_status run_views(atr_segmenter *s, const atr_image *const *pictures,
                            const atr_segmentation *wanted, int64_t count)
{
    atr_status status = ATR_OK;
    const atr_extent base = atr_segmenter_canvas(s, pictures[0], 1.0);
    const int64_t views = atr_view_count(&s->views);

    ATR_TRY(atr_blend_begin(&s->blend, count, s->info->classes, base));
    for (int64_t i = 0; i < count; i++)
        s->blend.boxes[i] = atr_segmenter_box(s, pictures[i], base);
    for (int64_t v = 0; v < views; v++) {
        atr_view view = atr_view_at(&s->views, v);
        view.size = atr_segmenter_canvas(s, pictures[0], view.scale);
        ATR_TRY(forward(s, pictures, count, &view));
        for (int64_t i = 0; i < count; i++)
            ATR_TRY(atr_blend_add(&s->blend, i, s->current, &view, s->boxes[i]));
    }
    for (int64_t i = 0; i < count; i++) {
        atr_segment_args args = segment_args(pictures[i], s->blend.boxes[i], &wanted[i]);
        ATR_TRY(atr_blend_end(&s->blend, i, views, s->backend, &args, wanted[i].logits));
    }
done:
    return status;
}

static atr_status check_pictures(const atr_segmenter *s, const atr_image *const *pictures, int64_t count)
{
    for (int64_t i = 0; i < count; i++) {
        const atr_image *p = pictures[i];
        if (p->channels != s->info->channels)
            return atr_fail(ATR_ERR_SHAPE, "the picture has %lld channels, the model wants %lld",
                            (long long)p->channels, (long long)s->info->channels);
        if (s->fit == ATR_RUN_NONE && (p->height != pictures[0]->height || p->width != pictures[0]->width))
            return atr_fail(ATR_ERR_SHAPE,
                            "pictures of %lldx%lld and %lldx%lld cannot share a pass at their own size",
                            (long long)pictures[0]->width, (long long)pictures[0]->height,
                            (long long)p->width, (long long)p->height);
    }
    return ATR_OK;
}

atr_status atr_segmenter_run_batch(atr_segmenter *s, const atr_image *const *pictures,
                                   const atr_segmentation *wanted, int64_t count)
{
    atr_status status = ATR_OK;
    const bool plain =
        s->views.mirror == ATR_MIRROR_NONE && s->views.scale_count == 1 && s->views.scales[0] == 1.0;

    if (count == 0)
        return ATR_OK;
    s->single = (atr_extent){0, 0};
    ATR_TRY(check_pictures(s, pictures, count));
    ATR_TRY(plain ? run_plain(s, pictures, wanted, count) : run_views(s, pictures, wanted, count));
    if (plain && count == 1)
        s->single = atr_segmenter_canvas(s, pictures[0], 1.0);
done:
    return status;
}

atr_status atr_segmenter_run(atr_segmenter *s, const atr_image *picture, const atr_segmentation *wanted)
{
    return atr_segmenter_run_batch(s, &picture, wanted, 1);
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
    const int64_t columns = s->single.width, rows = s->single.height;
    uint8_t *labels = NULL;

    if (s->current == NULL || rows * columns == 0)
        return atr_fail(ATR_ERR_USAGE, "a loss is that of the last picture, run alone and in one view");
    ATR_TRY(ATR_NEW(rows * columns, &labels));
    ATR_TRY(atr_fit_labels(canvas_fit(s), truth, width, height, columns, rows, ATR_IGNORE, labels,
                           &s->workspace));
    *weight = weight_of(labels, rows * columns, class_weights, s->info->classes);
    ATR_TRY(atr_plan_cross_entropy(s->current, labels, class_weights, 1.0, loss));

done:
    atr_free(labels);
    return status;
}

atr_extent atr_segmenter_canvas(const atr_segmenter *s, const atr_image *picture, double scale)
{
    const bool own = s->fit == ATR_RUN_NONE;
    const double height = (double)(own ? picture->height : s->height) * scale;
    const double width = (double)(own ? picture->width : s->width) * scale;

    return (atr_extent){height < 1.5 ? 1 : llround(height), width < 1.5 ? 1 : llround(width)};
}

atr_box atr_segmenter_box(const atr_segmenter *s, const atr_image *picture, atr_extent canvas)
{
    return atr_fit_box(canvas_fit(s), picture->width, picture->height, canvas.width, canvas.height);
}

void atr_segmenter_logits_size(const atr_segmenter *segmenter, const atr_image *picture, int64_t *height,
                               int64_t *width)
{
    const atr_extent size = atr_segmenter_canvas(segmenter, picture, 1.0);

    *height = size.height;
    *width = size.width;
}

atr_status atr_segmenter_set_views(atr_segmenter *segmenter, const atr_views *views)
{
    if (views->scale_count < 0 || views->scale_count > ATR_SCALES_MAX)
        return atr_fail(ATR_ERR_USAGE, "%d scales are too many: at most %d", views->scale_count,
                        ATR_SCALES_MAX);
    for (int i = 0; i < views->scale_count; i++)
        if (!(views->scales[i] >= 1.0 / 16 && views->scales[i] <= 16))
            return atr_fail(ATR_ERR_USAGE, "a scale of %g is outside of 1/16 to 16", views->scales[i]);
    segmenter->views = *views;
    if (views->scale_count > segmenter->plan_limit)
        segmenter->plan_limit = views->scale_count;
    if (views->scale_count == 0) {
        segmenter->views.scale_count = 1;
        segmenter->views.scales[0] = 1.0;
    }
    return ATR_OK;
}
