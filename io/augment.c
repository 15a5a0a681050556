#include "io/augment.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

#include "core/rng.h"
#include "io/colour.h"
#include "io/letterbox.h"
#include "io/warp.h"

/* Which numbers of a sample's stream each decision takes. They never change meaning, so that switching one row off, or adding one,
 * leaves what the others do to a sample as it was. */
enum {
    NUMBER_ASPECT = 0, /* and 1 */
    NUMBER_SCALE = 2,
    NUMBER_FLIP = 3,
    NUMBER_PLACE = 4, /* and 5 */
    NUMBER_BLUR = 6,
    NUMBER_ROTATE = 7, /* and 8 */
    NUMBER_HSV = 9     /* and 10, 11 */
};

static double uniform(uint64_t key, uint64_t number, double low, double high)
{
    return atr_rng_unit(key, number) * (high - low) + low;
}

static int64_t at_least_one(double pixels)
{
    return pixels < 1 ? 1 : (int64_t)pixels;
}

static void draw_aspect(const double *value, uint64_t key, atr_augment_draw *draw)
{
    draw->aspect = draw->aspect * uniform(key, NUMBER_ASPECT, 1 - value[0], 1 + value[0]) /
                   uniform(key, NUMBER_ASPECT + 1, 1 - value[0], 1 + value[0]);
}

/* The longer side of the picture becomes `scale` times the canvas's; both sides are cut to whole pixels one after the other. */
static void draw_scale(const double *value, uint64_t key, atr_augment_draw *draw)
{
    const double scale = uniform(key, NUMBER_SCALE, value[0], value[1]);

    if (draw->aspect < 1) {
        draw->to_height = at_least_one(scale * (double)draw->canvas_height);
        draw->to_width = at_least_one((double)draw->to_height * draw->aspect);
    } else {
        draw->to_width = at_least_one(scale * (double)draw->canvas_width);
        draw->to_height = at_least_one((double)draw->to_width / draw->aspect);
    }
}

static void draw_flip(const double *value, uint64_t key, atr_augment_draw *draw)
{
    draw->flip = atr_rng_unit(key, NUMBER_FLIP) < value[0];
}

/* `spread` of the room between picture and canvas (either may be the larger), cut towards zero; centred without spread. */
static int64_t placed(uint64_t key, uint64_t number, double spread, int64_t room)
{
    return (int64_t)((double)room * (0.5 + spread * (atr_rng_unit(key, number) - 0.5)));
}

static void draw_place(const double *value, uint64_t key, atr_augment_draw *draw)
{
    draw->x = placed(key, NUMBER_PLACE, value[0], draw->canvas_width - draw->to_width);
    draw->y = placed(key, NUMBER_PLACE + 1, value[0], draw->canvas_height - draw->to_height);
}

static void draw_blur(const double *value, uint64_t key, atr_augment_draw *draw)
{
    draw->blur = atr_rng_unit(key, NUMBER_BLUR) < value[0];
}

static void draw_rotate(const double *value, uint64_t key, atr_augment_draw *draw)
{
    const int64_t most = (int64_t)value[0];

    if (atr_rng_unit(key, NUMBER_ROTATE) < value[1])
        draw->angle =
            (double)((int64_t)atr_rng_below(key, NUMBER_ROTATE + 1, (uint64_t)(2 * most + 1)) - most);
}

static void draw_hsv(const double *value, uint64_t key, atr_augment_draw *draw)
{
    for (int c = 0; c < 3; c++) {
        draw->hsv[c] = uniform(key, NUMBER_HSV + (uint64_t)c, -1, 1) * value[c] + 1;
        draw->recolour = draw->recolour || value[c] > 0;
    }
}

static atr_status apply_blur(const atr_augment_draw *draw, atr_augment_canvas *canvas,
                             atr_workspace *workspace)
{
    return draw->blur ? atr_blur_rgb(canvas->width, canvas->height, canvas->pixels, workspace) : ATR_OK;
}

