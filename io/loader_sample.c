#include <string.h>

#include "core/rng.h"
#include "io/loader_impl.h"

void atr_sample_workspace_free(atr_sample_workspace *workspace)
{
    atr_workspace_free(&workspace->resample);
    atr_free(workspace->pixels);
    *workspace = (atr_sample_workspace){0};
}

static atr_status reserve(atr_sample_workspace *workspace, int64_t pixels)
{
    atr_status status = ATR_OK;

    if (pixels <= workspace->room)
        return ATR_OK;
    atr_free(workspace->pixels);
    workspace->pixels = NULL;
    workspace->room = 0;
    ATR_TRY(ATR_NEW(3 * pixels, &workspace->pixels));
    workspace->room = pixels;

done:
    return status;
}

/* Picture and ids onto the canvas: workspace->pixels and target->labels. */
static atr_status lay(const atr_loader_config *c, uint64_t key, const atr_image *image, const uint8_t *ids,
                      const atr_sample_target *target, atr_sample_workspace *workspace)
{
    if (c->mode == ATR_LOADER_TRAIN)
        return atr_augment_apply(&c->augment, key, image, ids, target->width, target->height,
                                 workspace->pixels, target->labels, &workspace->resample);
    if (c->height != 0)
        return atr_fit_canvas(c->fit, image, ids, target->width, target->height, c->padding,
                              workspace->pixels, target->labels, target->box, &workspace->resample);
    const int64_t count = image->width * image->height;
    memcpy(workspace->pixels, image->pixels, (size_t)(3 * count));
    memcpy(target->labels, ids, (size_t)count);
    *target->box = (atr_box){0, 0, image->width, image->height};
    return ATR_OK;
}

atr_status atr_sample_make(const atr_dataset *dataset, const atr_loader_config *config, int64_t index,
                           int64_t epoch, const atr_sample_target *target, atr_sample_workspace *workspace)
{
    const int64_t pixels = target->height * target->width;
    const uint64_t key = atr_rng_key(config->seed, ATR_RNG_AUGMENT, (uint64_t)epoch, (uint64_t)index);
    atr_status status = ATR_OK;
    atr_image image = {0};
    uint8_t *ids = NULL;

    ATR_TRY(reserve(workspace, pixels));
    ATR_TRY(atr_dataset_read_image(dataset, index, &image));
    ATR_TRY(atr_dataset_read_mask(dataset, index, &ids));
    ATR_TRY(lay(config, key, &image, ids, target, workspace));
    atr_pixels_to_f32(workspace->pixels, pixels, 3, config->scale, config->offset, target->image);
    *target->valid = 0;
    for (int64_t i = 0; i < pixels; i++)
        *target->valid += target->labels[i] != ATR_IGNORE;

done:
    atr_image_free(&image);
    atr_free(ids);
    return status;
}
