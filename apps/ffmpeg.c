#include "apps/ffmpeg.h"

#include <errno.h>
#include <jansson.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "core/text.h"
#include "io/path.h"

/* ---- argument vectors --------------------------------------------------------------------------------------------------- */

enum { MOST_ARGUMENTS = 128 };

/* Built piece by piece; all strings are its own. */
typedef struct arguments {
    char *items[MOST_ARGUMENTS + 1];
    int count;
    atr_status status; /* of the first failure; later pieces are dropped */
} arguments;

static void push(arguments *a, const char *text)
{
    if (a->status == ATR_OK && a->count == MOST_ARGUMENTS)
        a->status = atr_fail(ATR_ERR_USAGE, "too many arguments for ffmpeg (at most %d)", MOST_ARGUMENTS);
    if (a->status == ATR_OK)
        a->status = atr_strdup(text, &a->items[a->count]);
    if (a->status == ATR_OK)
        a->count++;
}

static void push_all(arguments *a, const char *const *texts)
{
    for (; *texts != NULL; texts++)
        push(a, *texts);
}

/* A file's name may look like a protocol ("take:2.mp4") or an option to ffmpeg; "file:" in front it cannot mistake. */
static void push_path(arguments *a, const char *path, bool is_file)
{
    char *name = NULL;

    if (a->status == ATR_OK)
        a->status = atr_format(&name, "%s%s", is_file ? "file:" : "", path);
    if (name != NULL)
        push(a, name);
    atr_free(name);
}

/* "PREFIXrate/scale" behind the option. */
static void push_rate(arguments *a, const char *option, const char *prefix, const atr_video *video)
{
    char text[64];

    if (video->rate == 0)
        return;
    snprintf(text, sizeof text, "%s%lld/%lld", prefix, (long long)video->rate, (long long)video->rate_scale);
    push(a, option);
    push(a, text);
}

static void push_size(arguments *a, const atr_video *video)
{
    char text[64];

    snprintf(text, sizeof text, "%lldx%lld", (long long)video->width, (long long)video->height);
    push(a, "-s");
    push(a, text);
}

static void free_arguments(arguments *a)
{
    for (int i = 0; i < a->count; i++)
        atr_free(a->items[i]);
}

static atr_status start(const arguments *a, int in, int out, atr_process *process)
{
    const atr_status status = a->status == ATR_OK ? atr_process_start(a->items, in, out, process) : a->status;

    return status == ATR_ERR_NOT_FOUND
               ? atr_fail(status,
                          "video needs the program %s, which is not there: install it (Debian: ffmpeg), or "
                          "pipe frames through - (see --raw)",
                          a->items[0])
               : status;
}

static void push_input(arguments *a, const char *path, const char *format)
{
    if (format != NULL) {
        push(a, "-f");
        push(a, format);
    }
    push(a, "-i");
    push_path(a, path, format == NULL && atr_path_exists(path));
}

/* ---- ffprobe ------------------------------------------------------------------------------------------------------------ */

/* "30000/1001" where it is a sensible rate. */
static bool read_rate(const json_t *stream, const char *key, atr_video *out)
{
    const char *text = json_string_value(json_object_get(stream, key));
    long long rate = 0, scale = 0;
    int end = 0;

    if (text == NULL || sscanf(text, "%9lld/%9lld%n", &rate, &scale, &end) != 2 || text[end] != '\0' ||
        rate < 1 || scale < 1 || rate > 1000 * scale)
        return false;
    out->rate = rate;
    out->rate_scale = scale;
    return true;
}

/* ffmpeg turns what it decodes by the display matrix: a quarter turn swaps the sides. */
static bool is_turned(const json_t *stream)
{
    const json_t *list = json_object_get(stream, "side_data_list");

    for (size_t i = 0; i < json_array_size(list); i++) {
        const json_t *rotation = json_object_get(json_array_get(list, i), "rotation");
        if (json_is_number(rotation) && ((int64_t)json_number_value(rotation) / 90) % 2 != 0)
            return true;
    }
    return false;
}

static atr_status read_stream(const char *path, const char *text, atr_video *out)
{
    atr_status status = ATR_OK;
    json_t *root = json_loads(text, 0, NULL);
    const json_t *stream = json_array_get(json_object_get(root, "streams"), 0);
    const int64_t width = json_integer_value(json_object_get(stream, "width"));
    const int64_t height = json_integer_value(json_object_get(stream, "height"));

    *out = (atr_video){width, height, 0, 0};
    if (width < 1 || height < 1)
        status = atr_fail(ATR_ERR_DATA, "%s: ffprobe finds no video in it", path);
    else if (width > ATR_Y4M_MAX_PIXELS / height)
        status = atr_fail(ATR_ERR_DATA, "%s: frames of %lldx%lld pixels are too large", path,
                          (long long)width, (long long)height);
    if (is_turned(stream)) {
        out->width = height;
        out->height = width;
    }
    if (!read_rate(stream, "avg_frame_rate", out))
        (void)read_rate(stream, "r_frame_rate", out);
    json_decref(root);
    return status;
}

