/* `atrous predict` on video: raw frames and YUV4MPEG through files and pipes. Through ffmpeg: test_predict_ffmpeg.c. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <cmocka.h>
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
#include "tests/support/clip.h"
#include "tests/support/command.h"
#include "tests/support/network.h"
#include "tests/support/scratch.h"

extern char **environ;

/* Pixels of result `suffix` of frame `index` predicted alone as a picture, RGB. */
static uint8_t *alone(int index, const char *suffix, const char *fit)
{
    uint8_t *pixels = clip_frame(index);
    atr_image image;
    void *bytes = NULL;
    size_t size = 0;

    must(atr_png_encode(&(atr_image){CLIP_W, CLIP_H, 3, pixels}, &bytes, &size));
    scratch_write(clip_path("alone.png"), bytes, size);
    atr_free(bytes);
    free(pixels);
    command_expect(0, "1 of 1", atr_cmd_predict, "predict", clip_model, clip_path("alone.png"), "-o",
                   clip_path("alone"), "--overlay", "--colour", "--cutout", "--fit", fit, NULL);
    bytes = scratch_read(clip_path(scratch_text("alone/alone.%s", suffix)), &size);
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
    clip_write_raw(clip_path("in.rgb"), 0);
    for (size_t r = 0; r < sizeof rows / sizeof rows[0]; r++) {
        size_t size = 0;
        command_expect(0, "5 frames of 30x18", atr_cmd_predict, "predict", clip_model, clip_path("in.rgb"),
                       "--raw", "30x18", "-o", clip_path("out.rgb"), "--show", rows[r].show, "--fit",
                       rows[r].fit, "--batch", rows[r].batch, NULL);
        uint8_t *out = scratch_read(clip_path("out.rgb"), &size);
        assert_int_equal(size, CLIP_FRAMES * CLIP_FRAME_BYTES);
        for (int i = 0; i < CLIP_FRAMES; i++) {
            uint8_t *want = alone(i, rows[r].suffix, rows[r].fit);
            assert_memory_equal(out + i * CLIP_FRAME_BYTES, want, CLIP_FRAME_BYTES);
            atr_free(want);
        }
        free(out);
    }
}

static void ids_are_one_byte_a_pixel_and_are_counted(void **state)
{
    size_t size = 0;
    int64_t counts[CLIP_CLASSES] = {0};

    (void)state;
    clip_write_raw(clip_path("in.rgb"), 0);
    command_result r = command_run(atr_cmd_predict, "predict", clip_model, clip_path("in.rgb"), "--raw",
                                   "30x18", "-o", clip_path("ids.raw"), "--show", "ids", "--frames", "3",
                                   "--json", "--csv", clip_path("frames.csv"), NULL);
    assert_int_equal(r.exit_code, 0);
    uint8_t *ids = scratch_read(clip_path("ids.raw"), &size);
    assert_int_equal(size, 3 * CLIP_W * CLIP_H);
    for (size_t i = 0; i < size; i++) {
        assert_in_range(ids[i], 0, CLIP_CLASSES - 1);
        counts[ids[i]]++;
    }
    json_t *root = json_loads(r.out, 0, NULL);
    const json_t *pixels = json_object_get(json_object_get(root, "total"), "pixels");
    for (size_t k = 0; k < CLIP_CLASSES; k++)
        assert_int_equal(json_integer_value(json_array_get(pixels, k)), counts[k]);
    assert_int_equal(json_array_size(json_object_get(root, "pictures")), 3);
    assert_int_equal(json_integer_value(json_object_get(root, "done")), 3);
    json_decref(root);
    char *csv = (char *)scratch_read(clip_path("frames.csv"), &size);
    assert_non_null(strstr(csv, "\nframe 3,30,18,0,,"));
    free(csv);
    free(ids);
    command_free(&r);
}

