#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "io/loader.h"
#include "io/pack.h"
#include "io/path.h"
#include "tests/support/scratch.h"
#include "tests/support/voc.h"

enum { TRAIN = 9, VAL = 4, SAMPLES = TRAIN + VAL };

static char *folder;

static void must(atr_status status)
{
    if (status != ATR_OK)
        fail_msg("%s", atr_status_message());
}

static atr_status pack(const char *source, const char *output, const char *classes, int64_t shards,
                       int64_t bytes, bool force, atr_pack_result *result)
{
    atr_findings *findings = NULL;
    const atr_pack_config config = {.source = source,
                                    .output = output,
                                    .classes = classes,
                                    .shards = shards,
                                    .shard_bytes = bytes,
                                    .force = force,
                                    .threads = 2};

    must(atr_findings_create(&findings));
    const atr_status status = atr_pack(&config, NULL, findings, result);
    atr_findings_destroy(findings);
    return status;
}

static const char *in_folder(const char *name)
{
    return scratch_text("%s/%s", folder, name);
}

static int make_data(void **state)
{
    atr_pack_result result;

    (void)state;
    folder = scratch_create();
    voc_make(folder, TRAIN, VAL);
    must(pack(folder, in_folder("one.h5"), "3", 0, 0, false, &result));
    assert_int_equal(result.shards, 0);
    must(pack(folder, in_folder("part.h5"), "3", 3, 0, false, &result));
    assert_int_equal(result.shards, 3);
    return 0;
}

static int remove_folder(void **state)
{
    (void)state;
    scratch_remove(folder);
    return 0;
}

static const char *shard(int number)
{
    return scratch_text("%s/part-%05d-of-00003.h5", folder, number);
}

static void same_sample(const atr_dataset *a, const atr_dataset *b, int64_t i)
{
    const atr_sample x = atr_dataset_sample(a, i), y = atr_dataset_sample(b, i);
    void *left = NULL, *right = NULL;
    uint8_t *left_ids = NULL, *right_ids = NULL;
    size_t left_size = 0, right_size = 0;

    assert_string_equal(x.name, y.name);
    assert_true(x.width == y.width && x.height == y.height && x.splits == y.splits && x.content == y.content);
    must(atr_dataset_read_file(a, i, &left, &left_size));
    must(atr_dataset_read_file(b, i, &right, &right_size));
    assert_int_equal(left_size, right_size);
    assert_memory_equal(left, right, left_size);
    must(atr_dataset_read_mask(a, i, &left_ids));
    must(atr_dataset_read_mask(b, i, &right_ids));
    assert_memory_equal(left_ids, right_ids, (size_t)(x.width * x.height));
    atr_free(left);
    atr_free(right);
    atr_free(left_ids);
    atr_free(right_ids);
}

static void same_data(const atr_dataset *a, const atr_dataset *b)
{
    const atr_dataset_stats *const x = atr_dataset_statistics(a), *const y = atr_dataset_statistics(b);

    assert_true(atr_dataset_fingerprint(a) == atr_dataset_fingerprint(b));
    assert_int_equal(atr_dataset_count(a), atr_dataset_count(b));
    for (int64_t i = 0; i < atr_dataset_count(a); i++)
        same_sample(a, b, i);
    assert_memory_equal(x->pixels, y->pixels, sizeof x->pixels);
    assert_memory_equal(x->images, y->images, sizeof x->images);
    assert_memory_equal(x->area, y->area, sizeof x->area);
    for (int c = 0; c < 3; c++) {
        assert_true(fabs(x->mean[c] - y->mean[c]) < 1e-9);
        assert_true(fabs(x->std[c] - y->std[c]) < 1e-9);
    }
}

