#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "io/path.h"
#include "tests/support/packing.h"
#include "tests/support/scratch.h"
#include "tests/support/voc.h"

/* What is read of labelme files. The masks that are expected were made by labelme 6.3's shapes_to_label from the same shapes. */

static void must(atr_status status)
{
    if (status != ATR_OK)
        fail_msg("%s", atr_status_message());
}

/* The mask of sample `index` as text: . 1 2 3 for classes, x for ignored. */
static void expect_mask(const char *path, int64_t index, const char *const *rows)
{
    atr_dataset *data = NULL;
    uint8_t *ids = NULL;
    char row[LABELME_WIDTH + 1] = "";

    must(atr_dataset_open(path, &data));
    assert_int_equal(atr_dataset_sample(data, index).width, LABELME_WIDTH);
    assert_int_equal(atr_dataset_sample(data, index).height, LABELME_HEIGHT);
    must(atr_dataset_read_mask(data, index, &ids));
    for (int y = 0; y < LABELME_HEIGHT; y++) {
        for (int x = 0; x < LABELME_WIDTH; x++) {
            const uint8_t id = ids[y * LABELME_WIDTH + x];
            row[x] = id == ATR_IGNORE ? 'x' : ".123"[id & 3];
        }
        if (strcmp(row, rows[y]) != 0)
            fail_msg("row %d: %s instead of %s", y, row, rows[y]);
    }
    atr_free(ids);
    atr_dataset_close(data);
}

static const char hole_scene[] =
    "{\"label\":\"cat\",\"points\":[[1.5,1.2],[22.9,2.4],[20,12.6],[3,11]],\"shape_type\":\"polygon\","
    "\"group_id\":1},"
    "{\"label\":\"_background_\",\"points\":[[8.5,6.5],[11,7]],\"shape_type\":\"circle\",\"group_id\":1},"
    "{\"label\":\"dog\",\"points\":[[23.2,9.9],[15.1,5.3]],\"shape_type\":\"rectangle\",\"group_id\":null},"
    "{\"label\":\"bird\",\"points\":[[19,12]],\"shape_type\":\"point\"},"
    "{\"label\":\"__ignore__\",\"points\":[[0,12],[9,13]],\"shape_type\":\"rectangle\"},"
    "{\"label\":\"cat\",\"points\":[[18,0],[23,0],[20.5,4.9]],\"shape_type\":\"polygon\",\"group_id\":2}";

static const char *const hole_rows[LABELME_HEIGHT] = {
    "..................111111", ".1.................1111.", ".1111111111111111111111.",
    ".111111...1111111111111.", "..1111.....111111111111.", "..111.......111222222222",
    "..111.......111222222222", "..111.......111223333322", "..1111.....1111233333332",
    "...1111...11111333333333", "...111111111113333333333", "...111111111113333333333",
    "xxxxxxxxxx....3333333333", "xxxxxxxxxx....3333333333"};

/* A mask shape's pixels are the alpha of nothing: a PNG of 0 and 1, 6x4. A shape without type is a polygon. */
static const char other_scene[] =
    "{\"label\":\"dog\",\"points\":[[-3,3],[8,9],[14,2.5]],\"shape_type\":\"linestrip\"},"
    "{\"label\":\"bird\",\"points\":[[12,2],[20,5],[18,11],[10,8]],\"shape_type\":\"oriented_rectangle\"},"
    "{\"label\":\"cat\",\"points\":[[3,8],[8,11]],\"shape_type\":\"mask\",\"mask\":"
    "\"iVBORw0KGgoAAAANSUhEUgAAAAYAAAAECAAAAACIbxGfAAAAGklEQVR4nAXBAQEAAAjDIGb/"
    "zhfK4sxAdCUePYcDCmGKq+sAAAAASUVORK5CYII=\"},"
    "{\"label\":\"bird\",\"points\":[[-4,14],[4,13]],\"shape_type\":\"line\",\"flags\":{},\"other\":[]},"
    "{\"label\":\"cat\",\"points\":[[20,8],[23,13],[17,13]],\"shape_type\":null}";

