/* What `atrous predict` writes beside class ids, and that batches, folders and patterns change nothing in it. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <cmocka.h>
#include <jansson.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "apps/commands.h"
#include "io/image.h"
#include "io/npy.h"
#include "tests/support/command.h"
#include "tests/support/model.h"
#include "tests/support/network.h"
#include "tests/support/picture.h"
#include "tests/support/scratch.h"

enum { CLASSES = 4, W = 31, H = 19 };

static const char *const names[CLASSES] = {"sky", "a \"b\", c", "weg ü", "tree"};
static char *folder;
static char model[4200];

static int set_up(void **state)
{
    (void)state;
    setenv("OMP_NUM_THREADS", "1", 1);
    folder = scratch_create();
    snprintf(model, sizeof model, "%s/model.h5", folder);
    model_write(model, CLASSES, names);
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

/* A picture that differs by `shift`; returns its pixels (malloc'ed). */
static uint8_t *write_picture(const char *path, int64_t width, int64_t height, int64_t shift)
{
    uint8_t *pixels = malloc((size_t)(3 * width * height));
    void *bytes = NULL;
    size_t size = 0;

    for (int64_t i = 0; i < 3 * width * height; i++)
        pixels[i] = picture_sample(i / 3 % width + shift, i / 3 / width, i % 3);
    must(atr_png_encode(&(atr_image){width, height, 3, pixels}, &bytes, &size));
    scratch_write(path, bytes, size);
    atr_free(bytes);
    return pixels;
}

/* Values of a PNG as stored: ids, grey levels of 8 or 16 bits. */
static uint16_t *read_values(const char *path, int bits)
{
    atr_image_info info;
    atr_mask mask;
    size_t size = 0;
    uint8_t *bytes = scratch_read(path, &size);

    must(atr_image_probe(bytes, size, &info));
    assert_int_equal(info.bits, bits);
    must(atr_mask_decode(bytes, size, &mask));
    free(bytes);
    return mask.values;
}

static uint8_t *read_rgb(const char *path, int channels)
{
    atr_image_info info;
    atr_image image;
    size_t size = 0;
    uint8_t *bytes = scratch_read(path, &size);

    must(atr_image_probe(bytes, size, &info));
    assert_int_equal(info.channels, channels);
    must(atr_image_decode_rgb(bytes, size, false, &image));
    free(bytes);
    return image.pixels;
}

static float *read_npy(const char *path, int rank, const int64_t *dims)
{
    atr_tensor tensor;

    must(atr_npy_read(path, &tensor));
    assert_int_equal(tensor.rank, rank);
    for (int i = 0; i < rank; i++)
        assert_int_equal(tensor.dims[i], dims[i]);
    return tensor.data;
}

static void the_colour_mask_and_the_cutout_follow_the_ids(void **state)
{
    uint8_t palette[256][3];
    uint8_t *pixels = write_picture(in("look.png"), W, H, 0);

    (void)state;
    atr_palette_voc(palette);
    command_expect(0, "1 of 1", atr_cmd_predict, "predict", model, in("look.png"), "-o", in("out"),
                   "--colour", "--cutout", NULL);
    uint16_t *ids = read_values(in("out/look.png"), 8);
    uint8_t *colour = read_rgb(in("out/look.colour.png"), 3),
            *cutout = read_rgb(in("out/look.cutout.png"), 4);
    for (int p = 0; p < W * H; p++) {
        const uint8_t black[3] = {0, 0, 0};
        assert_memory_equal(colour + 3 * p, palette[ids[p]], 3);
        assert_memory_equal(cutout + 3 * p, ids[p] != 0 ? pixels + 3 * p : black, 3);
    }
    atr_free(ids);
    atr_free(colour);
    atr_free(cutout);
    command_expect(0, "1 of 1", atr_cmd_predict, "predict", model, in("look.png"), "-o", in("out"),
                   "--cutout", "--cutout-classes", "sky,3", NULL);
    ids = read_values(in("out/look.png"), 8);
    cutout = read_rgb(in("out/look.cutout.png"), 4);
    for (int p = 0; p < W * H; p++)
        if (ids[p] == 0 || ids[p] == 3)
            assert_memory_equal(cutout + 3 * p, pixels + 3 * p, 3);
        else
            assert_true(cutout[3 * p] == 0 && cutout[3 * p + 1] == 0 && cutout[3 * p + 2] == 0);
    atr_free(ids);
    atr_free(cutout);
    free(pixels);
    command_expect(2, "no class 'tre' (numbers 0 to 3; did you mean 'tree'?)", atr_cmd_predict, "predict",
                   model, in("look.png"), "-o", in("out"), "--cutout", "--cutout-classes", "tre", NULL);
    command_expect(2, "no class '4'", atr_cmd_predict, "predict", model, in("look.png"), "-o", in("out"),
                   "--cutout", "--cutout-classes", "4", NULL);
}

