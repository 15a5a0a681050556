#include "io/y4m.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const struct {
    const char *name;
    int across, down;
    bool mono;
} chromas[] = {
    {"420jpeg", 2, 2, false}, {"420mpeg2", 2, 2, false}, {"420paldv", 2, 2, false}, {"420", 2, 2, false},
    {"422", 2, 1, false},     {"444", 1, 1, false},      {"411", 4, 1, false},      {"mono", 1, 1, true},
};

enum { CHROMAS = sizeof chromas / sizeof chromas[0] };

bool atr_y4m_sniff(const void *bytes, size_t size)
{
    return size >= ATR_Y4M_MAGIC && memcmp(bytes, "YUV4MPEG2 ", ATR_Y4M_MAGIC) == 0;
}

static atr_status set_chroma(atr_y4m *video, const char *name)
{
    for (int i = 0; i < CHROMAS; i++)
        if (strcmp(name, chromas[i].name) == 0) {
            snprintf(video->chroma, sizeof video->chroma, "%s", name);
            video->across = chromas[i].across;
            video->down = chromas[i].down;
            video->mono = chromas[i].mono;
            return ATR_OK;
        }
    return atr_fail(
        ATR_ERR_UNSUPPORTED,
        "YUV4MPEG frames of kind C%.20s are not read; ask ffmpeg for 8 bits with -pix_fmt yuv420p", name);
}

/* A whole decimal number of 1..`most` that ends at `end` or the text's end; -1 for anything else. */
static int64_t number(const char *text, char end, int64_t most, const char **rest)
{
    int64_t value = 0;
    const char *at = text;

    for (; *at >= '0' && *at <= '9'; at++) {
        value = 10 * value + (*at - '0');
        if (value > most)
            return -1;
    }
    if (at == text || *at != end || value == 0)
        return -1;
    *rest = at;
    return value;
}

static atr_status set_side(const char *tag, int64_t *side)
{
    const char *rest = NULL;

    *side = number(tag + 1, '\0', ATR_Y4M_MAX_PIXELS, &rest);
    return *side > 0 ? ATR_OK
                     : atr_fail(ATR_ERR_DATA, "the YUV4MPEG header's %.20s is no size of a frame", tag);
}

/* "F30000:1001"; "F0:0" says that it is not known. */
static atr_status set_rate(const char *tag, atr_y4m *video)
{
    const char *rest = NULL;

    if (strcmp(tag, "F0:0") == 0)
        return ATR_OK;
    video->rate = number(tag + 1, ':', ATR_Y4M_RATE_MAX, &rest);
    video->rate_scale = video->rate > 0 ? number(rest + 1, '\0', ATR_Y4M_RATE_MAX, &rest) : -1;
    return video->rate_scale > 0
               ? ATR_OK
               : atr_fail(ATR_ERR_DATA, "the YUV4MPEG header's %.30s is no frame rate", tag);
}

static atr_status keep_tag(const char *tag, char *out, size_t room)
{
    if (strlen(tag) >= room)
        return atr_fail(ATR_ERR_DATA, "the YUV4MPEG header's tag %.20s is too long", tag);
    memcpy(out, tag, strlen(tag) + 1);
    return ATR_OK;
}

static atr_status set_tag(const char *tag, atr_y4m *video)
{
    switch (tag[0]) {
    case 'W':
        return set_side(tag, &video->width);
    case 'H':
        return set_side(tag, &video->height);
    case 'F':
        return set_rate(tag, video);
    case 'C':
        return set_chroma(video, tag + 1);
    case 'I':
        return keep_tag(tag, video->interlace, sizeof video->interlace);
    case 'A':
        return keep_tag(tag, video->aspect, sizeof video->aspect);
    default: /* X tags and those of other times say nothing that we need */
        video->full_range = video->full_range || strcmp(tag, "XCOLORRANGE=FULL") == 0;
        return ATR_OK;
    }
}

atr_status atr_y4m_parse(const char *line, atr_y4m *out)
{
    atr_status status = ATR_OK;
    atr_y4m video = atr_y4m_make(0, 0, 0, 0, "420jpeg");
    char tags[ATR_Y4M_LINE];
    char *rest = NULL;

    if (!atr_y4m_sniff(line, strlen(line)) || strlen(line) >= sizeof tags)
        return atr_fail(ATR_ERR_DATA, "this is no YUV4MPEG header");
    snprintf(tags, sizeof tags, "%s", line + ATR_Y4M_MAGIC);
    for (char *tag = strtok_r(tags, " ", &rest); tag != NULL; tag = strtok_r(NULL, " ", &rest))
        ATR_TRY(set_tag(tag, &video));
    if (video.width == 0 || video.height == 0)
        return atr_fail(ATR_ERR_DATA, "the YUV4MPEG header does not say how large a frame is");
    if (video.width > ATR_Y4M_MAX_PIXELS / video.height)
        return atr_fail(ATR_ERR_DATA, "the YUV4MPEG header asks for frames of %lldx%lld pixels: too large",
                        (long long)video.width, (long long)video.height);
    *out = video;
done:
    return status;
}

atr_y4m atr_y4m_make(int64_t width, int64_t height, int64_t rate, int64_t rate_scale, const char *chroma)
{
    atr_y4m video = {.width = width, .height = height, .rate = rate, .rate_scale = rate_scale};

    (void)set_chroma(&video, chroma);
    return video;
}

