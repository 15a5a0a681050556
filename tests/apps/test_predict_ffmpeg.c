/* `atrous predict` on video through ffmpeg, real where it is installed and played by scripts where it is not. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <cmocka.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "apps/commands.h"
#include "tests/support/clip.h"
#include "tests/support/command.h"
#include "tests/support/scratch.h"

static char *kept_path;

static int set_up(void **state)
{
    kept_path = strdup(getenv("PATH"));
    return clip_set_up(state);
}

static int tear_down(void **state)
{
    free(kept_path);
    return clip_tear_down(state);
}

/* A script called `name` in FOLDER/fake, first on the PATH. */
static void play(const char *name, const char *script)
{
    char path[4300];

    snprintf(path, sizeof path, "%s", clip_path(scratch_text("fake/%s", name)));
    scratch_write_text(path, scratch_text("#!/bin/sh\n%s\n", script));
    assert_int_equal(chmod(path, 0755), 0);
    setenv("PATH", scratch_text("%s/fake:%s", clip_folder, kept_path), 1);
}

static void a_missing_ffmpeg_says_what_to_install(void **state)
{
    (void)state;
    scratch_write_text(clip_path("clip.mp4"), "not looked at");
    setenv("PATH", clip_path("nothing here"), 1);
    command_expect(1, "Debian: ffmpeg", atr_cmd_predict, "predict", clip_model, clip_path("clip.mp4"), "-o",
                   clip_path("x.mp4"), NULL);
    clip_write_raw(clip_path("in.rgb"), 0);
    command_expect(1, "Debian: ffmpeg", atr_cmd_predict, "predict", clip_model, clip_path("in.rgb"), "--raw",
                   "30x18", "-o", clip_path("x.mp4"), NULL);
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
    scratch_write_text(clip_path("clip.mp4"), "not looked at");
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        play("ffprobe", rows[i].script);
        command_expect(1, rows[i].says, atr_cmd_predict, "predict", clip_model, clip_path("clip.mp4"), "-o",
                       clip_path("x.y4m"), NULL);
    }
    setenv("PATH", kept_path, 1);
}

static void an_ffmpeg_that_dies_is_a_message_with_its_words(void **state)
{
    struct stat info;

    (void)state;
    clip_write_raw(clip_path("in.rgb"), 0);
    scratch_write_text(clip_path("clip.mp4"), "not looked at");
    play("ffprobe", probe_answer);
    /* Decoding: after three frames, before the first, by a signal; then with frames and a complaint. */
    play("ffmpeg",
         scratch_text("head -c 4860 '%s'; echo 'corrupt packet' >&2; exit 69", clip_path("in.rgb")));
    command_expect(3, "after 3 frames (exit code 69): corrupt packet", atr_cmd_predict, "predict", clip_model,
                   clip_path("clip.mp4"), "-o", clip_path("died.y4m"), NULL);
    assert_int_equal(stat(clip_path("died.y4m"), &info), 0);
    play("ffmpeg", "exit 1");
    command_expect(1, "after 0 frames", atr_cmd_predict, "predict", clip_model, clip_path("clip.mp4"), "-o",
                   clip_path("died2.y4m"), NULL);
    assert_int_not_equal(access(clip_path("died2.y4m"), F_OK), 0);
    play("ffmpeg", "kill -9 $$");
    command_expect(1, "exit code 137", atr_cmd_predict, "predict", clip_model, clip_path("clip.mp4"), "-o",
                   clip_path("died2.y4m"), NULL);
    play("ffmpeg", scratch_text("cat '%s'; echo 'concealing errors' >&2", clip_path("in.rgb")));
    command_expect(3, "concealing errors", atr_cmd_predict, "predict", clip_model, clip_path("clip.mp4"),
                   "-o", clip_path("faults.y4m"), NULL);
    /* Encoding: at once, and after all frames. */
    play("ffmpeg", "echo 'Unknown encoder' >&2; exit 8");
    command_expect(1, "(exit code 8): Unknown encoder", atr_cmd_predict, "predict", clip_model,
                   clip_path("in.rgb"), "--raw", "30x18", "-o", clip_path("died3.mp4"), NULL);
    play("ffmpeg", "cat >/dev/null; echo 'disk full' >&2; exit 5");
    command_expect(1, "(exit code 5): disk full", atr_cmd_predict, "predict", clip_model, clip_path("in.rgb"),
                   "--raw", "30x18", "-o", clip_path("died3.mp4"), NULL);
    assert_int_not_equal(access(clip_path("died3.mp4"), F_OK), 0);
    setenv("PATH", kept_path, 1);
}

