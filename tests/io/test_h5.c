#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "core/rng.h"
#include "io/h5.h"
#include "io/path.h"
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

static void must(atr_status status)
{
    if (status != ATR_OK)
        fail_msg("%s", atr_status_message());
}

/* A file with one of everything. */
static void write_sample(const char *path)
{
    atr_h5 *file = NULL;
    float values[6] = {1.5f, -2, 3, 4, 5, 6};
    int64_t dims[2] = {2, 3}, one = 41;
    const uint64_t sums[2] = {UINT64_MAX, 7};
    const char *texts[3] = {"sky", "", "a longer name, \xc3\xa9"};
    const atr_tensor matrix = atr_tensor_make(ATR_F32, 2, dims, values);
    const atr_tensor scalar = atr_tensor_make(ATR_I64, 0, dims, &one);

    must(atr_h5_create(path, &file));
    must(atr_h5_write(file, "params/conv.weight", &matrix));
    must(atr_h5_write(file, "params/tracked", &scalar));
    must(atr_h5_write_u64(file, "sums", sums, 2));
    must(atr_h5_write_texts(file, "names", texts, 3));
    must(atr_h5_reserve(file, "bulk", 1000));
    must(atr_h5_write_at(file, "bulk", 10, "hello", 5));
    must(atr_h5_reserve(file, "nothing", 0));
    must(atr_h5_group(file, "deep/er"));
    must(atr_h5_set_i64(file, "/", "version", 1));
    must(atr_h5_set_i64(file, "/", "version", 2));
    must(atr_h5_set_f64(file, "params", "eps", 1e-5));
    must(atr_h5_set_u64(file, "/", "key", UINT64_MAX - 1));
    must(atr_h5_set_text(file, "/", "format", "a text"));
    must(atr_h5_set_text(file, "/", "empty", ""));
    must(atr_h5_close(&file));
    assert_null(file);
}

static void what_was_written_is_read(void **state)
{
    (void)state;
    const char *path = scratch_text("%s/a.h5", folder);
    atr_h5 *file = NULL;
    atr_tensor tensor = {0};
    int64_t dims[2] = {2, 3}, count = 0, version = 0, offset = 0, bytes = 0, tracked = 0;
    uint64_t sums[2] = {0}, key = 0;
    double eps = 0, values[6] = {0};
    char **texts = NULL, *text = NULL;

    write_sample(path);
    must(atr_h5_open(path, &file));
    tensor = atr_tensor_make(ATR_F64, 2, dims, values); /* f32 in the file, f64 here */
    must(atr_h5_read(file, "params/conv.weight", &tensor));
    assert_true(values[0] == 1.5 && values[1] == -2 && values[5] == 6);
    tensor = atr_tensor_make(ATR_I64, 0, dims, &tracked);
    must(atr_h5_read(file, "params/tracked", &tensor));
    assert_int_equal(tracked, 41);
    must(atr_h5_read_u64(file, "sums", sums, 2));
    assert_true(sums[0] == UINT64_MAX && sums[1] == 7);
    must(atr_h5_read_texts(file, "names", &texts, &count));
    assert_int_equal(count, 3);
    assert_string_equal(texts[0], "sky");
    assert_string_equal(texts[1], "");
    assert_string_equal(texts[2], "a longer name, \xc3\xa9");
    atr_h5_names_free(texts, count);
    must(atr_h5_place(file, "bulk", &offset, &bytes));
    assert_int_equal(bytes, 1000);
    must(atr_h5_get_i64(file, "/", "version", &version));
    assert_int_equal(version, 2);
    must(atr_h5_get_f64(file, "params", "eps", &eps));
    assert_true(eps == 1e-5);
    must(atr_h5_get_u64(file, "/", "key", &key));
    assert_true(key == UINT64_MAX - 1);
    must(atr_h5_get_text(file, "/", "format", &text));
    assert_string_equal(text, "a text");
    atr_free(text);
    must(atr_h5_get_text(file, "/", "empty", &text));
    assert_string_equal(text, "");
    atr_free(text);
    must(atr_h5_list(file, "params", &texts, &count));
    assert_int_equal(count, 2);
    assert_string_equal(texts[0], "conv.weight");
    atr_h5_names_free(texts, count);
    assert_true(atr_h5_exists(file, "deep/er"));
    assert_false(atr_h5_exists(file, "deep/none/er"));
    atr_h5_destroy(file);

    size_t size = 0;
    uint8_t *raw = scratch_read(path, &size);
    assert_memory_equal(raw + offset + 10, "hello", 5); /* pread finds what HDF5 wrote */
    free(raw);
}

