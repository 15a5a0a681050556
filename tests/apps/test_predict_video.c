/* `atrous predict` on video: raw frames and YUV4MPEG through files and pipes, and ffmpeg, real where it is installed and played by
 * scripts where it is not. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <cmocka.h>
#include <errno.h>
#include <fcntl.h>
#include <jansson.h>
#include <signal.h>
#include <spawn.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "apps/commands.h"
#include "io/image.h"
#include "io/y4m.h"
#include "tests/support/command.h"
#include "tests/support/model.h"
#include "tests/support/network.h"
#include "tests/support/picture.h"
#include "tests/support/scratch.h"

extern char **environ;

enum { CLASSES = 4, W = 30, H = 18, FRAMES = 5, FRAME_BYTES = 3 * W * H };

static char *folder, *kept_path;
static char model[4200];

static int set_up(void **state)
{
    (void)state;
    setenv("OMP_NUM_THREADS", "1", 1);
    kept_path = strdup(getenv("PATH"));
    folder = scratch_create();
    snprintf(model, sizeof model, "%s/model.h5", folder);
    model_write(model, CLASSES, NULL);
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    scratch_remove(folder);
    free(kept_path);
    return 0;
}

static const char *in(const char *name)
{
    const char *path = scratch_text("%s/%s", folder, name);

    scratch_folders_above(path);
    return path;
}

/* Frame `index`, malloc'ed. */
static uint8_t *frame(int index)
{
    uint8_t *pixels = malloc(FRAME_BYTES);

    for (int64_t i = 0; i < FRAME_BYTES; i++)
        pixels[i] = picture_sample(i / 3 % W + 3 * index, i / 3 / W, i % 3);
    return pixels;
}

/* FRAMES raw frames, and `extra` bytes of one more, in a file. */
static void write_raw(const char *path, size_t extra)
{
    uint8_t *all = malloc((FRAMES + 1) * FRAME_BYTES);

    for (int i = 0; i <= FRAMES; i++) {
        uint8_t *one = frame(i);
        memcpy(all + i * FRAME_BYTES, one, FRAME_BYTES);
        free(one);
    }
    scratch_write(path, all, FRAMES * FRAME_BYTES + extra);
    free(all);
}

/* Pixels of result `suffix` of frame `index` predicted alone as a picture, RGB. */
static uint8_t *alone(int index, const char *suffix, const char *fit)
{
    uint8_t *pixels = frame(index);
    atr_image image;
    void *bytes = NULL;
    size_t size = 0;

    must(atr_png_encode(&(atr_image){W, H, 3, pixels}, &bytes, &size));
    scratch_write(in("alone.png"), bytes, size);
    atr_free(bytes);
    free(pixels);
    command_expect(0, "1 of 1", atr_cmd_predict, "predict", model, in("alone.png"), "-o", in("alone"),
                   "--overlay", "--colour", "--cutout", "--fit", fit, NULL);
    bytes = scratch_read(in(scratch_text("alone/alone.%s", suffix)), &size);
    must(atr_image_decode_rgb(bytes, size, false, &image));
    free(bytes);
    return image.pixels;
}

static void every_raw_frame_is_the_picture_predicted_alone(void **state)
{
    static const struct {
        const char *show, *suffix, *fit, *batch;
    } rows[] = {{"overlay", "overlay.png", "letterbox", "1"},
                {"overlay", "overlay.png", "none", "3"},
                {"colour", "colour.png", "stretch", "2"},
                {"cutout", "cutout.png", "letterbox", "8"}};

    (void)state;
    write_raw(in("in.rgb"), 0);
    for (size_t r = 0; r < sizeof rows / sizeof rows[0]; r++) {
        size_t size = 0;
        command_expect(0, "5 frames of 30x18", atr_cmd_predict, "predict", model, in("in.rgb"), "--raw",
                       "30x18", "-o", in("out.rgb"), "--show", rows[r].show, "--fit", rows[r].fit, "--batch",
                       rows[r].batch, NULL);
        uint8_t *out = scratch_read(in("out.rgb"), &size);
        assert_int_equal(size, FRAMES * FRAME_BYTES);
        for (int i = 0; i < FRAMES; i++) {
            uint8_t *want = alone(i, rows[r].suffix, rows[r].fit);
            assert_memory_equal(out + i * FRAME_BYTES, want, FRAME_BYTES);
            atr_free(want);
        }
        free(out);
    }
}

