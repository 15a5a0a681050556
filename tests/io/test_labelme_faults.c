#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "io/path.h"
#include "tests/support/packing.h"
#include "tests/support/picture.h"
#include "tests/support/scratch.h"
#include "tests/support/voc.h"

/* labelme files that are damaged, wrong, or meant to harm: each gets a message. */

static void only_paths_near_the_set_are_followed(void **state)
{
    packing *b = *state;
    const char *far = scratch_text("%s/far.jpg", b->root);

    voc_jpeg(far, 20, 20, 1, 0);
    labelme_pair(b, "good", LABELME_CAT);
    labelme_file(b, "sub/a", scratch_text("\"imagePath\":\"%s\"", far), LABELME_CAT);
    labelme_file(b, "b", "\"imagePath\":\"../../etc/passwd\"", LABELME_CAT);
    labelme_file(b, "c", "\"imagePath\":\"sub/../../../../far.jpg\"", LABELME_CAT);
    labelme_file(b, "d", "\"imagePath\":\"\"", LABELME_CAT);
    labelme_file(b, "e", "\"imagePath\":\"sub/\"", LABELME_CAT);
    labelme_file(b, "f", "\"imagePath\":\"good.json\"", LABELME_CAT);
    labelme_file(b, "g", "\"imageData\":\"\"", LABELME_CAT);
    packing_refused(b, "F01", "sub/a.json", WORDS("far.jpg", "absolute", "are not followed"));
    packing_expect(b, "F01", ATR_ERROR, "b.json", WORDS("../../etc/passwd", "lead out of the folder"));
    packing_expect(b, "F01", ATR_ERROR, "c.json", WORDS("not followed"));
    packing_expect(b, "F01", ATR_ERROR, "d.json", WORDS("not followed"));
    packing_expect(b, "F01", ATR_ERROR, "e.json", WORDS("not followed"));
    packing_expect(b, "F01", ATR_ERROR, "good.json", WORDS("looks like a text file; PNG and JPEG are read"));
    packing_expect(b, "F01", ATR_ERROR, "g.json", WORDS("neither imageData nor imagePath"));
}

static void l05_the_stated_size_must_be_the_pictures(void **state)
{
    packing *b = *state;

    labelme_pair(b, "a", LABELME_CAT);
    labelme_file(b, "a", "\"imagePath\":\"a.jpg\",\"imageHeight\":28,\"imageWidth\":48", LABELME_CAT);
    packing_refused(b, "L05", "a.jpg",
                    WORDS("image 24x14, annotation 48x28", "sizes differ", "Pair refused"));
    labelme_file(b, "a", "\"imagePath\":\"a.jpg\",\"imageHeight\":1e12,\"imageWidth\":24", LABELME_CAT);
    packing_refused(b, "F01", "a.json", WORDS("imageHeight is not a number of pixels"));
    labelme_file(b, "a", "\"imagePath\":\"a.jpg\",\"imageHeight\":14.5,\"imageWidth\":24", LABELME_CAT);
    packing_refused(b, "F01", "a.json", WORDS("imageHeight"));
    labelme_file(b, "a", "\"imagePath\":\"a.jpg\",\"imageHeight\":null,\"imageWidth\":24", LABELME_CAT);
    packing_works(b);
}

static void l07_labels_must_be_in_the_list(void **state)
{
    packing *b = *state;
    const atr_label_rename rename[] = {{"Dog ", "dog"}, {"brid", "3"}, {"junk", "ignore"}, {"cat ", "cat"}};

    labelme_pair(b, "x",
                 "{\"label\":\"Dog \",\"points\":[[2,2],[20,3],[9,11]]},"
                 "{\"label\":\"Dog \",\"points\":[[2,2],[9,3],[9,11]]},"
                 "{\"label\":\"brid\",\"points\":[[2,2],[9,3],[9,11]]},"
                 "{\"label\":\"junk\",\"points\":[[2,2],[9,3],[9,11]]}");
    labelme_pair(b, "y", "{\"label\":\"cat \",\"points\":[[2,2],[20,3],[9,11]]}");
    packing_refused(b, "L07", "x.json",
                    WORDS("label 'Dog ' (2 shapes) is not in names.txt (did you mean 'dog'?)",
                          "Numbers are never given per file", "--map 'LABEL=CLASS'"));
    assert_int_equal(atr_findings_of_code(b->findings, "L07"), 4);
    packing_expect(b, "L07", ATR_ERROR, "y.json",
                   WORDS("label 'cat ' (1 shape) is", "(blanks around 'cat'?)"));
    b->config.labels = (atr_label_rules){.rename = rename, .rename_count = 4};
    packing_works(b);
    b->config.labels.rename_count = 1;
    packing_refused(b, "L07", "x.json", WORDS("label 'brid'", "did you mean 'bird'?"));
    const atr_label_rename bad = {"brid", "fish"};
    b->config.labels = (atr_label_rules){.rename = &bad, .rename_count = 1};
    assert_int_equal(packing_run(b), ATR_ERR_USAGE);
    assert_non_null(strstr(atr_status_message(), "--map 'brid=fish'"));
}

