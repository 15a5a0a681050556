/* `atrous predict` from the command line to the files it writes. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <cmocka.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "apps/commands.h"
#include "apps/session.h"
#include "dnn/plan.h"
#include "io/image.h"
#include "io/npy.h"
#include "tests/support/command.h"
#include "tests/support/network.h"
#include "tests/support/picture.h"
#include "tests/support/scratch.h"

enum { CLASSES = 4 };

static char *folder;
static char model[4200];

/* A network with made-up weights, 33x49. */
static int set_up(void **state)
{
    atr_session session;
    atr_model_info info;

    (void)state;
    setenv("OMP_NUM_THREADS", "1", 1); /* tiny pictures: more threads only wait for each other */
    folder = scratch_create();
    snprintf(model, sizeof model, "%s/model.h5", folder);
    atr_session_describe("mobilenetv2", CLASSES, 16, &info);
    info.height = 33;
    info.width = 49;
    must(atr_session_open(&(atr_session_options){.backend = "ref", .threads = 1}, NULL, &session));
    must(atr_session_build(&session, &info, NULL));
    must(atr_model_init(session.params, ATR_INIT_KAIMING, 1, 5));
    must(atr_checkpoint_write(model, &(atr_checkpoint){.info = &info, .params = session.params}));
    atr_session_close(&session);
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    scratch_remove(folder);
    return 0;
}

static const char *in(const char *name)
{
    const char *path = scratch_text("%s/%s", folder, name);

    scratch_folders_above(path);
    return path;
}

static atr_image make(int64_t width, int64_t height, int64_t channels)
{
    atr_image image = {width, height, channels, NULL};
    uint8_t *pixels = picture_make(width, height, channels);

    must(ATR_NEW(width * height * channels, &image.pixels));
    memcpy(image.pixels, pixels, (size_t)(width * height * channels));
    free(pixels);
    return image;
}

static void write_png(const atr_image *image, const char *path)
{
    void *bytes = NULL;
    size_t size = 0;

    must(atr_png_encode(image, &bytes, &size));
    scratch_write(path, bytes, size);
    atr_free(bytes);
}

/* Class ids that predict wrote; free with atr_mask_free. */
static atr_mask read_ids(const char *path)
{
    atr_mask mask;
    atr_image_info info;
    size_t size = 0;
    uint8_t *bytes = scratch_read(path, &size);

    must(atr_image_probe(bytes, size, &info));
    assert_true(info.palette);
    must(atr_mask_decode(bytes, size, &mask));
    for (int64_t i = 0; i < mask.width * mask.height; i++)
        assert_in_range(mask.values[i], 0, CLASSES - 1);
    free(bytes);
    return mask;
}

/* Predicts one file into FOLDER/out with the reference back end. */
static void predict(const char *path, const char *extra)
{
    command_expect(0, "1 of 1 pictures done", atr_cmd_predict, "predict", model, path, "-o", in("out"),
                   "--backend", "ref", "--fit", "none", extra, NULL);
}

static void same_ids(const char *a, const char *b)
{
    atr_mask x = read_ids(a), y = read_ids(b);

    assert_int_equal(x.width, y.width);
    assert_int_equal(x.height, y.height);
    assert_memory_equal(x.values, y.values, (size_t)(x.width * x.height) * sizeof *x.values);
    atr_mask_free(&x);
    atr_mask_free(&y);
}

/* The logits that the plan makes of the same pixels, [K,H,W]. */
static float *logits_of(const atr_image *image)
{
    const atr_plan_options options = {.mode = ATR_INFER,
                                      .batch = 1,
                                      .height = image->height,
                                      .width = image->width,
                                      .rewrites = ATR_REWRITE_ALL};
    const int64_t pixels = image->width * image->height;
    atr_session session;
    atr_plan *plan = NULL;
    float *input = NULL, *logits = NULL;

    must(atr_session_open(&(atr_session_options){.backend = "ref", .threads = 0}, NULL, &session));
    must(atr_session_load(&session, model));
    must(atr_plan_create(session.graph, session.params, session.backend, &options, &plan));
    must(ATR_NEW(pixels * 3, &input));
    for (int64_t i = 0; i < pixels * 3; i++)
        input[i] = (float)(image->pixels[i] / 255.0);
    must(atr_plan_forward(plan, input));
    must(ATR_NEW(CLASSES * pixels, &logits));
    must(atr_plan_enlarge(plan, 0, logits));
    atr_plan_destroy(plan);
    atr_session_close(&session);
    atr_free(input);
    return logits;
}