static void ids_are_one_byte_a_pixel_and_are_counted(void **state)
{
    size_t size = 0;
    int64_t counts[CLASSES] = {0};

    (void)state;
    write_raw(in("in.rgb"), 0);
    command_result r =
        command_run(atr_cmd_predict, "predict", model, in("in.rgb"), "--raw", "30x18", "-o", in("ids.raw"),
                    "--show", "ids", "--frames", "3", "--json", "--csv", in("frames.csv"), NULL);
    assert_int_equal(r.exit_code, 0);
    uint8_t *ids = scratch_read(in("ids.raw"), &size);
    assert_int_equal(size, 3 * W * H);
    for (size_t i = 0; i < size; i++) {
        assert_in_range(ids[i], 0, CLASSES - 1);
        counts[ids[i]]++;
    }
    json_t *root = json_loads(r.out, 0, NULL);
    const json_t *pixels = json_object_get(json_object_get(root, "total"), "pixels");
    for (size_t k = 0; k < CLASSES; k++)
        assert_int_equal(json_integer_value(json_array_get(pixels, k)), counts[k]);
    assert_int_equal(json_array_size(json_object_get(root, "pictures")), 3);
    assert_int_equal(json_integer_value(json_object_get(root, "done")), 3);
    json_decref(root);
    char *csv = (char *)scratch_read(in("frames.csv"), &size);
    assert_non_null(strstr(csv, "\nframe 3,30,18,0,,"));
    free(csv);
    free(ids);
    command_free(&r);
}

/* YUV4MPEG of the frames, malloc'ed. */
static uint8_t *make_y4m(const atr_y4m *video, const char *frame_line, size_t *size)
{
    const size_t bytes = (size_t)atr_y4m_frame_bytes(video);
    uint8_t *all = malloc(ATR_Y4M_LINE + FRAMES * (bytes + strlen(frame_line)));
    size_t used = (size_t)atr_y4m_line(video, (char *)all);

    for (int i = 0; i < FRAMES; i++) {
        uint8_t *rgb = frame(i);
        memcpy(all + used, frame_line, strlen(frame_line));
        atr_y4m_from_rgb(video, rgb, all + used + strlen(frame_line));
        used += bytes + strlen(frame_line);
        free(rgb);
    }
    *size = used;
    return all;
}

/* Each frame of the output is the overlay of what the input's planes show, in the same kind of planes. */
static void yuv4mpeg_comes_out_as_it_came_in(void **state)
{
    static const char *const kinds[] = {"420jpeg", "422", "444"};

    (void)state;
    for (int k = 0; k < 3; k++) {
        atr_y4m video = atr_y4m_make(W, H, 30000, 1001, kinds[k]);
        const size_t bytes = (size_t)atr_y4m_frame_bytes(&video);
        char head[ATR_Y4M_LINE];
        size_t size = 0, out_size = 0;
        video.full_range = k == 1;
        uint8_t *all = make_y4m(&video, "FRAME Ip\n", &size), *shown = malloc(FRAMES * FRAME_BYTES);
        const size_t first = (size_t)atr_y4m_line(&video, head);
        for (size_t i = 0; i < FRAMES; i++)
            atr_y4m_to_rgb(&video, all + first + i * (bytes + 9) + 9, shown + i * FRAME_BYTES);
        scratch_write(in("in.y4m"), all, size);
        scratch_write(in("shown.rgb"), shown, FRAMES * FRAME_BYTES);
        command_expect(0, "5 frames", atr_cmd_predict, "predict", model, in("shown.rgb"), "--raw", "30x18",
                       "-o", in("want.rgb"), NULL);
        command_expect(0, "5 frames", atr_cmd_predict, "predict", model, in("in.y4m"), "-o", in("out.y4m"),
                       NULL);
        uint8_t *want = scratch_read(in("want.rgb"), &out_size),
                *got = scratch_read(in("out.y4m"), &out_size);
        uint8_t *planes = malloc(bytes);
        assert_int_equal(out_size, first + FRAMES * (bytes + 6));
        assert_memory_equal(got, head, first);
        for (size_t i = 0; i < FRAMES; i++) {
            atr_y4m_from_rgb(&video, want + i * FRAME_BYTES, planes);
            assert_memory_equal(got + first + i * (bytes + 6), "FRAME\n", 6);
            assert_memory_equal(got + first + i * (bytes + 6) + 6, planes, bytes);
        }
        free(all);
        free(shown);
        free(want);
        free(got);
        free(planes);
    }
}

