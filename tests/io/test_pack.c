#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "io/pack.h"
#include "io/path.h"
#include "tests/support/scratch.h"
#include "tests/support/voc.h"

/* Each test makes a data set in a folder of its own and packs it. */
typedef struct bench {
    char *root, *output, *partial, *names;
    atr_findings *findings;
    atr_pack_result result;
    atr_pack_config config;
} bench;

static int open_bench(void **state)
{
    bench *b = calloc(1, sizeof *b);

    if (b == NULL || atr_findings_create(&b->findings) != ATR_OK)
        return -1;
    b->root = scratch_create();
    b->output = strdup(scratch_text("%s/out.h5", b->root));
    b->partial = strdup(scratch_text("%s/out.h5.partial", b->root));
    b->names = strdup(scratch_text("%s/names.txt", b->root));
    b->config =
        (atr_pack_config){.source = b->root, .output = b->output, .classes = "3", .seed = 1, .threads = 2};
    *state = b;
    return 0;
}

static int close_bench(void **state)
{
    bench *b = *state;

    atr_findings_destroy(b->findings);
    scratch_remove(b->root);
    free(b->output);
    free(b->partial);
    free(b->names);
    free(b);
    return 0;
}

static atr_status pack(bench *b)
{
    atr_findings_destroy(b->findings);
    b->findings = NULL;
    assert_int_equal(atr_findings_create(&b->findings), ATR_OK);
    return atr_pack(&b->config, NULL, b->findings, &b->result);
}

static void must(atr_status status)
{
    if (status != ATR_OK)
        fail_msg("%s", atr_status_message());
}

/* The finding of `code`, which must exist, be of this severity and contain each of the words. */
static const atr_finding *expect(bench *b, const char *code, atr_severity severity, const char *const *words)
{
    for (int64_t i = 0; i < atr_findings_count(b->findings); i++) {
        const atr_finding *finding = atr_findings_at(b->findings, i);
        if (strcmp(finding->code, code) != 0)
            continue;
        assert_int_equal(finding->severity, severity);
        for (int w = 0; words[w] != NULL; w++)
            if (strstr(finding->message, words[w]) == NULL)
                fail_msg("%s lacks '%s': %s", code, words[w], finding->message);
        return finding;
    }
    fail_msg("no finding %s", code);
    return NULL;
}

/* Packing must be refused for an error with these words, without a trace of an output. */
static void refused(bench *b, const char *code, const char *const *words)
{
    assert_int_equal(pack(b), ATR_ERR_DATA);
    expect(b, code, ATR_ERROR, words);
    assert_false(atr_path_exists(b->output));
    assert_false(atr_path_exists(b->partial));
}

#define WORDS(...) ((const char *const[]){__VA_ARGS__, NULL})

static void what_people_have_is_packed(void **state)
{
    bench *b = *state;
    const char *root = scratch_text("%s/VOC2012", b->root);
    char keep[512];
    atr_dataset *data = NULL;
    const int64_t *indices = NULL;
    atr_image image = {0};
    uint8_t *ids = NULL;

    snprintf(keep, sizeof keep, "%s", root);
    root = keep;
    voc_jpeg(scratch_text("%s/JPEGImages/with space.JPG", root), 33, 17, 1, 0);
    voc_box_mask(scratch_text("%s/SegmentationClass/with space.PNG", root), 33, 17, 0, 1);
    voc_png(scratch_text("%s/JPEGImages/sub/b.Png", root), 1, 1, 2);
    voc_mask(scratch_text("%s/SegmentationClass/sub/b.png", root), 1, 1, (const uint8_t[]){2});
    voc_jpeg(scratch_text("%s/JPEGImages/c.jpeg", root), 20, 70, 3, 0);
    voc_box_mask(scratch_text("%s/SegmentationClass/c.png", root), 20, 70, 2, 255);
    voc_pair(root, "unlisted", 10, 10, 4, 1);
    scratch_write_text(scratch_text("%s/JPEGImages/.DS_Store", root), "x");
    scratch_write_text(scratch_text("%s/JPEGImages/notes.txt", root), "x");
    voc_list(root, "train", "\xEF\xBB\xBFwith space  \r\n\r\n sub/b\t\r\n");
    voc_list(root, "val", "c.jpeg\n\n");

    must(pack(b)); /* the source is the folder above */
    assert_int_equal(b->result.samples, 3);
    assert_int_equal(b->result.members[ATR_SPLIT_TRAIN], 2);
    assert_int_equal(b->result.members[ATR_SPLIT_VAL], 1);
    assert_int_equal(b->result.unlisted, 1);
    must(atr_dataset_open(b->output, &data));
    assert_int_equal(atr_dataset_count(data), 3);
    assert_string_equal(atr_dataset_sample(data, 0).name, "c");
    assert_string_equal(atr_dataset_sample(data, 1).name, "sub/b");
    assert_string_equal(atr_dataset_sample(data, 2).name, "with space");
    assert_int_equal(atr_dataset_split(data, ATR_SPLIT_VAL, &indices), 1);
    assert_int_equal(indices[0], 0);
    must(atr_dataset_read_image(data, 0, &image));
    assert_true(image.width == 20 && image.height == 70 && image.channels == 3);
    must(atr_dataset_read_mask(data, 0, &ids));
    assert_int_equal(ids[0], 2);
    assert_int_equal(ids[35 * 20 + 10], ATR_IGNORE);
    const atr_dataset_stats *stats = atr_dataset_statistics(data);
    assert_int_equal(stats->pixels[ATR_SPLIT_TRAIN][2], 1);
    assert_int_equal(stats->pixels[ATR_SPLIT_VAL][2] + stats->pixels[ATR_SPLIT_VAL][255], 20 * 70);
    assert_int_equal(stats->images[ATR_SPLIT_TRAIN][0], 1);
    assert_int_equal(stats->area[ATR_SPLIT_TRAIN][0], 33 * 17);
    assert_true(stats->mean[0] > 60 && stats->mean[0] < 200 && stats->std[1] > 10);
    atr_free(ids);
    atr_image_free(&image);
    atr_dataset_close(data);
}