static const char *const other_rows[LABELME_HEIGHT] = {
    "22.......222............", "2222....22222...........", "22222..2222232..........",
    "2222222222223333........", "222222222223333333......", "222222222223333333333...",
    "222222222223333333333...", "22222222223333333333....", "222112111233333333331...",
    "2223222112222333333111..", "33332122122222.3333111..", "333311121.222.....11111.",
    "3333222....2......11111.", "3333..2..........1111111"};

static void every_shape_is_drawn_as_labelme_draws_it(void **state)
{
    packing *b = *state;

    labelme_pair(b, "a", hole_scene);
    labelme_pair(b, "b", other_scene);
    labelme_pair(b, "c", "");
    packing_works(b);
    assert_int_equal(b->result.samples, 3);
    expect_mask(b->output, 0, hole_rows);
    expect_mask(b->output, 1, other_rows);
    atr_dataset *data = NULL;
    must(atr_dataset_open(b->output, &data));
    assert_int_equal(atr_dataset_classes(data)->count, 4); /* __ignore__ is none */
    assert_string_equal(atr_dataset_classes(data)->names[0], "_background_");
    assert_string_equal(atr_dataset_classes(data)->names[3], "bird");
    assert_int_equal(atr_dataset_statistics(data)->images[ATR_SPLIT_TRAIN][1], 2);
    atr_dataset_close(data);
}

static void points_and_four_corners_are_understood(void **state)
{
    packing *b = *state;
    atr_dataset *data = NULL;
    uint8_t *ids = NULL;

    labelme_pair(b, "a",
                 "{\"label\":\"bird\",\"points\":[[2,2],[20,10]],\"shape_type\":\"points\"},"
                 "{\"label\":\"dog\",\"points\":[[8,1],[12,1],[12,4],[8,4]],\"shape_type\":\"rectangle\"}");
    packing_works(b);
    must(atr_dataset_open(b->output, &data));
    must(atr_dataset_read_mask(data, 0, &ids));
    assert_int_equal(ids[2 * LABELME_WIDTH + 2], 3);
    assert_int_equal(ids[10 * LABELME_WIDTH + 20], 3);
    assert_int_equal(atr_dataset_statistics(data)->pixels[ATR_SPLIT_TRAIN][2], 5 * 4);
    atr_free(ids);
    atr_dataset_close(data);
}

static void pictures_are_found_inside_beside_and_next_door(void **state)
{
    packing *b = *state;
    atr_dataset *data = NULL;

    labelme_embedded(b, "inside", 31, 17, 0, "\"imageHeight\":17,\"imageWidth\":31,");
    labelme_pair(b, "sub/beside", LABELME_CAT);
    voc_jpeg(scratch_text("%s/pictures/Far Away.JPG", b->root), 40, 20, 3, 0);
    labelme_file(b, "next", "\"imagePath\":\"..\\\\pictures\\\\Far Away.JPG\",\"imageData\":null",
                 LABELME_CAT);
    labelme_file(b, "sub/deep", "\"imagePath\":\"../../pictures/./Far Away.JPG\"", LABELME_CAT);
    voc_png(scratch_text("%s/moved picture.png", b->folder), 19, 23, 4);
    labelme_file(b, "moved", "\"imagePath\":\"C:\\\\Users\\\\me\\\\moved picture.png\"", LABELME_CAT);
    packing_works(b);
    must(atr_dataset_open(b->output, &data));
    assert_int_equal(atr_dataset_count(data), 5);
    assert_string_equal(atr_dataset_sample(data, 0).name, "inside");
    assert_int_equal(atr_dataset_sample(data, 0).width, 31);
    assert_string_equal(atr_dataset_sample(data, 1).name, "moved");
    assert_int_equal(atr_dataset_sample(data, 1).height, 23);
    assert_string_equal(atr_dataset_sample(data, 2).name, "next");
    assert_int_equal(atr_dataset_sample(data, 2).width, 40);
    assert_string_equal(atr_dataset_sample(data, 3).name, "sub/beside");
    assert_string_equal(atr_dataset_sample(data, 4).name, "sub/deep");
    must(atr_dataset_verify(data, 2, NULL, b->findings));
    assert_int_equal(atr_findings_of_severity(b->findings, ATR_ERROR), 0);
    atr_dataset_close(data);
}