static void logits_of_a_picture_are_those_of_the_plan_on_its_pixels(void **state)
{
    atr_image image = make(50, 37, 3);
    atr_tensor written;

    (void)state;
    write_png(&image, in("logits.png"));
    predict(in("logits.png"), "--logits");
    must(atr_npy_read(in("out/logits.logits.npy"), &written));
    assert_int_equal(written.rank, 3);
    assert_int_equal(written.dims[0], CLASSES);
    assert_int_equal(written.dims[1], 37);
    assert_int_equal(written.dims[2], 50);
    float *logits = logits_of(&image);
    assert_memory_equal(written.data, logits, sizeof *logits * CLASSES * 37 * 50);

    /* Without a resize of the picture the ids are the largest logits; the first of equals. */
    atr_mask ids = read_ids(in("out/logits.png"));
    for (int64_t p = 0; p < 37 * 50; p++) {
        int best = 0;
        for (int k = 1; k < CLASSES; k++)
            if (logits[k * 37 * 50 + p] > logits[best * 37 * 50 + p])
                best = k;
        if (ids.values[p] != best) /* two classes whose probabilities round to the same float */
            assert_true(fabsf(logits[best * 37 * 50 + p] - logits[ids.values[p] * 37 * 50 + p]) < 1e-5f);
    }
    atr_mask_free(&ids);
    atr_free(logits);
    atr_free(written.data);
    atr_image_free(&image);
}

static void letterboxed_logits_have_the_networks_size_and_ids_the_pictures(void **state)
{
    atr_image image = make(120, 40, 3);
    atr_tensor written;

    (void)state;
    write_png(&image, in("wide.png"));
    command_expect(0, NULL, atr_cmd_predict, "predict", model, in("wide.png"), "-o", in("out"), "--backend",
                   "ref", "--logits", NULL);
    must(atr_npy_read(in("out/wide.logits.npy"), &written));
    assert_int_equal(written.dims[1], 33);
    assert_int_equal(written.dims[2], 49);
    atr_free(written.data);
    atr_mask ids = read_ids(in("out/wide.png"));
    assert_int_equal(ids.width, 120);
    assert_int_equal(ids.height, 40);
    atr_mask_free(&ids);
    command_expect(0, NULL, atr_cmd_predict, "predict", model, in("wide.png"), "-o", in("out"), "--backend",
                   "ref", "--logits", "--fit", "stretch", "--size", "20x41", NULL);
    must(atr_npy_read(in("out/wide.logits.npy"), &written));
    assert_int_equal(written.dims[1], 20);
    assert_int_equal(written.dims[2], 41);
    atr_free(written.data);
    atr_image_free(&image);
}

/* One picture in every form that can hold it: the network must see the same. */
static void every_kind_of_png_is_the_picture_it_shows(void **state)
{
    enum { W = 23, H = 17 };
    atr_image grey = make(W, H, 1), rgb = make(W, H, 3), rgba = make(W, H, 4);
    uint16_t deep[W * H];
    uint8_t palette[256][3];
    void *bytes = NULL;
    size_t size = 0;

    (void)state;
    for (int i = 0; i < W * H; i++) {
        for (int c = 0; c < 3; c++)
            rgb.pixels[3 * i + c] = rgba.pixels[4 * i + c] = grey.pixels[i];
        deep[i] = (uint16_t)(grey.pixels[i] << 8 | 77); /* the high byte counts */
    }
    for (int i = 0; i < 256; i++)
        memset(palette[i], i, 3);
    write_png(&rgb, in("rgb.png"));
    write_png(&rgba, in("rgba.png"));
    write_png(&grey, in("grey.png"));
    must(atr_png_encode_grey16(deep, W, H, &bytes, &size));
    scratch_write(in("deep.png"), bytes, size);
    atr_free(bytes);
    must(atr_png_encode_indexed(grey.pixels, W, H, (const uint8_t(*)[3])palette, &bytes, &size));
    scratch_write(in("palette.png"), bytes, size);
    atr_free(bytes);
    static const char *const names[] = {"rgb", "rgba", "grey", "deep", "palette"};
    char path[4300], first[4300];
    snprintf(first, sizeof first, "%s/out/rgb.png", folder);
    for (int i = 0; i < 5; i++) {
        snprintf(path, sizeof path, "%s/%s.png", folder, names[i]);
        predict(path, "--logits");
        snprintf(path, sizeof path, "%s/out/%s.png", folder, names[i]);
        same_ids(path, first);
    }
    atr_image_free(&grey);
    atr_image_free(&rgb);
    atr_image_free(&rgba);
}

