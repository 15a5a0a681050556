#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "io/image.h"
#include "io/path.h"
#include "tests/support/scratch.h"

/* A pipe stands here for /dev/null, over which root can rename. */
static void devices_pipes_and_folders_are_never_replaced(void **state)
{
    char *folder = scratch_create();
    const char *pipe_path = scratch_text("%s/pipe", folder);
    char *partial = NULL;
    struct stat info;

    (void)state;
    assert_int_equal(mkfifo(pipe_path, 0600), 0);
    assert_int_equal(atr_file_write(pipe_path, "x", 1), ATR_ERR_IO);
    assert_non_null(strstr(atr_status_message(), "device or pipe"));
    assert_int_equal(stat(pipe_path, &info), 0);
    assert_true(S_ISFIFO(info.st_mode));
    assert_int_equal(atr_path_partial("/dev/null", &partial), ATR_ERR_IO);
    assert_null(partial);
    /* As /dev/stdout where the output goes to a file. */
    const char *link = scratch_text("%s/stdout", folder);
    FILE *file = fopen(scratch_text("%s/file", folder), "w");
    assert_non_null(file);
    assert_int_equal(symlink(scratch_text("/proc/self/fd/%d", fileno(file)), link), 0);
    assert_int_equal(atr_file_write(link, "x", 1), ATR_ERR_IO);
    assert_int_equal(lstat(link, &info), 0);
    assert_true(S_ISLNK(info.st_mode));
    fclose(file);
    assert_int_equal(atr_path_partial(folder, &partial), ATR_ERR_IO);
    assert_non_null(strstr(atr_status_message(), "folder"));
    scratch_remove(folder);
}

static void files_and_free_names_can_be_written(void **state)
{
    char *folder = scratch_create();
    const char *path = scratch_text("%s/a", folder);
    size_t size = 0;

    (void)state;
    assert_int_equal(atr_file_write(path, "one", 3), ATR_OK);
    assert_int_equal(atr_file_write(path, "two!", 4), ATR_OK);
    uint8_t *bytes = scratch_read(path, &size);
    assert_int_equal(size, 4);
    assert_memory_equal(bytes, "two!", 4);
    free(bytes);
    scratch_remove(folder);
}

static void folders_for_results_are_made_with_those_above(void **state)
{
    char *folder = scratch_create();

    (void)state;
    for (int again = 0; again < 2; again++)
        assert_int_equal(atr_path_make_folder(scratch_text("%s/runs/today/first", folder)), ATR_OK);
    assert_true(atr_path_is_folder(scratch_text("%s/runs/today/first", folder)));
    assert_int_equal(atr_path_make_folder(scratch_text("%s/other/", folder)), ATR_OK);
    scratch_write_text(scratch_text("%s/file", folder), "x");
    assert_int_equal(atr_path_make_folder(scratch_text("%s/file", folder)), ATR_ERR_IO);
    assert_non_null(strstr(atr_status_message(), "Not a directory"));
    assert_int_equal(atr_path_make_folder(scratch_text("%s/file/below", folder)), ATR_ERR_IO);
    scratch_remove(folder);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(devices_pipes_and_folders_are_never_replaced),
        cmocka_unit_test(files_and_free_names_can_be_written),
        cmocka_unit_test(folders_for_results_are_made_with_those_above),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
