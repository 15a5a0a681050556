#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "core/mapping.h"
#include "tests/support/scratch.h"

enum { BYTES = 300000 };

static uint8_t content(int64_t at)
{
    return (uint8_t)(at * 7 % 251 + 1);
}

static const char *write_file(const char *folder)
{
    const char *path = scratch_text("%s/file", folder);
    uint8_t *bytes = malloc(BYTES);

    assert_non_null(bytes);
    for (int64_t i = 0; i < BYTES; i++)
        bytes[i] = content(i);
    scratch_write(path, bytes, BYTES);
    free(bytes);
    return path;
}

/* Bytes of this process's memory that hold pages of the file, by the system's account (kB). */
static long resident(const char *path)
{
    FILE *file = fopen("/proc/self/smaps", "r");
    char line[4096];
    bool inside = false;
    long sum = 0, kb = 0;

    assert_non_null(file);
    while (fgets(line, sizeof line, file) != NULL) {
        if (strchr(line, '-') != NULL && strstr(line, " r") != NULL)
            inside = strstr(line, path) != NULL;
        if (inside && sscanf(line, "Rss: %ld kB", &kb) == 1)
            sum += kb;
    }
    fclose(file);
    return sum;
}

static void dropped_pages_take_no_memory_and_can_be_read_again(void **state)
{
    char *folder = scratch_create();
    const char *path = write_file(folder);
    atr_mapping *mapping = NULL;

    (void)state;
    assert_int_equal(atr_mapping_open(path, &mapping), ATR_OK);
    const uint8_t *bytes = atr_mapping_at(mapping, 0, BYTES);
    assert_non_null(bytes);
    for (int turn = 0; turn < 2; turn++) {
        for (int64_t i = 0; i < BYTES; i++)
            assert_int_equal(bytes[i], content(i));
        const long before = resident(path);
        assert_true(before >= BYTES / 1024);
        atr_mapping_drop(mapping, bytes + 5000, BYTES - 10000);
        assert_true(resident(path) <= before - (BYTES - 10000 - 2 * 65536) / 1024);
    }
    atr_mapping_drop(mapping, bytes + 1, 10); /* within a page: nothing may go */
    assert_int_equal(bytes[1], content(1));
    atr_mapping_close(mapping);
    scratch_remove(folder);
}

static void nothing_outside_the_file_is_lent(void **state)
{
    char *folder = scratch_create();
    atr_mapping *mapping = NULL;

    (void)state;
    assert_int_equal(atr_mapping_open(write_file(folder), &mapping), ATR_OK);
    uint8_t *const base = atr_mapping_at(mapping, 0, 0);
    assert_ptr_equal(atr_mapping_at(mapping, BYTES - 4, 4), base + BYTES - 4);
    assert_null(atr_mapping_at(mapping, BYTES - 4, 5));
    assert_null(atr_mapping_at(mapping, -4, 4));
    assert_null(atr_mapping_at(mapping, INT64_MAX, 4));
    assert_null(atr_mapping_at(mapping, 4, SIZE_MAX));
    assert_true(atr_mapping_holds(mapping, base, BYTES) && !atr_mapping_holds(mapping, base + 1, BYTES));
    assert_false(atr_mapping_holds(mapping, &mapping, 4));
    atr_mapping_close(mapping);
    scratch_remove(folder);
}

static void what_is_written_stays_here_and_what_others_write_is_found(void **state)
{
    char *folder = scratch_create();
    const char *path = write_file(folder);
    atr_mapping *mapping = NULL;

    (void)state;
    assert_int_equal(atr_mapping_open(path, &mapping), ATR_OK);
    uint8_t *const base = atr_mapping_at(mapping, 0, 0);
    base[0] = 0;
    assert_int_equal(atr_mapping_check(mapping), ATR_OK);
    size_t size = 0;
    uint8_t *bytes = scratch_read(path, &size);
    assert_true(size == BYTES && bytes[0] == content(0));
    free(bytes);

    assert_int_equal(truncate(path, BYTES / 2), 0);
    assert_int_equal(atr_mapping_check(mapping), ATR_ERR_IO);
    assert_non_null(strstr(atr_status_message(), path));
    atr_mapping_close(mapping);
    scratch_remove(folder);
}

static void what_is_no_file_is_a_message(void **state)
{
    char *folder = scratch_create();
    atr_mapping *mapping = NULL;
    const char *empty = scratch_text("%s/empty", folder);

    (void)state;
    scratch_write(empty, "", 0);
    assert_int_equal(atr_mapping_open(scratch_text("%s/none", folder), &mapping), ATR_ERR_NOT_FOUND);
    assert_int_equal(atr_mapping_open(folder, &mapping), ATR_ERR_IO);
    assert_int_equal(atr_mapping_open(empty, &mapping), ATR_ERR_IO);
    assert_null(mapping);
    scratch_remove(folder);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(dropped_pages_take_no_memory_and_can_be_read_again),
        cmocka_unit_test(nothing_outside_the_file_is_lent),
        cmocka_unit_test(what_is_written_stays_here_and_what_others_write_is_found),
        cmocka_unit_test(what_is_no_file_is_a_message),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