static void the_file_does_not_depend_on_threads_or_time(void **state)
{
    bench *b = *state;
    size_t size = 0, again_size = 0;

    voc_make(b->root, 7, 3);
    must(pack(b));
    uint8_t *bytes = scratch_read(b->output, &size);
    sleep(1);
    b->config.threads = 1;
    b->config.force = true;
    must(pack(b));
    uint8_t *again = scratch_read(b->output, &again_size);
    assert_int_equal(size, again_size);
    assert_memory_equal(bytes, again, size);
    free(bytes);
    free(again);
}

static void an_existing_file_is_kept_without_force(void **state)
{
    bench *b = *state;

    voc_make(b->root, 2, 1);
    scratch_write_text(b->output, "precious");
    assert_int_equal(pack(b), ATR_ERR_USAGE);
    assert_non_null(strstr(atr_status_message(), "--force"));
    b->config.force = true;
    must(pack(b));
}

static void l01_masks_of_0_and_255(void **state)
{
    bench *b = *state;
    const int64_t eleven = 11;

    b->config.classes = b->names;
    scratch_write_text(b->config.classes, "background\ncat\n");
    voc_pair(b->root, "a", 20, 20, 1, 255);
    voc_pair(b->root, "b", 20, 20, 2, 255);
    voc_list(b->root, "train", "a\nb\n");
    refused(
        b, "L01",
        WORDS("only the values 0 and 255 (2 of 2 files)", "class 'cat' would have no pixel", "--binary-255"));
    assert_int_equal(atr_findings_of_code(b->findings, "L08"), 0);
    b->config.labels = (atr_label_rules){.ignore = &eleven, .ignore_count = 1};
    refused(b, "L01", WORDS("--binary-255"));
    assert_int_equal(atr_findings_of_code(b->findings, "L02"), 0);
    b->config.labels = (atr_label_rules){.binary_255 = true};
    must(pack(b));
    assert_int_equal(atr_findings_of_severity(b->findings, ATR_ERROR), 0);
}

static void l02_a_value_that_is_no_class(void **state)
{
    bench *b = *state;
    const atr_label_pair map = {7, 2};

    voc_make(b->root, 3, 1);
    voc_box_mask(scratch_text("%s/SegmentationClass/t001.png", b->root), 22, 28, 1, 7);
    refused(b, "L02", WORDS("value 7 at (x=5, y=7), 154 pixels", "3 names (0..2)", "--map 7=", "--ignore 7"));
    assert_non_null(strstr(expect(b, "L02", ATR_ERROR, WORDS("value 7"))->subject, "t001.png"));
    b->config.labels = (atr_label_rules){.map = &map, .map_count = 1};
    must(pack(b));
}

static void l03_colours_are_no_numbers(void **state)
{
    bench *b = *state;

    voc_make(b->root, 2, 1);
    voc_png(scratch_text("%s/SegmentationClass/t001.png", b->root), 22, 28, 1);
    refused(b, "L03", WORDS("RGB mask", "class ids"));
}

