#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "io/weights.h"
#include "tests/support/scratch.h"
#include "tests/support/weights_json.h"

enum { ROUNDS = 1000 };

static void check_or_skip(const char *name, int64_t tensors)
{
    const int64_t count = weights_json_check(name);

    if (count < 0)
        skip();
    assert_int_equal(count, tensors);
}

static void full_checkpoint_reads_as_its_json_says(void **state)
{
    (void)state;
    check_or_skip("mobilenetv2_os16_k21", 371);
}

static void wrapped_zip_reads_as_its_json_says(void **state)
{
    (void)state;
    check_or_skip("wrapped_ddp", 9);
}

static void file_before_1_6_reads_as_its_json_says(void **state)
{
    (void)state;
    check_or_skip("legacy", 3);
}

static void wrapped_file_before_1_6_reads_as_its_json_says(void **state)
{
    (void)state;
    check_or_skip("wrapped_ddp_legacy", 9);
}

static void ddp_prefix_comes_off_all_names_or_none(void **state)
{
    const char *path = weights_json_path("wrapped_ddp.pth");
    atr_weights *weights = NULL;
    bool stripped = false;

    (void)state;
    if (path == NULL)
        skip();
    assert_int_equal(atr_weights_read(path, &weights), ATR_OK);
    assert_int_equal(atr_weights_strip_prefix(weights, "module.conv", &stripped), ATR_OK);
    assert_false(stripped);
    assert_int_equal(atr_weights_strip_prefix(weights, "module.", &stripped), ATR_OK);
    assert_true(stripped);
    assert_true(atr_weights_find(weights, "conv.weight") == 0);
    assert_true(atr_weights_find(weights, "module.conv.weight") < 0);
    assert_string_equal(atr_weights_name(weights, 1), "conv.bias");
    atr_weights_destroy(weights);
}

static void absent_and_foreign_files_get_a_message(void **state)
{
    char *folder = scratch_create();
    atr_weights *weights = NULL;

    (void)state;
    assert_int_equal(atr_weights_read(scratch_text("%s/none.pth", folder), &weights), ATR_ERR_NOT_FOUND);
    scratch_write_text(scratch_text("%s/empty.pth", folder), "");
    assert_int_equal(atr_weights_read(scratch_text("%s/empty.pth", folder), &weights), ATR_ERR_DATA);
    assert_non_null(strstr(atr_status_message(), "empty.pth"));
    scratch_write_text(scratch_text("%s/text.pth", folder), "these are no weights at all");
    assert_int_equal(atr_weights_read(scratch_text("%s/text.pth", folder), &weights), ATR_ERR_DATA);
    assert_int_not_equal(atr_weights_read(folder, &weights), ATR_OK);
    assert_null(weights);
    scratch_remove(folder);
}

/* A damaged file is a message, or (flips in padding, or in bytes that no checksum covers) still the same tensors. */
static void damage_all(const char *name, bool checksummed)
{
    const char *path = weights_json_path(name);
    size_t size = 0;
    int64_t refused = 0;

    if (path == NULL)
        skip();
    uint8_t *bytes = scratch_read(path, &size), *copy = malloc(size);
    assert_non_null(copy);
    for (int64_t round = 0; round < ROUNDS; round++) {
        atr_weights *weights = NULL;
        memcpy(copy, bytes, size);
        const size_t left = weights_damage(copy, size, round);
        uint8_t *exact = malloc(
            left > 0 ? left : 1); /* ends where the bytes end, so that the sanitizer sees a read beyond */
        assert_non_null(exact);
        memcpy(exact, copy, left);
        const atr_status status = atr_weights_parse(exact, left, &weights);
        free(exact);
        if (status == ATR_OK) {
            assert_true(left == size);
            assert_true(atr_weights_count(weights) > 0);
        } else {
            assert_null(weights);
            assert_true(strlen(atr_status_message()) > 10);
            refused++;
        }
        atr_weights_destroy(weights);
    }
    assert_true(refused > (checksummed ? ROUNDS / 2 : ROUNDS / 3));
    free(bytes);
    free(copy);
}

static void damaged_zip_is_a_message(void **state)
{
    (void)state;
    damage_all("wrapped_ddp.pth", true);
}

static void damaged_file_before_1_6_is_a_message(void **state)
{
    (void)state;
    damage_all("wrapped_ddp_legacy.pth", false);
    damage_all("legacy.pth", false);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(full_checkpoint_reads_as_its_json_says),
        cmocka_unit_test(wrapped_zip_reads_as_its_json_says),
        cmocka_unit_test(file_before_1_6_reads_as_its_json_says),
        cmocka_unit_test(wrapped_file_before_1_6_reads_as_its_json_says),
        cmocka_unit_test(ddp_prefix_comes_off_all_names_or_none),
        cmocka_unit_test(absent_and_foreign_files_get_a_message),
        cmocka_unit_test(damaged_zip_is_a_message),
        cmocka_unit_test(damaged_file_before_1_6_is_a_message),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
