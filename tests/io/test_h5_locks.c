#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/file.h>

#include <cmocka.h>
#include <hdf5.h>

#include "io/dataset.h"
#include "io/h5.h"
#include "io/pack.h"
#include "io/volume.h"
#include "tests/support/scratch.h"
#include "tests/support/voc.h"

/* A file system that refuses locks, such as Lustre mounted without flock: this program's flock() stands before the C library's, for
 * the HDF5 library too. HDF5 is told to insist on locks, as an environment may do. */

static int refused, asked;

__attribute__((visibility("default"))) int flock(int descriptor, int operation)
{
    (void)descriptor, (void)operation;
    asked++;
    errno = refused;
    return -1;
}

static const int reasons[] = {ENOSYS, ENOLCK, EOPNOTSUPP};

static char *folder;

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
    refused = ENOSYS;
    setenv("HDF5_USE_FILE_LOCKING", "TRUE", 1);
    folder = scratch_create();
    voc_make(folder, 3, 2);
    const atr_pack_config config = {
        .source = folder, .output = scratch_text("%s/data.h5", folder), .classes = "3", .threads = 1};
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

/* Without this the other test would prove nothing. */
static void hdf5_by_itself_gives_up(void **state)
{
    (void)state;
    asked = 0;
    H5Eset_auto2(H5E_DEFAULT, NULL, NULL);
    assert_true(H5Fopen(scratch_text("%s/data.h5", folder), H5F_ACC_RDONLY, H5P_DEFAULT) < 0);
    assert_true(asked > 0);
    assert_false(atr_volume_locks(scratch_text("%s/data.h5", folder)));
}

static void a_data_set_opens_without_locks(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof reasons / sizeof *reasons; i++) {
        atr_dataset *data = NULL;
        atr_image image = {0};
        refused = reasons[i];
        asked = 0;
        must(atr_dataset_open(scratch_text("%s/data.h5", folder), &data));
        must(atr_dataset_read_image(data, 4, &image));
        assert_int_equal(asked, 0);
        atr_image_free(&image);
        atr_dataset_close(data);
    }
}

static void a_file_is_written_and_read_without_locks(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof reasons / sizeof *reasons; i++) {
        const char *const path = scratch_text("%s/file.h5", folder);
        atr_h5 *file = NULL;
        int64_t value = 0;
        refused = reasons[i];
        must(atr_h5_create(path, &file));
        must(atr_h5_set_i64(file, "/", "number", 7 + (int64_t)i));
        must(atr_h5_close(&file));
        must(atr_h5_open(path, &file));
        must(atr_h5_get_i64(file, "/", "number", &value));
        assert_int_equal(value, 7 + (int64_t)i);
        atr_h5_destroy(file);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(hdf5_by_itself_gives_up),
        cmocka_unit_test(a_data_set_opens_without_locks),
        cmocka_unit_test(a_file_is_written_and_read_without_locks),
    };

    return cmocka_run_group_tests(tests, make_data, remove_folder);
}
