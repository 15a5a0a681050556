#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "core/rng.h"
#include "io/h5.h"
#include "io/h5_guard.h"
#include "io/pack.h"
#include "tests/support/scratch.h"
#include "tests/support/voc.h"

static char *folder;
static char path[512], bad[512]; /* a sound data set, and where damaged copies go */

static void must(atr_status status)
{
    if (status != ATR_OK)
        fail_msg("%s", atr_status_message());
}

static int make_data(void **state)
{
    atr_findings *findings = NULL;
    atr_pack_result result;

    (void)state;
    folder = scratch_create();
    snprintf(path, sizeof path, "%s/data.h5", folder);
    snprintf(bad, sizeof bad, "%s/bad.h5", folder);
    voc_make(folder, 5, 3);
    const atr_pack_config config = {.source = folder, .output = path, .classes = "3", .threads = 2};
    must(atr_findings_create(&findings));
    must(atr_pack(&config, NULL, findings, &result));
    atr_findings_destroy(findings);
    return 0;
}

static int remove_folder(void **state)
{
    (void)state;
    scratch_remove(folder);
    return 0;
}

/* Reads every sample: 0 where all of them are as in the sound file, 1 where something was refused. */
static int read_all(const char *file)
{
    atr_dataset *data = NULL;
    int refused = 0;

    if (atr_dataset_open(file, &data) != ATR_OK) {
        assert_true(strlen(atr_status_message()) > 10);
        return 1;
    }
    for (int64_t i = 0; i < atr_dataset_count(data); i++) {
        atr_image image = {0};
        uint8_t *ids = NULL;
        refused |= atr_dataset_read_image(data, i, &image) != ATR_OK;
        refused |= atr_dataset_read_mask(data, i, &ids) != ATR_OK;
        atr_image_free(&image);
        atr_free(ids);
    }
    atr_dataset_close(data);
    return refused;
}

static void what_was_packed_is_sound(void **state)
{
    (void)state;
    atr_findings *findings = NULL;
    atr_dataset *data = NULL;

    assert_int_equal(read_all(path), 0);
    must(atr_findings_create(&findings));
    must(atr_dataset_open(path, &data));
    must(atr_dataset_verify(data, 2, NULL, findings));
    assert_int_equal(atr_findings_count(findings), 0);
    assert_int_equal(atr_dataset_count(data), 8);
    assert_int_equal(atr_dataset_classes(data)->count, 3);
    assert_int_equal(atr_dataset_palette(data)[1][0], 128);
    atr_dataset_close(data);
    atr_findings_destroy(findings);
}

/* 500 cut and 500 bit-flipped copies. A flip may hit a byte that carries nothing; then all content must be unchanged, which the
 * checksums on the way say. */
static void damage_is_always_noticed(void **state)
{
    (void)state;
    const uint64_t key = atr_rng_key(7, ATR_RNG_TEST, 0, 0);
    size_t size = 0;
    uint8_t *bytes = scratch_read(path, &size), *copy = malloc(size);
    int refused = 0;

    assert_non_null(copy);
    for (uint64_t i = 0; i < 1000; i++) {
        size_t keep = size;
        memcpy(copy, bytes, size);
        if (i % 2 == 0)
            keep = atr_rng_below(key, 8 * i, size);
        else
            copy[atr_rng_below(key, 8 * i, size)] ^= (uint8_t)(1u << atr_rng_below(key, 8 * i + 1, 8));
        scratch_write(bad, copy, keep);
        refused += read_all(bad);
    }
    assert_true(refused >= 990);
    free(copy);
    free(bytes);
}

/* Where bytes `name` of the sound file lie. */
static atr_h5_range range_of(const char *name)
{
    atr_h5 *file = NULL;
    int64_t at = 0, length = 0;

    must(atr_h5_open(path, &file));
    must(atr_h5_place(file, name, &at, &length));
    atr_h5_destroy(file);
    return (atr_h5_range){(uint64_t)at, (uint64_t)length};
}

