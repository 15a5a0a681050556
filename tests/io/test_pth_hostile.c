#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "io/weights.h"
#include "tests/support/pickle_maker.h"
#include "tests/support/weights_json.h"

/* PyTorch files that lie: in both containers, made here byte by byte. */

static const float numbers[6] = {1, 2, 3, 4, 5, 6};

static const maker_tensor honest = {"a.weight", "FloatStorage", "0", 6, 0, 2, {2, 3}, {3, 1}};

/* A file of the old container with one storage "0" of `count` floats. */
static void make_legacy(maker *m, const maker_tensor *tensors, int tensor_count, int64_t count)
{
    static const char *const keys[] = {"0"};

    maker_legacy_front(m);
    maker_state_dict(m, tensors, tensor_count);
    maker_legacy_keys(m, keys, 1);
    maker_number(m, (uint64_t)count, 8);
    maker_bytes(m, numbers, sizeof numbers);
}

/* A zip file with data.pkl and one storage "0". */
static void make_zip(maker *m, const maker_tensor *tensors, int tensor_count, size_t storage_bytes,
                     int method)
{
    maker_zip zip = {0};
    maker pickle = {0};

    maker_state_dict(&pickle, tensors, tensor_count);
    maker_zip_entry(&zip, "model/data.pkl", pickle.bytes, pickle.size, 0);
    maker_zip_entry(&zip, "model/byteorder", "little", 6, 0);
    maker_zip_entry(&zip, "model/data/0", numbers, storage_bytes, method);
    maker_zip_close(&zip);
    maker_free(&pickle);
    *m = zip.file;
}

static void expect(maker *m, atr_status expected, const char *words)
{
    atr_weights *weights = NULL;
    uint8_t *exact = malloc(m->size);

    assert_non_null(exact);
    memcpy(exact, m->bytes, m->size);
    const atr_status status = atr_weights_parse(exact, m->size, &weights);
    free(exact);
    if (status != expected || (expected != ATR_OK && strstr(atr_status_message(), words) == NULL))
        fail_msg("status %d with '%s', expected %d with '%s'", status, atr_status_message(), expected, words);
    atr_weights_destroy(weights);
    maker_free(m);
}

/* The same tensor in both containers. */
static void expect_both(const maker_tensor *tensor, atr_status expected, const char *words)
{
    maker m = {0};

    make_legacy(&m, tensor, 1, 6);
    expect(&m, expected, words);
    make_zip(&m, tensor, 1, sizeof numbers, 0);
    expect(&m, expected, words);
}

static void honest_files_are_read(void **state)
{
    maker m = {0};
    atr_weights *weights = NULL;
    maker_tensor columns = honest;

    (void)state;
    expect_both(&honest, ATR_OK, "");
    columns.dims[0] = 3, columns.dims[1] = 2, columns.strides[0] = 1,
    columns.strides[1] = 3; /* the transpose */
    make_zip(&m, &columns, 1, sizeof numbers, 0);
    assert_int_equal(atr_weights_parse(m.bytes, m.size, &weights), ATR_OK);
    const double transposed[6] = {1, 4, 2, 5, 3, 6};
    for (int i = 0; i < 6; i++)
        assert_true(weights_number(atr_weights_tensor(weights, 0), i) == transposed[i]);
    atr_weights_destroy(weights);
    maker_free(&m);
}

static void views_outside_their_storage_are_refused(void **state)
{
    maker_tensor t = honest;

    (void)state;
    t.offset = 1;
    expect_both(&t, ATR_ERR_DATA, "beyond its storage");
    t.offset = -1;
    expect_both(&t, ATR_ERR_DATA, "before its storage");
    t.offset = INT64_MAX;
    expect_both(&t, ATR_ERR_DATA, "beyond its storage");
    t = honest, t.strides[0] = 4;
    expect_both(&t, ATR_ERR_DATA, "beyond its storage");
    t = honest, t.strides[0] = INT64_MAX;
    expect_both(&t, ATR_ERR_DATA, "beyond its storage");
    t = honest, t.strides[1] = -1;
    expect_both(&t, ATR_ERR_DATA, "negative stride");
    t = honest, t.dims[0] = -2;
    expect_both(&t, ATR_ERR_DATA, "negative dimension");
    t = honest, t.dims[0] = 1, t.strides[0] = INT64_MAX; /* the stride of a single row is never walked */
    t.dims[1] = 2, t.strides[1] = 2;
    expect_both(&t, ATR_OK, "");
}

