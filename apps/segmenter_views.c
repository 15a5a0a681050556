/* Test-time augmentation: the views of a picture, and the mean of their logits. */
#include <string.h>

#include "apps/segmenter_impl.h"
#include "dnn/bilinear.h"

const char *const atr_mirror_names[] = {"none", "flip", "flip-all", NULL};

/* Bits of the number of a mirrored view: 1 left to right, 2 upside down. */
static int64_t mirrors(atr_mirror mirror)
{
    return mirror == ATR_MIRROR_NONE ? 1 : mirror == ATR_MIRROR_FLIP ? 2 : 4;
}

int64_t atr_view_count(const atr_views *views)
{
    return views->scale_count * mirrors(views->mirror);
}

atr_view atr_view_at(const atr_views *views, int64_t index)
{
    const int64_t each = mirrors(views->mirror);

    return (atr_view){.scale = views->scales[index / each],
                      .across = (index % each & 1) != 0,
                      .down = (index % each & 2) != 0};
}

static atr_status reserve(int64_t wanted, size_t element, int64_t *room, void **block)
{
    atr_status status = ATR_OK;

    if (wanted <= *room)
        return ATR_OK;
    atr_free(*block);
    *block = NULL;
    *room = 0;
    ATR_TRY(atr_alloc(wanted, element, block));
    *room = wanted;
done:
    return status;
}

atr_status atr_blend_begin(atr_blend *blend, int64_t count, int64_t classes, atr_extent size)
{
    atr_status status = ATR_OK;
    const int64_t elements = count * classes * size.height * size.width;

    ATR_TRY(reserve(elements, sizeof *blend->sums, &blend->sum_room, (void **)&blend->sums));
    ATR_TRY(reserve(count, sizeof *blend->boxes, &blend->box_room, (void **)&blend->boxes));
    memset(blend->sums, 0, (size_t)elements * sizeof *blend->sums);
    blend->count = count;
    blend->classes = classes;
    blend->size = size;
done:
    return status;
}

/* Where a row or column of the plain canvas reads a view: its place in the plain box, there between two of the view's box, and
 * mirrored back. */
static atr_bilinear_tap tap_of(int64_t at, int64_t from, int64_t length, int64_t view_from,
                               int64_t view_length, int64_t view_size, bool mirrored)
{
    const int64_t inside = at < from ? 0 : at >= from + length ? length - 1 : at - from;
    atr_bilinear_tap tap = atr_bilinear_centres(inside, view_length, length);

    tap.first += view_from;
    tap.second += view_from;
    if (mirrored) {
        tap.first = view_size - 1 - tap.first;
        tap.second = view_size - 1 - tap.second;
    }
    return tap;
}

/* A view of the plain canvas's own size is added pixel by pixel, the padding too. */
static bool same_canvas(const atr_blend *blend, const atr_view *view)
{
    return view->size.height == blend->size.height && view->size.width == blend->size.width;
}

static void add_row(const float *upper, const float *lower, float v, const atr_bilinear_tap *columns,
                    int64_t width, float *sum)
{
    for (int64_t x = 0; x < width; x++) {
        const atr_bilinear_tap *c = &columns[x];
        const float h = (float)c->weight;
        if (v == 0 && h == 0) { /* exactly the sample, also beside an infinite one */
            sum[x] += upper[c->first];
            continue;
        }
        const float above = (1 - h) * upper[c->first] + h * upper[c->second];
        const float below = (1 - h) * lower[c->first] + h * lower[c->second];
        sum[x] += (1 - v) * above + v * below;
    }
}

atr_status atr_blend_add(atr_blend *blend, int64_t n, atr_plan *plan, const atr_view *view, atr_box box)
{
    atr_status status = ATR_OK;
    const int64_t height = blend->size.height, width = blend->size.width;
    const int64_t view_h = view->size.height, view_w = view->size.width;
    const atr_box whole = {0, 0, width, height};
    const atr_box plain = same_canvas(blend, view) ? whole : blend->boxes[n];
    const atr_box seen = same_canvas(blend, view) ? whole : box;
    atr_bilinear_tap *columns = NULL;

    ATR_TRY(reserve(blend->classes * view_h * view_w, sizeof *blend->one, &blend->one_room,
                    (void **)&blend->one));
    ATR_TRY(atr_plan_enlarge(plan, n, blend->one));
    ATR_TRY(ATR_NEW(width, &columns));
    for (int64_t x = 0; x < width; x++)
        columns[x] = tap_of(x, plain.x, plain.width, seen.x, seen.width, view_w, view->across);
    for (int64_t k = 0; k < blend->classes; k++)
        for (int64_t y = 0; y < height; y++) {
            const atr_bilinear_tap row =
                tap_of(y, plain.y, plain.height, seen.y, seen.height, view_h, view->down);
            const float *map = blend->one + k * view_h * view_w;
            add_row(map + row.first * view_w, map + row.second * view_w, (float)row.weight, columns, width,
                    blend->sums + ((n * blend->classes + k) * height + y) * width);
        }
done:
    atr_free(columns);
    return status;
}

atr_status atr_blend_end(atr_blend *blend, int64_t n, int64_t views, atr_backend *backend,
                         atr_segment_args *args, float *logits)
{
    atr_status status = ATR_OK;
    const int64_t classes = blend->classes, pixels = blend->size.height * blend->size.width;
    float *sum = blend->sums + n * classes * pixels;

    ATR_TRY(reserve(classes * pixels, sizeof *blend->one, &blend->one_room, (void **)&blend->one));
    for (int64_t k = 0; k < classes; k++)
        for (int64_t p = 0; p < pixels; p++) {
            sum[k * pixels + p] /= (float)views;
            blend->one[p * classes + k] = sum[k * pixels + p];
        }
    if (logits != NULL)
        memcpy(logits, sum, (size_t)(classes * pixels) * sizeof *sum);
    args->logits = atr_tensor_nhwc(ATR_F32, 1, blend->size.height, blend->size.width, classes, blend->one);
    args->height = blend->size.height;
    args->width = blend->size.width;
    if (args->ids != NULL || args->probabilities != NULL || args->confidence != NULL)
        ATR_TRY(atr_backend_segment(backend, args));
done:
    return status;
}

void atr_blend_free(atr_blend *blend)
{
    atr_free(blend->sums);
    atr_free(blend->boxes);
    atr_free(blend->one);
    *blend = (atr_blend){0};
}
