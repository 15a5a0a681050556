#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "io/npy.h"
#include "tests/support/scratch.h"
#include "tests/support/weights_json.h"

enum { ROUNDS = 1000 };

/* Writing and reading gives the array back; the data start at a multiple of 64 bytes, as NumPy lays them. */
static void round_trip(const char *folder, atr_dtype type, int rank, const int64_t *dims)
{
    uint8_t data[4096];
    atr_tensor in = atr_tensor_make(type, rank, dims, data), out;
    const char *path = scratch_text("%s/a.npy", folder);
    const size_t bytes = (size_t)atr_tensor_count(&in) * atr_dtype_bytes(type);
    size_t size = 0;

    for (size_t i = 0; i < sizeof data; i++)
        data[i] = (uint8_t)(i * 37 + 11);
    assert_int_equal(atr_npy_write(path, &in), ATR_OK);
    assert_int_equal(atr_npy_read(path, &out), ATR_OK);
    assert_int_equal(out.type, type);
    assert_true(atr_tensor_same_shape(&in, &out));
    if (bytes > 0)
        assert_memory_equal(out.data, data, bytes);
    uint8_t *file = scratch_read(path, &size);
    assert_int_equal((size - bytes) % 64, 0);
    assert_int_equal(file[size - bytes - 1], '\n');
    free(file);
    atr_free(out.data);
}

static void arrays_survive_the_round_trip(void **state)
{
    static const atr_dtype types[] = {ATR_F32, ATR_F64, ATR_U8, ATR_I32, ATR_I64};
    const int64_t dims[6] = {3, 5, 7, 2, 1, 2}, empty[2] = {0, 4};
    char *folder = scratch_create();

    (void)state;
    for (size_t t = 0; t < sizeof types / sizeof types[0]; t++)
        for (int rank = 0; rank <= 6; rank++)
            round_trip(folder, types[t], rank, dims);
    round_trip(folder, ATR_F32, 2, empty);
    scratch_remove(folder);
}

/* Byte for byte what numpy.save writes for a [2,3] array of uint8. */
static void header_is_numpys(void **state)
{
    static const char expected[] =
        "\x93NUMPY\x01\x00\x76\x00{'descr': '|u1', 'fortran_order': False, 'shape': (2, 3), }";
    const int64_t dims[2] = {2, 3};
    uint8_t data[6] = {1, 2, 3, 4, 5, 6};
    const atr_tensor tensor = atr_tensor_make(ATR_U8, 2, dims, data);
    char *folder = scratch_create();
    size_t size = 0;

    (void)state;
    assert_int_equal(atr_npy_write(scratch_text("%s/a.npy", folder), &tensor), ATR_OK);
    uint8_t *file = scratch_read(scratch_text("%s/a.npy", folder), &size);
    assert_int_equal(size, 128 + 6);
    assert_memory_equal(file, expected, sizeof expected - 1);
    for (size_t i = sizeof expected - 1; i < 127; i++)
        assert_int_equal(file[i], ' ');
    free(file);
    scratch_remove(folder);
}

static void strided_and_odd_types_are_refused(void **state)
{
    const int64_t dims[2] = {2, 3};
    float data[6] = {0};
    atr_tensor tensor = atr_tensor_make(ATR_F32, 2, dims, data);

    (void)state;
    tensor.strides[0] = 1, tensor.strides[1] = 2;
    assert_int_equal(atr_npy_write("/nowhere/a.npy", &tensor), ATR_ERR_USAGE);
    tensor = atr_tensor_make(ATR_BF16, 2, dims, data);
    assert_int_equal(atr_npy_write("/nowhere/a.npy", &tensor), ATR_ERR_USAGE);
    tensor = atr_tensor_make(ATR_F32, 2, dims, data);
    assert_int_not_equal(atr_npy_write("/nowhere/a.npy", &tensor), ATR_OK);
}