/* In whatever order the files are named, and by whatever kind of name. */
static void shards_are_the_data_set_in_one_file(void **state)
{
    (void)state;
    const char *const names[][3] = {
        {"part-00001-of-00003.h5", "part-00002-of-00003.h5", "part-00003-of-00003.h5"},
        {"part-00003-of-00003.h5", "part-00001-of-00003.h5", "part-00002-of-00003.h5"},
        {"part-*.h5"},
        {"part-0000[12]*.h5", "part-00003-of-00003.h5"},
        {"parts.txt"},
        {"a folder"}};
    atr_dataset *one = NULL, *parts = NULL;

    scratch_write_text(in_folder("parts.txt"),
                       "# all three\n\n  part-00002-of-00003.h5 \r\npart-0000[13]-of-00003.h5\n");
    for (int k = 1; k <= 3; k++) {
        size_t size = 0;
        uint8_t *bytes = scratch_read(shard(k), &size);
        char copy[512];
        snprintf(copy, sizeof copy, "%s/a folder/part %d.h5", folder, k);
        scratch_folders_above(copy);
        scratch_write(copy, bytes, size);
        free(bytes);
    }
    must(atr_dataset_open(in_folder("one.h5"), &one));
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        char *paths[3] = {NULL};
        int count = 0;
        for (; count < 3 && names[i][count] != NULL; count++)
            must(atr_strdup(in_folder(names[i][count]), &paths[count]));
        must(atr_dataset_open_all((const char *const *)paths, count, &parts));
        assert_int_equal(atr_dataset_file_count(parts), 3);
        assert_null(atr_dataset_gap(parts));
        same_data(one, parts);
        atr_dataset_close(parts);
        for (int k = 0; k < count; k++)
            atr_free(paths[k]);
    }
    atr_dataset_close(one);
}

static void each_shard_is_a_sound_data_set(void **state)
{
    int64_t total = 0;

    (void)state;
    for (int k = 1; k <= 3; k++) {
        atr_findings *findings = NULL;
        atr_dataset *data = NULL;
        must(atr_findings_create(&findings));
        must(atr_dataset_open(shard(k), &data));
        must(atr_dataset_verify(data, 2, NULL, findings)); /* F05 where its own counts are wrong */
        assert_int_equal(atr_findings_count(findings), 0);
        assert_in_range(atr_dataset_count(data), 2, 8);
        assert_non_null(strstr(atr_dataset_gap(data), "3 files; 1 of them is here"));
        total += atr_dataset_count(data);
        atr_dataset_close(data);
        atr_findings_destroy(findings);
    }
    assert_int_equal(total, SAMPLES);
}

static void a_missing_shard_is_named(void **state)
{
    char *paths[2] = {NULL};
    atr_dataset *data = NULL;

    (void)state;
    must(atr_strdup(shard(1), &paths[0]));
    must(atr_strdup(shard(3), &paths[1]));
    must(atr_dataset_open_all((const char *const *)paths, 2, &data));
    assert_non_null(strstr(atr_dataset_gap(data), "2 of them are here, number 2 is missing"));
    atr_dataset_close(data);
    atr_free(paths[0]);
    atr_free(paths[1]);
}

/* The loader's batches: same samples in the same order with the same pixels. */
static void training_sees_the_same_batches(void **state)
{
    atr_dataset *data[2] = {NULL};
    atr_loader *loader[2] = {NULL};
    atr_loader_config config = {.split = ATR_SPLIT_TRAIN,
                                .mode = ATR_LOADER_TRAIN,
                                .global_batch = 4,
                                .ranks = 1,
                                .seed = 3,
                                .height = 24,
                                .width = 32,
                                .scale = {1, 1, 1},
                                .threads = 2,
                                .prefetch = 2};

    (void)state;
    atr_augment_defaults(&config.augment);
    must(atr_dataset_open(in_folder("one.h5"), &data[0]));
    must(atr_dataset_open(in_folder("part-*.h5"), &data[1]));
    for (int i = 0; i < 2; i++)
        must(atr_loader_create(data[i], &config, &loader[i]));
    for (int step = 0; step < 6; step++) {
        atr_batch a, b;
        must(atr_loader_next(loader[0], &a));
        must(atr_loader_next(loader[1], &b));
        const size_t count = (size_t)a.count; /* an epoch's last batch is shorter */
        assert_in_range(count, 1, 4);
        assert_int_equal(a.count, b.count);
        assert_memory_equal(a.samples, b.samples, count * sizeof *a.samples);
        assert_memory_equal(a.keys, b.keys, count * sizeof *a.keys);
        assert_memory_equal(a.images, b.images, count * 24 * 32 * 3 * sizeof *a.images);
        assert_memory_equal(a.labels, b.labels, count * 24 * 32);
    }
    for (int i = 0; i < 2; i++) {
        atr_loader_destroy(loader[i]);
        atr_dataset_close(data[i]);
    }
}

