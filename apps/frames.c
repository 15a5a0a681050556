#include "apps/frames.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <string.h>
#include <unistd.h>

#include "apps/ffmpeg.h"
#include "apps/stop.h"
#include "io/path.h"

enum { BUFFER_BYTES = 1 << 16, PATIENCE_MS = 200 };

/* ---- bytes in ----------------------------------------------------------------------------------------------------------- */

static bool is_stopped(const atomic_bool *stop)
{
    return atr_stop_wanted() || (stop != NULL && atomic_load(stop));
}

/* Some bytes from the file, 0 at its end or when stopped. Waits in short turns, to see a stop. */
static atr_status read_some(atr_frames_in *in, const atomic_bool *stop, uint8_t *bytes, size_t count,
                            size_t *got)
{
    struct pollfd wait = {.fd = in->fd, .events = POLLIN};

    *got = 0;
    for (;;) {
        if (is_stopped(stop))
            return ATR_OK;
        const int ready = poll(&wait, 1, PATIENCE_MS);
        if (ready == 0 || (ready < 0 && errno == EINTR))
            continue;
        const ssize_t taken = ready < 0 ? -1 : read(in->fd, bytes, count);
        if (taken < 0 && (errno == EINTR || errno == EAGAIN))
            continue;
        if (taken < 0)
            return atr_fail(ATR_ERR_IO, "cannot read %s: %s", in->name, strerror(errno));
        *got = (size_t)taken;
        return ATR_OK;
    }
}

/* `count` bytes, fewer only at the end. Large pieces pass the buffer by. */
static atr_status read_bytes(atr_frames_in *in, const atomic_bool *stop, uint8_t *bytes, size_t count,
                             size_t *got)
{
    atr_status status = ATR_OK;

    *got = 0;
    while (*got < count) {
        const size_t wanted = count - *got;
        size_t part = in->used - in->at < wanted ? in->used - in->at : wanted;
        if (part > 0) {
            memcpy(bytes + *got, in->buffer + in->at, part);
            in->at += part;
        } else if (wanted >= BUFFER_BYTES) {
            ATR_TRY(read_some(in, stop, bytes + *got, wanted, &part));
        } else {
            in->at = in->used = 0;
            ATR_TRY(read_some(in, stop, in->buffer, BUFFER_BYTES, &in->used));
            if (in->used > 0)
                continue;
        }
        if (part == 0)
            break;
        *got += part;
    }
done:
    return status;
}

/* A line without its newline into `line` (ATR_Y4M_LINE bytes), whose first `begun` bytes are there already; *length -1 where the
 * input ends before it. */
static atr_status read_line(atr_frames_in *in, const atomic_bool *stop, int begun, char *line, int *length)
{
    atr_status status = ATR_OK;
    size_t got = 0;

    for (*length = begun; *length < ATR_Y4M_LINE; ++*length) {
        ATR_TRY(read_bytes(in, stop, (uint8_t *)line + *length, 1, &got));
        if (got == 0) {
            *length = *length == 0 ? -1 : *length;
            if (*length >= 0)
                status = atr_fail(ATR_ERR_DATA, "%s ends inside a line of YUV4MPEG", in->name);
            goto done;
        }
        if (line[*length] == '\n' || line[*length] == '\0') {
            line[*length] = '\0';
            goto done;
        }
    }
    status = atr_fail(ATR_ERR_DATA, "%s: a line of YUV4MPEG is longer than %d bytes", in->name, ATR_Y4M_LINE);
done:
    return status;
}

/* ---- frames in ---------------------------------------------------------------------------------------------------------- */

static atr_status open_y4m(atr_frames_in *in, atr_yuv_matrix matrix)
{
    atr_status status = ATR_OK;
    char line[ATR_Y4M_LINE];
    size_t got = 0;
    int length = 0;

    ATR_TRY(read_bytes(in, NULL, (uint8_t *)line, ATR_Y4M_MAGIC, &got));
    if (!atr_y4m_sniff(line, got)) {
        status =
            atr_fail(ATR_ERR_DATA,
                     "%s is no YUV4MPEG stream (ffmpeg: -f yuv4mpegpipe); of raw RGB frames say the size: "
                     "--raw WxH",
                     in->name);
        goto done;
    }
    ATR_TRY(read_line(in, NULL, ATR_Y4M_MAGIC, line, &length));
    ATR_TRY(atr_fail_prefix(atr_y4m_parse(line, &in->y4m), "%s", in->name));
    in->y4m.matrix = matrix;
    in->is_y4m = true;
    in->video = (atr_video){in->y4m.width, in->y4m.height, in->y4m.rate, in->y4m.rate_scale};
    ATR_TRY(ATR_NEW(atr_y4m_frame_bytes(&in->y4m), &in->planes));
done:
    return status;
}

