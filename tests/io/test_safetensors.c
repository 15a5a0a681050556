#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "io/weights.h"
#include "tests/support/pickle_maker.h"
#include "tests/support/scratch.h"
#include "tests/support/weights_json.h"

enum { ROUNDS = 1000 };

static void file_reads_as_its_json_says(void **state)
{
    (void)state;
    const int64_t count = weights_json_check("wrapped_ddp_safetensors");
    if (count < 0)
        skip();
    assert_int_equal(count, 9);
}

/* Header text, then `data` zero bytes. */
static void expect(const char *header, size_t data, atr_status expected, const char *words)
{
    maker m = {0};
    atr_weights *weights = NULL;

    maker_number(&m, strlen(header), 8);
    maker_bytes(&m, header, strlen(header));
    for (size_t i = 0; i < data; i++)
        maker_op(&m, 0);
    uint8_t *exact = malloc(m.size);
    assert_non_null(exact);
    memcpy(exact, m.bytes, m.size);
    const atr_status status = atr_weights_parse(exact, m.size, &weights);
    free(exact);
    if (status != expected || (expected != ATR_OK && strstr(atr_status_message(), words) == NULL))
        fail_msg("status %d with '%s', expected %d with '%s'", status, atr_status_message(), expected, words);
    atr_weights_destroy(weights);
    maker_free(&m);
}

static void lying_headers_are_refused(void **state)
{
    (void)state;
    expect("{\"a\":{\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[0,8]}}", 8, ATR_OK, "");
    expect("{\"a\":{\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[0,8]}}", 7, ATR_ERR_DATA,
           "outside the file's");
    expect("{\"a\":{\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[0,8]}}", 9, ATR_ERR_DATA,
           "header describes 8");
    expect("{\"a\":{\"dtype\":\"F32\",\"shape\":[3],\"data_offsets\":[0,8]}}", 8, ATR_ERR_DATA,
           "do not fit its shape");
    expect("{\"a\":{\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[-8,0]}}", 8, ATR_ERR_DATA, "outside");
    expect("{\"a\":{\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[8,0]}}", 8, ATR_ERR_DATA, "outside");
    expect("{\"a\":{\"dtype\":\"F32\",\"shape\":[-2],\"data_offsets\":[0,8]}}", 8, ATR_ERR_DATA,
           "negative dimension");
    expect("{\"a\":{\"dtype\":\"F32\",\"shape\":[4294967296,4294967296],\"data_offsets\":[0,8]}}", 8,
           ATR_ERR_DATA, "more elements than fit");
    expect("{\"a\":{\"dtype\":\"F32\",\"shape\":[1,1,1,1,1,1,2],\"data_offsets\":[0,8]}}", 8,
           ATR_ERR_UNSUPPORTED, "7 dimensions");
    expect("{\"a\":{\"dtype\":\"F8_E4M3\",\"shape\":[8],\"data_offsets\":[0,8]}}", 8, ATR_ERR_UNSUPPORTED,
           "F8_E4M3");
    expect("{\"a\":{\"dtype\":\"U8\",\"shape\":[4],\"data_offsets\":[0,4]},"
           "\"b\":{\"dtype\":\"U8\",\"shape\":[4],\"data_offsets\":[0,4]}}",
           4, ATR_ERR_DATA, "overlap");
    expect("{\"a\":{\"dtype\":\"U8\",\"shape\":[4],\"data_offsets\":[4,8]}}", 8, ATR_ERR_DATA,
           "hole at byte 0");
    expect("{\"a\":{\"dtype\":\"U8\",\"shape\":[0,4],\"data_offsets\":[0,0]}}", 0, ATR_OK, "");
    expect("{\"a\":{\"dtype\":\"U8\"}}", 0, ATR_ERR_DATA, "lacks its dtype, shape");
    expect("{\"a\":{\"dtype\":\"U8\",\"shape\":[1.5],\"data_offsets\":[0,1]}}", 1, ATR_ERR_DATA,
           "no integer");
    expect("{\"a\":[]}", 0, ATR_ERR_DATA, "lacks its dtype, shape");
    expect("{\"a\\u001b[31m\":{\"dtype\":\"U8\",\"shape\":[],\"data_offsets\":[0,1]}}", 1, ATR_ERR_DATA,
           "printable");
    expect("{\"a\":1,\"a\":2}", 0, ATR_ERR_DATA, "no JSON object");
    expect("{\"a\":", 0, ATR_ERR_DATA, "no JSON object");
}

static void lying_lengths_are_refused(void **state)
{
    atr_weights *weights = NULL;
    uint8_t bytes[12] = {0xff, 0xff, 0xff, 0xff, 0, 0, 0, 0, '{', '}', 0, 0};

    (void)state;
    assert_int_equal(atr_weights_parse(bytes, sizeof bytes, &weights), ATR_ERR_DATA);
    assert_non_null(strstr(atr_status_message(), "ends inside its header"));
    memset(bytes, 0xff, 8);
    assert_int_equal(atr_weights_parse(bytes, sizeof bytes, &weights), ATR_ERR_DATA);
    for (size_t size = 0; size < 10; size++)
        assert_int_equal(atr_weights_parse(bytes, size, &weights), ATR_ERR_DATA);
}