static void maps_hold_the_probabilities_in_every_form(void **state)
{
    free(write_picture(in("maps.png"), W, H, 0));
    (void)state;
    command_expect(0, NULL, atr_cmd_predict, "predict", model, in("maps.png"), "-o", in("m"), "--confidence",
                   "npy", "--probabilities", "npy", NULL);
    float *all = read_npy(in("m/maps.probabilities.npy"), 3, (const int64_t[]){CLASSES, H, W});
    float *confidence = read_npy(in("m/maps.confidence.npy"), 2, (const int64_t[]){H, W});
    uint16_t *ids = read_values(in("m/maps.png"), 8);
    for (int p = 0; p < W * H; p++) {
        double sum = 0;
        for (int k = 0; k < CLASSES; k++) {
            sum += (double)all[k * W * H + p];
            assert_true(all[k * W * H + p] <= confidence[p] + 1e-6f);
        }
        assert_true(fabs(sum - 1) < 1e-5);
        assert_true(fabsf(confidence[p] - all[ids[p] * W * H + p]) < 1e-6f);
    }
    command_expect(0, NULL, atr_cmd_predict, "predict", model, in("maps.png"), "-o", in("m"), "--no-ids",
                   "--confidence", "png8", "--probabilities", "png16", NULL);
    command_expect(0, NULL, atr_cmd_predict, "predict", model, in("maps.png"), "-o", in("m2"), "--no-ids",
                   "--confidence", "png16", "--probabilities", "png8", "--probability-classes", "3,sky",
                   NULL);
    command_expect(0, NULL, atr_cmd_predict, "predict", model, in("maps.png"), "-o", in("m3"), "--no-ids",
                   "--probabilities", "npy", "--probability-classes", "3,sky", NULL);
    uint16_t *c8 = read_values(in("m/maps.confidence.png"), 8),
             *c16 = read_values(in("m2/maps.confidence.png"), 16);
    uint16_t *p16 = read_values(in("m/maps.probability-3.png"), 16);
    uint16_t *p8 = read_values(in("m2/maps.probability-0.png"), 8);
    float *two = read_npy(in("m3/maps.probabilities.npy"), 3, (const int64_t[]){2, H, W});
    for (int p = 0; p < W * H; p++) {
        assert_true(fabsf((float)c8[p] - 255 * confidence[p]) <= 0.5001f);
        assert_true(fabsf((float)c16[p] - 65535 * confidence[p]) <= 0.51f);
        assert_true(fabsf((float)p16[p] - 65535 * all[3 * W * H + p]) <= 0.51f);
        assert_true(fabsf((float)p8[p] - 255 * all[p]) <= 0.5001f);
        assert_true(two[p] == all[p] && two[W * H + p] == all[3 * W * H + p]);
    }
    assert_int_not_equal(access(in("m2/maps.probability-1.png"), F_OK), 0);
    assert_int_not_equal(access(in("m2/maps.png"), F_OK), 0); /* --no-ids */
    float *floats[] = {all, confidence, two};
    uint16_t *values[] = {ids, c8, c16, p16, p8};
    for (int i = 0; i < 3; i++)
        atr_free(floats[i]);
    for (int i = 0; i < 5; i++)
        atr_free(values[i]);
}

/* Fills FOLDER/set with pictures of several sizes and a broken one. */
static void make_set(void)
{
    static const int64_t sizes[][2] = {{31, 19}, {31, 19}, {19, 31}, {31, 19}, {50, 8}, {31, 19}, {1, 1}};

    for (int i = 0; i < 7; i++)
        free(write_picture(in(scratch_text("set/%d.png", i)), sizes[i][0], sizes[i][1], i));
    scratch_write_text(in("set/3b.png"), "broken");
}