atr_status atr_frames_in_open(const char *path, const atr_video *raw, atr_yuv_matrix matrix,
                              atr_frames_in *in)
{
    atr_status status = ATR_OK;
    const bool standard = strcmp(path, "-") == 0;

    *in = (atr_frames_in){.name = standard ? "the standard input" : path, .fd = STDIN_FILENO};
    if (!standard)
        in->fd = open(path, O_RDONLY | O_CLOEXEC);
    if (in->fd < 0)
        return atr_fail(errno == ENOENT ? ATR_ERR_NOT_FOUND : ATR_ERR_IO, "cannot open %s: %s", path,
                        strerror(errno));
    ATR_TRY(ATR_NEW(BUFFER_BYTES, &in->buffer));
    if (raw != NULL)
        in->video = *raw;
    else
        ATR_TRY(open_y4m(in, matrix));
done:
    return status;
}

/* 29.97 becomes 2997/100: to the thousandth. */
static void set_rate(double rate, atr_video *video)
{
    video->rate = (int64_t)(1000 * rate + 0.5);
    video->rate_scale = 1000;
}

atr_status atr_frames_in_decode(const char *path, const char *format, double rate, atr_frames_in *in)
{
    atr_status status = ATR_OK;
    int write_end = -1;

    *in = (atr_frames_in){.name = path, .fd = -1};
    ATR_TRY(atr_ffmpeg_probe(path, format, &in->video));
    if (rate > 0)
        set_rate(rate, &in->video);
    ATR_TRY(ATR_NEW(BUFFER_BYTES, &in->buffer));
    ATR_TRY(atr_process_pipe(&in->fd, &write_end));
    ATR_TRY(atr_ffmpeg_decode(path, format, &in->video, write_end, &in->child));
done:
    if (write_end >= 0)
        close(write_end);
    return status;
}

/* The input is at its end: was that what ffmpeg meant to send? */
static atr_status check_child(atr_frames_in *in)
{
    char words[256];

    if (in->child.pid == 0)
        return ATR_OK;
    const int code = atr_process_wait(&in->child);
    atr_process_last_words(&in->child, words, sizeof words);
    if (code != 0)
        return atr_fail(ATR_ERR_DATA, "ffmpeg stopped decoding %s after %lld frames (exit code %d): %s",
                        in->name, (long long)in->frames, code, words);
    return words[0] == '\0' ? ATR_OK
                            : atr_fail(ATR_ERR_DATA, "ffmpeg found faults in %s: %s", in->name, words);
}

/* The line before a frame of YUV4MPEG; *end where the stream ends as it should. */
static atr_status read_frame_line(atr_frames_in *in, const atomic_bool *stop, bool *end)
{
    atr_status status = ATR_OK;
    char line[ATR_Y4M_LINE];
    int length = 0;

    ATR_TRY(read_line(in, stop, 0, line, &length));
    *end = length < 0;
    if (!*end && (strncmp(line, "FRAME", 5) != 0 || (line[5] != '\0' && line[5] != ' ')))
        status = atr_fail(ATR_ERR_DATA, "%s: frame %lld does not begin with FRAME: not YUV4MPEG any more",
                          in->name, (long long)in->frames + 1);
done:
    return status;
}

atr_status atr_frames_in_read(atr_frames_in *in, const atomic_bool *stop, uint8_t *rgb, bool *end)
{
    atr_status status = ATR_OK;
    const size_t bytes =
        (size_t)(in->is_y4m ? atr_y4m_frame_bytes(&in->y4m) : 3 * in->video.width * in->video.height);
    size_t got = 0;

    *end = false;
    if (in->is_y4m) {
        status = read_frame_line(in, stop, end);
        if (is_stopped(stop))
            status = ATR_OK;
        ATR_TRY(status);
    }
    if (!*end)
        ATR_TRY(read_bytes(in, stop, in->is_y4m ? in->planes : rgb, bytes, &got));
    if (is_stopped(stop)) {
        *end = true;
    } else if (got == bytes) {
        if (in->is_y4m)
            atr_y4m_to_rgb(&in->y4m, in->planes, rgb);
        in->frames++;
    } else {
        const bool inside = got > 0 || (in->is_y4m && !*end);
        *end = true;
        ATR_TRY(check_child(in));
        if (inside)
            status = atr_fail(ATR_ERR_DATA, "%s ends inside frame %lld: %zu of its %zu bytes", in->name,
                              (long long)in->frames + 1, got, bytes);
    }
done:
    return status;
}

void atr_frames_in_close(atr_frames_in *in)
{
    if (in->fd > STDIN_FILENO)
        close(in->fd);
    atr_process_close(&in->child);
    atr_free(in->planes);
    atr_free(in->buffer);
    *in = (atr_frames_in){.fd = -1};
}

/* ---- frames out --------------------------------------------------------------------------------------------------------- */

/* Why writing failed: of a child its own words are better than "broken pipe". */
static atr_status write_failed(atr_frames_out *out, int reason)
{
    char words[256];

    if (out->child.pid != 0 && reason == EPIPE) {
        const int code = atr_process_wait(&out->child);
        return atr_fail(ATR_ERR_IO, "ffmpeg stopped encoding %s (exit code %d): %s", out->path, code,
                        atr_process_last_words(&out->child, words, sizeof words));
    }
    if (reason == EPIPE)
        return atr_fail(ATR_ERR_IO, "whoever reads the frames has closed the pipe");
    return atr_fail(ATR_ERR_IO, "cannot write %s: %s", out->path, strerror(reason));
}

