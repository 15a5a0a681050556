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

/* A sample for training: the chances are drawn for the picture's full size, whatever size it is decoded to. */
static atr_status make_training(const atr_dataset *dataset, const atr_loader_config *c, int64_t index,
                                uint64_t key, const uint8_t *ids, const atr_sample_target *target,
                                atr_sample_workspace *workspace)
{
    const atr_sample sample = atr_dataset_sample(dataset, index);
    const atr_augment_draw draw =
        atr_augment_decide(&c->augment, key, sample.width, sample.height, target->width, target->height);
    atr_image image = {0};
    atr_status status = ATR_OK;

    ATR_TRY(
        atr_dataset_read_image_shrunk(dataset, index, c->jpeg_scale ? atr_augment_shrink(&draw) : 1, &image));
    ATR_TRY(atr_augment_apply_draw(&c->augment, &draw, &image, ids, workspace->pixels, target->labels,
                                   &workspace->resample));

done:
    atr_image_free(&image);
    return status;
}

/* A sample for validation: fitted to the canvas, or as it is. */
static atr_status make_validation(const atr_dataset *dataset, const atr_loader_config *c, int64_t index,
                                  const uint8_t *ids, const atr_sample_target *target,
                                  atr_sample_workspace *workspace)
{
    atr_image image = {0};
    atr_status status = ATR_OK;

    ATR_TRY(atr_dataset_read_image(dataset, index, &image));
    if (c->height != 0) {
        ATR_TRY(atr_fit_canvas(c->fit, &image, ids, target->width, target->height, c->padding,
                               workspace->pixels, target->labels, target->box, &workspace->resample));
    } else {
        const int64_t count = image.width * image.height;
        memcpy(workspace->pixels, image.pixels, (size_t)(3 * count));
        memcpy(target->labels, ids, (size_t)count);
        *target->box = (atr_box){0, 0, image.width, image.height};
    }

done:
    atr_image_free(&image);
    return status;
}

/* In rows of bytes, so that the compiler can add many at once. */
static int64_t count_valid(const uint8_t *labels, int64_t count)
{
    enum { ROW = 128 };
    int64_t valid = 0;

    for (int64_t i = 0; i < count; i += ROW) {
        const int64_t end = i + ROW < count ? i + ROW : count;
        uint8_t some = 0;
        for (int64_t k = i; k < end; k++)
            some = (uint8_t)(some + (labels[k] != ATR_IGNORE));
        valid += some;
    }
    return valid;
}

atr_status atr_sample_make(const atr_dataset *dataset, const atr_loader_config *config, int64_t index,
                           int64_t epoch, const atr_sample_target *target, atr_sample_workspace *workspace)
{
    const int64_t pixels = target->height * target->width;
    const uint64_t key = atr_rng_key(config->seed, ATR_RNG_AUGMENT, (uint64_t)epoch, (uint64_t)index);
    atr_status status = ATR_OK;
    uint8_t *ids = NULL;

    ATR_TRY(reserve(workspace, pixels));
    ATR_TRY(atr_dataset_read_mask(dataset, index, &ids));
    if (config->mode == ATR_LOADER_TRAIN)
        ATR_TRY(make_training(dataset, config, index, key, ids, target, workspace));
    else
        ATR_TRY(make_validation(dataset, config, index, ids, target, workspace));
    atr_pixels_to_f32(workspace->pixels, pixels, 3, config->scale, config->offset, target->image);
    *target->valid = count_valid(target->labels, pixels);

done:
    atr_free(ids);
    return status;
}