static void assert_same_files(const char *a, const char *b)
{
    size_t size_a = 0, size_b = 0;
    uint8_t *x = scratch_read(a, &size_a), *y = scratch_read(b, &size_b);

    if (size_a != size_b || memcmp(x, y, size_a) != 0)
        fail_msg("%s and %s differ", a, b);
    free(x);
    free(y);
}

/* On `cpu`, whose kernels may choose another way for another batch; test_segmenter_views has `ref` and the other fits. */
static void the_batch_changes_no_byte_of_any_result(void **state)
{
    static const char *const fits[] = {"letterbox", "none"};
    static const char *const batches[] = {"3", "16"};
    static const char *const suffixes[] = {"png", "overlay.png", "confidence.npy", "probabilities.npy",
                                           "logits.npy"};

    (void)state;
    make_set();
    for (int f = 0; f < 2; f++) {
        command_expect(3, "7 of 8", atr_cmd_predict, "predict", model, in("set"), "-o", in("b1"), "--fit",
                       fits[f], "--overlay", "--confidence", "npy", "--probabilities", "npy", "--logits",
                       "--backend", "cpu", NULL);
        for (int b = 0; b < 2; b++) {
            command_expect(3, "set/3b.png", atr_cmd_predict, "predict", model, in("set"), "-o", in("bn"),
                           "--fit", fits[f], "--overlay", "--confidence", "npy", "--probabilities", "npy",
                           "--logits", "--backend", "cpu", "--batch", batches[b], NULL);
            for (int i = 0; i < 7; i++)
                for (int s = 0; s < 5; s++)
                    assert_same_files(in(scratch_text("b1/%d.%s", i, suffixes[s])),
                                      in(scratch_text("bn/%d.%s", i, suffixes[s])));
        }
    }
}

static void folders_below_keep_their_names_and_do_not_collide(void **state)
{
    (void)state;
    free(write_picture(in("tree/a.png"), 9, 9, 0));
    free(write_picture(in("tree/one/a.png"), 9, 9, 1));
    free(write_picture(in("tree/two/ü b/a.png"), 9, 9, 2));
    free(write_picture(in("tree/.hidden/a.png"), 9, 9, 3));
    free(write_picture(in("tree/out/old.png"), 9, 9, 4)); /* results of last time are no input */
    assert_int_equal(symlink(in("tree"), scratch_text("%s/tree/one/loop", folder)), 0);
    command_expect(0, "1 of 1", atr_cmd_predict, "predict", model, in("tree"), "-o", in("flat"), NULL);
    command_expect(0, "3 of 3", atr_cmd_predict, "predict", model, in("tree"), "-o", in("tree/out"), "-r",
                   NULL);
    assert_int_equal(access(in("tree/out/a.png"), R_OK), 0);
    assert_int_equal(access(in("tree/out/one/a.png"), R_OK), 0);
    assert_int_equal(access(in("tree/out/two/ü b/a.png"), R_OK), 0);
    command_expect(0, "3 of 3", atr_cmd_predict, "predict", model, in("tree"), "-o", in("tree/out"), "-r",
                   NULL);
    scratch_write_text(in("bare/x/notes.txt"), "");
    command_expect(1, "--recursive looks into", atr_cmd_predict, "predict", model, in("bare"), "-o",
                   in("flat"), NULL);
    command_expect(1, "holds no pictures", atr_cmd_predict, "predict", model, in("bare"), "-o", in("flat"),
                   "-r", NULL);
    /* Two named folders meet in one output folder. */
    command_expect(2, "would both be written to", atr_cmd_predict, "predict", model, in("tree/one"),
                   in("tree/two/ü b"), "-o", in("flat"), NULL);
    /* A file stands where a folder must be. */
    scratch_write_text(in("blocked/one"), "");
    command_expect(3, "cannot make the folder", atr_cmd_predict, "predict", model, in("tree"), "-o",
                   in("blocked"), "-r", NULL);
}