/* YUV4MPEG of the frames, malloc'ed. */
static uint8_t *make_y4m(const atr_y4m *video, const char *frame_line, size_t *size)
{
    const size_t bytes = (size_t)atr_y4m_frame_bytes(video);
    uint8_t *all = malloc(ATR_Y4M_LINE + CLIP_FRAMES * (bytes + strlen(frame_line)));
    size_t used = (size_t)atr_y4m_line(video, (char *)all);

    for (int i = 0; i < CLIP_FRAMES; i++) {
        uint8_t *rgb = clip_frame(i);
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
        atr_y4m video = atr_y4m_make(CLIP_W, CLIP_H, 30000, 1001, kinds[k]);
        const size_t bytes = (size_t)atr_y4m_frame_bytes(&video);
        char head[ATR_Y4M_LINE];
        size_t size = 0, out_size = 0;
        video.full_range = k == 1;
        uint8_t *all = make_y4m(&video, "FRAME Ip\n", &size), *shown = malloc(CLIP_FRAMES * CLIP_FRAME_BYTES);
        const size_t first = (size_t)atr_y4m_line(&video, head);
        for (size_t i = 0; i < CLIP_FRAMES; i++)
            atr_y4m_to_rgb(&video, all + first + i * (bytes + 9) + 9, shown + i * CLIP_FRAME_BYTES);
        scratch_write(clip_path("in.y4m"), all, size);
        scratch_write(clip_path("shown.rgb"), shown, CLIP_FRAMES * CLIP_FRAME_BYTES);
        command_expect(0, "5 frames", atr_cmd_predict, "predict", clip_model, clip_path("shown.rgb"), "--raw",
                       "30x18", "-o", clip_path("want.rgb"), NULL);
        command_expect(0, "5 frames", atr_cmd_predict, "predict", clip_model, clip_path("in.y4m"), "-o",
                       clip_path("out.y4m"), NULL);
        uint8_t *want = scratch_read(clip_path("want.rgb"), &out_size),
                *got = scratch_read(clip_path("out.y4m"), &out_size);
        uint8_t *planes = malloc(bytes);
        assert_int_equal(out_size, first + CLIP_FRAMES * (bytes + 6));
        assert_memory_equal(got, head, first);
        for (size_t i = 0; i < CLIP_FRAMES; i++) {
            atr_y4m_from_rgb(&video, want + i * CLIP_FRAME_BYTES, planes);
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
        "atrous", "predict", clip_model, "-", "-o", "-", (char *)(uintptr_t)option, (char *)(uintptr_t)value,
        NULL};
    posix_spawn_file_actions_t actions;
    pid_t child = 0;

    if (program == NULL)
        skip();
    posix_spawn_file_actions_init(&actions);
    posix_spawn_file_actions_adddup2(&actions, input, STDIN_FILENO);
    posix_spawn_file_actions_adddup2(&actions, output, STDOUT_FILENO);
    posix_spawn_file_actions_addopen(&actions, STDERR_FILENO, clip_path("words"),
                                     O_WRONLY | O_CREAT | O_TRUNC, 0666);
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
    char *said = (char *)scratch_read(clip_path("words"), &size);

    if (strstr(said, words) == NULL)
        fail_msg("no '%s' in: %s", words, said);
    free(said);
}

static void frames_go_from_standard_input_to_standard_output(void **state)
{
    const atr_y4m video = atr_y4m_make(CLIP_W, CLIP_H, 25, 1, "420jpeg");
    size_t size = 0, out_size = 0;

    (void)state;
    clip_write_raw(clip_path("in.rgb"), 0);
    uint8_t *all = make_y4m(&video, "FRAME\n", &size);
    scratch_write(clip_path("in.y4m"), all, size);
    free(all);
    for (int raw = 0; raw < 2; raw++) {
        const int input = open(clip_path(raw ? "in.rgb" : "in.y4m"), O_RDONLY | O_CLOEXEC);
        const int output = open(clip_path("piped"), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0666);
        assert_int_equal(exit_code_of(start(input, output, raw ? "--raw" : NULL, "30x18")), 0);
        close(input);
        close(output);
        assert_words("5 frames of 30x18");
        command_expect(0, NULL, atr_cmd_predict, "predict", clip_model, clip_path(raw ? "in.rgb" : "in.y4m"),
                       "-o", clip_path(raw ? "named.rgb" : "named.y4m"), raw ? "--raw" : NULL, "30x18", NULL);
        uint8_t *piped = scratch_read(clip_path("piped"), &out_size);
        uint8_t *named = scratch_read(clip_path(raw ? "named.rgb" : "named.y4m"), &size);
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
    clip_write_raw(clip_path("in.rgb"), 0);
    const int input = open(clip_path("in.rgb"), O_RDONLY | O_CLOEXEC);
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
    uint8_t *one = clip_frame(0), *back = malloc(CLIP_FRAME_BYTES);

    (void)state;
    assert_int_equal(pipe2(in_ends, O_CLOEXEC), 0);
    assert_int_equal(pipe2(out_ends, O_CLOEXEC), 0);
    const pid_t child = start(in_ends[0], out_ends[1], "--raw", "30x18");
    close(in_ends[0]);
    close(out_ends[1]);
    assert_int_equal(write(in_ends[1], one, CLIP_FRAME_BYTES), CLIP_FRAME_BYTES);
    for (size_t got = 0; got < CLIP_FRAME_BYTES;) { /* the frame comes back while the stream goes on */
        const ssize_t part = read(out_ends[0], back + got, CLIP_FRAME_BYTES - got);
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
    clip_write_raw(clip_path("cut.rgb"), 100);
    command_expect(3, "ends inside frame 6: 100 of its 1620 bytes", atr_cmd_predict, "predict", clip_model,
                   clip_path("cut.rgb"), "--raw", "30x18", "-o", clip_path("cut out.rgb"), NULL);
    assert_int_equal(stat(clip_path("cut out.rgb"), &info), 0);
    assert_int_equal(info.st_size, CLIP_FRAMES * CLIP_FRAME_BYTES);
    scratch_write(clip_path("tiny.rgb"), "abc", 3);
    command_expect(1, "ends inside frame 1", atr_cmd_predict, "predict", clip_model, clip_path("tiny.rgb"),
                   "--raw", "30x18", "-o", clip_path("none.rgb"), NULL);
    scratch_write(clip_path("empty.rgb"), "", 0);
    command_expect(1, "holds no frame", atr_cmd_predict, "predict", clip_model, clip_path("empty.rgb"),
                   "--raw", "30x18", "-o", clip_path("none.rgb"), NULL);
    assert_int_not_equal(access(clip_path("none.rgb"), F_OK), 0);
    assert_int_not_equal(access(clip_path("none.rgb.partial"), F_OK), 0);
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
        scratch_write_text(clip_path("bad.y4m"), rows[i].bytes);
        command_expect(rows[i].code, rows[i].says, atr_cmd_predict, "predict", clip_model,
                       clip_path("bad.y4m"), "-o", clip_path("bad out.y4m"), NULL);
    }
    char *longest = malloc(5000);
    memset(longest, 'X', 5000);
    memcpy(longest, "YUV4MPEG2 W4 H4 ", 16);
    longest[4999] = '\0';
    scratch_write_text(clip_path("bad.y4m"), longest);
    free(longest);
    command_expect(1, "longer than", atr_cmd_predict, "predict", clip_model, clip_path("bad.y4m"), "-o",
                   clip_path("bad out.y4m"), NULL);
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
    clip_write_raw(clip_path("in.mp4"), 0);
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++)
        command_expect(2, rows[i].says, atr_cmd_predict, "predict", clip_model, clip_path("in.mp4"),
                       rows[i].options[0], rows[i].options[1], rows[i].options[2], rows[i].options[3], NULL);
    command_expect(2, "is the input and would be overwritten", atr_cmd_predict, "predict", clip_model,
                   clip_path("in.mp4"), "-o", clip_path("in.mp4"), "--raw", "30x18", NULL);
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
    };

    return cmocka_run_group_tests(tests, clip_set_up, clip_tear_down);
}