/* Puts an EXIF block with an orientation behind the first marker of a JPEG file. */
static void write_turned_jpeg(const atr_image *image, int orientation, const char *path)
{
    const uint8_t exif[] = {0xFF,
                            0xE1,
                            0,
                            34,
                            'E',
                            'x',
                            'i',
                            'f',
                            0,
                            0,
                            'I',
                            'I',
                            42,
                            0,
                            8,
                            0,
                            0,
                            0,
                            1,
                            0,
                            0x12,
                            1,
                            3,
                            0,
                            1,
                            0,
                            0,
                            0,
                            (uint8_t)orientation,
                            0,
                            0,
                            0,
                            0,
                            0,
                            0,
                            0};
    void *bytes = NULL;
    size_t size = 0;

    must(atr_jpeg_encode(image, 95, &bytes, &size));
    uint8_t *whole = malloc(size + sizeof exif);
    memcpy(whole, bytes, 2);
    memcpy(whole + 2, exif, sizeof exif);
    memcpy(whole + 2 + sizeof exif, (uint8_t *)bytes + 2, size - 2);
    scratch_write(path, whole, size + sizeof exif);
    free(whole);
    atr_free(bytes);
}

static void a_photo_is_turned_by_its_exif_orientation(void **state)
{
    atr_image photo = make(40, 24, 3), upright;
    size_t size = 0;

    (void)state;
    write_turned_jpeg(&photo, 6, in("turned.jpg"));
    uint8_t *bytes = scratch_read(in("turned.jpg"), &size);
    must(atr_image_decode_rgb(bytes, size, true, &upright));
    assert_int_equal(upright.width, 24);
    assert_int_equal(upright.height, 40);
    write_png(&upright, in("upright.png"));
    predict(in("turned.jpg"), NULL);
    predict(in("upright.png"), NULL);
    same_ids(scratch_text("%s/out/turned.png", folder), scratch_text("%s/out/upright.png", folder));
    free(bytes);
    atr_image_free(&photo);
    atr_image_free(&upright);
}

static void the_smallest_and_the_thinnest_pictures_have_ids(void **state)
{
    static const int64_t sizes[][2] = {{1, 1}, {1, 70}, {70, 1}, {2, 3}, {17, 16}};

    (void)state;
    for (int i = 0; i < 5; i++)
        for (int fit = 0; fit < 3; fit++) {
            static const char *const fits[] = {"none", "letterbox", "stretch"};
            atr_image image = make(sizes[i][0], sizes[i][1], 3);
            write_png(&image, in("tiny.png"));
            command_expect(0, NULL, atr_cmd_predict, "predict", model, in("tiny.png"), "-o", in("out"),
                           "--backend", "ref", "--fit", fits[fit], "--overlay", NULL);
            atr_mask ids = read_ids(in("out/tiny.png"));
            assert_int_equal(ids.width, sizes[i][0]);
            assert_int_equal(ids.height, sizes[i][1]);
            atr_mask_free(&ids);
            atr_image_free(&image);
        }
}

static void names_keep_their_blanks_letters_and_dots(void **state)
{
    static const char *const names[] = {"a b  c", "ünï 写真", "v1.2 final", "-dash", "quote'\"$(x)"};
    atr_image image = make(20, 20, 3);
    char path[4300], out[4300];

    (void)state;
    for (int i = 0; i < 5; i++) {
        snprintf(path, sizeof path, "%s/odd names/%s.PNG", folder, names[i]);
        scratch_folders_above(path);
        write_png(&image, path);
    }
    write_png(&image, in("odd names/.hidden.png"));
    snprintf(path, sizeof path, "%s/odd names", folder);
    snprintf(out, sizeof out, "%s/odd out", folder);
    command_expect(0, "5 of 5 pictures done", atr_cmd_predict, "predict", model, path, "-o", out, "--backend",
                   "ref", "--fit", "none", NULL);
    for (int i = 0; i < 5; i++) {
        snprintf(path, sizeof path, "%s/odd out/%s.png", folder, names[i]);
        assert_int_equal(access(path, R_OK), 0);
    }
    atr_image_free(&image);
}