static void quoted_patterns_find_what_the_shell_would(void **state)
{
    (void)state;
    for (int i = 0; i < 3; i++)
        free(write_picture(in(scratch_text("glob/shot %d.png", i)), 9, 9, i));
    free(write_picture(in("glob/other.png"), 9, 9, 5));
    free(write_picture(in("glob/[x].png"), 9, 9, 6));
    command_expect(0, "3 of 3", atr_cmd_predict, "predict", model, in("glob/shot*.png"), "-o", in("g"), NULL);
    assert_int_equal(access(in("g/shot 2.png"), R_OK), 0);
    command_expect(0, "2 of 2", atr_cmd_predict, "predict", model, in("glob/shot [12].png"), "-o", in("g"),
                   NULL);
    command_expect(0, "1 of 1", atr_cmd_predict, "predict", model, in("glob/[x].png"), "-o", in("g"), NULL);
    assert_int_equal(access(in("g/[x].png"), R_OK), 0);
    command_expect(1, "nothing matches", atr_cmd_predict, "predict", model, in("glob/zz*.png"), "-o", in("g"),
                   NULL);
}

/* Counts of the ids that predict wrote. */
static void count_ids(const char *path, int64_t pixels, int64_t *counts)
{
    uint16_t *ids = read_values(path, 8);

    for (int64_t p = 0; p < pixels; p++)
        counts[ids[p]]++;
    atr_free(ids);
}

static void assert_counts(const json_t *object, const int64_t *counts)
{
    const json_t *pixels = json_object_get(object, "pixels"), *shares = json_object_get(object, "percent");
    int64_t all = 0;
    double sum = 0;

    for (int k = 0; k < CLASSES; k++)
        all += counts[k];
    assert_int_equal(json_array_size(pixels), CLASSES);
    for (size_t k = 0; k < CLASSES; k++) {
        assert_int_equal(json_integer_value(json_array_get(pixels, k)), counts[k]);
        const double share = json_real_value(json_array_get(shares, k));
        assert_true(fabs(share - 100.0 * (double)counts[k] / (double)all) < 1e-9);
        sum += share;
    }
    assert_true(fabs(sum - 100) < 1e-9);
}

static void counts_add_up_to_the_pixels_in_json(void **state)
{
    int64_t total[CLASSES] = {0};
    static const int64_t sizes[] = {W * H, 50 * 8};

    (void)state;
    free(write_picture(in("count/a, \"b\".png"), W, H, 0));
    free(write_picture(in("count/c.png"), 50, 8, 1));
    scratch_write_text(in("count/d.png"), "no picture");
    command_result r =
        command_run(atr_cmd_predict, "predict", model, in("count"), "-o", in("counted"), "--json", NULL);
    assert_int_equal(r.exit_code, 3);
    json_t *root = json_loads(r.out, 0, NULL);
    assert_non_null(root);
    const json_t *pictures = json_object_get(root, "pictures");
    assert_int_equal(json_array_size(pictures), 2);
    for (size_t i = 0; i < 2; i++) {
        const json_t *one = json_array_get(pictures, i);
        int64_t counts[CLASSES] = {0};
        count_ids(in(i == 0 ? "counted/a, \"b\".png" : "counted/c.png"), sizes[i], counts);
        assert_counts(one, counts);
        assert_int_equal(json_integer_value(json_object_get(one, "width")), i == 0 ? W : 50);
        for (int k = 0; k < CLASSES; k++)
            total[k] += counts[k];
    }
    assert_counts(json_object_get(root, "total"), total);
    assert_string_equal(json_string_value(json_array_get(json_object_get(root, "classes"), 2)), "weg ü");
    assert_int_equal(json_integer_value(json_object_get(root, "done")), 2);
    const json_t *failed = json_array_get(json_object_get(root, "failed"), 0);
    assert_non_null(strstr(json_string_value(json_object_get(failed, "picture")), "count/d.png"));
    assert_non_null(strstr(json_string_value(json_object_get(failed, "message")), "count/d.png"));
    json_decref(root);
    command_free(&r);
}