/* Every float type becomes f32 and every integer type i64; a file from before the counters existed lacks nothing. */
static void types_convert_on_filling(void **state)
{
    static const char header[] = "{\"h\":{\"dtype\":\"F16\",\"shape\":[2],\"data_offsets\":[0,4]},"
                                 "\"b\":{\"dtype\":\"BF16\",\"shape\":[2],\"data_offsets\":[4,8]},"
                                 "\"d\":{\"dtype\":\"F64\",\"shape\":[1],\"data_offsets\":[8,16]},"
                                 "\"n\":{\"dtype\":\"I32\",\"shape\":[1],\"data_offsets\":[16,20]}}";
    static const atr_param_spec specs[] = {
        {"h", ATR_PARAM_CONV_BIAS, 1, {2}},    {"b", ATR_PARAM_RUNNING_VAR, 1, {2}},
        {"d", ATR_PARAM_NORM_BIAS, 1, {1}},    {"n", ATR_PARAM_TRACKED, 0, {0}},
        {"absent", ATR_PARAM_TRACKED, 0, {0}},
    };
    static const uint16_t half[2] = {0x3555, 0xC000}, brain[2] = {0x3FC0, 0x7F80};
    const double wide = 1e300;
    const int32_t counter = -7;
    maker m = {0};
    atr_weights *weights = NULL;
    atr_params *params = NULL;
    atr_load_report report;

    (void)state;
    maker_number(&m, sizeof header - 1, 8);
    maker_bytes(&m, header, sizeof header - 1);
    maker_bytes(&m, half, 4);
    maker_bytes(&m, brain, 4);
    maker_bytes(&m, &wide, 8);
    maker_bytes(&m, &counter, 4);
    assert_int_equal(atr_weights_parse(m.bytes, m.size, &weights), ATR_OK);
    assert_int_equal(atr_params_create(specs, 5, &atr_host_allocator, &params), ATR_OK);
    assert_int_equal(atr_weights_fill(weights, ATR_LOAD_STRICT, params, &report), ATR_OK);
    assert_int_equal(report.loaded, 4);
    assert_int_equal(report.issue_count, 0);
    assert_int_equal(report.non_finite, 2); /* infinity in b; 1e300 is infinite as f32 */
    const float *h = atr_params_value(params, 0).data, *b = atr_params_value(params, 1).data;
    assert_true(h[0] == 0.333251953125f && h[1] == -2.0f);
    assert_true(b[0] == 1.5f && b[1] > 3e38f);
    assert_int_equal(*(int64_t *)atr_params_value(params, 3).data, -7);
    atr_load_report_free(&report);
    atr_params_destroy(params);

    const atr_param_spec wrong = {"n", ATR_PARAM_CONV_BIAS, 1, {1}};
    assert_int_equal(atr_params_create(&wrong, 1, &atr_host_allocator, &params), ATR_OK);
    assert_int_equal(atr_weights_fill(weights, ATR_LOAD_PARTIAL, params, NULL), ATR_ERR_DATA);
    assert_non_null(strstr(atr_status_message(), "wanted are floats"));
    atr_params_destroy(params);
    atr_weights_destroy(weights);
    maker_free(&m);
}

/* A megabyte of brackets: the JSON reader's depth is limited. */
static void deep_json_is_refused(void **state)
{
    const size_t depth = 1 << 20;
    char *header = malloc(depth + 8);

    (void)state;
    assert_non_null(header);
    strcpy(header, "{\"a\":");
    memset(header + 5, '[', depth);
    header[5 + depth] = '\0';
    expect(header, 0, ATR_ERR_DATA, "no JSON object");
    free(header);
}

static void damaged_file_is_a_message(void **state)
{
    const char *path = weights_json_path("wrapped_ddp.safetensors");
    size_t size = 0;
    int64_t refused = 0;

    (void)state;
    if (path == NULL)
        skip();
    uint8_t *bytes = scratch_read(path, &size), *copy = malloc(size);
    assert_non_null(copy);
    for (int64_t round = 0; round < ROUNDS; round++) {
        atr_weights *weights = NULL;
        memcpy(copy, bytes, size);
        const size_t left = weights_damage(copy, size, round);
        uint8_t *exact = malloc(left + 1);
        assert_non_null(exact);
        memcpy(exact, copy, left);
        /* The format has no checksum: a flipped bit inside a tensor's bytes is another number. */
        if (atr_weights_parse(exact, left, &weights) != ATR_OK) {
            assert_null(weights);
            assert_true(strlen(atr_status_message()) > 10);
            refused++;
        } else {
            assert_int_equal(left, size);
        }
        free(exact);
        atr_weights_destroy(weights);
    }
    assert_true(refused > ROUNDS / 3);
    free(bytes);
    free(copy);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(file_reads_as_its_json_says), cmocka_unit_test(lying_headers_are_refused),
        cmocka_unit_test(lying_lengths_are_refused),   cmocka_unit_test(deep_json_is_refused),
        cmocka_unit_test(types_convert_on_filling),    cmocka_unit_test(damaged_file_is_a_message),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
