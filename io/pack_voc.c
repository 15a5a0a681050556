#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "core/text.h"
#include "io/pack_impl.h"
#include "io/path.h"

/* Writes the samples out in VOC layout. The lists come last: a folder that a killed writer left has none, so that nobody takes
 * it for whole. */

enum { TURNED_QUALITY = 95 }; /* of a JPEG that had to be turned; as labelme has it */

/* FOLDER/NAME.SUFFIX, with the folders above it. */
static atr_status write_file(const char *folder, const char *name, const char *suffix, const void *bytes,
                             size_t size)
{
    atr_status status = ATR_OK;
    char *path = NULL;

    ATR_TRY(atr_format(&path, "%s/%s.%s", folder, name, suffix));
    ATR_TRY(atr_path_make_above(path));
    ATR_TRY(atr_file_write(path, bytes, size));

done:
    atr_free(path);
    return status;
}

/* The mask as the gate encoded it. */
static atr_status read_mask(const atr_pack_job *job, int64_t index, uint8_t **bytes, size_t *size)
{
    const int64_t from = job->index.mask_at[index];
    atr_status status = ATR_OK;
    ssize_t got = 0;

    *size = (size_t)(job->index.mask_at[index + 1] - from);
    ATR_TRY(ATR_NEW((int64_t)*size, bytes));
    for (size_t used = 0; used < *size; used += (size_t)got) {
        got = pread(job->spool, *bytes + used, *size - used, (off_t)from + (off_t)used);
        if (got < 0 && errno == EINTR)
            got = 0;
        else if (got <= 0) {
            status = atr_fail(ATR_ERR_IO, "%s: kept masks cannot be read back: %s", job->config->to_voc,
                              got < 0 ? strerror(errno) : "too short");
            goto done;
        }
    }

done:
    return status;
}

/* A photo that its EXIF orientation turns is written turned, since its mask is. */
static atr_status turn(void **bytes, size_t *size)
{
    atr_status status = ATR_OK;
    atr_image image = {0};
    void *turned = NULL;
    size_t turned_size = 0;

    ATR_TRY(atr_image_decode_rgb(*bytes, *size, true, &image));
    if (atr_image_sniff(*bytes, *size) == ATR_IMAGE_PNG)
        ATR_TRY(atr_png_encode(&image, &turned, &turned_size));
    else
        ATR_TRY(atr_jpeg_encode(&image, TURNED_QUALITY, &turned, &turned_size));
    atr_free(*bytes);
    *bytes = turned;
    *size = turned_size;

done:
    atr_image_free(&image);
    return status;
}

static atr_status write_sample(const atr_pack_job *job, int64_t index)
{
    const char *name = job->index.names[index];
    atr_status status = ATR_OK;
    atr_image_info info;
    void *image = NULL;
    uint8_t *mask = NULL;
    size_t image_size = 0, mask_size = 0;
    char *images = NULL, *masks = NULL;

    ATR_TRY(atr_path_join(job->config->to_voc, "JPEGImages", &images));
    ATR_TRY(atr_path_join(job->config->to_voc, "SegmentationClass", &masks));
    ATR_TRY(atr_pack_read_image(job, index, &image, &image_size));
    ATR_TRY(atr_image_probe(image, image_size, &info));
    if (job->index.apply_exif && info.orientation != 1)
        ATR_TRY(turn(&image, &image_size));
    ATR_TRY(write_file(images, name, info.format == ATR_IMAGE_PNG ? "png" : "jpg", image, image_size));
    ATR_TRY(read_mask(job, index, &mask, &mask_size));
    ATR_TRY(write_file(masks, name, "png", mask, mask_size));

done:
    atr_free(images);
    atr_free(masks);
    atr_free(image);
    atr_free(mask);
    return status;
}

/* The names of the samples in one of the parts `splits`, a line each, where there are any. */
static atr_status write_list(const atr_pack_job *job, const char *name, uint8_t splits)
{
    atr_status status = ATR_OK;
    atr_text lines = {0};
    char *folder = NULL, *text = NULL;

    for (int64_t i = 0; i < job->index.count; i++)
        if ((job->index.splits[i] & splits) != 0)
            atr_text_append(&lines, "%s\n", job->index.names[i]);
    ATR_TRY(atr_text_take(&lines, &text));
    ATR_TRY(atr_path_join(job->config->to_voc, "ImageSets/Segmentation", &folder));
    if (text[0] != '\0')
        ATR_TRY(write_file(folder, name, "txt", text, strlen(text)));

done:
    atr_free(text);
    atr_free(folder);
    return status;
}

static atr_status write_classes(const atr_pack_job *job)
{
    atr_status status = ATR_OK;
    atr_text lines = {0};
    char *text = NULL;

    for (int64_t i = 0; i < job->classes.count; i++)
        atr_text_append(&lines, "%s\n", job->classes.names[i]);
    ATR_TRY(atr_text_take(&lines, &text));
    ATR_TRY(write_file(job->config->to_voc, "classes", "txt", text, strlen(text)));

done:
    atr_free(text);
    return status;
}

/* Lists that are there belong to older files: without them the folder is not whole until the new ones come. */
static atr_status remove_lists(const atr_pack_job *job)
{
    static const char *const names[] = {"train", "val", "test", "trainval"};
    atr_status status = ATR_OK;
    char *path = NULL;

    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        atr_free(path);
        ATR_TRY(atr_format(&path, "%s/ImageSets/Segmentation/%s.txt", job->config->to_voc, names[i]));
        if (remove(path) != 0 && errno != ENOENT && errno != ENOTDIR) {
            status = atr_fail(ATR_ERR_IO, "%s: cannot be replaced: %s", path, strerror(errno));
            goto done;
        }
    }

done:
    atr_free(path);
    return status;
}

atr_status atr_pack_write_voc(atr_pack_job *job)
{
    const uint8_t train = 1 << ATR_SPLIT_TRAIN, val = 1 << ATR_SPLIT_VAL, test = 1 << ATR_SPLIT_TEST;
    atr_status status = ATR_OK;

    ATR_TRY(remove_lists(job));
    for (int64_t i = 0; i < job->index.count; i++) {
        ATR_TRY(write_sample(job, i));
        ATR_TRY(atr_watch_say(job->watch, "writing VOC layout", i + 1, job->index.count));
    }
    ATR_TRY(write_classes(job));
    ATR_TRY(write_list(job, "trainval", train | val));
    ATR_TRY(write_list(job, "test", test));
    ATR_TRY(write_list(job, "val", val));
    ATR_TRY(write_list(job, "train", train));

done:
    return status;
}