/* Runs the program itself with files or pipes as its input and output. */
static pid_t start(int input, int output, const char *option, const char *value)
{
    const char *const program = getenv("ATROUS");
    char *const argv[] = {
        "atrous", "predict", model, "-", "-o", "-", (char *)(uintptr_t)option, (char *)(uintptr_t)value,
        NULL};
    posix_spawn_file_actions_t actions;
    pid_t child = 0;

    if (program == NULL)
        skip();
    posix_spawn_file_actions_init(&actions);
    posix_spawn_file_actions_adddup2(&actions, input, STDIN_FILENO);
    posix_spawn_file_actions_adddup2(&actions, output, STDOUT_FILENO);
    posix_spawn_file_actions_addopen(&actions, STDERR_FILENO, in("words"), O_WRONLY | O_CREAT | O_TRUNC,
                                     0666);
    assert_int_equal(posix_spawn(&child, program, &actions, NULL, argv, environ), 0);
    posix_spawn_file_actions_destroy(&actions);
    return child;
}

static int exit_code_of(pid_t child)
{
    int how = 0;

    assert_int_equal(waitpid(child, &how, 0), child);
    assert_true(WIFEXITED(how));
    return WEXITSTATUS(how);
}

static void assert_words(const char *words)
{
    size_t size = 0;
    char *said = (char *)scratch_read(in("words"), &size);

    if (strstr(said, words) == NULL)
        fail_msg("no '%s' in: %s", words, said);
    free(said);
}

static void frames_go_from_standard_input_to_standard_output(void **state)
{
    const atr_y4m video = atr_y4m_make(W, H, 25, 1, "420jpeg");
    size_t size = 0, out_size = 0;

    (void)state;
    write_raw(in("in.rgb"), 0);
    uint8_t *all = make_y4m(&video, "FRAME\n", &size);
    scratch_write(in("in.y4m"), all, size);
    free(all);
    for (int raw = 0; raw < 2; raw++) {
        const int input = open(in(raw ? "in.rgb" : "in.y4m"), O_RDONLY | O_CLOEXEC);
        const int output = open(in("piped"), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0666);
        assert_int_equal(exit_code_of(start(input, output, raw ? "--raw" : NULL, "30x18")), 0);
        close(input);
        close(output);
        assert_words("5 frames of 30x18");
        command_expect(0, NULL, atr_cmd_predict, "predict", model, in(raw ? "in.rgb" : "in.y4m"), "-o",
                       in(raw ? "named.rgb" : "named.y4m"), raw ? "--raw" : NULL, "30x18", NULL);
        uint8_t *piped = scratch_read(in("piped"), &out_size);
        uint8_t *named = scratch_read(in(raw ? "named.rgb" : "named.y4m"), &size);
        assert_int_equal(size, out_size);
        assert_memory_equal(piped, named, size);
        free(piped);
        free(named);
    }
}

/* More frames than pipes and queues hold, to a reader that is not there. */
static void a_closed_pipe_is_a_message_and_code_1(void **state)
{
    int ends[2];

    (void)state;
    write_raw(in("in.rgb"), 0);
    const int input = open(in("in.rgb"), O_RDONLY | O_CLOEXEC);
    assert_int_equal(pipe2(ends, O_CLOEXEC), 0);
    const pid_t child = start(input, ends[1], "--raw", "30x18");
    close(ends[0]);
    close(ends[1]);
    close(input);
    assert_int_equal(exit_code_of(child), 1);
    assert_words("has closed the pipe");
}