static void absurd_shapes_are_refused(void **state)
{
    maker_tensor t = honest;

    (void)state;
    t.dims[0] = t.dims[1] = (int64_t)1 << 33, t.strides[0] = t.strides[1] = 0;
    expect_both(&t, ATR_ERR_DATA, "more elements than fit");
    t.dims[0] = 0; /* also when another extent makes it empty */
    t.dims[1] = INT64_MAX;
    expect_both(&t, ATR_ERR_DATA, "more elements than fit");
    t = honest, t.dims[0] = t.dims[1] = 1 << 20, t.strides[0] = t.strides[1] = 0; /* 4 TiB out of 24 bytes */
    expect_both(&t, ATR_ERR_DATA, "grow far beyond");
    t = honest, t.rank = 8;
    expect_both(&t, ATR_ERR_UNSUPPORTED, "8 dimensions");
}

static void lies_about_storages_are_refused(void **state)
{
    maker m = {0};
    maker_tensor t = honest;
    const maker_tensor two[2] = {honest, {"b", "DoubleStorage", "0", 6, 0, 1, {6}, {1}}};

    (void)state;
    t.storage_count = 7;
    make_legacy(&m, &t, 1, 6);
    expect(&m, ATR_ERR_DATA, "6 elements, its tensors want 7");
    make_zip(&m, &t, 1, sizeof numbers, 0);
    expect(&m, ATR_ERR_DATA, "24 bytes, its tensors want 28");
    t.storage_count = (int64_t)1 << 60;
    make_legacy(&m, &t, 1, t.storage_count);
    expect(&m, ATR_ERR_DATA, "cut short inside storage");
    t.storage_count = INT64_MAX;
    expect_both(&t, ATR_ERR_DATA, "absurd key or size");
    t.storage_count = -1;
    expect_both(&t, ATR_ERR_DATA, "absurd key or size");
    t = honest, t.key = "nowhere";
    make_zip(&m, &t, 1, sizeof numbers, 0);
    expect(&m, ATR_ERR_DATA, "lacks data/nowhere");
    make_legacy(&m, &t, 1, 6);
    expect(&m, ATR_ERR_DATA, "names one that no tensor has");
    t = honest, t.storage_class = "ComplexFloatStorage";
    expect_both(&t, ATR_ERR_UNSUPPORTED, "tensor 'a.weight': elements of type torch.ComplexFloatStorage");
    t = honest, t.storage_class = "EvilStorage";
    expect_both(&t, ATR_ERR_DATA, "'torch.EvilStorage'");
    make_zip(&m, two, 2, sizeof numbers, 0);
    expect(&m, ATR_ERR_DATA, "in two ways");
}

static void names_are_unique_and_printable(void **state)
{
    const maker_tensor twice[2] = {honest, honest};
    maker_tensor t = honest;
    maker m = {0};

    (void)state;
    make_zip(&m, twice, 2, sizeof numbers, 0);
    expect(&m, ATR_ERR_DATA, "'a.weight' is there twice");
    t.name = "a\x1b[31m";
    expect_both(&t, ATR_ERR_DATA, "not printable UTF-8");
    t.offset = 7; /* its name stands in the message, tamed */
    expect_both(&t, ATR_ERR_DATA, "'a?[31m'");
    t = honest;
    t.name = "\xc0\xaf";
    expect_both(&t, ATR_ERR_DATA, "not printable UTF-8");
    t.name = "";
    expect_both(&t, ATR_ERR_DATA, "is empty");
}

/* BINPERSID over something that describes no storage. */
static void false_persistent_ids_are_refused(void **state)
{
    static const char *const ids[] = {"K\x05Q", "(X\x07\x00\x00\x00storage", ")Q", "]Q"};
    static const size_t sizes[] = {3, 13, 2, 2};

    (void)state;
    for (int i = 0; i < 4; i++) {
        maker m = {0};
        maker_legacy_front(&m);
        maker_bytes(&m, "\x80\x02}X\x01\x00\x00\x00w", 9);
        maker_global(&m, "torch._utils", "_rebuild_tensor_v2");
        maker_op(&m, '(');
        maker_bytes(&m, ids[i], sizes[i]);
        if (i == 1)
            maker_bytes(&m, "tQ", 2);
        maker_bytes(&m, "K\x00)))}tRs.", 10);
        expect(&m, ATR_ERR_DATA, "not described as PyTorch does it");
    }
}