/* Damage under a right seal: what a liar would write. Nothing but the checks of the index and HDF5's own stand then. */
static void lies_in_the_index_never_crash_the_reader(void **state)
{
    (void)state;
    const uint64_t key = atr_rng_key(8, ATR_RNG_TEST, 0, 0);
    const atr_h5_range bulk[2] = {range_of("masks/bytes"), range_of("images/bytes")};
    size_t size = 0;
    int refused = 0;

    assert_true(bulk[0].offset < bulk[1].offset);
    uint8_t *bytes = scratch_read(path, &size), *copy = malloc(size);
    assert_non_null(copy);
    const size_t before = bulk[0].offset - ATR_H5_USER_BLOCK; /* sealed bytes in front of the bulk */
    const size_t after = bulk[1].offset + bulk[1].bytes;      /* where those behind it begin */
    for (uint64_t i = 0; i < 300; i++) {
        memcpy(copy, bytes, size);
        for (uint64_t flips = 0; flips < 1 + i % 3; flips++) {
            const size_t draw = atr_rng_below(key, 8 * i + flips, before + size - after);
            const size_t at = draw < before ? ATR_H5_USER_BLOCK + draw : after + draw - before;
            copy[at] ^= (uint8_t)(1u << atr_rng_below(key, 8 * i + 4 + flips, 8));
        }
        scratch_write(bad, copy, size);
        const bool sealed = atr_h5_seal(bad, bulk, 2) == ATR_OK; /* not over a damaged signature of HDF5 */
        refused += sealed ? read_all(bad) : 1;
    }
    assert_true(refused > 50); /* most hit statistics, which only --verify can judge */
    free(copy);
    free(bytes);
}

static void a_damaged_picture_is_named(void **state)
{
    (void)state;
    atr_findings *findings = NULL;
    atr_dataset *data = NULL;
    size_t size = 0;
    atr_image image = {0};

    uint8_t *bytes = scratch_read(path, &size);
    bytes[range_of("images/bytes").offset + 20] ^= 1; /* in sample 0 */
    scratch_write(bad, bytes, size);
    free(bytes);
    must(atr_dataset_open(bad, &data));
    assert_int_equal(atr_dataset_read_image(data, 0, &image), ATR_ERR_DATA);
    assert_non_null(strstr(atr_status_message(), "bad.h5 sample 0 't000'"));
    assert_non_null(strstr(atr_status_message(), "checksum"));
    must(atr_findings_create(&findings));
    must(atr_dataset_verify(data, 2, NULL, findings));
    assert_int_equal(atr_findings_of_code(findings, "F01"), 1);
    assert_string_equal(atr_findings_at(findings, 0)->subject, "t000");
    atr_findings_destroy(findings);
    atr_dataset_close(data);
}

static void f05_counts_that_are_not_those_of_the_masks(void **state)
{
    (void)state;
    const atr_h5_range bulk[2] = {range_of("masks/bytes"), range_of("images/bytes")};
    atr_findings *findings = NULL;
    atr_dataset *data = NULL;
    size_t size = 0;

    uint8_t *bytes = scratch_read(path, &size);
    bytes[range_of("statistics/pixels").offset] ^= 1;
    scratch_write(bad, bytes, size);
    free(bytes);
    must(atr_h5_seal(bad, bulk, 2));
    must(atr_dataset_open(bad, &data));
    must(atr_findings_create(&findings));
    must(atr_dataset_verify(data, 2, NULL, findings));
    assert_int_equal(atr_findings_of_code(findings, "F05"), 1);
    assert_int_equal(atr_findings_count(findings), 1);
    atr_findings_destroy(findings);
    atr_dataset_close(data);
}

static void other_files_are_refused_by_name(void **state)
{
    (void)state;
    atr_dataset *data = NULL;
    atr_h5 *file = NULL;

    assert_int_equal(atr_dataset_open(scratch_text("%s/none.h5", folder), &data), ATR_ERR_NOT_FOUND);
    scratch_write_text(bad, "nothing of the kind");
    assert_int_equal(atr_dataset_open(bad, &data), ATR_ERR_DATA);
    assert_non_null(strstr(atr_status_message(), "bad.h5"));
    must(atr_h5_create(bad, &file));
    must(atr_h5_set_text(file, "/", "format", "something else"));
    must(atr_h5_close(&file));
    assert_int_equal(atr_dataset_open(bad, &data), ATR_ERR_DATA);
    assert_null(data);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_was_packed_is_sound),
        cmocka_unit_test(damage_is_always_noticed),
        cmocka_unit_test(lies_in_the_index_never_crash_the_reader),
        cmocka_unit_test(a_damaged_picture_is_named),
        cmocka_unit_test(f05_counts_that_are_not_those_of_the_masks),
        cmocka_unit_test(other_files_are_refused_by_name),
    };

    return cmocka_run_group_tests(tests, make_data, remove_folder);
}