/* A camera has no end: ^C writes what was seen and ends with 75, though the input stays open. */
static void a_request_to_stop_ends_a_stream_that_has_no_end(void **state)
{
    int in_ends[2], out_ends[2];
    uint8_t *one = frame(0), *back = malloc(FRAME_BYTES);

    (void)state;
    assert_int_equal(pipe2(in_ends, O_CLOEXEC), 0);
    assert_int_equal(pipe2(out_ends, O_CLOEXEC), 0);
    const pid_t child = start(in_ends[0], out_ends[1], "--raw", "30x18");
    close(in_ends[0]);
    close(out_ends[1]);
    assert_int_equal(write(in_ends[1], one, FRAME_BYTES), FRAME_BYTES);
    for (size_t got = 0; got < FRAME_BYTES;) { /* the frame comes back while the stream goes on */
        const ssize_t part = read(out_ends[0], back + got, FRAME_BYTES - got);
        assert_true(part > 0);
        got += (size_t)part;
    }
    assert_int_equal(kill(child, SIGINT), 0);
    assert_int_equal(exit_code_of(child), 75);
    assert_words("1 frames of 30x18");
    assert_words("stopped by SIGINT");
    close(in_ends[1]);
    close(out_ends[0]);
    free(one);
    free(back);
}

static void an_input_that_ends_inside_a_frame_gives_the_whole_ones_and_code_3(void **state)
{
    struct stat info;

    (void)state;
    write_raw(in("cut.rgb"), 100);
    command_expect(3, "ends inside frame 6: 100 of its 1620 bytes", atr_cmd_predict, "predict", model,
                   in("cut.rgb"), "--raw", "30x18", "-o", in("cut out.rgb"), NULL);
    assert_int_equal(stat(in("cut out.rgb"), &info), 0);
    assert_int_equal(info.st_size, FRAMES * FRAME_BYTES);
    scratch_write(in("tiny.rgb"), "abc", 3);
    command_expect(1, "ends inside frame 1", atr_cmd_predict, "predict", model, in("tiny.rgb"), "--raw",
                   "30x18", "-o", in("none.rgb"), NULL);
    scratch_write(in("empty.rgb"), "", 0);
    command_expect(1, "holds no frame", atr_cmd_predict, "predict", model, in("empty.rgb"), "--raw", "30x18",
                   "-o", in("none.rgb"), NULL);
    assert_int_not_equal(access(in("none.rgb"), F_OK), 0);
    assert_int_not_equal(access(in("none.rgb.partial"), F_OK), 0);
}

static void hostile_yuv4mpeg_is_a_message(void **state)
{
    static const struct {
        const char *bytes, *says;
        int code;
    } rows[] = {{"", "no YUV4MPEG stream", 1},
                {"RIFF....AVI LIST", "no YUV4MPEG stream", 1},
                {"YUV4MPEG2 W4 H4", "ends inside a line", 1},
                {"YUV4MPEG2 W65000 H65000 F25:1\nFRAME\n", "too large", 1},
                {"YUV4MPEG2 W2 H2 F25:1 C420p10\nFRAME\n", "-pix_fmt yuv420p", 1},
                {"YUV4MPEG2 W2 H2 F25:1\n", "holds no frame", 1},
                {"YUV4MPEG2 W2 H2 F25:1\nFRAME", "ends inside a line", 1},
                {"YUV4MPEG2 W2 H2 F25:1\nFRAMES\nabcdef", "does not begin with FRAME", 1},
                {"YUV4MPEG2 W2 H2 F25:1\nFRAME\nabcde", "5 of its 6 bytes", 1},
                {"YUV4MPEG2 W2 H2 F25:1\nFRAME\n", "0 of its 6 bytes", 1},
                {"YUV4MPEG2 W2 H2 F25:1\nFRAME\nabcdefFRAME\nabc", "inside frame 2", 3},
                {"YUV4MPEG2 W2 H2 F25:1\nFRAME\nabcdefgarbage\n", "frame 2 does not begin", 3}};

    (void)state;
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        scratch_write_text(in("bad.y4m"), rows[i].bytes);
        command_expect(rows[i].code, rows[i].says, atr_cmd_predict, "predict", model, in("bad.y4m"), "-o",
                       in("bad out.y4m"), NULL);
    }
    char *longest = malloc(5000);
    memset(longest, 'X', 5000);
    memcpy(longest, "YUV4MPEG2 W4 H4 ", 16);
    longest[4999] = '\0';
    scratch_write_text(in("bad.y4m"), longest);
    free(longest);
    command_expect(1, "longer than", atr_cmd_predict, "predict", model, in("bad.y4m"), "-o",
                   in("bad out.y4m"), NULL);
}

