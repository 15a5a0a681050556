#include "tests/support/clip.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tests/support/model.h"
#include "tests/support/picture.h"
#include "tests/support/scratch.h"

char *clip_folder;
char clip_model[4200];

int clip_set_up(void **state)
{
    (void)state;
    setenv("OMP_NUM_THREADS", "1", 1);
    clip_folder = scratch_create();
    snprintf(clip_model, sizeof clip_model, "%s/model.h5", clip_folder);
    model_write(clip_model, CLIP_CLASSES, NULL);
    return 0;
}

int clip_tear_down(void **state)
{
    (void)state;
    scratch_remove(clip_folder);
    return 0;
}

const char *clip_path(const char *name)
{
    const char *path = scratch_text("%s/%s", clip_folder, name);

    scratch_folders_above(path);
    return path;
}

uint8_t *clip_frame(int index)
{
    uint8_t *pixels = malloc(CLIP_FRAME_BYTES);

    for (int64_t i = 0; i < CLIP_FRAME_BYTES; i++)
        pixels[i] = picture_sample(i / 3 % CLIP_W + 3 * index, i / 3 / CLIP_W, i % 3);
    return pixels;
}

void clip_write_raw(const char *path, size_t extra)
{
    uint8_t *all = malloc((CLIP_FRAMES + 1) * CLIP_FRAME_BYTES);

    for (int i = 0; i <= CLIP_FRAMES; i++) {
        uint8_t *one = clip_frame(i);
        memcpy(all + i * CLIP_FRAME_BYTES, one, CLIP_FRAME_BYTES);
        free(one);
    }
    scratch_write(path, all, CLIP_FRAMES * CLIP_FRAME_BYTES + extra);
    free(all);
}