/* Splits one CSV line (RFC 4180) in place into at most 8 fields; returns the place behind it. */
static char *split_line(char *at, char *fields[8], int *count)
{
    char *to = at;

    *count = 0;
    for (;;) {
        const bool quoted = *at == '"';
        assert_in_range(*count, 0, 7);
        fields[(*count)++] = to;
        at += quoted;
        while (*at != '\0' && (quoted ? *at != '"' || at[1] == '"' : *at != ',' && *at != '\n')) {
            at += quoted && *at == '"';
            *to++ = *at++;
        }
        at += quoted;
        const char end = *at;
        *to++ = '\0';
        at += end != '\0';
        if (end != ',')
            return at;
        to = at;
    }
}

static void csv_holds_each_picture_each_class_and_the_total(void **state)
{
    int64_t sums[CLASSES] = {0}, total[CLASSES] = {0}, first = 0;
    size_t size = 0;
    char *fields[8];
    int count = 0, rows = 0;

    (void)state;
    free(write_picture(in("csv/a, \"b\".png"), W, H, 0));
    free(write_picture(in("csv/c.png"), 50, 8, 1));
    command_expect(0, "2 of 2", atr_cmd_predict, "predict", model, in("csv"), "--csv", in("counts.csv"),
                   NULL);
    char *text = (char *)scratch_read(in("counts.csv"), &size), *at = text;
    at = split_line(at, fields, &count);
    assert_int_equal(count, 7);
    assert_string_equal(fields[0], "picture");
    for (; *at != '\0'; rows++) {
        at = split_line(at, fields, &count);
        assert_int_equal(count, 7);
        const int k = atoi(fields[3]);
        assert_in_range(k, 0, CLASSES - 1);
        assert_string_equal(fields[4], names[k]);
        if (fields[0][0] == '\0')
            total[k] += atoll(fields[5]);
        else
            sums[k] += atoll(fields[5]);
        if (strstr(fields[0], "a, \"b\".png") != NULL) {
            first += atoll(fields[5]);
            assert_string_equal(fields[1], "31");
            assert_true(fabs(atof(fields[6]) - 100.0 * atof(fields[5]) / (W * H)) < 1e-5);
        }
    }
    assert_int_equal(rows, 3 * CLASSES);
    assert_int_equal(first, W * H);
    assert_memory_equal(sums, total, sizeof sums);
    free(text);
    assert_int_not_equal(access(in("counts.csv.partial"), F_OK), 0);
    command_expect(0, "picture,width,height,class,name,pixels,percent", atr_cmd_predict, "predict", model,
                   in("csv"), "--csv", "-", NULL);
    command_expect(1, "cannot write", atr_cmd_predict, "predict", model, in("csv"), "--csv",
                   in("csv/c.png/x.csv"), NULL);
}

static void the_table_names_the_classes_that_occur(void **state)
{
    (void)state;
    free(write_picture(in("table/a.png"), W, H, 0));
    free(write_picture(in("table/b.png"), W, H, 1));
    command_result r = command_run(atr_cmd_predict, "predict", model, in("table"), "--count", NULL);
    assert_int_equal(r.exit_code, 0);
    assert_non_null(strstr(r.out, "table/a.png  31x19\n"));
    assert_non_null(strstr(r.out, "total of 2\n"));
    char *at = strstr(r.out, "total of 2\n");
    int64_t sum = 0;
    for (char *line = strtok(at, "\n"); line != NULL; line = strtok(NULL, "\n")) {
        const char *percent = strstr(line, " %");
        long long pixels = 0;
        double share = 0;
        for (int k = 0; percent != NULL && k < CLASSES; k++) {
            const char *name = strstr(line, names[k]);
            if (name != NULL && sscanf(name + strlen(names[k]), "%lld %lf", &pixels, &share) == 2)
                sum += pixels;
        }
    }
    assert_int_equal(sum, 2 * W * H);
    command_free(&r);
}

static void the_speed_test_prints_times_and_writes_nothing(void **state)
{
    (void)state;
    free(write_picture(in("speed/a.png"), W, H, 0));
    command_expect(0, "pictures a second", atr_cmd_predict, "predict", model, in("speed/a.png"), "--fps", "3",
                   NULL);
    command_result r = command_run(atr_cmd_predict, "predict", model, in("speed/a.png"), "--fps", "4",
                                   "--batch", "2", "--tta", "flip", "--json", NULL);
    json_t *root = json_loads(r.out, 0, NULL);
    assert_non_null(root);
    assert_int_equal(json_integer_value(json_object_get(root, "repeats")), 4);
    assert_int_equal(json_integer_value(json_object_get(root, "batch")), 2);
    const double median = json_real_value(json_object_get(root, "median_ms"));
    assert_true(median > 0 && json_real_value(json_object_get(root, "min_ms")) <= median);
    assert_true(fabs(json_real_value(json_object_get(root, "fps")) * median / 2000 - 1) < 1e-3);
    json_decref(root);
    command_free(&r);
}

