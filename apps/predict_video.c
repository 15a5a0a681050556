/* `atrous predict` on video: frames in, the same frames with their classes out. */
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "apps/cli.h"
#include "apps/frames.h"
#include "apps/predict_impl.h"
#include "apps/render.h"
#include "apps/stop.h"
#include "core/log.h"
#include "core/progress.h"
#include "core/timer.h"
#include "io/path.h"

enum { USUAL_RATE = 25, LOG_SECONDS = 10 };

typedef struct video {
    predict_job *job;
    atr_frames_in in;
    atr_frames_out out;
    bool writes;         /* there is an output beside counts */
    char *path;          /* of the output, where it lies in a given folder */
    uint8_t *drawn;      /* one frame of the output */
    int64_t taken, done; /* frames read and written */
    double start, told;
} video;

/* ---- one frame ---------------------------------------------------------------------------------------------------------- */

static atr_status read_frame(void *user, const atomic_bool *stop, atr_piece *piece, bool *end)
{
    video *v = user;
    atr_status status = ATR_OK;

    *end = v->job->options->frames > 0 && v->taken == v->job->options->frames;
    if (*end)
        return ATR_OK;
    ATR_TRY(atr_piece_reserve(piece, v->in.video.width, v->in.video.height));
    ATR_TRY(atr_frames_in_read(&v->in, stop, piece->picture.pixels, end));
    v->taken++;
done:
    return status;
}

/* The frame as it is shown: a pointer to ids or to v->drawn. */
static const uint8_t *draw(video *v, const atr_piece *piece)
{
    const predict_job *job = v->job;
    const int64_t pixels = piece->picture.width * piece->picture.height;

    switch ((predict_show)job->options->show) {
    case PREDICT_SHOW_OVERLAY:
        atr_render_overlay(piece->picture.pixels, piece->result.ids, pixels, job->session.info.palette,
                           job->options->alpha, v->drawn);
        break;
    case PREDICT_SHOW_COLOUR:
        atr_render_colour(piece->result.ids, pixels, job->session.info.palette, v->drawn);
        break;
    case PREDICT_SHOW_CUTOUT:
        atr_render_cutout(piece->picture.pixels, piece->result.ids, pixels, job->cutout, 3, v->drawn);
        break;
    case PREDICT_SHOW_IDS:
        return piece->result.ids;
    }
    return v->drawn;
}

/* A line that is overwritten on a terminal; in a log one from time to time. */
static void show_progress(video *v)
{
    const double now = atr_seconds();
    const int columns = atr_cli_columns(stderr);
    const atr_progress progress = {
        .unit = "frames", .done = v->done, .total = v->job->options->frames, .seconds = now - v->start};
    char line[512];

    if (columns == 0 && now - v->told < LOG_SECONDS)
        return;
    v->told = now;
    atr_progress_line(&progress, columns, line, sizeof line);
    fprintf(stderr, columns > 0 ? "\r%s" : "%s\n", line);
}

static atr_status write_frame(void *user, atr_piece *piece)
{
    video *v = user;
    atr_status status = ATR_OK;
    char name[32];

    if (piece->status != ATR_OK)
        return atr_fail(piece->status, "frame %lld: %s", (long long)piece->index + 1,
                        piece->message != NULL ? piece->message : "");
    if (v->writes)
        ATR_TRY(atr_frames_out_write(&v->out, draw(v, piece)));
    if (v->job->counts) {
        snprintf(name, sizeof name, "frame %lld", (long long)piece->index + 1);
        ATR_TRY(atr_tally_add(&v->job->tally, name, piece->result.ids, piece->picture.width,
                              piece->picture.height));
    }
    v->done++;
    show_progress(v);
done:
    return status;
}

/* ---- opening ------------------------------------------------------------------------------------------------------------ */

static bool has_suffix(const char *path, const char *suffix)
{
    const size_t length = strlen(path), end = strlen(suffix);

    return length > end && strcmp(path + length - end, suffix) == 0;
}

/* "320x240": width first, as ffmpeg and cameras say it. */
static atr_status parse_raw(const char *text, atr_video *out)
{
    long long width = 0, height = 0;
    int end = 0;

    if (sscanf(text, "%8lldx%8lld%n", &width, &height, &end) != 2 || text[end] != '\0' || width < 1 ||
        height < 1 || width > ATR_Y4M_MAX_PIXELS / height)
        return atr_fail(ATR_ERR_USAGE, "--raw '%.40s': wanted WIDTHxHEIGHT such as 320x240", text);
    *out = (atr_video){width, height, 0, 0};
    return ATR_OK;
}