/* A script called `name` in FOLDER/fake, first on the PATH. */
static void play(const char *name, const char *script)
{
    char path[4300];

    snprintf(path, sizeof path, "%s", in(scratch_text("fake/%s", name)));
    scratch_write_text(path, scratch_text("#!/bin/sh\n%s\n", script));
    assert_int_equal(chmod(path, 0755), 0);
    setenv("PATH", scratch_text("%s/fake:%s", folder, kept_path), 1);
}

static void a_missing_ffmpeg_says_what_to_install(void **state)
{
    (void)state;
    scratch_write_text(in("clip.mp4"), "not looked at");
    setenv("PATH", in("nothing here"), 1);
    command_expect(1, "Debian: ffmpeg", atr_cmd_predict, "predict", model, in("clip.mp4"), "-o", in("x.mp4"),
                   NULL);
    write_raw(in("in.rgb"), 0);
    command_expect(1, "Debian: ffmpeg", atr_cmd_predict, "predict", model, in("in.rgb"), "--raw", "30x18",
                   "-o", in("x.mp4"), NULL);
    setenv("PATH", kept_path, 1);
}

static const char probe_answer[] =
    "echo "
    "'{\"streams\":[{\"width\":30,\"height\":18,\"avg_frame_rate\":\"10/1\",\"r_frame_rate\":\"10/1\"}]}'";

static void what_ffprobe_says_is_not_trusted(void **state)
{
    static const struct {
        const char *script, *says;
    } rows[] = {
        {"echo nonsense", "finds no video"},
        {"echo '{\"streams\":[]}'", "finds no video"},
        {"echo '{\"streams\":[{\"width\":-3,\"height\":18}]}'", "finds no video"},
        {"echo '{\"streams\":[{\"width\":90000,\"height\":90000}]}'", "too large"},
        {"echo 'moov atom not found' >&2; exit 1", "moov atom not found"},
        {"head -c 200000 /dev/zero", "says more than"},
    };

    (void)state;
    scratch_write_text(in("clip.mp4"), "not looked at");
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        play("ffprobe", rows[i].script);
        command_expect(1, rows[i].says, atr_cmd_predict, "predict", model, in("clip.mp4"), "-o", in("x.y4m"),
                       NULL);
    }
    setenv("PATH", kept_path, 1);
}

static void an_ffmpeg_that_dies_is_a_message_with_its_words(void **state)
{
    struct stat info;

    (void)state;
    write_raw(in("in.rgb"), 0);
    scratch_write_text(in("clip.mp4"), "not looked at");
    play("ffprobe", probe_answer);
    /* Decoding: after three frames, before the first, by a signal; then with frames and a complaint. */
    play("ffmpeg", scratch_text("head -c 4860 '%s'; echo 'corrupt packet' >&2; exit 69", in("in.rgb")));
    command_expect(3, "after 3 frames (exit code 69): corrupt packet", atr_cmd_predict, "predict", model,
                   in("clip.mp4"), "-o", in("died.y4m"), NULL);
    assert_int_equal(stat(in("died.y4m"), &info), 0);
    play("ffmpeg", "exit 1");
    command_expect(1, "after 0 frames", atr_cmd_predict, "predict", model, in("clip.mp4"), "-o",
                   in("died2.y4m"), NULL);
    assert_int_not_equal(access(in("died2.y4m"), F_OK), 0);
    play("ffmpeg", "kill -9 $$");
    command_expect(1, "exit code 137", atr_cmd_predict, "predict", model, in("clip.mp4"), "-o",
                   in("died2.y4m"), NULL);
    play("ffmpeg", scratch_text("cat '%s'; echo 'concealing errors' >&2", in("in.rgb")));
    command_expect(3, "concealing errors", atr_cmd_predict, "predict", model, in("clip.mp4"), "-o",
                   in("faults.y4m"), NULL);
    /* Encoding: at once, and after all frames. */
    play("ffmpeg", "echo 'Unknown encoder' >&2; exit 8");
    command_expect(1, "(exit code 8): Unknown encoder", atr_cmd_predict, "predict", model, in("in.rgb"),
                   "--raw", "30x18", "-o", in("died3.mp4"), NULL);
    play("ffmpeg", "cat >/dev/null; echo 'disk full' >&2; exit 5");
    command_expect(1, "(exit code 5): disk full", atr_cmd_predict, "predict", model, in("in.rgb"), "--raw",
                   "30x18", "-o", in("died3.mp4"), NULL);
    assert_int_not_equal(access(in("died3.mp4"), F_OK), 0);
    setenv("PATH", kept_path, 1);
}

