#ifndef ATR_APPS_FFMPEG_H
#define ATR_APPS_FFMPEG_H

#include "apps/frames.h"

/* How ffmpeg and ffprobe are called. Both come with Debian's package ffmpeg; neither is needed to build or to run. */

/* Size (as shown: turned by the file's rotation) and frame rate of the first video stream. */
atr_status atr_ffmpeg_probe(const char *path, const char *format, atr_video *out);

/* Starts a decoder that writes RGB24 frames of the video's size and rate to `out`. */
atr_status atr_ffmpeg_decode(const char *path, const char *format, const atr_video *video, int out,
                             atr_process *process);

/* Starts an encoder that reads RGB24 or grey frames from `in`. */
atr_status atr_ffmpeg_encode(const char *path, const atr_video *video, atr_frames_form form,
                             const char *const *extra, int64_t count, int in, atr_process *process);

#endif