/* A list that begins with an object would make background of it. */
static void l07_an_object_as_class_0_is_refused(void **state)
{
    packing *b = *state;

    labelme_pair(b, "a", LABELME_CAT);
    scratch_write_text(b->names, "cat\ndog\n");
    packing_refused(b, "L07", "a.json",
                    WORDS("is class 0 of names.txt", "Write _background_ into the first line"));
    scratch_write_text(b->names, "Hintergrund\ncat\n");
    labelme_pair(b, "b", LABELME_CAT ",{\"label\":\"_background_\",\"points\":[[4,4],[9,5],[9,8]]}");
    packing_works(b);
    labelme_pair(b, "b", LABELME_CAT ",{\"label\":\"Hintergrund\",\"points\":[[4,4],[9,5],[9,8]]}");
    packing_refused(b, "L07", "b.json", WORDS("'Hintergrund'", "--map 'LABEL=_background_'"));
    const atr_label_rename meant = {"Hintergrund", "_background_"};
    b->config.labels = (atr_label_rules){.rename = &meant, .rename_count = 1};
    packing_works(b);
}

static void options_about_numbers_have_no_meaning_for_names(void **state)
{
    packing *b = *state;
    const int64_t ignore = 7;

    labelme_pair(b, "a", LABELME_CAT);
    b->config.classes = "4";
    assert_int_equal(packing_run(b), ATR_ERR_USAGE);
    assert_non_null(strstr(atr_status_message(), "--classes must be a file for format labelme"));
    b->config.classes = b->names;
    b->config.labels = (atr_label_rules){.ignore = &ignore, .ignore_count = 1};
    assert_int_equal(packing_run(b), ATR_ERR_USAGE);
    assert_non_null(strstr(atr_status_message(), "--map LABEL=ignore"));
    scratch_write_text(b->names, "_background_\n__ignore__\ncat\n");
    b->config.labels = (atr_label_rules){0};
    assert_int_equal(packing_run(b), ATR_ERR_USAGE);
    assert_non_null(strstr(atr_status_message(), "belongs in the first line"));
}

static void l06_pictures_without_annotation(void **state)
{
    packing *b = *state;

    labelme_pair(b, "a", LABELME_CAT);
    labelme_pair(b, "b", "");
    voc_jpeg(scratch_text("%s/c.jpg", b->folder), 10, 10, 5, 0);
    voc_jpeg(scratch_text("%s/B.jpeg", b->folder), 10, 10, 6, 0);
    voc_jpeg(scratch_text("%s/other name.jpg", b->folder), 30, 30, 7, 0);
    labelme_file(b, "d", "\"imagePath\":\"other name.jpg\"", LABELME_CAT);
    packing_refused(
        b, "L06", NULL,
        WORDS("2 of 5 images have no mask", "first: B; looked for B.json", "1 differ only in case"));
    b->config.missing = ATR_MISSING_SKIP;
    packing_works(b);
    assert_int_equal(b->result.samples, 3);
    b->config.missing = ATR_MISSING_BACKGROUND;
    packing_works(b);
    assert_int_equal(b->result.samples, 5);
    packing_expect(b, "L06", ATR_WARNING, NULL, WORDS("taken as all background"));
}