/* The names of files reach ffmpeg whole: as one argument each, never read by a shell. */
static void odd_names_reach_ffmpeg_as_they_are(void **state)
{
    char clip[4300], out[4300];
    size_t size = 0;

    (void)state;
    write_raw(in("in.rgb"), 0);
    snprintf(clip, sizeof clip, "%s", in("-a 写真;$(touch x) 'q\".mp4"));
    snprintf(out, sizeof out, "%s", in("out -b|ü.mp4"));
    scratch_write_text(clip, "not looked at");
    play("ffprobe", probe_answer);
    play("ffmpeg", scratch_text("for a; do echo \"$a\" >>'%s/arguments'; done; for last; do :; done\n"
                                "case $last in file:*) cat >\"${last#file:}\" ;; *) cat '%s' ;; esac",
                                folder, in("in.rgb")));
    command_expect(0, "5 frames", atr_cmd_predict, "predict", model, clip, "-o", out,
                   "--encode=-c:v,some codec", NULL);
    setenv("PATH", kept_path, 1);
    char *said = (char *)scratch_read(in("arguments"), &size);
    assert_non_null(strstr(said, scratch_text("\nfile:%s\n", clip)));
    assert_non_null(strstr(said, "out -b|ü.partial.mp4\n"));
    assert_non_null(strstr(said, "\n-c:v\nsome codec\n"));
    free(said);
    uint8_t *written = scratch_read(out, &size); /* under its own name in the end */
    assert_int_equal(size, FRAMES * FRAME_BYTES);
    free(written);
}

static bool has_ffmpeg(void)
{
    return system("ffmpeg -version >/dev/null 2>&1 && ffprobe -version >/dev/null 2>&1") == 0;
}

static void a_clip_goes_through_ffmpeg_and_comes_back(void **state)
{
    size_t size = 0;

    (void)state;
    if (!has_ffmpeg()) {
        print_message("no ffmpeg here: skipped\n");
        skip();
    }
    /* A source like a camera: it is no file, and the frames are limited. */
    command_expect(0, "4 frames of 31x17", atr_cmd_predict, "predict", model, "testsrc=size=31x17:rate=10",
                   "--input-format", "lavfi", "--frames", "4", "-o", in("clip.mkv"), NULL);
    command_expect(0, "4 frames of 32x18", atr_cmd_predict, "predict", model, in("clip.mkv"), "-o",
                   in("again.y4m"), NULL);
    char *y4m = (char *)scratch_read(in("again.y4m"), &size);
    assert_non_null(strstr(y4m, "W32 H18 F10:1"));
    free(y4m);
    /* Ids without loss: FFV1. */
    write_raw(in("in.rgb"), 0);
    command_expect(0, "5 frames", atr_cmd_predict, "predict", model, in("in.rgb"), "--raw", "30x18", "-o",
                   in("ids.mkv"), "--show", "ids", NULL);
    command_expect(0, "5 frames", atr_cmd_predict, "predict", model, in("in.rgb"), "--raw", "30x18", "-o",
                   in("ids.raw"), "--show", "ids", NULL);
    assert_int_equal(system(scratch_text("ffmpeg -nostdin -v error -y -i '%s' -f rawvideo -pix_fmt gray '%s'",
                                         in("ids.mkv"), in("back.raw"))),
                     0);
    uint8_t *want = scratch_read(in("ids.raw"), &size), *got = scratch_read(in("back.raw"), &size);
    assert_int_equal(size, FRAMES * W * H);
    assert_memory_equal(got, want, size);
    free(want);
    free(got);
    /* What is no video at all. */
    scratch_write_text(in("text.mp4"), "no video");
    command_expect(1, "ffprobe cannot read the video", atr_cmd_predict, "predict", model, in("text.mp4"),
                   "-o", in("x.mp4"), NULL);
    command_expect(1, "ffmpeg", atr_cmd_predict, "predict", model, in("in.rgb"), "--raw", "30x18", "-o",
                   in("no folder/x/y.mp4"), "--encode=-c:v,nosuchcodec", NULL);
}