static void code_in_a_file_is_never_run(void **state)
{
    maker m = {0};

    (void)state;
    maker_legacy_front(&m);
    maker_bytes(&m, "\x80\x02", 2);
    maker_global(&m, "posix", "system");
    maker_text(&m, "touch /tmp/atr-pwned");
    maker_bytes(&m, "\x85R.", 3);
    expect(&m, ATR_ERR_DATA, "names 'posix.system', which is not part of tensors; nothing of it was run");
}

static void files_without_tensors_are_explained(void **state)
{
    maker m = {0};

    (void)state;
    maker_legacy_front(&m);
    maker_bytes(&m, "\x80\x02}.", 4);
    expect(&m, ATR_ERR_DATA, "no tensors by name");
}

/* {'model': {...}, 'optimizer': {'state': tensor}}: the other storages are stepped over. */
static void storages_of_an_optimiser_are_stepped_over(void **state)
{
    static const char *const keys[] = {"moment", "0"};
    const maker_tensor moment = {"m", "DoubleStorage", "moment", 2, 0, 1, {2}, {1}};
    const double moments[2] = {8, 9};
    maker m = {0};
    atr_weights *weights = NULL;

    (void)state;
    maker_legacy_front(&m);
    maker_bytes(&m, "\x80\x02}(", 4);
    maker_text(&m, "optimizer");
    maker_bytes(&m, "}(", 2);
    maker_tensor_item(&m, &moment);
    maker_op(&m, 'u');
    maker_text(&m, "lr");
    maker_bytes(&m, "G\x3f\xe0\x00\x00\x00\x00\x00\x00", 9);
    maker_text(&m, "model");
    maker_bytes(&m, "}(", 2);
    maker_tensor_item(&m, &honest);
    maker_bytes(&m, "uu.", 3);
    maker_legacy_keys(&m, keys, 2);
    maker_number(&m, 2, 8);
    maker_bytes(&m, moments, sizeof moments);
    maker_number(&m, 6, 8);
    maker_bytes(&m, numbers, sizeof numbers);
    assert_int_equal(atr_weights_parse(m.bytes, m.size, &weights), ATR_OK);
    assert_int_equal(atr_weights_count(weights), 1);
    assert_true(weights_number(atr_weights_tensor(weights, 0), 5) == 6);
    assert_int_equal(atr_weights_meta_count(weights), 1);
    assert_string_equal(atr_weights_meta_key(weights, 0), "lr");
    assert_string_equal(atr_weights_meta_value(weights, 0), "0.5");
    atr_weights_destroy(weights);
    maker_free(&m);
}

static void strange_archives_are_refused(void **state)
{
    maker m = {0};
    maker_zip zip = {0};

    (void)state;
    make_zip(&m, &honest, 1, sizeof numbers, 8); /* says deflate */
    expect(&m, ATR_ERR_UNSUPPORTED, "compressed or encrypted");
    maker_zip_entry(&zip, "pictures/cat.png", "x", 1, 0);
    maker_zip_close(&zip);
    expect(&zip.file, ATR_ERR_DATA, "not one of PyTorch");
    zip = (maker_zip){0};
    maker_zip_entry(&zip, "m/byteorder", "big", 3, 0);
    maker_zip_entry(&zip, "m/data.pkl", "}.", 2, 0);
    maker_zip_close(&zip);
    expect(&zip.file, ATR_ERR_UNSUPPORTED, "byte order");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(honest_files_are_read),
        cmocka_unit_test(views_outside_their_storage_are_refused),
        cmocka_unit_test(absurd_shapes_are_refused),
        cmocka_unit_test(lies_about_storages_are_refused),
        cmocka_unit_test(names_are_unique_and_printable),
        cmocka_unit_test(false_persistent_ids_are_refused),
        cmocka_unit_test(code_in_a_file_is_never_run),
        cmocka_unit_test(files_without_tensors_are_explained),
        cmocka_unit_test(storages_of_an_optimiser_are_stepped_over),
        cmocka_unit_test(strange_archives_are_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