static void l04_masks_must_be_lossless(void **state)
{
    bench *b = *state;
    uint8_t values[22 * 28];

    voc_make(b->root, 3, 1);
    remove(scratch_text("%s/SegmentationClass/t001.png", b->root));
    voc_jpeg(scratch_text("%s/SegmentationClass/t001.jpg", b->root), 22, 28, 9, 0);
    refused(b, "L04", WORDS("must be lossless", "different values", "saved as JPEG", "nearest neighbour"));
    remove(scratch_text("%s/SegmentationClass/t001.jpg", b->root));
    for (int i = 0; i < 22 * 28;
         i++) { /* 2 beside 0, enlarged with interpolation from a mask scaled by 100 */
        const int x = i % 22;
        values[i] = (uint8_t)(x < 8 ? 0 : x > 10 ? 200 : 50 * (x - 7));
    }
    voc_mask(scratch_text("%s/SegmentationClass/t001.png", b->root), 22, 28, values);
    const atr_label_pair map = {200, 2};
    b->config.labels = (atr_label_rules){.map = &map, .map_count = 1};
    refused(b, "L04", WORDS("5 different values", "100 % of the 84 odd ones", "interpolation"));
}

static void l05_turned_photos_and_other_sizes(void **state)
{
    bench *b = *state;

    voc_make(b->root, 2, 1);
    voc_jpeg(scratch_text("%s/JPEGImages/t001.jpg", b->root), 28, 22, 5, 6); /* its mask is 22x28 */
    refused(b, "L05",
            WORDS("image 28x22, mask 22x28", "EXIF orientation 6", "With --exif=apply the pair fits"));
    b->config.exif = ATR_EXIF_IGNORE;
    refused(b, "L05", WORDS("With --exif=apply the pair fits"));
    b->config.exif = ATR_EXIF_APPLY;
    must(pack(b));
    remove(b->output);
    voc_jpeg(scratch_text("%s/JPEGImages/t001.jpg", b->root), 22, 28, 5, 6);
    refused(b, "L05", WORDS("With --exif=ignore the pair fits"));
    b->config.exif = ATR_EXIF_ASK;
    voc_jpeg(scratch_text("%s/JPEGImages/t001.jpg", b->root), 22, 28, 5, 3);
    refused(b, "L05", WORDS("does not tell", "--exif=apply", "--exif=ignore"));
    voc_jpeg(scratch_text("%s/JPEGImages/t001.jpg", b->root), 44, 56, 5, 0);
    refused(b, "L05", WORDS("image 44x56, mask 22x28", "sizes differ", "Pair refused"));
}

static void l06_pictures_without_mask(void **state)
{
    bench *b = *state;

    voc_make(b->root, 4, 2);
    remove(scratch_text("%s/SegmentationClass/t001.png", b->root));
    rename(scratch_text("%s/SegmentationClass/t002.png", b->root),
           scratch_text("%s/SegmentationClass/T002.png", b->root));
    refused(b, "L06",
            WORDS("2 of 6 images have no mask", "first: t001", "SegmentationClass/t001",
                  "1 differ only in case", "--missing-mask=skip"));
    assert_int_equal(expect(b, "L06", ATR_ERROR, WORDS("no mask"))->item_count, 2);
    b->config.missing = ATR_MISSING_SKIP;
    must(pack(b));
    assert_int_equal(b->result.samples, 4);
    expect(b, "L06", ATR_WARNING, WORDS("left out"));
    remove(b->output);
    b->config.missing = ATR_MISSING_BACKGROUND;
    must(pack(b));
    assert_int_equal(b->result.samples, 6);
}

static void l08_classes_that_train_does_not_show(void **state)
{
    bench *b = *state;

    b->config.classes = b->names;
    scratch_write_text(b->config.classes, "background\ncar\nsign\ntram\n");
    voc_pair(b->root, "a", 20, 20, 1, 1);
    voc_pair(b->root, "b", 20, 20, 2, 2);
    voc_list(b->root, "train", "a\n");
    voc_list(b->root, "val", "b\n");
    must(pack(b));
    expect(b, "L08", ATR_WARNING, WORDS("Class 2 'sign' has 0 pixels in train and 100 in val"));
    assert_int_equal(atr_findings_of_code(b->findings, "L08"), 2);
    b->config.strict = true;
    b->config.force = true;
    assert_int_equal(pack(b), ATR_ERR_DATA);
    assert_true(atr_path_exists(b->output)); /* the old file stays */
    b->config.strict = false;
    remove(b->output);
    voc_pair(b->root, "a", 20, 20, 1, 0);
    voc_pair(b->root, "b", 20, 20, 2, 0);
    refused(b, "L08", WORDS("All masks are background", "800 pixels are class 0"));
}

