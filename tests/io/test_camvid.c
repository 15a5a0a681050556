#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "io/pack.h"
#include "io/path.h"
#include "tests/support/scratch.h"

/* The street pictures that lie beside the project, where they do. */

static char source[4096], output[4096];
static char *folder;

static int find_pictures(void **state)
{
    const char *shared = getenv("ATR_SHARED");

    (void)state;
    folder = scratch_create();
    snprintf(source, sizeof source, "%s/camvid", shared != NULL ? shared : ATR_SOURCE_DIR "/../shared");
    snprintf(output, sizeof output, "%s/camvid.h5", folder);
    if (!atr_path_is_folder(source)) {
        print_message("no pictures at %s (set ATR_SHARED)\n", source);
        source[0] = '\0';
    }
    return 0;
}

static int remove_folder(void **state)
{
    (void)state;
    scratch_remove(folder);
    return 0;
}

static atr_status pack(const int64_t *ignore, int64_t count, atr_findings **findings, atr_pack_result *result)
{
    const atr_pack_config config = {.source = source,
                                    .output = output,
                                    .classes = "11",
                                    .labels = {.ignore = ignore, .ignore_count = count},
                                    .threads = 2,
                                    .force = true};

    assert_int_equal(atr_findings_create(findings), ATR_OK);
    return atr_pack(&config, NULL, *findings, result);
}

static void camvid_is_packed_with_11_ignored(void **state)
{
    (void)state;
    /* counted by another program */
    static const int64_t train_pixels[11] = {10682767, 14750079, 623349,  20076880, 2845085, 6166762,
                                             743859,   714595,   3719877, 405385,   184967};
    const int64_t ignore = 11;
    atr_findings *findings = NULL, *seen = NULL;
    atr_pack_result result;
    atr_dataset *data = NULL;

    if (source[0] == '\0')
        skip();
    if (pack(&ignore, 1, &findings, &result) != ATR_OK)
        fail_msg("%s", atr_status_message());
    assert_int_equal(atr_findings_count(findings), 0);
    assert_int_equal(result.members[ATR_SPLIT_TRAIN], 367);
    assert_int_equal(result.members[ATR_SPLIT_VAL], 101);
    assert_int_equal(atr_dataset_open(output, &data), ATR_OK);
    for (int id = 0; id < 11; id++)
        assert_int_equal(atr_dataset_statistics(data)->pixels[ATR_SPLIT_TRAIN][id], train_pixels[id]);
    assert_int_equal(atr_findings_create(&seen), ATR_OK);
    assert_int_equal(atr_dataset_verify(data, 2, NULL, seen), ATR_OK);
    assert_int_equal(atr_findings_count(seen), 0);
    atr_dataset_close(data);
    atr_findings_destroy(seen);
    atr_findings_destroy(findings);
}

static void camvid_without_ignore_is_l02(void **state)
{
    (void)state;
    atr_findings *findings = NULL;
    atr_pack_result result;

    if (source[0] == '\0')
        skip();
    remove(output);
    assert_int_equal(pack(NULL, 0, &findings, &result), ATR_ERR_DATA);
    assert_int_equal(atr_findings_of_code(findings, "L02"), 468);
    assert_int_equal(atr_findings_count(findings), 468);
    assert_non_null(strstr(atr_findings_at(findings, 0)->message, "value 11 at (x="));
    assert_false(atr_path_exists(output));
    atr_findings_destroy(findings);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(camvid_is_packed_with_11_ignored),
        cmocka_unit_test(camvid_without_ignore_is_l02),
    };

    return cmocka_run_group_tests(tests, find_pictures, remove_folder);
}