static void a_lower_rate_takes_that_many_frames_of_each_second(void **state)
{
    (void)state;
    if (!has_ffmpeg()) {
        print_message("no ffmpeg here: skipped\n");
        skip();
    }
    command_expect(0, "10 frames", atr_cmd_predict, "predict", model, "testsrc=size=32x18:rate=10",
                   "--input-format", "lavfi", "--frames", "10", "-o", in("second.mkv"), NULL);
    command_expect(0, "5 frames", atr_cmd_predict, "predict", model, in("second.mkv"), "--frame-rate", "5",
                   "-o", in("slow.y4m"), NULL);
    command_expect(0, "20 frames", atr_cmd_predict, "predict", model, in("second.mkv"), "--frame-rate", "20",
                   "-o", in("fast.y4m"), NULL);
}

static void options_without_meaning_are_refused(void **state)
{
    static const struct {
        const char *says, *options[4];
    } rows[] = {
        {"--overlay is for pictures", {"-ox.mp4", "--overlay"}},
        {"--logits is for pictures", {"-ox.mp4", "--logits"}},
        {"--fps is for pictures", {"--fps", "3"}},
        {"wanted WIDTHxHEIGHT", {"-ox.mp4", "--raw", "30"}},
        {"wanted WIDTHxHEIGHT", {"-ox.mp4", "--raw", "0x4"}},
        {"wanted WIDTHxHEIGHT", {"-ox.mp4", "--raw", "99999x99999"}},
        {"no meaning without --show cutout", {"-ox.mp4", "--cutout-classes", "1"}},
        {"no meaning without --show overlay", {"-ox.mp4", "--show=ids", "--alpha=1"}},
        {"one input", {"-ox.mp4", "other.mp4"}},
        {"both write to the standard output", {"-o-", "--json"}},
        {"both write to the standard output", {"-o-", "--csv", "-"}},
        {"say where the results go", {"--show", "ids"}},
        {"--encode is for files that ffmpeg writes", {"-ox.y4m", "--raw=4x4", "--encode", "-crf"}},
    };

    (void)state;
    write_raw(in("in.mp4"), 0);
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++)
        command_expect(2, rows[i].says, atr_cmd_predict, "predict", model, in("in.mp4"), rows[i].options[0],
                       rows[i].options[1], rows[i].options[2], rows[i].options[3], NULL);
    command_expect(2, "is the input and would be overwritten", atr_cmd_predict, "predict", model,
                   in("in.mp4"), "-o", in("in.mp4"), "--raw", "30x18", NULL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(options_without_meaning_are_refused),
        cmocka_unit_test(every_raw_frame_is_the_picture_predicted_alone),
        cmocka_unit_test(ids_are_one_byte_a_pixel_and_are_counted),
        cmocka_unit_test(yuv4mpeg_comes_out_as_it_came_in),
        cmocka_unit_test(frames_go_from_standard_input_to_standard_output),
        cmocka_unit_test(a_closed_pipe_is_a_message_and_code_1),
        cmocka_unit_test(a_request_to_stop_ends_a_stream_that_has_no_end),
        cmocka_unit_test(an_input_that_ends_inside_a_frame_gives_the_whole_ones_and_code_3),
        cmocka_unit_test(hostile_yuv4mpeg_is_a_message),
        cmocka_unit_test(a_missing_ffmpeg_says_what_to_install),
        cmocka_unit_test(what_ffprobe_says_is_not_trusted),
        cmocka_unit_test(an_ffmpeg_that_dies_is_a_message_with_its_words),
        cmocka_unit_test(odd_names_reach_ffmpeg_as_they_are),
        cmocka_unit_test(a_lower_rate_takes_that_many_frames_of_each_second),
        cmocka_unit_test(a_clip_goes_through_ffmpeg_and_comes_back),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