static void shapes_that_cannot_be_drawn_are_listed(void **state)
{
    packing *b = *state;

    labelme_pair(b, "a",
                 LABELME_CAT
                 ",{\"label\":\"cat\",\"points\":[[1,1],[2,2]]},"
                 "{\"label\":\"cat\",\"points\":[[1,1],[1e300,2],[3,3]]},"
                 "{\"label\":\"cat\",\"points\":[[1,1],[\"x\",2],[3,3]]},"
                 "{\"label\":\"cat\",\"points\":[[1,1],[2],[3,3]]},"
                 "{\"label\":\"cat\",\"points\":{}},{\"label\":\"cat\"},{\"points\":[]},7,null,"
                 "{\"label\":\"cat\",\"points\":[[1,1]],\"shape_type\":\"cube\"},"
                 "{\"label\":\"cat\",\"points\":[[1,1],[2,2]],\"shape_type\":\"mask\"},"
                 "{\"label\":\"cat\",\"points\":[[1,1],[2,2]],\"shape_type\":\"mask\",\"mask\":\"aGVsbG8=\"},"
                 "{\"label\":\"cat\",\"points\":[[1,1],[2,2]],\"shape_type\":\"mask\",\"mask\":\"!\"},"
                 "{\"label\":\"cat\",\"points\":[[1,1],[2,2],[3,3]],\"shape_type\":\"rectangle\"}");
    packing_refused(b, "F01", "a.json",
                    WORDS("14 of 15 shapes cannot be drawn (shape 2 ('cat'): a polygon has 3"));
    const atr_finding *finding = packing_expect(b, "F01", ATR_ERROR, "a.json", WORDS("background"));
    assert_int_equal(finding->item_count, 13);
    assert_non_null(strstr(finding->items[0], "shape 3 ('cat'): point 2 lies at 1e+300"));
    assert_non_null(strstr(finding->items[8], "'cube' is not known"));
    assert_non_null(strstr(finding->items[10], "its mask: neither PNG nor JPEG"));
    assert_non_null(strstr(finding->items[11], "its mask: no base64: '!'"));
    assert_non_null(strstr(finding->items[12], "a rectangle has 2 points"));
}

static void what_is_no_json_is_a_message(void **state)
{
    packing *b = *state;
    char *deep = malloc(100001);

    assert_non_null(deep);
    memset(deep, '[', 100000);
    deep[100000] = '\0';
    labelme_pair(b, "good", LABELME_CAT);
    scratch_write_text(scratch_text("%s/a.json", b->folder), "{\"imagePath\":\"good.jpg\",\"shapes\":[{");
    scratch_write_text(scratch_text("%s/b.json", b->folder), "{\"imagePath\":\"x\",\"shapes\":[NaN]}");
    scratch_write_text(scratch_text("%s/c.json", b->folder), deep);
    scratch_write_text(scratch_text("%s/d.json", b->folder), "");
    scratch_write_text(scratch_text("%s/e.json", b->folder), "{\"imagePath\":\"\xB0\xA1\",\"shapes\":[]}");
    scratch_write_text(scratch_text("%s/f.json", b->folder),
                       "{\"imagePath\":\"good.jpg\",\"shapes\":[1e999]}");
    packing_refused(b, "F01", "a.json", WORDS("no JSON: line 1"));
    packing_expect(b, "F01", ATR_ERROR, "b.json", WORDS("NaN"));
    packing_expect(b, "F01", ATR_ERROR, "c.json", WORDS("no JSON", "depth"));
    packing_expect(b, "F01", ATR_ERROR, "d.json", WORDS("no JSON"));
    packing_expect(b, "F01", ATR_ERROR, "e.json", WORDS("no JSON"));
    packing_expect(b, "F01", ATR_ERROR, "f.json", WORDS("no JSON"));
    free(deep);
}

static void must(atr_status status)
{
    if (status != ATR_OK)
        fail_msg("%s", atr_status_message());
}

/* The damaged file of the fuzzing below: where it goes, and what reads it. */
static packing *fuzzed;

