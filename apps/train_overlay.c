#include "apps/train_overlay.h"

#include <string.h>

#include "io/resample.h"

enum { LARGEST_SIDE = 384, PARTS = 3, QUALITY = 90 };

static const double share = 0.6; /* of colour */

/* Part number `part` of `sheet` from the picture in its part 0; ids NULL: as it is. */
static void colour(const atr_image *sheet, int part, const uint8_t *ids, const uint8_t palette[256][3])
{
    const int64_t width = sheet->width / PARTS;

    for (int64_t y = 0; y < sheet->height; y++) {
        const uint8_t *const from = sheet->pixels + y * sheet->width * 3;
        uint8_t *const to = sheet->pixels + (y * sheet->width + part * width) * 3;
        for (int64_t i = 0; i < 3 * width; i++) {
            const uint8_t id = ids[y * width + i / 3];
            to[i] = id == ATR_IGNORE ? from[i]
                                     : (uint8_t)((1 - share) * from[i] + share * palette[id][i % 3] + 0.5);
        }
    }
}

static atr_status make_sheet(const atr_image *picture, const uint8_t *truth, const uint8_t *predicted,
                             const uint8_t palette[256][3], atr_image *sheet)
{
    const atr_resize size = atr_resize_within(picture->width, picture->height, LARGEST_SIDE);
    atr_workspace workspace = {0};
    uint8_t *small = NULL;
    atr_status status = ATR_OK;

    *sheet = (atr_image){PARTS * size.to_width, size.to_height, 3, NULL};
    ATR_TRY(ATR_NEW(sheet->width * sheet->height * 3, &sheet->pixels));
    ATR_TRY(ATR_NEW(size.to_width * size.to_height, &small));
    ATR_TRY(atr_resize_bicubic(&size, 3, picture->pixels, sheet->pixels, sheet->width * 3, &workspace));
    ATR_TRY(atr_resize_nearest(&size, truth, small, size.to_width, &workspace));
    colour(sheet, 1, small, palette);
    ATR_TRY(atr_resize_nearest(&size, predicted, small, size.to_width, &workspace));
    colour(sheet, 2, small, palette);

done:
    atr_free(small);
    atr_workspace_free(&workspace);
    return status;
}

atr_status atr_train_overlay(atr_segmenter *segmenter, const atr_dataset *dataset, int64_t sample,
                             const atr_model_info *info, void **bytes, size_t *size, int64_t *width,
                             int64_t *height)
{
    atr_image picture = {0}, sheet = {0};
    uint8_t *truth = NULL, *predicted = NULL;
    atr_status status = ATR_OK;

    *bytes = NULL;
    ATR_TRY(atr_dataset_read_image(dataset, sample, &picture));
    ATR_TRY(atr_dataset_read_mask(dataset, sample, &truth));
    ATR_TRY(ATR_NEW(picture.width * picture.height, &predicted));
    ATR_TRY(atr_segmenter_run(segmenter, &picture, &(atr_segmentation){.ids = predicted}));
    ATR_TRY(make_sheet(&picture, truth, predicted, info->palette, &sheet));
    ATR_TRY(atr_jpeg_encode(&sheet, QUALITY, bytes, size));
    *width = sheet.width;
    *height = sheet.height;

done:
    atr_free(truth);
    atr_free(predicted);
    atr_image_free(&picture);
    atr_image_free(&sheet);
    return status;
}
