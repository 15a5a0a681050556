#ifndef ATR_TESTS_SUPPORT_CLIP_H
#define ATR_TESTS_SUPPORT_CLIP_H

#include <stddef.h>
#include <stdint.h>

/* Short videos of drawn frames, and a model to run on them, in a folder of their own: for tests of apps/. Failures end the test. */

enum { CLIP_CLASSES = 4, CLIP_W = 30, CLIP_H = 18, CLIP_FRAMES = 5, CLIP_FRAME_BYTES = 3 * CLIP_W * CLIP_H };

extern char *clip_folder;
extern char clip_model[4200]; /* path of the model file */

/* For cmocka: make and remove folder and model. One thread for each network unless a test says more. */
int clip_set_up(void **state);
int clip_tear_down(void **state);

/* FOLDER/NAME, in one of several static buffers; the folders above it are made. */
const char *clip_path(const char *name);

/* Frame `index` [CLIP_H,CLIP_W,3], malloc'ed. */
uint8_t *clip_frame(int index);

/* CLIP_FRAMES raw frames, and `extra` bytes of one more, in a file. */
void clip_write_raw(const char *path, size_t extra);

#endif