static atr_status open_input(video *v, const char *input)
{
    const predict_options *o = v->job->options;
    atr_status status = ATR_OK;
    struct stat info;
    atr_video raw;

    if (strcmp(input, "-") == 0 && o->input_format != NULL)
        return atr_fail(ATR_ERR_USAGE,
                        "--input-format is for what ffmpeg opens; - takes raw frames or YUV4MPEG");
    if (o->raw != NULL) {
        ATR_TRY(parse_raw(o->raw, &raw));
        ATR_TRY(atr_frames_in_open(input, &raw, ATR_YUV_601, &v->in));
    } else if (o->input_format == NULL && (strcmp(input, "-") == 0 || has_suffix(input, ".y4m"))) {
        ATR_TRY(atr_frames_in_open(input, NULL, (atr_yuv_matrix)o->matrix, &v->in));
    } else {
        const bool device = stat(input, &info) == 0 && S_ISCHR(info.st_mode);
        const char *format = o->input_format == NULL && device ? "v4l2" : o->input_format;
        ATR_TRY(atr_frames_in_decode(input, format, o->frame_rate, &v->in));
    }
    if (o->frame_rate > 0) {
        v->in.video.rate = (int64_t)(1000 * o->frame_rate + 0.5);
        v->in.video.rate_scale = 1000;
    } else if (v->in.video.rate == 0) {
        v->in.video.rate = USUAL_RATE;
        v->in.video.rate_scale = 1;
    }
done:
    return status;
}

static bool same_file(const char *a, const char *b)
{
    struct stat x, y;

    return stat(a, &x) == 0 && stat(b, &y) == 0 && x.st_dev == y.st_dev && x.st_ino == y.st_ino &&
           S_ISREG(x.st_mode);
}

/* "-", the file that was named, or STEM.mp4 in the folder that was named. */
static atr_status name_output(video *v, const char *input, const char **out)
{
    atr_status status = ATR_OK;
    const char *given = v->job->options->out, *base = atr_path_base(input), *dot = strrchr(base, '.');

    *out = given;
    if (strcmp(given, "-") != 0 && atr_path_is_folder(given)) {
        if (strcmp(input, "-") == 0)
            return atr_fail(ATR_ERR_USAGE, "-o %s is a folder: say the name of the file", given);
        ATR_TRY(atr_format(&v->path, "%s/%.*s.mp4", given,
                           (int)(dot != NULL && dot != base ? dot - base : (ptrdiff_t)strlen(base)), base));
        *out = v->path;
    }
    if (same_file(*out, input))
        status = atr_fail(ATR_ERR_USAGE, "%s is the input and would be overwritten", *out);
    if (strcmp(*out, "-") == 0 && isatty(STDOUT_FILENO))
        status = atr_fail(ATR_ERR_USAGE, "frames are not for a terminal: send them to a file or a program");
done:
    return status;
}

/* The stream's own description where it came as YUV4MPEG; chroma for colours, none for ids. */
static atr_y4m describe(const video *v)
{
    const bool ids = v->job->options->show == PREDICT_SHOW_IDS;
    const atr_video *in = &v->in.video;
    atr_y4m y4m = atr_y4m_make(in->width, in->height, in->rate, in->rate_scale, ids ? "mono" : "420jpeg");

    if (v->in.is_y4m && !v->in.y4m.mono && !ids)
        y4m = v->in.y4m;
    y4m.rate = in->rate;
    y4m.rate_scale = in->rate_scale;
    y4m.full_range = ids || y4m.full_range;
    return y4m;
}