/* The names of files reach ffmpeg whole: as one argument each, never read by a shell. */
static void odd_names_reach_ffmpeg_as_they_are(void **state)
{
    char clip[4300], out[4300];
    size_t size = 0;

    (void)state;
    clip_write_raw(clip_path("in.rgb"), 0);
    snprintf(clip, sizeof clip, "%s", clip_path("-a 写真;$(touch x) 'q\".mp4"));
    snprintf(out, sizeof out, "%s", clip_path("out -b|ü.mp4"));
    scratch_write_text(clip, "not looked at");
    play("ffprobe", probe_answer);
    play("ffmpeg", scratch_text("for a; do echo \"$a\" >>'%s/arguments'; done; for last; do :; done\n"
                                "case $last in file:*) cat >\"${last#file:}\" ;; *) cat '%s' ;; esac",
                                clip_folder, clip_path("in.rgb")));
    command_expect(0, "5 frames", atr_cmd_predict, "predict", clip_model, clip, "-o", out,
                   "--encode=-c:v,some codec", NULL);
    setenv("PATH", kept_path, 1);
    char *said = (char *)scratch_read(clip_path("arguments"), &size);
    assert_non_null(strstr(said, scratch_text("\nfile:%s\n", clip)));
    assert_non_null(strstr(said, "out -b|ü.partial.mp4\n"));
    assert_non_null(strstr(said, "\n-c:v\nsome codec\n"));
    free(said);
    uint8_t *written = scratch_read(out, &size); /* under its own name in the end */
    assert_int_equal(size, CLIP_FRAMES * CLIP_FRAME_BYTES);
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
    command_expect(0, "4 frames of 31x17", atr_cmd_predict, "predict", clip_model,
                   "testsrc=size=31x17:rate=10", "--input-format", "lavfi", "--frames", "4", "-o",
                   clip_path("clip.mkv"), NULL);
    command_expect(0, "4 frames of 32x18", atr_cmd_predict, "predict", clip_model, clip_path("clip.mkv"),
                   "-o", clip_path("again.y4m"), NULL);
    char *y4m = (char *)scratch_read(clip_path("again.y4m"), &size);
    assert_non_null(strstr(y4m, "W32 H18 F10:1"));
    free(y4m);
    /* Ids without loss: FFV1. */
    clip_write_raw(clip_path("in.rgb"), 0);
    command_expect(0, "5 frames", atr_cmd_predict, "predict", clip_model, clip_path("in.rgb"), "--raw",
                   "30x18", "-o", clip_path("ids.mkv"), "--show", "ids", NULL);
    command_expect(0, "5 frames", atr_cmd_predict, "predict", clip_model, clip_path("in.rgb"), "--raw",
                   "30x18", "-o", clip_path("ids.raw"), "--show", "ids", NULL);
    assert_int_equal(system(scratch_text("ffmpeg -nostdin -v error -y -i '%s' -f rawvideo -pix_fmt gray '%s'",
                                         clip_path("ids.mkv"), clip_path("back.raw"))),
                     0);
    uint8_t *want = scratch_read(clip_path("ids.raw"), &size),
            *got = scratch_read(clip_path("back.raw"), &size);
    assert_int_equal(size, CLIP_FRAMES * CLIP_W * CLIP_H);
    assert_memory_equal(got, want, size);
    free(want);
    free(got);
    /* What is no video at all. */
    scratch_write_text(clip_path("text.mp4"), "no video");
    command_expect(1, "ffprobe cannot read the video", atr_cmd_predict, "predict", clip_model,
                   clip_path("text.mp4"), "-o", clip_path("x.mp4"), NULL);
    command_expect(1, "ffmpeg", atr_cmd_predict, "predict", clip_model, clip_path("in.rgb"), "--raw", "30x18",
                   "-o", clip_path("no folder/x/y.mp4"), "--encode=-c:v,nosuchcodec", NULL);
}

static void a_lower_rate_takes_that_many_frames_of_each_second(void **state)
{
    (void)state;
    if (!has_ffmpeg()) {
        print_message("no ffmpeg here: skipped\n");
        skip();
    }
    command_expect(0, "10 frames", atr_cmd_predict, "predict", clip_model, "testsrc=size=32x18:rate=10",
                   "--input-format", "lavfi", "--frames", "10", "-o", clip_path("second.mkv"), NULL);
    command_expect(0, "5 frames", atr_cmd_predict, "predict", clip_model, clip_path("second.mkv"),
                   "--frame-rate", "5", "-o", clip_path("slow.y4m"), NULL);
    command_expect(0, "20 frames", atr_cmd_predict, "predict", clip_model, clip_path("second.mkv"),
                   "--frame-rate", "20", "-o", clip_path("fast.y4m"), NULL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_missing_ffmpeg_says_what_to_install),
        cmocka_unit_test(what_ffprobe_says_is_not_trusted),
        cmocka_unit_test(an_ffmpeg_that_dies_is_a_message_with_its_words),
        cmocka_unit_test(odd_names_reach_ffmpeg_as_they_are),
        cmocka_unit_test(a_clip_goes_through_ffmpeg_and_comes_back),
        cmocka_unit_test(a_lower_rate_takes_that_many_frames_of_each_second),
    };

    return cmocka_run_group_tests(tests, set_up, tear_down);
}
