#ifndef ATR_IO_Y4M_H
#define ATR_IO_Y4M_H

#include <stdbool.h>

#include "core/mem.h"

/* YUV4MPEG2, the plain stream of frames that mjpegtools and ffmpeg pass through pipes: a line of text
 *     YUV4MPEG2 W320 H240 F25:1 Ip A1:1 C420jpeg XCOLORRANGE=LIMITED
 * then for each frame a line "FRAME" and the planes Y, Cb, Cr of 8 bits, row by row. Sides of subsampled planes are rounded up.
 * The stream does not say its colour matrix: BT.601 is the custom. */

enum {
    ATR_Y4M_LINE = 1024,          /* longest line, newline included */
    ATR_Y4M_MAX_PIXELS = 1 << 26, /* of a frame: 8192x8192 */
    ATR_Y4M_RATE_MAX = 1 << 30
};

typedef enum atr_yuv_matrix { ATR_YUV_601, ATR_YUV_709 } atr_yuv_matrix;

typedef struct atr_y4m {
    int64_t width, height;
    int64_t rate, rate_scale;      /* rate / rate_scale frames a second; 0 0: not said */
    char chroma[16];               /* "420jpeg"; a name of the list in y4m.c */
    bool mono;                     /* Y alone */
    int64_t across, down;          /* pixels that share one chroma sample */
    bool full_range;               /* Y in 0..255, not 16..235 */
    char interlace[8], aspect[32]; /* the tags I and A as they came, "" where absent */
    atr_yuv_matrix matrix;         /* not in the stream */
} atr_y4m;

/* Whether bytes begin as such a stream does; ATR_Y4M_MAGIC of them are enough. */
enum { ATR_Y4M_MAGIC = 10 };
bool atr_y4m_sniff(const void *bytes, size_t size);

/* Reads the first line (without newline, a zero behind it). Trusts nothing. ATR_ERR_DATA for what is no header,
 * ATR_ERR_UNSUPPORTED for more than 8 bits or planes that we do not know, with what to say to ffmpeg. */
atr_status atr_y4m_parse(const char *line, atr_y4m *out);

/* A description of 8-bit video by size and a chroma of the list ("420jpeg", "mono", ...), limited range. */
atr_y4m atr_y4m_make(int64_t width, int64_t height, int64_t rate, int64_t rate_scale, const char *chroma);

/* The first line with its newline into `text` (ATR_Y4M_LINE bytes); returns its length. */
int atr_y4m_line(const atr_y4m *video, char *text);

/* Bytes of a frame's planes. */
int64_t atr_y4m_frame_bytes(const atr_y4m *video);

/* One frame's planes to RGB [height,width,3] u8 and back; chroma is repeated to pixels and averaged over them. Not for mono's way
 * back: its Y is made from RGB's luma. */
void atr_y4m_to_rgb(const atr_y4m *video, const uint8_t *planes, uint8_t *rgb);
void atr_y4m_from_rgb(const atr_y4m *video, const uint8_t *rgb, uint8_t *planes);

#endif