static void a_bad_file_in_a_folder_is_named_at_the_end_and_the_rest_is_done(void **state)
{
    atr_image image = make(20, 20, 3);
    size_t size = 0;

    (void)state;
    write_png(&image, in("mixed/a.png"));
    write_png(&image, in("mixed/c.png"));
    uint8_t *bytes = scratch_read(in("mixed/a.png"), &size);
    scratch_write(in("mixed/b.png"), bytes, size / 2);
    scratch_write_text(in("mixed/d.jpg"), "no picture at all");
    scratch_write_text(in("mixed/notes.txt"), "left alone");
    command_result r = command_run(atr_cmd_predict, "predict", model, in("mixed"), "-o", in("mixed out"),
                                   "--backend", "ref", "--fit", "none", NULL);
    assert_int_equal(r.exit_code, 3);
    assert_non_null(strstr(r.out, "2 of 4 pictures done"));
    assert_non_null(strstr(r.err, "mixed/b.png"));
    assert_non_null(strstr(r.err, "mixed/d.jpg"));
    assert_null(strstr(r.err, "a.png"));
    assert_int_equal(access(in("mixed out/a.png"), R_OK), 0);
    assert_int_equal(access(in("mixed out/c.png"), R_OK), 0);
    assert_int_not_equal(access(in("mixed out/b.png"), R_OK), 0);
    command_free(&r);
    command_expect(1, "(0.0 a second)", atr_cmd_predict, "predict", model, in("mixed/d.jpg"), "-o",
                   in("mixed out"), "--backend", "ref", "--fit", "none", NULL);
    free(bytes);
    atr_image_free(&image);
}

static void nothing_is_overwritten_that_was_not_meant(void **state)
{
    atr_image image = make(20, 20, 3);

    (void)state;
    write_png(&image, in("one/a.png"));
    write_png(&image, in("two/a.png"));
    write_png(&image, in("two/a.overlay.png"));
    assert_int_equal(symlink(in("one"), scratch_text("%s/link", folder)), 0);
    command_expect(2, "one/a.png and ", atr_cmd_predict, "predict", model, in("one"), in("two/a.png"), "-o",
                   in("out"), NULL);
    command_expect(2, "two/a.png would both be written to", atr_cmd_predict, "predict", model, in("one"),
                   in("two/a.png"), "-o", in("out"), NULL);
    command_expect(2, "a.overlay.png", atr_cmd_predict, "predict", model, in("two"), "-o", in("out"),
                   "--overlay", NULL);
    command_expect(2, "is an input", atr_cmd_predict, "predict", model, in("one"), "-o", in("one"), NULL);
    command_expect(2, "is an input", atr_cmd_predict, "predict", model, in("one/a.png"), "-o", in("link"),
                   NULL);
    atr_image_free(&image);
}

static void the_overlay_is_the_picture_where_nothing_is_mixed_in_and_the_colours_where_all_is(void **state)
{
    atr_image image = make(31, 19, 3), overlay;
    uint8_t palette[256][3];
    size_t size = 0;

    (void)state;
    write_png(&image, in("mix.png"));
    predict(in("mix.png"), "--overlay");
    for (int full = 0; full < 2; full++) {
        command_expect(0, NULL, atr_cmd_predict, "predict", model, in("mix.png"), "-o", in("out"),
                       "--backend", "ref", "--fit", "none", "--overlay", "--alpha", full ? "1" : "0", NULL);
        uint8_t *bytes = scratch_read(in("out/mix.overlay.png"), &size);
        must(atr_image_decode_rgb(bytes, size, false, &overlay));
        atr_mask ids = read_ids(in("out/mix.png"));
        atr_palette_voc(palette);
        for (int64_t p = 0; p < 31 * 19; p++)
            assert_memory_equal(overlay.pixels + 3 * p, full ? palette[ids.values[p]] : image.pixels + 3 * p,
                                3);
        atr_mask_free(&ids);
        atr_image_free(&overlay);
        free(bytes);
    }
    atr_image_free(&image);
}

