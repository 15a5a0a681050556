#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "io/labels.h"
#include "tests/support/scratch.h"

static char *folder;

static int make_folder(void **state)
{
    (void)state;
    folder = scratch_create();
    return 0;
}

static int remove_folder(void **state)
{
    (void)state;
    scratch_remove(folder);
    return 0;
}

static void a_number_makes_that_many_classes(void **state)
{
    (void)state;
    atr_class_list classes;
    char text[192];

    assert_int_equal(atr_class_list_read("11", &classes), ATR_OK);
    assert_int_equal(classes.count, 11);
    assert_string_equal(classes.names[10], "10");
    assert_string_equal(atr_class_text(&classes, 4, text), "4");
    atr_class_list_free(&classes);
    assert_int_equal(atr_class_list_read("0", &classes), ATR_ERR_USAGE);
    assert_int_equal(atr_class_list_read("255", &classes), ATR_ERR_USAGE);
    assert_int_equal(atr_class_list_read("/no/such/file", &classes), ATR_ERR_NOT_FOUND);
}

static void a_class_file_is_read_as_people_write_it(void **state)
{
    (void)state;
    const char *path = scratch_text("%s/classes.txt", folder);
    atr_class_list classes;
    char text[192];

    scratch_write_text(path, "\xEF\xBB\xBF"
                             "background\r\n\r\n  traffic sign \t\r\ncar");
    assert_int_equal(atr_class_list_read(path, &classes), ATR_OK);
    assert_int_equal(classes.count, 3);
    assert_string_equal(classes.names[0], "background");
    assert_string_equal(classes.names[1], "traffic sign");
    assert_string_equal(classes.names[2], "car");
    assert_string_equal(atr_class_text(&classes, 1, text), "1 'traffic sign'");
    atr_class_list_free(&classes);
    scratch_write_text(path, "a\nb\na\n");
    assert_int_equal(atr_class_list_read(path, &classes), ATR_ERR_USAGE);
    assert_non_null(strstr(atr_status_message(), "'a' stands there twice"));
    scratch_write_text(path, "\n\n");
    assert_int_equal(atr_class_list_read(path, &classes), ATR_ERR_USAGE);
    scratch_write(path, "a\0b\n", 4);
    assert_int_equal(atr_class_list_read(path, &classes), ATR_ERR_USAGE);
}

static void rules_say_what_each_value_means(void **state)
{
    (void)state;
    const int64_t ignore[] = {255, 11};
    const atr_label_pair map[] = {{7, 2}, {8, ATR_IGNORE}, {40000, 1}};
    atr_label_map *table = malloc(sizeof *table);
    atr_class_list classes;

    assert_non_null(table);
    assert_int_equal(atr_class_list_read("5", &classes), ATR_OK);
    assert_int_equal(atr_label_map_build(&classes, &(atr_label_rules){0}, table), ATR_OK);
    assert_int_equal(table->id[4], 4);
    assert_int_equal(table->id[5], ATR_LABEL_ODD);
    assert_int_equal(table->id[255], ATR_IGNORE);
    const atr_label_rules rules = {.ignore = ignore, .ignore_count = 2, .map = map, .map_count = 3};
    assert_int_equal(atr_label_map_build(&classes, &rules, table), ATR_OK);
    assert_int_equal(table->id[11], ATR_IGNORE);
    assert_int_equal(table->id[255], ATR_IGNORE);
    assert_int_equal(table->id[7], 2);
    assert_int_equal(table->id[8], ATR_IGNORE);
    assert_int_equal(table->id[40000], 1);
    /* With another value given, 255 is no longer ignored. */
    assert_int_equal(
        atr_label_map_build(&classes, &(atr_label_rules){.ignore = ignore + 1, .ignore_count = 1}, table),
        ATR_OK);
    assert_int_equal(table->id[255], ATR_LABEL_ODD);
    atr_class_list_free(&classes);
    free(table);
}