int atr_y4m_line(const atr_y4m *video, char *text)
{
    return snprintf(text, ATR_Y4M_LINE, "YUV4MPEG2 W%lld H%lld F%lld:%lld%s%s%s%s C%s XCOLORRANGE=%s\n",
                    (long long)video->width, (long long)video->height, (long long)video->rate,
                    (long long)video->rate_scale, *video->interlace != '\0' ? " " : "", video->interlace,
                    *video->aspect != '\0' ? " " : "", video->aspect, video->chroma,
                    video->full_range ? "FULL" : "LIMITED");
}

static int64_t chroma_width(const atr_y4m *v)
{
    return (v->width + v->across - 1) / v->across;
}

static int64_t chroma_height(const atr_y4m *v)
{
    return (v->height + v->down - 1) / v->down;
}

int64_t atr_y4m_frame_bytes(const atr_y4m *video)
{
    return video->width * video->height + (video->mono ? 0 : 2 * chroma_width(video) * chroma_height(video));
}

/* ITU-R BT.601 and BT.709: Y = kr R + kg G + kb B, Cb = (B - Y) / 2 (1 - kb), Cr = (R - Y) / 2 (1 - kr). */
typedef struct weights {
    double kr, kb, kg;
    double y_scale, y_zero,
        c_scale; /* of sample values: Y' = y_scale Y + y_zero, C' = c_scale C + 128, Y and C from 0..255 */
} weights;

static weights weights_of(const atr_y4m *v)
{
    weights w = {.kr = v->matrix == ATR_YUV_709 ? 0.2126 : 0.299,
                 .kb = v->matrix == ATR_YUV_709 ? 0.0722 : 0.114,
                 .y_scale = v->full_range ? 1 : 219.0 / 255,
                 .y_zero = v->full_range ? 0 : 16,
                 .c_scale = v->full_range ? 1 : 224.0 / 255};

    w.kg = 1 - w.kr - w.kb;
    return w;
}

/* Sums of table entries in 1/65536, rounded and clipped to a sample. */
enum { FRACTION = 16, HALF = 1 << (FRACTION - 1) };

static int32_t fixed(double value)
{
    return (int32_t)(value * (1 << FRACTION) + (value < 0 ? -0.5 : 0.5));
}

static uint8_t sample(int32_t sum)
{
    const int32_t value = (sum + HALF) >> FRACTION;

    return (uint8_t)(value < 0 ? 0 : value > 255 ? 255 : value);
}

void atr_y4m_to_rgb(const atr_y4m *v, const uint8_t *planes, uint8_t *rgb)
{
    const weights w = weights_of(v);
    const int64_t cw = chroma_width(v), size = v->width * v->height;
    const uint8_t *cb = planes + size, *cr = cb + cw * chroma_height(v);
    int32_t luma[256], red[256], green_b[256], green_r[256], blue[256];

    for (int i = 0; i < 256; i++) {
        const double c = (i - 128) / w.c_scale;
        luma[i] = fixed((i - w.y_zero) / w.y_scale);
        red[i] = fixed(2 * (1 - w.kr) * c);
        blue[i] = fixed(2 * (1 - w.kb) * c);
        green_r[i] = fixed(-2 * (1 - w.kr) * w.kr / w.kg * c);
        green_b[i] = fixed(-2 * (1 - w.kb) * w.kb / w.kg * c);
    }
    for (int64_t y = 0; y < v->height; y++)
        for (int64_t x = 0; x < v->width; x++) {
            const int64_t at = y / v->down * cw + x / v->across;
            const int b = v->mono ? 128 : cb[at], r = v->mono ? 128 : cr[at];
            const int32_t base = luma[planes[y * v->width + x]];
            uint8_t *out = rgb + 3 * (y * v->width + x);
            out[0] = sample(base + red[r]);
            out[1] = sample(base + green_b[b] + green_r[r]);
            out[2] = sample(base + blue[b]);
        }
}

/* Mean Cb and Cr of the pixels that share the chroma sample (x, y). */
static void average_chroma(const atr_y4m *v, const weights *w, const uint8_t *rgb, int64_t x, int64_t y,
                           uint8_t *cb, uint8_t *cr)
{
    double sums[3] = {0, 0, 0}, count = 0;

    for (int64_t j = y * v->down; j < (y + 1) * v->down && j < v->height; j++)
        for (int64_t i = x * v->across; i < (x + 1) * v->across && i < v->width; i++, count++)
            for (int c = 0; c < 3; c++)
                sums[c] += rgb[3 * (j * v->width + i) + c];
    const double luma = w->kr * sums[0] + w->kg * sums[1] + w->kb * sums[2];
    *cb = sample(fixed(128 + w->c_scale * (sums[2] - luma) / (2 * (1 - w->kb)) / count));
    *cr = sample(fixed(128 + w->c_scale * (sums[0] - luma) / (2 * (1 - w->kr)) / count));
}

void atr_y4m_from_rgb(const atr_y4m *v, const uint8_t *rgb, uint8_t *planes)
{
    const weights w = weights_of(v);
    const int64_t cw = chroma_width(v), ch = chroma_height(v), size = v->width * v->height;
    uint8_t *cb = planes + size, *cr = cb + cw * ch;
    int32_t red[256], green[256], blue[256];

    for (int i = 0; i < 256; i++) {
        red[i] = fixed(w.y_zero + w.y_scale * w.kr * i);
        green[i] = fixed(w.y_scale * w.kg * i);
        blue[i] = fixed(w.y_scale * w.kb * i);
    }
    for (int64_t p = 0; p < size; p++)
        planes[p] = sample(red[rgb[3 * p]] + green[rgb[3 * p + 1]] + blue[rgb[3 * p + 2]]);
    for (int64_t y = 0; !v->mono && y < ch; y++)
        for (int64_t x = 0; x < cw; x++)
            average_chroma(v, &w, rgb, x, y, &cb[y * cw + x], &cr[y * cw + x]);
}