static void wrong_usage_says_what_is_wrong(void **state)
{
    atr_image image = make(8, 8, 3);

    (void)state;
    write_png(&image, in("fine.png"));
    command_expect(2, "-o DIR", atr_cmd_predict, "predict", model, in("fine.png"), NULL);
    command_expect(2, "2 needed", atr_cmd_predict, "predict", model, NULL);
    command_expect(2, "letterbox", atr_cmd_predict, "predict", model, in("fine.png"), "-o", in("out"),
                   "--fit", "x", NULL);
    command_expect(2, "between 1 and", atr_cmd_predict, "predict", model, in("fine.png"), "-o", in("out"),
                   "--size", "0", NULL);
    command_expect(2, "no meaning", atr_cmd_predict, "predict", model, in("fine.png"), "-o", in("out"),
                   "--size", "64", "--fit", "none", NULL);
    command_expect(1, "nowhere", atr_cmd_predict, "predict", model, in("nowhere"), "-o", in("out"), NULL);
    scratch_write_text(in("empty/notes.txt"), "");
    command_expect(1, "holds no pictures", atr_cmd_predict, "predict", model, in("empty"), "-o", in("out"),
                   NULL);
    command_expect(1, "fine.png", atr_cmd_predict, "predict", in("fine.png"), in("fine.png"), "-o", in("out"),
                   NULL);
    command_expect(1, "cannot make the folder", atr_cmd_predict, "predict", model, in("fine.png"), "-o",
                   model, NULL);
    atr_image_free(&image);
}

/* A model file is data: sound as a file, it may still ask for anything. */
static void models_that_ask_for_what_cannot_be_are_refused(void **state)
{
    static const char *const words[] = {"'unet'",   "'resnet'",  "'circle'",      "pads pictures with 7",
                                        "stride 3", "too large", "align_corners", "wants 1"};
    atr_image image = make(8, 8, 3);

    (void)state;
    write_png(&image, in("asked.png"));
    for (int i = 0; i < 8; i++) {
        atr_session session;
        atr_model_info info;
        atr_session_describe("mobilenetv2", CLASSES, 16, &info);
        info.height = info.width = 33;
        if (i == 7)
            info.channels = 1;
        must(atr_session_open(&(atr_session_options){.backend = "ref", .threads = 1}, NULL, &session));
        must(atr_session_build(&session, &info, NULL));
        if (i == 0)
            strcpy(info.architecture, "unet");
        if (i == 1)
            strcpy(info.backbone, "resnet");
        if (i == 2)
            strcpy(info.fit, "circle");
        info.pad_value = i == 3 ? 7 : info.pad_value;
        info.output_stride = i == 4 ? 3 : info.output_stride;
        info.height = i == 5 ? INT64_MAX / 2 : info.height;
        info.align_corners = i != 6;
        must(atr_checkpoint_write(in("asks.h5"), &(atr_checkpoint){.info = &info, .params = session.params}));
        atr_session_close(&session);
        command_result r = command_run(atr_cmd_predict, "predict", in("asks.h5"), in("asked.png"), "-o",
                                       in("out"), "--backend", "ref", NULL);
        if (r.exit_code == 0 || r.exit_code == 3 || strstr(r.err, words[i]) == NULL)
            fail_msg("model %d: exit %d, no %s in: %s", i, r.exit_code, words[i], r.err);
        command_free(&r);
    }
    atr_image_free(&image);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(wrong_usage_says_what_is_wrong),
        cmocka_unit_test(models_that_ask_for_what_cannot_be_are_refused),
        cmocka_unit_test(logits_of_a_picture_are_those_of_the_plan_on_its_pixels),
        cmocka_unit_test(letterboxed_logits_have_the_networks_size_and_ids_the_pictures),
        cmocka_unit_test(every_kind_of_png_is_the_picture_it_shows),
        cmocka_unit_test(a_photo_is_turned_by_its_exif_orientation),
        cmocka_unit_test(the_smallest_and_the_thinnest_pictures_have_ids),
        cmocka_unit_test(names_keep_their_blanks_letters_and_dots),
        cmocka_unit_test(a_bad_file_in_a_folder_is_named_at_the_end_and_the_rest_is_done),
        cmocka_unit_test(nothing_is_overwritten_that_was_not_meant),
        cmocka_unit_test(the_overlay_is_the_picture_where_nothing_is_mixed_in_and_the_colours_where_all_is),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