static void expect_refused(const char *first, const char *other, const char *const *words)
{
    const char *const names[2] = {first, other};
    atr_dataset *data = NULL;

    assert_int_equal(atr_dataset_open_all(names, 2, &data), ATR_ERR_DATA);
    assert_null(data);
    assert_non_null(strstr(atr_status_message(), "P03"));
    assert_non_null(strstr(atr_status_message(), first));
    assert_non_null(strstr(atr_status_message(), other));
    for (; *words != NULL; words++)
        if (strstr(atr_status_message(), *words) == NULL)
            fail_msg("'%s' does not say '%s'", atr_status_message(), *words);
}

#define WORDS(...) ((const char *const[]){__VA_ARGS__, NULL})

static void what_cannot_be_one_data_set_is_refused_with_both_names(void **state)
{
    char *one = NULL, *other = NULL, *source = NULL;
    atr_pack_result result;

    (void)state;
    must(atr_strdup(in_folder("one.h5"), &one));
    must(atr_strdup(in_folder("other.h5"), &other));
    must(atr_strdup(in_folder("second"), &source));
    for (int i = 0; i < 4; i++)
        voc_pair(source, scratch_text("s%03d", i), 30, 20, 100 + (uint64_t)i, 1);
    voc_list(source, "train", "s000\ns001\ns002\ns003\n");

    must(pack(source, other, "4", 0, 0, true, &result));
    expect_refused(one, other, WORDS("3 classes, and 4"));
    scratch_write_text(in_folder("names.txt"), "background\ncat\ndog\n");
    must(pack(source, other, in_folder("names.txt"), 0, 0, true, &result));
    expect_refused(one, other, WORDS("class 0 is '0', and 'background'"));
    expect_refused(one, in_folder("part-00002-of-00003.h5"),
                   WORDS("both hold a sample '", "the same picture"));

    /* The same names for other pictures. */
    voc_pair(source, "t001", 30, 20, 999, 1);
    voc_list(source, "train", "t001\ns001\ns002\ns003\n");
    must(pack(source, other, "3", 0, 0, true, &result));
    expect_refused(one, other, WORDS("both hold a sample 't001'", "different pictures"));
    atr_free(one);
    atr_free(other);
    atr_free(source);
}

/* Messages name what the user named, not the copy near the ranks that is read in its place. */
static void copies_are_refused_by_the_names_of_their_sources(void **state)
{
    char *copies[2] = {NULL}, *part = NULL;
    atr_dataset *data = NULL;

    (void)state;
    must(atr_strdup(in_folder("one.h5"), &copies[0]));
    must(atr_strdup(in_folder("other.h5"), &copies[1]));
    must(atr_strdup(in_folder("part-00002-of-00003.h5"), &part));
    const atr_dataset_file twice[2] = {{copies[0], "first source.h5"}, {part, "second source.h5"}},
                           differ[2] = {{copies[0], "first source.h5"}, {copies[1], "second source.h5"}},
                           gap = {part, "second source.h5"};
    assert_int_equal(atr_dataset_open_files(twice, 2, &data), ATR_ERR_DATA);
    assert_non_null(strstr(atr_status_message(), "P03: first source.h5 and second source.h5 cannot be"));
    assert_int_equal(atr_dataset_open_files(differ, 2, &data), ATR_ERR_DATA);
    assert_non_null(strstr(atr_status_message(), "P03: first source.h5 and second source.h5 cannot be"));
    must(atr_dataset_open_files(&gap, 1, &data));
    assert_non_null(strstr(atr_dataset_gap(data), "P03: second source.h5 was packed as 2 of 3 files"));
    atr_dataset_close(data);
    atr_free(copies[0]);
    atr_free(copies[1]);
    atr_free(part);
}

/* Packed apart, read together. */
static void data_sets_packed_apart_are_read_as_one(void **state)
{
    char *paths[2] = {NULL}, *source = NULL;
    atr_pack_result result;
    atr_dataset *data = NULL;
    const int64_t *members = NULL;

    (void)state;
    must(atr_strdup(in_folder("one.h5"), &paths[0]));
    must(atr_strdup(in_folder("third.h5"), &paths[1]));
    must(atr_strdup(in_folder("more"), &source));
    for (int i = 0; i < 4; i++)
        voc_pair(source, scratch_text("s%03d", i), 30, 20, 100 + (uint64_t)i, 1);
    voc_list(source, "train", "s000\ns001\ns002\ns003\n");
    must(pack(source, paths[1], "3", 0, 0, false, &result));
    must(atr_dataset_open_all((const char *const *)paths, 2, &data));
    assert_int_equal(atr_dataset_count(data), SAMPLES + 4);
    assert_int_equal(atr_dataset_split(data, ATR_SPLIT_TRAIN, &members), TRAIN + 4);
    assert_string_equal(atr_dataset_sample(data, 0).name, "s000");
    assert_string_equal(atr_dataset_sample(data, 4).name, "t000");
    assert_null(atr_dataset_gap(data));
    atr_dataset_close(data);
    atr_free(paths[0]);
    atr_free(paths[1]);
    atr_free(source);
}