static void photos_are_labelled_as_viewers_turn_them(void **state)
{
    packing *b = *state;
    atr_dataset *data = NULL;
    const char *turned = "\"imagePath\":\"a.jpg\",\"imageHeight\":24,\"imageWidth\":14";

    voc_jpeg(scratch_text("%s/a.jpg", b->folder), LABELME_WIDTH, LABELME_HEIGHT, 1, 6);
    labelme_file(b, "a", turned,
                 "{\"label\":\"dog\",\"points\":[[0,20],[3,23]],\"shape_type\":\"rectangle\"}");
    packing_works(b);
    must(atr_dataset_open(b->output, &data));
    assert_int_equal(atr_dataset_sample(data, 0).width, LABELME_HEIGHT);
    assert_int_equal(atr_dataset_sample(data, 0).height, LABELME_WIDTH);
    uint8_t *ids = NULL;
    must(atr_dataset_read_mask(data, 0, &ids));
    assert_int_equal(ids[23 * LABELME_HEIGHT + 3], 2);
    atr_free(ids);
    atr_dataset_close(data);
    b->config.exif = ATR_EXIF_IGNORE;
    packing_refused(b, "L05", "a.jpg", WORDS("annotation 14x24", "With --exif=apply"));
    b->config.exif = ATR_EXIF_ASK;
    labelme_file(b, "a", "\"imagePath\":\"a.jpg\",\"imageHeight\":14,\"imageWidth\":24", LABELME_CAT);
    packing_refused(b, "L05", "a.jpg",
                    WORDS("image 24x14, annotation 24x14", "With --exif=ignore the pair fits"));
    b->config.exif = ATR_EXIF_IGNORE;
    packing_works(b);
}

/* labelme turns a picture before it stores it; where that is not so, somebody else wrote the file. */
static void a_turned_picture_inside_is_asked_about(void **state)
{
    packing *b = *state;

    labelme_embedded(b, "a", LABELME_WIDTH, LABELME_HEIGHT, 6, "");
    packing_refused(b, "L05", "a.json",
                    WORDS("annotation without a size", "EXIF orientation 6", "does not tell"));
    labelme_embedded(b, "a", LABELME_WIDTH, LABELME_HEIGHT, 6, "\"imageHeight\":14,\"imageWidth\":24,");
    packing_refused(b, "L05", "a.json", WORDS("With --exif=ignore the pair fits"));
    b->config.exif = ATR_EXIF_IGNORE;
    packing_works(b);
}

static void lists_and_groups_divide(void **state)
{
    packing *b = *state;

    for (int i = 0; i < 12; i++)
        labelme_pair(b, scratch_text("s%d_tile%d", i / 4, i % 4), LABELME_CAT);
    b->config.split = NULL;
    assert_int_equal(packing_run(b), ATR_ERR_USAGE);
    assert_non_null(strstr(atr_status_message(), "--split 0.9:0.1"));
    scratch_write_text(scratch_text("%s/train.txt", b->folder), "s0_tile0\ns0_tile1.jpg\nnobody\n");
    scratch_write_text(scratch_text("%s/val.txt", b->folder), "s1_tile0\n");
    packing_refused(b, "F03", "train.txt", WORDS("1 of 3 names have no picture (first: 'nobody'"));
    scratch_write_text(scratch_text("%s/train.txt", b->folder), "s0_tile0\ns0_tile1.jpg\n");
    packing_works(b);
    assert_int_equal(b->result.members[ATR_SPLIT_TRAIN], 2);
    assert_int_equal(b->result.members[ATR_SPLIT_VAL], 1);
    assert_int_equal(b->result.unlisted, 9);
    b->config.split = "0.5:0.5";
    b->config.group_regex = "(.*)_tile";
    packing_works(b);
    assert_int_equal(b->result.members[ATR_SPLIT_VAL] % 4, 0);
    assert_int_equal(b->result.samples, 12);
}

