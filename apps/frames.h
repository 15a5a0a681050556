#ifndef ATR_APPS_FRAMES_H
#define ATR_APPS_FRAMES_H

#include <stdatomic.h>

#include "apps/process.h"
#include "io/y4m.h"

/* Frames of video in and out: raw samples or YUV4MPEG through files and pipes, anything else through a child ffmpeg. */

/* What video is like, whichever way it comes. */
typedef struct atr_video {
    int64_t width, height;
    int64_t rate, rate_scale; /* rate / rate_scale frames a second; 0 0: not known */
} atr_video;

/* ---- in ----------------------------------------------------------------------------------------------------------------- */

typedef struct atr_frames_in {
    const char *name; /* for messages; borrowed */
    atr_video video;
    bool is_y4m;
    atr_y4m y4m;       /* where is_y4m */
    int64_t frames;    /* read so far */
    int fd;            /* -1: closed */
    atr_process child; /* ffmpeg, or none */
    uint8_t *planes;   /* one frame of y4m */
    uint8_t *buffer;   /* bytes read ahead */
    size_t at, used;
} atr_frames_in;

/* A file, or the standard input for "-". `raw`: frames of 8-bit RGB of its size, nothing around them; NULL: YUV4MPEG with this
 * colour matrix. ATR_ERR_DATA where it is none. Close with atr_frames_in_close() also after a failure. */
atr_status atr_frames_in_open(const char *path, const atr_video *raw, atr_yuv_matrix matrix,
                              atr_frames_in *in);

/* Anything that ffmpeg reads. `format`: the name of its input format or device (v4l2, lavfi), NULL: it finds out.
 * `rate`: frames a second that are wanted, 0: those of the video. ATR_ERR_NOT_FOUND where there is no ffmpeg. */
atr_status atr_frames_in_decode(const char *path, const char *format, double rate, atr_frames_in *in);

/* The next frame into rgb [height,width,3] u8; *end (and no frame) after the last one, or soon after *stop (may be NULL) is set
 * or the user asks for an end. ATR_ERR_DATA for an input that ends inside a frame, or that ffmpeg could not decode. */
atr_status atr_frames_in_read(atr_frames_in *in, const atomic_bool *stop, uint8_t *rgb, bool *end);
void atr_frames_in_close(atr_frames_in *in);

/* ---- out ---------------------------------------------------------------------------------------------------------------- */

typedef enum atr_frames_form {
    ATR_FRAMES_RGB, /* 3 bytes a pixel */
    ATR_FRAMES_GREY /* 1 byte a pixel */
} atr_frames_form;

typedef struct atr_frames_out {
    const char *path; /* borrowed */
    atr_video video;
    atr_frames_form form;
    bool is_y4m;
    atr_y4m y4m;
    int fd;            /* -1: closed */
    atr_process child; /* ffmpeg, or none */
    char *partial;     /* where a file is written before it is whole */
    uint8_t *planes;
} atr_frames_out;

/* A file, or the standard output for "-", as raw frames or, with `y4m` not NULL (its chroma and range are taken), as YUV4MPEG. */
atr_status atr_frames_out_open(const char *path, const atr_video *video, atr_frames_form form,
                               const atr_y4m *y4m, atr_frames_out *out);

/* A file that ffmpeg encodes, its kind by the suffix. `extra` [count]: arguments for ffmpeg before the name of the file. */
atr_status atr_frames_out_encode(const char *path, const atr_video *video, atr_frames_form form,
                                 const char *const *extra, int64_t count, atr_frames_out *out);

/* One frame in the form that was opened. ATR_ERR_IO with what went wrong, a closed pipe too. */
atr_status atr_frames_out_write(atr_frames_out *out, const uint8_t *frame);

/* All written: puts a file in its place. */
atr_status atr_frames_out_finish(atr_frames_out *out);
/* Removes an unfinished file. */
void atr_frames_out_close(atr_frames_out *out);

#endif