static atr_status apply_rotate(const atr_augment_draw *draw, atr_augment_canvas *canvas,
                               atr_workspace *workspace)
{
    const atr_rotation rotation = {draw->angle, canvas->width / 2, canvas->height / 2};
    atr_status status = ATR_OK;

    if (draw->angle == 0)
        return ATR_OK;
    ATR_TRY(
        atr_rotate_rgb(&rotation, ATR_PAD_GREY, canvas->width, canvas->height, canvas->pixels, workspace));
    if (canvas->labels != NULL)
        ATR_TRY(atr_rotate_labels(&rotation, canvas->padding, canvas->width, canvas->height, canvas->labels,
                                  workspace));

done:
    return status;
}

/* The way through 8-bit hue loses a little even with factors of 1, so it is not taken when the row is off. */
static atr_status apply_hsv(const atr_augment_draw *draw, atr_augment_canvas *canvas,
                            atr_workspace *workspace)
{
    (void)workspace;
    if (draw->recolour)
        atr_hsv_scale(draw->hsv, canvas->width * canvas->height, canvas->pixels);
    return ATR_OK;
}

/* value: name, the reference's, off, least, most */
const atr_augment_row atr_augment_rows[ATR_AUGMENT_KINDS] = {
    [ATR_AUGMENT_ASPECT] = {"aspect",
                            "width / height times u/v, both uniform in 1-jitter..1+jitter",
                            1,
                            {{"jitter", 0.3, 0, 0, 0.9}},
                            draw_aspect,
                            NULL},
    [ATR_AUGMENT_SCALE] = {"scale",
                           "longer side of the picture in canvas sides, uniform between two numbers",
                           2,
                           {{"smallest", 0.25, 1, 0.01, 16}, {"largest", 2, 1, 0.01, 16}},
                           draw_scale,
                           NULL},
    [ATR_AUGMENT_FLIP] =
        {"flip", "mirror left to right", 1, {{"probability", 0.5, 0, 0, 1}}, draw_flip, NULL},
    [ATR_AUGMENT_PLACE] = {"place",
                           "where on the canvas: 0 centred, 1 anywhere",
                           1,
                           {{"spread", 1, 0, 0, 1}},
                           draw_place,
                           NULL},
    [ATR_AUGMENT_BLUR] =
        {"blur", "5x5 Gaussian blur", 1, {{"probability", 0.25, 0, 0, 1}}, draw_blur, apply_blur},
    [ATR_AUGMENT_ROTATE] = {"rotate",
                            "turn by whole degrees about the canvas's centre",
                            2,
                            {{"degrees", 10, 0, 0, 180}, {"probability", 0.25, 0.25, 0, 1}},
                            draw_rotate,
                            apply_rotate},
    [ATR_AUGMENT_HSV] = {"hsv",
                         "hue, saturation and value times 1-strength..1+strength",
                         3,
                         {{"hue", 0.1, 0, 0, 1}, {"saturation", 0.7, 0, 0, 1}, {"value", 0.3, 0, 0, 1}},
                         draw_hsv,
                         apply_hsv},
};

void atr_augment_defaults(atr_augment *augment)
{
    *augment = (atr_augment){.padding = 255};
    for (int k = 0; k < ATR_AUGMENT_KINDS; k++)
        for (int i = 0; i < ATR_AUGMENT_VALUES; i++)
            augment->value[k][i] = atr_augment_rows[k].value[i].initial;
}

static void switch_off(atr_augment *augment, int kind)
{
    for (int i = 0; i < ATR_AUGMENT_VALUES; i++)
        augment->value[kind][i] = atr_augment_rows[kind].value[i].off;
}

void atr_augment_none(atr_augment *augment)
{
    *augment = (atr_augment){.padding = 255};
    for (int k = 0; k < ATR_AUGMENT_KINDS; k++)
        switch_off(augment, k);
}