static void views_on_the_command_line_reach_the_network(void **state)
{
    (void)state;
    free(write_picture(in("views.png"), W, H, 0));
    command_expect(0, NULL, atr_cmd_predict, "predict", model, in("views.png"), "-o", in("v0"), "--logits",
                   NULL);
    command_expect(0, NULL, atr_cmd_predict, "predict", model, in("views.png"), "-o", in("v1"), "--logits",
                   "--tta", "none", "--tta-scales", "1", NULL);
    assert_same_files(in("v0/views.logits.npy"), in("v1/views.logits.npy"));
    static const char *const views[][2] = {{"--tta=flip", "--tta-scales=1"},
                                           {"--tta=flip-all", "--tta-scales=1"},
                                           {"--tta=none", "--tta-scales=0.5,1"}};
    float *plain = read_npy(in("v0/views.logits.npy"), 3, (const int64_t[]){CLASSES, 33, 49});
    for (int i = 0; i < 3; i++) {
        command_expect(0, NULL, atr_cmd_predict, "predict", model, in("views.png"), "-o", in("v1"),
                       "--logits", views[i][0], views[i][1], NULL);
        float *other = read_npy(in("v1/views.logits.npy"), 3, (const int64_t[]){CLASSES, 33, 49});
        assert_int_not_equal(memcmp(plain, other, sizeof(float) * CLASSES * 33 * 49), 0);
        atr_free(other);
    }
    atr_free(plain);
}

static void options_that_mean_nothing_together_are_refused(void **state)
{
    static const struct {
        const char *says, *options[4];
    } rows[] = {
        {"--alpha has no meaning without --overlay", {"-oX", "--alpha", "0.3"}},
        {"--cutout-classes has no meaning", {"-oX", "--cutout-classes", "1"}},
        {"--probability-classes has no meaning", {"-oX", "--probability-classes", "1"}},
        {"nothing would be written", {"-oX", "--no-ids"}},
        {"say where the pictures go", {"--count", "--overlay"}},
        {"both write to the standard output", {"--csv", "-", "--json"}},
        {"--fps only measures", {"--fps", "3", "-oX"}},
        {"--show is for video", {"-oX", "--show", "ids"}},
        {"--frames is for video", {"-oX", "--frames", "2"}},
        {"only frames of video", {"-o-"}},
        {"1 to 256", {"-oX", "--batch", "0"}},
        {"0.0625 to 16", {"-oX", "--tta-scales", "0.01"}},
        {"at most 16", {"-oX", "--tta-scales", "1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1"}},
        {"png16", {"-oX", "--confidence", "png"}},
    };

    (void)state;
    free(write_picture(in("fine.png"), 9, 9, 0));
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++)
        command_expect(2, rows[i].says, atr_cmd_predict, "predict", model, in("fine.png"), rows[i].options[0],
                       rows[i].options[1], rows[i].options[2], NULL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(options_that_mean_nothing_together_are_refused),
        cmocka_unit_test(the_colour_mask_and_the_cutout_follow_the_ids),
        cmocka_unit_test(maps_hold_the_probabilities_in_every_form),
        cmocka_unit_test(the_batch_changes_no_byte_of_any_result),
        cmocka_unit_test(folders_below_keep_their_names_and_do_not_collide),
        cmocka_unit_test(quoted_patterns_find_what_the_shell_would),
        cmocka_unit_test(counts_add_up_to_the_pixels_in_json),
        cmocka_unit_test(csv_holds_each_picture_each_class_and_the_total),
        cmocka_unit_test(the_table_names_the_classes_that_occur),
        cmocka_unit_test(the_speed_test_prints_times_and_writes_nothing),
        cmocka_unit_test(views_on_the_command_line_reach_the_network),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