static void a_wrong_question_gets_a_message(void **state)
{
    (void)state;
    const char *path = scratch_text("%s/b.h5", folder);
    atr_h5 *file = NULL;
    float values[6];
    int64_t dims[2] = {3, 2}, number = 0;
    atr_tensor tensor = atr_tensor_make(ATR_F32, 2, dims, values), fresh;
    atr_h5_info info;

    write_sample(path);
    must(atr_h5_open(path, &file));
    assert_int_equal(atr_h5_read(file, "params/conv.weight", &tensor), ATR_ERR_SHAPE);
    assert_non_null(strstr(atr_status_message(), "[2,3]"));
    assert_int_equal(atr_h5_read(file, "sums", &tensor), ATR_ERR_DATA);
    assert_int_equal(atr_h5_read(file, "no/where", &tensor), ATR_ERR_NOT_FOUND);
    assert_int_equal(atr_h5_read(file, "params", &tensor), ATR_ERR_DATA);
    assert_int_equal(atr_h5_read_new(file, "bulk", ATR_U8, 999, &fresh), ATR_ERR_MEMORY);
    assert_int_equal(atr_h5_get_i64(file, "/", "format", &number), ATR_ERR_DATA);
    assert_int_equal(atr_h5_get_i64(file, "/", "none", &number), ATR_ERR_NOT_FOUND);
    must(atr_h5_describe(file, "params", &info));
    assert_int_equal(info.kind, ATR_H5_GROUP);
    must(atr_h5_describe(file, "params/conv.weight", &info));
    assert_true(info.kind == ATR_H5_TENSOR && info.type == ATR_F32 && info.bytes == 24);
    atr_h5_destroy(file);
    file = NULL;
    assert_int_equal(atr_h5_open(scratch_text("%s/none.h5", folder), &file), ATR_ERR_NOT_FOUND);
    assert_int_equal(atr_h5_open(folder, &file), ATR_ERR_DATA);
    assert_int_equal(atr_h5_create(scratch_text("%s/no/such/folder.h5", folder), &file), ATR_ERR_IO);
}

static void the_same_content_gives_the_same_bytes(void **state)
{
    (void)state;
    size_t first_size = 0, second_size = 0;

    write_sample(scratch_text("%s/c.h5", folder));
    uint8_t *first = scratch_read(scratch_text("%s/c.h5", folder), &first_size);
    sleep(1); /* a time stamp would differ now */
    write_sample(scratch_text("%s/d.h5", folder));
    uint8_t *second = scratch_read(scratch_text("%s/d.h5", folder), &second_size);
    assert_int_equal(first_size, second_size);
    assert_memory_equal(first, second, first_size);
    free(first);
    free(second);
}

/* Reads everything there is; failures are fine, crashes are not. */
static void read_all(const char *path)
{
    atr_h5 *file = NULL;
    atr_tensor tensor = {0};
    uint64_t sums[2];
    char **texts = NULL, *text = NULL;
    int64_t count = 0, bytes = 0;

    if (atr_h5_open(path, &file) != ATR_OK) {
        assert_true(atr_status_message()[0] != '\0');
        return;
    }
    if (atr_h5_read_new(file, "params/conv.weight", ATR_F32, 0, &tensor) == ATR_OK)
        atr_free(tensor.data);
    (void)atr_h5_read_u64(file, "sums", sums, 2);
    if (atr_h5_read_texts(file, "names", &texts, &count) == ATR_OK)
        atr_h5_names_free(texts, count);
    (void)atr_h5_place(file, "bulk", &count, &bytes);
    if (atr_h5_get_text(file, "/", "format", &text) == ATR_OK)
        atr_free(text);
    if (atr_h5_list(file, "/", &texts, &count) == ATR_OK)
        atr_h5_names_free(texts, count);
    atr_h5_destroy(file);
}

static void damaged_files_never_crash_the_reader(void **state)
{
    (void)state;
    const uint64_t key = atr_rng_key(1, ATR_RNG_TEST, 0, 0);
    const char *path = scratch_text("%s/e.h5", folder);
    char bad[4096];
    size_t size = 0;

    snprintf(bad, sizeof bad, "%s/bad.h5", folder);
    write_sample(path);
    uint8_t *bytes = scratch_read(path, &size), *copy = malloc(size);
    assert_non_null(copy);
    for (uint64_t i = 0; i < 400; i++) {
        size_t keep = size;
        memcpy(copy, bytes, size);
        if (i % 4 == 0)
            keep = atr_rng_below(key, 3 * i, size);
        else
            copy[atr_rng_below(key, 3 * i, size)] ^= (uint8_t)(1u << atr_rng_below(key, 3 * i + 1, 8));
        scratch_write(bad, copy, keep);
        read_all(bad);
    }
    free(copy);
    free(bytes);
}

static void a_replaced_file_is_the_new_one(void **state)
{
    (void)state;
    const char *path = scratch_text("%s/f.txt", folder);
    char *partial = NULL;
    size_t size = 0;

    scratch_write_text(path, "old");
    must(atr_path_partial(path, &partial));
    scratch_write_text(partial, "new");
    must(atr_path_replace(partial, path));
    uint8_t *bytes = scratch_read(path, &size);
    assert_string_equal((char *)bytes, "new");
    assert_false(atr_path_exists(partial));
    free(bytes);
    atr_free(partial);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_was_written_is_read),
        cmocka_unit_test(a_wrong_question_gets_a_message),
        cmocka_unit_test(the_same_content_gives_the_same_bytes),
        cmocka_unit_test(damaged_files_never_crash_the_reader),
        cmocka_unit_test(a_replaced_file_is_the_new_one),
    };

    return cmocka_run_group_tests(tests, make_folder, remove_folder);
}