static void other_json_is_left_out_and_said(void **state)
{
    packing *b = *state;

    labelme_pair(b, "a", LABELME_CAT);
    scratch_write_text(scratch_text("%s/coco.json", b->folder), "{\"images\":[],\"annotations\":[]}");
    scratch_write_text(scratch_text("%s/out.h5.report.json", b->folder), "{\"errors\":0}");
    packing_works(b);
    assert_int_equal(b->result.samples, 1);
    packing_expect(b, "F01", ATR_WARNING, "",
                   WORDS("1 JSON files are no labelme annotations", "first: coco.json"));
}

static void the_format_is_told_by_the_folder(void **state)
{
    packing *b = *state;

    b->config.source = b->root; /* one level above */
    labelme_pair(b, "a", LABELME_CAT);
    packing_works(b);
    assert_int_equal(b->result.samples, 1);
    b->config.source = b->folder;
    b->config.format = "lableme";
    assert_int_equal(packing_run(b), ATR_ERR_USAGE);
    assert_non_null(strstr(atr_status_message(), "did you mean labelme?"));
    b->config.format = "voc";
    assert_int_equal(packing_run(b), ATR_ERR_NOT_FOUND);
    voc_pair(b->folder, "v", 20, 20, 1, 1); /* a converted set beside the files it was made of */
    b->config.format = NULL;
    packing_works(b);
    atr_dataset *data = NULL;
    must(atr_dataset_open(b->output, &data));
    assert_string_equal(atr_dataset_sample(data, 0).name, "v");
    atr_dataset_close(data);
}

static void written_as_voc_it_is_the_same_set(void **state)
{
    packing *b = *state;
    atr_dataset *before = NULL, *after = NULL;
    char *voc = strdup(scratch_text("%s/voc", b->root)),
         *list = strdup(scratch_text("%s/voc/classes.txt", b->root));

    labelme_pair(b, "a", hole_scene);
    labelme_pair(b, "sub/b", other_scene);
    labelme_embedded(b, "c", 31, 17, 0, "");
    voc_jpeg(scratch_text("%s/d.jpg", b->folder), LABELME_WIDTH, LABELME_HEIGHT, 1, 6);
    labelme_file(b, "d", "\"imagePath\":\"d.jpg\"", LABELME_CAT);
    b->config.to_voc = voc;
    b->config.split = "0.5:0.5";
    packing_works(b);
    must(atr_dataset_open(b->output, &before));
    b->config.force = false;
    b->config.output = NULL;
    assert_int_equal(packing_run(b), ATR_ERR_USAGE);
    assert_non_null(strstr(atr_status_message(), "not empty"));

    b->config = (atr_pack_config){
        .source = voc, .classes = list, .output = scratch_text("%s/voc.h5", b->root), .threads = 1};
    packing_works(b);
    must(atr_dataset_open(b->config.output, &after));
    assert_int_equal(atr_dataset_count(after), 4);
    for (int64_t i = 0; i < 4; i++) {
        const atr_sample x = atr_dataset_sample(before, i), y = atr_dataset_sample(after, i);
        uint8_t *p = NULL, *q = NULL;
        assert_string_equal(x.name, y.name);
        assert_int_equal(x.splits, y.splits);
        assert_true(x.width == y.width && x.height == y.height);
        must(atr_dataset_read_mask(before, i, &p));
        must(atr_dataset_read_mask(after, i, &q));
        assert_memory_equal(p, q, (size_t)(x.width * x.height));
        atr_free(p);
        atr_free(q);
    }
    assert_string_equal(atr_dataset_classes(after)->names[1], "cat");
    atr_dataset_close(before);
    atr_dataset_close(after);
    free(voc);
    free(list);
}

#define CASE(f) cmocka_unit_test_setup_teardown(f, packing_open, packing_close)

int main(void)
{
    const struct CMUnitTest tests[] = {
        CASE(every_shape_is_drawn_as_labelme_draws_it),
        CASE(points_and_four_corners_are_understood),
        CASE(pictures_are_found_inside_beside_and_next_door),
        CASE(photos_are_labelled_as_viewers_turn_them),
        CASE(a_turned_picture_inside_is_asked_about),
        CASE(lists_and_groups_divide),
        CASE(other_json_is_left_out_and_said),
        CASE(the_format_is_told_by_the_folder),
        CASE(written_as_voc_it_is_the_same_set),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