static atr_status open_output(video *v, const char *input)
{
    const predict_options *o = v->job->options;
    const atr_frames_form form = o->show == PREDICT_SHOW_IDS ? ATR_FRAMES_GREY : ATR_FRAMES_RGB;
    const atr_y4m y4m = describe(v);
    atr_status status = ATR_OK;
    const char *path = NULL;

    v->writes = o->out != NULL;
    if (!v->writes)
        return ATR_OK;
    ATR_TRY(name_output(v, input, &path));
    const bool standard = strcmp(path, "-") == 0;
    const bool raw = standard ? o->raw != NULL : has_suffix(path, ".raw") || has_suffix(path, ".rgb");
    const bool encoded = !raw && !standard && !has_suffix(path, ".y4m");
    if (!encoded && o->encode.count > 0)
        ATR_TRY(atr_fail(ATR_ERR_USAGE, "--encode is for files that ffmpeg writes, not for %s", path));
    if (encoded)
        ATR_TRY(atr_frames_out_encode(path, &v->in.video, form, o->encode.items, o->encode.count, &v->out));
    else
        ATR_TRY(atr_frames_out_open(path, &v->in.video, form, raw ? NULL : &y4m, &v->out));
    ATR_TRY(ATR_NEW(3 * v->in.video.width * v->in.video.height, &v->drawn));
done:
    return status;
}

/* ---- the whole ---------------------------------------------------------------------------------------------------------- */

static atr_status print_json(const video *v, double seconds)
{
    atr_status status = ATR_OK;
    json_t *object = json_object();

    ATR_TRY(atr_tally_json(&v->job->tally, object));
    json_object_set_new(object, "done", json_integer(v->done));
    json_object_set_new(object, "seconds", json_real(seconds));
    json_object_set_new(object, "frames_per_s", json_real((double)v->done / seconds));
    status = atr_cli_json(object, 12);
    object = NULL;
done:
    json_decref(object);
    return status;
}

static atr_status print_results(const video *v)
{
    atr_status status = ATR_OK;
    const predict_options *o = v->job->options;
    const double seconds = atr_seconds() - v->start;
    const bool taken =
        (o->out != NULL && strcmp(o->out, "-") == 0) || (o->csv != NULL && strcmp(o->csv, "-") == 0);
    atr_text table = {0};

    if (o->json)
        return print_json(v, seconds);
    if (o->count) {
        atr_tally_table(&v->job->tally, &table);
        ATR_TRY(table.status);
        fputs(table.bytes, stdout);
    }
    fprintf(taken ? stderr : stdout, "%lld frames of %lldx%lld in %.2f s (%.1f frames a second)%s%s\n",
            (long long)v->done, (long long)v->in.video.width, (long long)v->in.video.height, seconds,
            (double)v->done / seconds, v->writes && !taken ? ": " : "",
            v->writes && !taken ? v->out.path : "");
done:
    atr_free(table.bytes);
    return status;
}

/* Runs the frames through; an input that fails after some frames leaves a whole, shorter output. */
static atr_status run_frames(video *v, predict_result *result)
{
    atr_status status = ATR_OK;
    atr_pipeline pipeline = predict_pipeline(v->job);

    pipeline.read = read_frame;
    pipeline.write = write_frame;
    pipeline.user = v;
    status = atr_pipeline_run(&pipeline);
    if (atr_cli_columns(stderr) > 0 && v->done > 0)
        fputc('\n', stderr);
    if (status == ATR_ERR_DATA && v->done > 0) {
        atr_cli_error("predict", atr_status_message());
        result->failed = 1;
        status = ATR_OK;
    }
    result->done = v->done;
    if (status == ATR_OK && v->done == 0 && !atr_stop_wanted())
        status = atr_fail(ATR_ERR_DATA, "%s holds no frame", v->in.name);
    return status;
}

atr_status predict_video(predict_job *job, const char *input, predict_result *result, bool *stopped)
{
    atr_status status = ATR_OK;
    video v = {.job = job, .in = {.fd = -1}, .out = {.fd = -1}};

    atr_stop_watch(); /* a reader that goes away is an error with words, not a sudden end */
    v.start = v.told = atr_seconds();
    ATR_TRY(open_input(&v, input));
    ATR_TRY(open_output(&v, input));
    v.start = v.told = atr_seconds();
    ATR_TRY(run_frames(&v, result));
    if (v.writes)
        ATR_TRY(atr_frames_out_finish(&v.out));
    ATR_TRY(atr_tally_finish_csv(&job->tally));
    ATR_TRY(print_results(&v));
    *stopped = atr_stop_wanted();
    if (*stopped)
        atr_log(ATR_LOG_INFO, "stopped by %s after %lld frames, which are written", atr_stop_signal(),
                (long long)v.done);
done:
    atr_frames_in_close(&v.in);
    atr_frames_out_close(&v.out);
    atr_free(v.path);
    atr_free(v.drawn);
    return status;
}