static atr_status find_row(const char *name, int *kind)
{
    char known[256] = "";
    size_t used = 0;

    for (*kind = 0; *kind < ATR_AUGMENT_KINDS; (*kind)++) {
        const char *row = atr_augment_rows[*kind].name;
        if (strcmp(row, name) == 0)
            return ATR_OK;
        used += (size_t)snprintf(known + used, sizeof known - used, "%s%s", *kind == 0 ? "" : ", ", row);
    }
    return atr_fail(ATR_ERR_USAGE, "no augmentation is called '%s' (there are: %s)", name, known);
}

static atr_status check_values(const atr_augment_row *row, const double *values, int count)
{
    if (count < 1 || count > row->count)
        return atr_fail(ATR_ERR_USAGE, "augmentation '%s' takes 1 to %d numbers, not %d", row->name,
                        row->count, count);
    for (int i = 0; i < count; i++)
        if (!(values[i] >= row->value[i].least && values[i] <= row->value[i].most))
            return atr_fail(ATR_ERR_USAGE, "augmentation '%s': %s is %g, must be %g to %g", row->name,
                            row->value[i].name, values[i], row->value[i].least, row->value[i].most);
    return ATR_OK;
}

atr_status atr_augment_set(atr_augment *augment, const char *name, const double *values, int count)
{
    atr_status status = ATR_OK;
    int kind = 0;

    ATR_TRY(find_row(name, &kind));
    if (count == 1 && values[0] == 0) {
        switch_off(augment, kind);
        goto done;
    }
    ATR_TRY(check_values(&atr_augment_rows[kind], values, count));
    double fresh[ATR_AUGMENT_VALUES];
    memcpy(fresh, augment->value[kind], sizeof fresh);
    memcpy(fresh, values, (size_t)count * sizeof *fresh);
    if (kind == ATR_AUGMENT_SCALE && count == 1)
        fresh[1] = fresh[0];
    if (kind == ATR_AUGMENT_SCALE && fresh[0] > fresh[1]) {
        status = atr_fail(ATR_ERR_USAGE, "augmentation 'scale': smallest %g is above largest %g", fresh[0],
                          fresh[1]);
        goto done;
    }
    memcpy(augment->value[kind], fresh, sizeof fresh);

done:
    return status;
}

atr_augment_draw atr_augment_decide(const atr_augment *augment, uint64_t key, int64_t width, int64_t height,
                                    int64_t canvas_width, int64_t canvas_height)
{
    atr_augment_draw draw = {.from_width = width,
                             .from_height = height,
                             .canvas_width = canvas_width,
                             .canvas_height = canvas_height,
                             .aspect = (double)width / (double)height};

    for (int k = 0; k < ATR_AUGMENT_KINDS; k++)
        atr_augment_rows[k].draw(augment->value[k], key, &draw);
    return draw;
}

/* What of the resized picture is seen: positions low..high-1 of an axis. */
static void visible(int64_t corner, int64_t length, int64_t canvas, int64_t *low, int64_t *count)
{
    const int64_t end = corner + length < canvas ? length : canvas - corner;

    *low = corner < 0 ? -corner : 0;
    *count = end > *low ? end - *low : 0;
}

/* A side that was divided by 1, 2, 4 or 8 and rounded up, before it was rounded: the picture ends within its last pixel. */
static double shrunk(int64_t full, int64_t decoded)
{
    int64_t shrink = 1;

    while ((full + shrink - 1) / shrink > decoded)
        shrink *= 2;
    return (double)full / (double)shrink < (double)decoded ? (double)full / (double)shrink : (double)decoded;
}