static void l09_the_same_picture_in_train_and_val(void **state)
{
    bench *b = *state;

    voc_make(b->root, 3, 2);
    voc_pair(b->root, "t001", 17, 31, 1000, 1); /* v000 again */
    must(pack(b));
    const atr_finding *finding = expect(b, "L09", ATR_WARNING,
                                        WORDS("1 images are in both train and val (same content)",
                                              "mIoU would be too high", "--group-regex"));
    assert_int_equal(finding->item_count, 1);
    assert_string_equal(finding->items[0], "train: t001 = val: v000");
    remove(b->output);
    voc_list(b->root, "val", "v001\nt002\n");
    must(pack(b));
    expect(b, "L09", ATR_WARNING, WORDS("1 images are listed in more than one"));
}

static void f04_a_part_without_pictures(void **state)
{
    bench *b = *state;

    voc_make(b->root, 3, 1);
    b->config.split = "1:0";
    must(pack(b));
    expect(b, "F04", ATR_WARNING, WORDS("No picture of 4 is in val", "another --seed or other shares"));
    remove(b->output);
    b->config.split = NULL;
    voc_list(b->root, "val", "");
    must(pack(b));
    expect(b, "F04", ATR_WARNING, WORDS("No picture of 3 is in val", "list in ImageSets/Segmentation"));
}

static void f_files_that_cannot_be_used_are_named(void **state)
{
    bench *b = *state;

    voc_make(b->root, 3, 1);
    scratch_write_text(scratch_text("%s/JPEGImages/t000.jpg", b->root), "no picture");
    voc_png(scratch_text("%s/JPEGImages/t001.png", b->root), 22, 28, 1);
    voc_list(b->root, "val", "v000\nv999\nV000\n");
    refused(b, "F01", WORDS("cannot be read"));
    expect(b, "F02", ATR_ERROR, WORDS("same name"));
    const atr_finding *unknown =
        expect(b, "F03", ATR_ERROR, WORDS("2 of 3 names have no picture", "1 differ only in case"));
    assert_string_equal(unknown->subject, "ImageSets/Segmentation/val.txt");
    assert_string_equal(unknown->items[1], "V000");
}

static void all_findings_come_in_one_run_and_in_the_report(void **state)
{
    bench *b = *state;
    const char *report = scratch_text("%s/report.json", b->root);
    char *text = NULL;
    size_t size = 0;

    voc_make(b->root, 30, 2);
    for (int i = 0; i < 25; i++)
        voc_box_mask(scratch_text("%s/SegmentationClass/t%03d.png", b->root, i), 17 + 5 * (i % 4),
                     31 - 3 * (i % 5), 0, 99);
    voc_png(scratch_text("%s/SegmentationClass/v000.png", b->root), 17, 31, 1);
    assert_int_equal(pack(b), ATR_ERR_DATA);
    assert_int_equal(atr_findings_of_code(b->findings, "L02"), 25);
    must(atr_findings_text(b->findings, 20, report, &text));
    assert_non_null(strstr(text, "t019.png"));
    assert_null(strstr(text, "t020.png"));
    assert_non_null(strstr(text, "error L02: 5 more, all in "));
    assert_non_null(strstr(text, "error L03 "));
    must(atr_findings_write(b->findings, report));
    uint8_t *json = scratch_read(report, &size);
    assert_non_null(strstr((char *)json, "t024.png"));
    assert_non_null(strstr((char *)json, "\"errors\": 26"));
    free(json);
    atr_free(text);
}

static void a_split_is_drawn_by_name_and_stays(void **state)
{
    bench *b = *state;
    atr_dataset *before = NULL, *after = NULL;
    int64_t kept = 0;

    voc_make(b->root, 20, 4);
    b->config.split = "0.7:0.3";
    must(pack(b));
    must(atr_dataset_open(b->output, &before));
    voc_pair(b->root, "a_new_one", 20, 20, 77, 1);
    voc_pair(b->root, "tz", 20, 20, 78, 1);
    b->config.force = true;
    must(pack(b));
    must(atr_dataset_open(b->output, &after));
    assert_int_equal(atr_dataset_count(after), 26);
    for (int64_t i = 0; i < atr_dataset_count(before); i++)
        for (int64_t j = 0; j < atr_dataset_count(after); j++)
            if (strcmp(atr_dataset_sample(before, i).name, atr_dataset_sample(after, j).name) == 0) {
                assert_int_equal(atr_dataset_sample(before, i).splits, atr_dataset_sample(after, j).splits);
                kept++;
            }
    assert_int_equal(kept, 24);
    assert_true(b->result.members[ATR_SPLIT_VAL] > 0);
    assert_true(atr_dataset_fingerprint(before) != atr_dataset_fingerprint(after));
    atr_dataset_close(before);
    atr_dataset_close(after);
}