/* All that comes through a pipe until its end, a zero behind it. */
static atr_status read_all(int fd, char *text, size_t bytes)
{
    size_t used = 0;

    for (;;) {
        const ssize_t got = read(fd, text + used, bytes - 1 - used);
        if (got < 0 && errno == EINTR)
            continue;
        if (got < 0)
            return atr_fail(ATR_ERR_IO, "cannot read what ffprobe says: %s", strerror(errno));
        used += (size_t)got;
        text[used] = '\0';
        if (got == 0)
            return ATR_OK;
        if (used == bytes - 1)
            return atr_fail(ATR_ERR_DATA, "ffprobe says more than %zu bytes", bytes);
    }
}

atr_status atr_ffmpeg_probe(const char *path, const char *format, atr_video *out)
{
    static const char *const ask[] = {
        "ffprobe",
        "-v",
        "error",
        "-select_streams",
        "v:0",
        "-show_entries",
        "stream=width,height,avg_frame_rate,r_frame_rate:stream_side_data=rotation",
        "-of",
        "json",
        NULL};
    atr_status status = ATR_OK;
    arguments a = {.status = ATR_OK};
    atr_process process = {0};
    int read_end = -1, write_end = -1;
    char text[65536] = "", words[256];

    push_all(&a, ask);
    push_input(&a, path, format);
    ATR_TRY(atr_process_pipe(&read_end, &write_end));
    ATR_TRY(start(&a, -1, write_end, &process));
    close(write_end);
    write_end = -1;
    ATR_TRY(read_all(read_end, text, sizeof text));
    if (atr_process_wait(&process) != 0)
        status = atr_fail(ATR_ERR_DATA, "ffprobe cannot read the video %s: %s", path,
                          atr_process_last_words(&process, words, sizeof words));
    else
        status = read_stream(path, text, out);
done:
    if (read_end >= 0)
        close(read_end);
    if (write_end >= 0)
        close(write_end);
    atr_process_close(&process);
    free_arguments(&a);
    return status;
}

/* ---- ffmpeg ------------------------------------------------------------------------------------------------------------- */

atr_status atr_ffmpeg_decode(const char *path, const char *format, const atr_video *video, int out,
                             atr_process *process)
{
    static const char *const quiet[] = {"ffmpeg", "-nostdin", "-v", "error", NULL};
    static const char *const what[] = {"-map", "0:v:0", "-f", "rawvideo", "-pix_fmt", "rgb24", NULL};
    arguments a = {.status = ATR_OK};

    push_all(&a, quiet);
    push_input(&a, path, format);
    push_all(&a, what);
    push_rate(&a, "-vf", "fps=", video); /* -r would repeat frames at the ends: 7 of 10 for half the rate */
    push_size(&a, video);                /* also where the stream changes its size midway */
    push(&a, "-");
    const atr_status status = start(&a, -1, out, process);
    free_arguments(&a);
    return status;
}

/* Unless told otherwise: colours in the pixel format that every player shows, which wants even sides, so an odd one gets a black
 * row or column; class ids without loss. */
static void push_codec(arguments *a, const atr_video *video, atr_frames_form form)
{
    static const char *const even[] = {"-vf", "pad=ceil(iw/2)*2:ceil(ih/2)*2", NULL};
    static const char *const shown[] = {"-pix_fmt", "yuv420p", NULL};
    static const char *const exact[] = {"-c:v", "ffv1", "-pix_fmt", "gray", NULL};

    if (form == ATR_FRAMES_GREY) {
        push_all(a, exact);
        return;
    }
    if (video->width % 2 != 0 || video->height % 2 != 0)
        push_all(a, even);
    push_all(a, shown);
}

atr_status atr_ffmpeg_encode(const char *path, const atr_video *video, atr_frames_form form,
                             const char *const *extra, int64_t count, int in, atr_process *process)
{
    static const char *const quiet[] = {"ffmpeg", "-nostdin", "-y", "-v", "error", "-f", "rawvideo", NULL};
    arguments a = {.status = ATR_OK};

    push_all(&a, quiet);
    push(&a, "-pix_fmt");
    push(&a, form == ATR_FRAMES_GREY ? "gray" : "rgb24");
    push_size(&a, video);
    push_rate(&a, "-framerate", "", video);
    push(&a, "-i");
    push(&a, "-");
    if (count == 0)
        push_codec(&a, video, form);
    for (int64_t i = 0; i < count; i++)
        push(&a, extra[i]);
    push_path(&a, path, true);
    const atr_status status = start(&a, in, -1, process);
    free_arguments(&a);
    return status;
}