/* Resizes only what is seen; a picture four times the canvas costs no more than one of its size. */
static atr_status lay(const atr_augment_draw *draw, const atr_image *image, const uint8_t *mask,
                      atr_augment_canvas *canvas, atr_workspace *workspace)
{
    atr_resize resize = {.from_width = image->width,
                         .from_height = image->height,
                         .to_width = draw->to_width,
                         .to_height = draw->to_height,
                         .flip = draw->flip,
                         .extent_width = shrunk(draw->from_width, image->width),
                         .extent_height = shrunk(draw->from_height, image->height)};
    atr_box *window = &resize.window;
    const int64_t area = canvas->width * canvas->height;
    atr_status status = ATR_OK;

    visible(draw->x, draw->to_width, canvas->width, &window->x, &window->width);
    visible(draw->y, draw->to_height, canvas->height, &window->y, &window->height);
    const int64_t corner = (draw->y + window->y) * canvas->width + draw->x + window->x;
    memset(canvas->pixels, ATR_PAD_GREY, (size_t)area * 3);
    ATR_TRY(atr_resize_bicubic(&resize, 3, image->pixels, canvas->pixels + corner * 3, canvas->width * 3,
                               workspace));
    if (mask != NULL) {
        resize.from_width = draw->from_width;
        resize.from_height = draw->from_height;
        memset(canvas->labels, canvas->padding, (size_t)area);
        ATR_TRY(atr_resize_nearest(&resize, mask, canvas->labels + corner, canvas->width, workspace));
    }

done:
    return status;
}

int atr_augment_shrink(const atr_augment_draw *draw)
{
    int shrink = 8;

    while (shrink > 1 &&
           (draw->to_width * shrink > draw->from_width || draw->to_height * shrink > draw->from_height))
        shrink /= 2;
    return shrink;
}

atr_status atr_augment_apply(const atr_augment *augment, uint64_t key, const atr_image *image,
                             const uint8_t *mask, int64_t canvas_width, int64_t canvas_height,
                             uint8_t *pixels, uint8_t *labels, atr_workspace *workspace)
{
    if (image->channels != 3 || image->width < 1 || image->height < 1 || canvas_width < 1 ||
        canvas_height < 1)
        return atr_fail(ATR_ERR_SHAPE,
                        "cannot augment a picture of %lldx%lld with %lld channels to %lldx%lld",
                        (long long)image->width, (long long)image->height, (long long)image->channels,
                        (long long)canvas_width, (long long)canvas_height);
    const atr_augment_draw draw =
        atr_augment_decide(augment, key, image->width, image->height, canvas_width, canvas_height);
    return atr_augment_apply_draw(augment, &draw, image, mask, pixels, labels, workspace);
}

atr_status atr_augment_apply_draw(const atr_augment *augment, const atr_augment_draw *draw,
                                  const atr_image *image, const uint8_t *mask, uint8_t *pixels,
                                  uint8_t *labels, atr_workspace *workspace)
{
    atr_augment_canvas canvas = {draw->canvas_width, draw->canvas_height, pixels,
                                 mask == NULL ? NULL : labels, augment->padding};
    atr_status status = ATR_OK;

    ATR_TRY(lay(draw, image, mask, &canvas, workspace));
    for (int k = 0; k < ATR_AUGMENT_KINDS; k++)
        if (atr_augment_rows[k].apply != NULL)
            ATR_TRY(atr_augment_rows[k].apply(draw, &canvas, workspace));

done:
    return status;
}

/* Always inlined with a constant channel count, so that the channels' tables need no look-up of their own. */
static inline __attribute__((always_inline)) void convert(const uint8_t *pixels, int64_t count, int channels,
                                                          float table[4][256], float *out)
{
    for (int64_t i = 0; i < count; i++)
        for (int c = 0; c < channels; c++)
            out[i * channels + c] = table[c][pixels[i * channels + c]];
}

void atr_pixels_to_f32(const uint8_t *pixels, int64_t count, int channels, const double *scale,
                       const double *offset, float *out)
{
    float table[4][256];

    for (int c = 0; c < channels; c++)
        for (int level = 0; level < 256; level++)
            table[c][level] = (float)(level * scale[c] + offset[c]);
    if (channels == 3)
        convert(pixels, count, 3, table, out);
    else
        convert(pixels, count, channels, table, out);
}