static atr_status parse(const char *dictionary, size_t data)
{
    char bytes[512] = "\x93NUMPY\x01\x00";
    atr_tensor out;
    const size_t length = strlen(dictionary);

    bytes[8] = (char)length;
    memcpy(bytes + 10, dictionary, length);
    uint8_t *exact = malloc(10 + length + data);
    assert_non_null(exact);
    memcpy(exact, bytes, 10 + length + data);
    const atr_status status = atr_npy_parse(exact, 10 + length + data, &out);
    free(exact);
    if (status == ATR_OK)
        atr_free(out.data);
    else
        assert_null(out.data);
    return status;
}

static void lying_headers_are_refused(void **state)
{
    (void)state;
    assert_int_equal(parse("{'descr': '<f4', 'fortran_order': False, 'shape': (2,), }", 8), ATR_OK);
    assert_int_equal(parse("{'shape':(2,),'fortran_order':False,'descr':'<f4'}", 8), ATR_OK);
    assert_int_equal(parse("{'descr': '<f4', 'fortran_order': False, 'shape': (), }", 4), ATR_OK);
    assert_int_equal(parse("{'descr': '<f4', 'fortran_order': False, 'shape': (2,), }", 7), ATR_ERR_DATA);
    assert_int_equal(parse("{'descr': '<f4', 'fortran_order': False, 'shape': (2,), }", 9), ATR_ERR_DATA);
    assert_int_equal(parse("{'descr': '>f4', 'fortran_order': False, 'shape': (2,), }", 8),
                     ATR_ERR_UNSUPPORTED);
    assert_int_equal(parse("{'descr': '|O', 'fortran_order': False, 'shape': (2,), }", 8),
                     ATR_ERR_UNSUPPORTED);
    assert_int_equal(parse("{'descr': '<f4', 'fortran_order': True, 'shape': (2,), }", 8),
                     ATR_ERR_UNSUPPORTED);
    assert_int_equal(parse("{'descr': '<f4', 'fortran_order': False, 'shape': (-2,), }", 8), ATR_ERR_DATA);
    assert_int_equal(parse("{'descr': '<f4', 'fortran_order': False, 'shape': (2", 8), ATR_ERR_DATA);
    assert_int_equal(parse("{'descr': '<f4', 'fortran_order': False, }", 8), ATR_ERR_DATA);
    assert_int_equal(parse("{'descr': '<f4', 'fortran_order': False, 'shape': (99999999999999999999,), }", 8),
                     ATR_ERR_DATA);
    assert_int_equal(
        parse("{'descr': '<f4', 'fortran_order': False, 'shape': (4294967296, 4294967296), }", 8),
        ATR_ERR_DATA);
    assert_int_equal(parse("{'descr': '<f4', 'fortran_order': False, 'shape': (1,1,1,1,1,1,1), }", 4),
                     ATR_ERR_UNSUPPORTED);
}

static void damaged_file_is_a_message(void **state)
{
    const int64_t dims[3] = {2, 5, 7};
    float data[70] = {0};
    const atr_tensor tensor = atr_tensor_make(ATR_F32, 3, dims, data);
    char *folder = scratch_create();
    size_t size = 0;

    (void)state;
    assert_int_equal(atr_npy_write(scratch_text("%s/a.npy", folder), &tensor), ATR_OK);
    uint8_t *bytes = scratch_read(scratch_text("%s/a.npy", folder), &size);
    for (int64_t round = 0; round < ROUNDS; round++) {
        uint8_t *copy = malloc(size);
        atr_tensor out;
        assert_non_null(copy);
        memcpy(copy, bytes, size);
        const size_t left = weights_damage(copy, size, round);
        uint8_t *exact = malloc(left + 1);
        assert_non_null(exact);
        memcpy(exact, copy, left);
        const atr_status status = atr_npy_parse(exact, left, &out);
        assert_true(status != ATR_OK || left == size);
        atr_free(out.data);
        free(exact);
        free(copy);
    }
    free(bytes);
    scratch_remove(folder);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(arrays_survive_the_round_trip),     cmocka_unit_test(header_is_numpys),
        cmocka_unit_test(strided_and_odd_types_are_refused), cmocka_unit_test(lying_headers_are_refused),
        cmocka_unit_test(damaged_file_is_a_message),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