/* Everything that pack does with such a file, without writing: 1 where something was said against it. */
static int read_damaged(const void *bytes, size_t size)
{
    const atr_label_rules rules = {0};
    const atr_source_picture picture = {LABELME_WIDTH, LABELME_HEIGHT};
    atr_class_list classes;
    atr_split_rule *rule = NULL;
    atr_findings *findings = NULL;
    atr_source source;
    void *image = NULL;
    size_t image_size = 0;

    must(atr_class_list_read(fuzzed->names, &classes));
    must(atr_split_rule_create("1:0", NULL, 1, &rule));
    must(atr_findings_create(&findings));
    const atr_source_config config = {.folder = fuzzed->folder,
                                      .format = "labelme",
                                      .rule = rule,
                                      .classes = &classes,
                                      .classes_file = "names.txt",
                                      .rules = &rules,
                                      .threads = 1};
    remove(scratch_text("%s/a.json",
                        fuzzed->folder)); /* written over, some file systems would sync it each time */
    scratch_write(scratch_text("%s/a.json", fuzzed->folder), bytes, size);
    must(atr_source_scan(&config, findings, &source));
    bool faulty = false;
    for (int64_t i = 0; i < source.count; i++) {
        atr_source_labels labels, again;
        void *kept = NULL;
        faulty |= atr_source_image(&source, i, &kept, &image, &image_size) != ATR_OK;
        must(atr_source_read(&source, i, kept, &picture, findings, &labels));
        assert_true(labels.good || atr_findings_count(findings) > 0);
        must(atr_source_read(&source, i, NULL, &picture, findings, &again)); /* from the file */
        assert_true(labels.good == again.good && (labels.mask.values == NULL) == (again.mask.values == NULL));
        if (labels.mask.values != NULL)
            assert_memory_equal(labels.mask.values, again.mask.values,
                                LABELME_WIDTH * LABELME_HEIGHT * sizeof *again.mask.values);
        atr_source_forget(&source, kept);
        atr_mask_free(&labels.mask);
        atr_mask_free(&again.mask);
        atr_free(image);
        image = NULL;
    }
    faulty |= atr_findings_count(findings) > 0;
    atr_source_free(&source);
    atr_findings_destroy(findings);
    atr_split_rule_destroy(rule);
    atr_class_list_free(&classes);
    return faulty;
}

static void damaged_files_are_messages(void **state)
{
    packing *b = *state;
    size_t size = 0;

    fuzzed = b;
    labelme_pair(b, "z", LABELME_CAT);
    labelme_pair(
        b, "a",
        "{\"label\":\"cat\",\"points\":[[1.5,1.2],[22.9,2.4],[20,12.6],[3,11]],\"shape_type\":\"polygon\"},"
        "{\"label\":\"cat\",\"points\":[[3,8],[8,11]],\"shape_type\":\"mask\",\"mask\":"
        "\"iVBORw0KGgoAAAANSUhEUgAAAAYAAAAECAAAAACIbxGfAAAAGklEQVR4nAXBAQEAAAjDIGb/"
        "zhfK4sxAdCUePYcDCmGKq+sAAAAASUVORK5CYII=\"},"
        "{\"label\":\"dog\",\"points\":[[-3,3],[8,9],[14,2.5]],\"shape_type\":\"linestrip\"},"
        "{\"label\":\"bird\",\"points\":[[8.5,6.5],[11,7]],\"shape_type\":\"circle\",\"group_id\":1}");
    uint8_t *bytes = scratch_read(scratch_text("%s/a.json", b->folder), &size);
    const int first = picture_damage(bytes, size, 5, read_damaged);
    free(bytes);
    labelme_embedded(b, "a", 13, 9, 0, "");
    bytes = scratch_read(scratch_text("%s/a.json", b->folder), &size);
    const int then = picture_damage(bytes, size, 6, read_damaged);
    free(bytes);
    assert_true(first >= 500 && then >= 500); /* every cut at least */
}

#define CASE(f) cmocka_unit_test_setup_teardown(f, packing_open, packing_close)

int main(void)
{
    const struct CMUnitTest tests[] = {
        CASE(only_paths_near_the_set_are_followed),
        CASE(l05_the_stated_size_must_be_the_pictures),
        CASE(l07_labels_must_be_in_the_list),
        CASE(l07_an_object_as_class_0_is_refused),
        CASE(options_about_numbers_have_no_meaning_for_names),
        CASE(l06_pictures_without_annotation),
        CASE(shapes_that_cannot_be_drawn_are_listed),
        CASE(what_is_no_json_is_a_message),
        CASE(damaged_files_are_messages),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