static void names_that_mean_no_file_are_said(void **state)
{
    atr_dataset *data = NULL;

    (void)state;
    assert_int_equal(atr_dataset_open(in_folder("nothing-*.h5"), &data), ATR_ERR_NOT_FOUND);
    assert_non_null(strstr(atr_status_message(), "nothing-*.h5"));
    assert_int_equal(atr_dataset_open(in_folder("ImageSets"), &data), ATR_ERR_NOT_FOUND);
    assert_int_equal(atr_dataset_open(in_folder("none.txt"), &data), ATR_ERR_NOT_FOUND);
    scratch_write_text(in_folder("empty.txt"), "# nothing\n");
    assert_int_equal(atr_dataset_open(in_folder("empty.txt"), &data), ATR_ERR_NOT_FOUND);
    scratch_write_text(in_folder("wrong.txt"), "one.h5\nnone.h5\n");
    assert_int_equal(atr_dataset_open(in_folder("wrong.txt"), &data), ATR_ERR_NOT_FOUND);
    assert_non_null(strstr(atr_status_message(), "none.h5"));
}

static void shards_are_replaced_with_force_only_and_all_of_them(void **state)
{
    atr_pack_result result;

    (void)state;
    must(pack(folder, in_folder("again.h5"), "3", 4, 0, false, &result));
    assert_int_equal(pack(folder, in_folder("again.h5"), "3", 2, 0, false, &result), ATR_ERR_USAGE);
    assert_non_null(strstr(atr_status_message(), "--force"));
    assert_true(atr_path_exists(in_folder("again-00004-of-00004.h5")));
    must(pack(folder, in_folder("again.h5"), "3", 2, 0, true, &result));
    assert_true(atr_path_exists(in_folder("again-00002-of-00002.h5")));
    for (int k = 1; k <= 4; k++)
        assert_false(atr_path_exists(scratch_text("%s/again-%05d-of-00004.h5", folder, k)));
    assert_int_equal(pack(folder, in_folder("toomany.h5"), "3", SAMPLES + 1, 0, false, &result),
                     ATR_ERR_USAGE);
    must(pack(folder, in_folder("toomany.h5"), "3", SAMPLES, 0, false, &result));
    assert_int_equal(pack(folder, in_folder("both.h5"), "3", 2, 1000, false, &result), ATR_ERR_USAGE);
}

static void the_size_of_shards_decides_their_number(void **state)
{
    atr_pack_result whole, result;

    (void)state;
    must(pack(folder, in_folder("big.h5"), "3", 0, 1000000000, false, &whole));
    assert_int_equal(whole.shards, 1);
    must(pack(folder, in_folder("small.h5"), "3", 0, 20000, false, &result));
    assert_in_range(result.shards, 2, SAMPLES);
    must(pack(folder, in_folder("tiny.h5"), "3", 0, 1, false, &result));
    assert_int_equal(result.shards, SAMPLES);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(shards_are_the_data_set_in_one_file),
        cmocka_unit_test(each_shard_is_a_sound_data_set),
        cmocka_unit_test(a_missing_shard_is_named),
        cmocka_unit_test(training_sees_the_same_batches),
        cmocka_unit_test(what_cannot_be_one_data_set_is_refused_with_both_names),
        cmocka_unit_test(copies_are_refused_by_the_names_of_their_sources),
        cmocka_unit_test(data_sets_packed_apart_are_read_as_one),
        cmocka_unit_test(names_that_mean_no_file_are_said),
        cmocka_unit_test(shards_are_replaced_with_force_only_and_all_of_them),
        cmocka_unit_test(the_size_of_shards_decides_their_number),
    };

    return cmocka_run_group_tests(tests, make_data, remove_folder);
}