static void rules_without_meaning_are_refused(void **state)
{
    (void)state;
    const int64_t class_value[] = {3}, large[] = {70000}, usual[] = {255};
    const atr_label_pair beyond[] = {{7, 5}};
    atr_label_map *table = malloc(sizeof *table);
    atr_class_list classes;

    assert_non_null(table);
    assert_int_equal(atr_class_list_read("5", &classes), ATR_OK);
    assert_int_equal(
        atr_label_map_build(&classes, &(atr_label_rules){.ignore = class_value, .ignore_count = 1}, table),
        ATR_ERR_USAGE);
    assert_int_equal(
        atr_label_map_build(&classes, &(atr_label_rules){.ignore = large, .ignore_count = 1}, table),
        ATR_ERR_USAGE);
    assert_int_equal(atr_label_map_build(&classes, &(atr_label_rules){.map = beyond, .map_count = 1}, table),
                     ATR_ERR_USAGE);
    assert_int_equal(atr_label_map_build(&classes, &(atr_label_rules){.binary_255 = true}, table),
                     ATR_ERR_USAGE);
    atr_class_list_free(&classes);
    assert_int_equal(atr_class_list_read("2", &classes), ATR_OK);
    assert_int_equal(
        atr_label_map_build(
            &classes, &(atr_label_rules){.ignore = usual, .ignore_count = 1, .binary_255 = true}, table),
        ATR_ERR_USAGE);
    assert_int_equal(atr_label_map_build(&classes, &(atr_label_rules){.binary_255 = true}, table), ATR_OK);
    assert_int_equal(table->id[255], 1);
    atr_class_list_free(&classes);
    free(table);
}

/* Scans values [height,width] with `classes` classes. */
static atr_label_scan scan(const char *classes_text, int64_t width, int64_t height, uint16_t *values,
                           uint8_t *ids)
{
    const atr_mask mask = {width, height, values};
    atr_label_map *table = malloc(sizeof *table);
    atr_class_list classes;
    atr_label_scan found;

    assert_non_null(table);
    assert_int_equal(atr_class_list_read(classes_text, &classes), ATR_OK);
    assert_int_equal(atr_label_map_build(&classes, &(atr_label_rules){0}, table), ATR_OK);
    assert_int_equal(atr_label_scan_mask(table, &mask, ids, &found), ATR_OK);
    atr_class_list_free(&classes);
    free(table);
    return found;
}

static void every_pixel_is_counted_and_the_first_odd_one_found(void **state)
{
    (void)state;
    uint16_t values[12] = {0, 1, 2, 255, 9, 7, 7, 0, 700, 0, 0, 7};
    uint8_t ids[12];
    const atr_label_scan found = scan("3", 4, 3, values, ids);

    assert_int_equal(found.pixels[0], 4);
    assert_int_equal(found.pixels[1], 1);
    assert_int_equal(found.pixels[2], 1);
    assert_int_equal(found.pixels[255], 1);
    assert_int_equal(found.odd_pixels, 5);
    assert_int_equal(found.odd_values, 3);
    assert_int_equal(found.worst, 7);
    assert_int_equal(found.worst_pixels, 3);
    assert_int_equal(found.worst_x, 1);
    assert_int_equal(found.worst_y, 1);
    assert_true(found.has_255);
    assert_false(found.only_0_255);
    assert_int_equal(ids[2], 2);
    assert_int_equal(ids[5], ATR_IGNORE);
}

static void blended_edges_are_told_from_another_numbering(void **state)
{
    (void)state;
    enum { SIDE = 64 };
    uint16_t ramp[SIDE * SIDE], other[SIDE * SIDE];
    uint8_t ids[SIDE * SIDE];

    for (int i = 0; i < SIDE * SIDE; i++) {
        const int x = i % SIDE;
        /* 0 beside 255 with three values between, as bilinear enlargement leaves them */
        ramp[i] = (uint16_t)(x < 30 ? 0 : x > 32 ? 255 : 64 * (x - 29));
        other[i] = (uint16_t)(x < 20 ? 0 : 10 * (x / 10));
    }
    const atr_label_scan blended = scan("2", SIDE, SIDE, ramp, ids);
    assert_int_equal(blended.odd_values, 3);
    assert_int_equal(blended.odd_between, blended.odd_pixels);
    assert_true(atr_label_scan_blended(&blended));
    const atr_label_scan numbered = scan("2", SIDE, SIDE, other, ids);
    assert_true(numbered.odd_values >= 3);
    assert_false(atr_label_scan_blended(&numbered));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_number_makes_that_many_classes),
        cmocka_unit_test(a_class_file_is_read_as_people_write_it),
        cmocka_unit_test(rules_say_what_each_value_means),
        cmocka_unit_test(rules_without_meaning_are_refused),
        cmocka_unit_test(every_pixel_is_counted_and_the_first_odd_one_found),
        cmocka_unit_test(blended_edges_are_told_from_another_numbering),
    };

    return cmocka_run_group_tests(tests, make_folder, remove_folder);
}
