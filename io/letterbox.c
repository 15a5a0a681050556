#include "io/letterbox.h"

#include <string.h>

static int64_t at_least_one(int64_t n)
{
    return n < 1 ? 1 : n;
}

atr_box atr_fit_box(atr_fit fit, int64_t width, int64_t height, int64_t canvas_width, int64_t canvas_height)
{
    const double ratio_x = (double)canvas_width / (double)width,
                 ratio_y = (double)canvas_height / (double)height;
    const double scale = ratio_x < ratio_y ? ratio_x : ratio_y;
    atr_box box = {0, 0, canvas_width, canvas_height};

    if (fit == ATR_FIT_STRETCH)
        return box;
    box.width = at_least_one((int64_t)((double)width * scale));
    box.height = at_least_one((int64_t)((double)height * scale));
    box.x = (canvas_width - box.width) / 2;
    box.y = (canvas_height - box.height) / 2;
    return box;
}

atr_status atr_fit_labels(atr_fit fit, const uint8_t *mask, int64_t width, int64_t height,
                          int64_t canvas_width, int64_t canvas_height, uint8_t padding, uint8_t *labels,
                          atr_workspace *workspace)
{
    const atr_box place = atr_fit_box(fit, width, height, canvas_width, canvas_height);
    const atr_resize resize = atr_resize_whole(width, height, place.width, place.height);

    memset(labels, padding, (size_t)(canvas_width * canvas_height));
    return atr_resize_nearest(&resize, mask, labels + place.y * canvas_width + place.x, canvas_width,
                              workspace);
}

atr_status atr_fit_canvas(atr_fit fit, const atr_image *image, const uint8_t *mask, int64_t canvas_width,
                          int64_t canvas_height, uint8_t padding, uint8_t *pixels, uint8_t *labels,
                          atr_box *box, atr_workspace *workspace)
{
    atr_status status = ATR_OK;

    if (image->width < 1 || image->height < 1 || canvas_width < 1 || canvas_height < 1)
        return atr_fail(ATR_ERR_SHAPE, "cannot lay a picture of %lldx%lld on a canvas of %lldx%lld",
                        (long long)image->width, (long long)image->height, (long long)canvas_width,
                        (long long)canvas_height);
    const atr_box place = atr_fit_box(fit, image->width, image->height, canvas_width, canvas_height);
    const atr_resize resize = atr_resize_whole(image->width, image->height, place.width, place.height);
    const int64_t corner = place.y * canvas_width + place.x, stride = canvas_width * image->channels;
    memset(pixels, ATR_PAD_GREY, (size_t)(canvas_height * stride));
    ATR_TRY(atr_resize_bicubic(&resize, (int)image->channels, image->pixels,
                               pixels + corner * image->channels, stride, workspace));
    if (mask != NULL)
        ATR_TRY(atr_fit_labels(fit, mask, image->width, image->height, canvas_width, canvas_height, padding,
                               labels, workspace));
    if (box != NULL)
        *box = place;

done:
    return status;
}
