#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "tests/support/packing.h"
#include "tests/support/scratch.h"
#include "tests/support/voc.h"

/* Tables of colours, and VOC sets whose masks are colours. The bench's classes are _background_, cat, dog, bird. */

static void must(atr_status status)
{
    if (status != ATR_OK)
        fail_msg("%s", atr_status_message());
}

static void refuses(const char *text, const atr_class_list *classes, const char *path, const char *words)
{
    atr_colour_table table;

    scratch_write_text(path, text);
    assert_int_equal(atr_colour_table_read(path, classes, &table), ATR_ERR_USAGE);
    assert_null(table.rows);
    if (strstr(atr_status_message(), words) == NULL)
        fail_msg("'%s' lacks '%s'", atr_status_message(), words);
}

static void tables_are_read_in_either_order(void **state)
{
    packing *p = *state;
    const char *path = scratch_text("%s/colours.csv", p->root);
    atr_class_list classes;
    atr_colour_table table;

    scratch_write_text(p->names, "background\nleaf\npotted plant\n3\n");
    must(atr_class_list_read(p->names, &classes));
    scratch_write_text(
        path, "\xEF\xBB\xBFname,r,g,b\r\n# the sky too\r\nbackground,0,0,0\r\n135 206 235 _background_\n\n"
              "0,255,0, leaf\npotted plant;10;20;30\n255\t255\t255\tignore\n9, 9, 9, 2\n");
    must(atr_colour_table_read(path, &classes, &table));
    assert_int_equal(table.count, 6);
    const int64_t ids[6] = {0, 0, 1, 2, ATR_IGNORE, 2};
    for (int i = 0; i < 6; i++)
        assert_int_equal(table.rows[i].id, ids[i]);
    assert_memory_equal(table.rows[1].rgb, ((uint8_t[]){135, 206, 235}), 3);
    assert_memory_equal(table.rows[3].rgb, ((uint8_t[]){10, 20, 30}), 3);
    atr_colour_table_free(&table);
    refuses("0,0,0 background\n0,255,0 laef\n", &classes, path,
            "line 2: 'laef' is no class (did you mean 'leaf'?)");
    refuses("0,0,0 background\n0,0,0 leaf\n", &classes, path, "colour 0,0,0 stands there twice");
    refuses("0,0,0 background\n0,256,0 leaf\n", &classes, path, "line 2: no colour and class");
    refuses("name,r,g,b\n", &classes, path, "no colours");
    refuses("", &classes, path, "no colours");
    atr_class_list_free(&classes);
}

/* Three bands of colours on 12x6 pixels; the middle column of each border is `edge`. */
static void colour_mask(const char *path, const uint8_t edge[3])
{
    static const uint8_t bands[3][3] = {{0, 0, 0}, {0, 255, 0}, {200, 0, 100}};
    atr_image image = {12, 6, 3, NULL};
    void *bytes = NULL;
    size_t size = 0;

    must(ATR_NEW(12 * 6 * 3, &image.pixels));
    for (int i = 0; i < 12 * 6; i++)
        memcpy(image.pixels + 3 * i, i % 12 == 4 ? edge : bands[i % 12 / 4], 3);
    must(atr_png_encode(&image, &bytes, &size));
    scratch_write(path, bytes, size);
    atr_free(bytes);
    atr_image_free(&image);
}

static void l03_colours_become_classes_by_a_table(void **state)
{
    packing *p = *state;
    const char *mask = scratch_text("%s/set/SegmentationClass/a.png", p->root);
    atr_dataset *data = NULL;
    uint8_t *ids = NULL;

    p->config.source = scratch_text("%s/set", p->root);
    voc_jpeg(scratch_text("%s/set/JPEGImages/a.jpg", p->root), 12, 6, 1, 0);
    colour_mask(mask, (const uint8_t[]){0, 255, 0});
    packing_refused(p, "L03", "SegmentationClass/a.png", WORDS("is an RGB mask", "--colors FILE"));
    p->config.colours = scratch_text("%s/colours.txt", p->root);
    scratch_write_text(p->config.colours,
                       "0,0,0 _background_\n0,255,0 cat\n200,0,100 dog\n255,255,255 ignore\n");
    packing_works(p);
    must(atr_dataset_open(p->output, &data));
    must(atr_dataset_read_mask(data, 0, &ids));
    assert_memory_equal(ids, ((uint8_t[]){0, 0, 0, 0, 1, 1, 1, 1, 2, 2, 2, 2}), 12);
    assert_memory_equal(atr_dataset_palette(data)[2], ((uint8_t[]){200, 0, 100}), 3);
    atr_free(ids);
    atr_dataset_close(data);

    colour_mask(mask, (const uint8_t[]){0, 255, 8});
    packing_refused(p, "L03", "SegmentationClass/a.png",
                    WORDS("colour 0,255,8 at (x=4, y=0), 6 px", "nearest is 0,255,0 1 'cat' (distance 8.0)",
                          "--color-tolerance 8"));
    p->config.colour_tolerance = 7;
    packing_refused(p, "L03", NULL, WORDS("colour 0,255,8"));
    p->config.colour_tolerance = 8;
    packing_works(p);
    must(atr_dataset_open(p->output, &data));
    must(atr_dataset_read_mask(data, 0, &ids));
    assert_int_equal(ids[4], 1);
    atr_free(ids);
    atr_dataset_close(data);
}

static void colours_without_meaning_are_refused(void **state)
{
    packing *p = *state;

    labelme_pair(p, "a", LABELME_CAT);
    p->config.colour_tolerance = 5;
    assert_int_equal(packing_run(p), ATR_ERR_USAGE);
    assert_non_null(strstr(atr_status_message(), "--color-tolerance works with --colors"));
    p->config.colours = scratch_text("%s/colours.txt", p->root);
    scratch_write_text(p->config.colours, "0,0,0 _background_\n0,255,0 cat\n");
    assert_int_equal(packing_run(p), ATR_ERR_USAGE);
    assert_non_null(strstr(atr_status_message(), "labels of format labelme are names"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(tables_are_read_in_either_order, packing_open, packing_close),
        cmocka_unit_test_setup_teardown(l03_colours_become_classes_by_a_table, packing_open, packing_close),
        cmocka_unit_test_setup_teardown(colours_without_meaning_are_refused, packing_open, packing_close),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