static atr_status write_bytes(atr_frames_out *out, const void *bytes, size_t count)
{
    struct pollfd wait = {.fd = out->fd, .events = POLLOUT};

    for (size_t done = 0; done < count;) {
        const ssize_t put = write(out->fd, (const uint8_t *)bytes + done, count - done);
        if (put >= 0)
            done += (size_t)put;
        else if (errno == EAGAIN)
            (void)poll(&wait, 1, PATIENCE_MS);
        else if (errno != EINTR)
            return write_failed(out, errno);
    }
    return ATR_OK;
}

atr_status atr_frames_out_open(const char *path, const atr_video *video, atr_frames_form form,
                               const atr_y4m *y4m, atr_frames_out *out)
{
    atr_status status = ATR_OK;
    char line[ATR_Y4M_LINE];

    *out = (atr_frames_out){.path = path, .video = *video, .form = form, .fd = STDOUT_FILENO};
    if (strcmp(path, "-") != 0) {
        ATR_TRY(atr_path_partial(path, &out->partial));
        out->fd = open(out->partial, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0666);
    }
    if (out->fd < 0) {
        status = atr_fail(ATR_ERR_IO, "cannot write %s: %s", path, strerror(errno));
        goto done;
    }
    if (y4m != NULL) {
        out->is_y4m = true;
        out->y4m = *y4m;
        const int length = atr_y4m_line(y4m, line);
        ATR_TRY(write_bytes(out, line, (size_t)length));
        ATR_TRY(ATR_NEW(atr_y4m_frame_bytes(y4m), &out->planes));
    }
done:
    return status;
}

/* "clips/a.mp4" -> "clips/a.partial.mp4": ffmpeg takes the kind of file from the suffix. */
static atr_status name_partial(const char *path, char **out)
{
    const char *dot = strrchr(atr_path_base(path), '.');
    const char *end = path + strlen(path);

    if (dot == NULL)
        dot = end;
    return atr_format(out, "%.*s.partial%s", (int)(dot - path), path, dot);
}

atr_status atr_frames_out_encode(const char *path, const atr_video *video, atr_frames_form form,
                                 const char *const *extra, int64_t count, atr_frames_out *out)
{
    atr_status status = ATR_OK;
    int read_end = -1;

    *out = (atr_frames_out){.path = path, .video = *video, .form = form, .fd = -1};
    ATR_TRY(atr_path_check_target(path));
    ATR_TRY(name_partial(path, &out->partial));
    ATR_TRY(atr_process_pipe(&read_end, &out->fd));
    ATR_TRY(atr_ffmpeg_encode(out->partial, video, form, extra, count, read_end, &out->child));
done:
    if (read_end >= 0)
        close(read_end);
    return status;
}

atr_status atr_frames_out_write(atr_frames_out *out, const uint8_t *frame)
{
    atr_status status = ATR_OK;
    const int64_t pixels = out->video.width * out->video.height;
    const uint8_t *bytes = frame;
    int64_t count = out->form == ATR_FRAMES_GREY ? pixels : 3 * pixels;

    if (out->is_y4m) {
        ATR_TRY(write_bytes(out, "FRAME\n", 6));
        count = atr_y4m_frame_bytes(&out->y4m);
        if (out->form == ATR_FRAMES_RGB) {
            atr_y4m_from_rgb(&out->y4m, frame, out->planes);
            bytes = out->planes;
        }
    }
    ATR_TRY(write_bytes(out, bytes, (size_t)count));
done:
    return status;
}

atr_status atr_frames_out_finish(atr_frames_out *out)
{
    atr_status status = ATR_OK;
    const bool encoded = out->child.pid != 0;
    char words[256];

    if (out->fd > STDOUT_FILENO) {
        const int failed = close(out->fd);
        out->fd = -1;
        if (failed != 0)
            return atr_fail(ATR_ERR_IO, "cannot write %s: %s", out->path, strerror(errno));
    }
    if (encoded) {
        const int code = atr_process_wait(&out->child);
        if (code != 0)
            return atr_fail(ATR_ERR_IO, "ffmpeg failed to encode %s (exit code %d): %s", out->path, code,
                            atr_process_last_words(&out->child, words, sizeof words));
    }
    if (out->partial != NULL) {
        ATR_TRY(atr_path_replace(out->partial, out->path));
        atr_free(out->partial);
        out->partial = NULL;
    }
done:
    return status;
}

void atr_frames_out_close(atr_frames_out *out)
{
    if (out->fd > STDOUT_FILENO)
        close(out->fd);
    atr_process_close(&out->child);
    if (out->partial != NULL)
        (void)remove(out->partial);
    atr_free(out->partial);
    atr_free(out->planes);
    *out = (atr_frames_out){.fd = -1};
}