static void wrong_sources_are_explained(void **state)
{
    bench *b = *state;

    assert_int_equal(pack(b), ATR_ERR_NOT_FOUND);
    assert_non_null(strstr(atr_status_message(), "JPEGImages"));
    voc_pair(b->root, "a", 20, 20, 1, 1);
    assert_int_equal(pack(b), ATR_ERR_USAGE);
    assert_non_null(strstr(atr_status_message(), "--split 0.9:0.1"));
    b->config.group_regex = "(.*)_";
    assert_int_equal(pack(b), ATR_ERR_USAGE);
    b->config.group_regex = NULL;
    voc_list(b->root, "train", "\n");
    assert_int_equal(pack(b), ATR_ERR_DATA);
    assert_false(atr_path_exists(b->output));
}

static bool stop_writing(void *user, const char *stage, int64_t done, int64_t total)
{
    (void)total;
    if (strcmp(stage, "writing") != 0 || done < 3)
        return true;
    if (*(bool *)user)
        _exit(9); /* as if killed */
    return false;
}

static void a_stopped_pack_leaves_nothing_new(void **state)
{
    bench *b = *state;
    bool die = false;
    const atr_watch watch = {stop_writing, &die};

    voc_make(b->root, 4, 2);
    scratch_write_text(b->output, "old");
    b->config.force = true;
    assert_int_equal(atr_pack(&b->config, &watch, b->findings, &b->result), ATR_ERR_STOPPED);
    assert_false(atr_path_exists(b->partial));
    size_t size = 0;
    uint8_t *bytes = scratch_read(b->output, &size);
    assert_string_equal((char *)bytes, "old");
    free(bytes);
}

static void p01_a_killed_pack_is_never_read(void **state)
{
    bench *b = *state;
    bool die = true;
    const atr_watch watch = {stop_writing, &die};
    atr_dataset *data = NULL;
    int how = 0;

    voc_make(b->root, 4, 2);
    const pid_t child = fork();
    if (child == 0) {
        (void)atr_pack(&b->config, &watch, b->findings, &b->result);
        _exit(1);
    }
    assert_int_equal(waitpid(child, &how, 0), child);
    assert_true(WIFEXITED(how) && WEXITSTATUS(how) == 9);
    assert_false(atr_path_exists(b->output));
    assert_int_equal(atr_dataset_open(b->partial, &data), ATR_ERR_DATA);
    assert_non_null(strstr(atr_status_message(), "P01"));
    assert_non_null(strstr(atr_status_message(), "stopped after 3 of 6 samples. Run pack again"));
    must(pack(b)); /* what was left behind is no hindrance */
    assert_false(atr_path_exists(b->partial));
    must(atr_dataset_open(b->output, &data));
    atr_dataset_close(data);
}

#define CASE(f) cmocka_unit_test_setup_teardown(f, open_bench, close_bench)

int main(void)
{
    const struct CMUnitTest tests[] = {
        CASE(what_people_have_is_packed),
        CASE(the_file_does_not_depend_on_threads_or_time),
        CASE(an_existing_file_is_kept_without_force),
        CASE(l01_masks_of_0_and_255),
        CASE(l02_a_value_that_is_no_class),
        CASE(l03_colours_are_no_numbers),
        CASE(l04_masks_must_be_lossless),
        CASE(l05_turned_photos_and_other_sizes),
        CASE(l06_pictures_without_mask),
        CASE(l08_classes_that_train_does_not_show),
        CASE(l09_the_same_picture_in_train_and_val),
        CASE(f04_a_part_without_pictures),
        CASE(f_files_that_cannot_be_used_are_named),
        CASE(all_findings_come_in_one_run_and_in_the_report),
        CASE(a_split_is_drawn_by_name_and_stays),
        CASE(wrong_sources_are_explained),
        CASE(a_stopped_pack_leaves_nothing_new),
        CASE(p01_a_killed_pack_is_never_read),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
