#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "core/rng.h"
#include "io/model_meta.h"
#include "io/path.h"
#include "io/safetensors.h"
#include "io/weights_impl.h"
#include "tests/support/checkpoint_sample.h"
#include "tests/support/full_disk.h"
#include "tests/support/scratch.h"

/* Parameters of every kind with odd sizes: a counter in the middle would put what follows off its alignment. */
static const atr_param_spec specs[] = {
    {"backbone.0.weight", ATR_PARAM_CONV_WEIGHT, 4, {7, 3, 3, 3}},
    {"backbone.1.weight", ATR_PARAM_NORM_WEIGHT, 1, {7}},
    {"backbone.1.bias", ATR_PARAM_NORM_BIAS, 1, {7}},
    {"backbone.1.running_mean", ATR_PARAM_RUNNING_MEAN, 1, {7}},
    {"backbone.1.running_var", ATR_PARAM_RUNNING_VAR, 1, {7}},
    {"backbone.1.num_batches_tracked", ATR_PARAM_TRACKED, 0, {0}},
    {"cls_conv.weight", ATR_PARAM_CONV_WEIGHT, 4, {5, 7, 1, 1}},
    {"cls_conv.bias", ATR_PARAM_CONV_BIAS, 1, {5}},
};

enum { SPECS = sizeof specs / sizeof specs[0] };

typedef struct sample {
    char *folder;
    const char *path;
    atr_model_info info;
    atr_params *params;
} sample;

static void must_be_ok(atr_status status)
{
    if (status != ATR_OK)
        fail_msg("%s", atr_status_message());
}

static void sample_make(sample *s)
{
    memset(s, 0, sizeof *s);
    s->folder = scratch_create();
    s->path = scratch_text("%s/m.safetensors", s->folder);
    checkpoint_sample_info(&s->info);
    strncpy(s->info.fit, "stretch", sizeof s->info.fit); /* the rest is zeroed: whole structs are compared */
    s->info.output_stride = 8;
    strncpy(s->info.class_names[4], "spaces, commas, \"quotes\", back\\slash", sizeof s->info.class_names[4]);
    for (int c = 0; c < 3; c++)
        s->info.offset[c] = -1e-17 * c;
    s->info.pad_value = 128.1;
    must_be_ok(atr_params_create(specs, SPECS, &atr_host_allocator, &s->params));
    for (int64_t i = 0; i < SPECS; i++) {
        const atr_tensor value = atr_params_value(s->params, i);
        if (value.type == ATR_I64)
            *(int64_t *)value.data = ((int64_t)1 << 40) + 3;
        else
            for (int64_t k = 0; k < atr_tensor_count(&value); k++)
                ((float *)value.data)[k] = (float)atr_rng_normal((uint64_t)i, (uint64_t)k);
    }
}

static void sample_free(sample *s)
{
    atr_params_destroy(s->params);
    scratch_remove(s->folder);
}

static void what_is_written_reads_back_bit_by_bit(void **state)
{
    sample s;
    atr_weights *weights = NULL;
    atr_model_info info;
    bool found = false;

    (void)state;
    sample_make(&s);
    must_be_ok(atr_safetensors_write(s.path, &s.info, s.params));
    must_be_ok(atr_weights_read(s.path, &weights));
    assert_string_equal(atr_weights_format(weights), "safetensors");
    assert_int_equal(atr_weights_count(weights), SPECS);
    for (int64_t i = 0; i < SPECS; i++) {
        const atr_tensor *const read = atr_weights_tensor(weights, i), value = atr_params_value(s.params, i);
        assert_string_equal(atr_weights_name(weights, i), specs[i].name);
        assert_int_equal(read->type, value.type);
        assert_true(atr_tensor_same_shape(read, &value));
        assert_memory_equal(read->data, value.data,
                            (size_t)atr_tensor_count(&value) * atr_dtype_bytes(value.type));
    }
    must_be_ok(atr_model_meta_read(weights, &found, &info));
    assert_true(found);
    assert_memory_equal(&info, &s.info, sizeof info);
    atr_weights_destroy(weights);
    sample_free(&s);
}

/* Readers that map the file need each tensor at a multiple of its element's size: of 8, here, for all. */
static void data_is_aligned_and_marked_for_pytorch(void **state)
{
    sample s;
    size_t size = 0;
    uint64_t header = 0;

    (void)state;
    sample_make(&s);
    must_be_ok(atr_safetensors_write(s.path, &s.info, s.params));
    uint8_t *const file = scratch_read(s.path, &size);
    memcpy(&header, file, 8);
    assert_int_equal(header % 8, 0);
    assert_true(header < size);
    char *const text = calloc(header + 1, 1);
    assert_non_null(text);
    memcpy(text, file + 8, header);
    assert_non_null(strstr(text, "\"__metadata__\":{\"format\":\"pt\","));
    assert_non_null(strstr(
        text, "\"backbone.1.num_batches_tracked\":{\"dtype\":\"I64\",\"shape\":[],\"data_offsets\":[0,8]}"));
    assert_non_null(strstr(
        text, "\"backbone.0.weight\":{\"dtype\":\"F32\",\"shape\":[7,3,3,3],\"data_offsets\":[8,764]}"));
    free(text);
    free(file);
    sample_free(&s);
}

static void the_same_content_gives_the_same_bytes(void **state)
{
    sample s;
    size_t sizes[2];

    (void)state;
    sample_make(&s);
    const char *const other = scratch_text("%s/other.safetensors", s.folder);
    must_be_ok(atr_safetensors_write(s.path, &s.info, s.params));
    must_be_ok(atr_safetensors_write(other, &s.info, s.params));
    uint8_t *const a = scratch_read(s.path, &sizes[0]), *const b = scratch_read(other, &sizes[1]);
    assert_int_equal(sizes[0], sizes[1]);
    assert_memory_equal(a, b, sizes[0]);
    free(a);
    free(b);
    sample_free(&s);
}

static void names_that_are_no_text_are_refused(void **state)
{
    sample s;

    (void)state;
    sample_make(&s);
    strcpy(s.info.class_names[2], "\xff\xfe");
    assert_int_equal(atr_safetensors_write(s.path, &s.info, s.params), ATR_ERR_DATA);
    assert_non_null(strstr(atr_status_message(), "UTF-8"));
    s.info.classes = 0;
    assert_int_equal(atr_safetensors_write(s.path, &s.info, s.params), ATR_ERR_USAGE);
    assert_false(atr_path_exists(s.path));
    sample_free(&s);
}

/* A description with one pair changed to `value`, or left out where that is NULL, as it comes out of a file. */
static atr_status read_changed(const atr_model_info *info, const char *key, const char *value, bool *found)
{
    atr_model_meta meta;
    atr_weights *weights = NULL;
    static atr_model_info out;

    must_be_ok(atr_model_meta_make(info, &meta));
    must_be_ok(atr_weights_create("safetensors", &weights));
    for (int i = 0; i < meta.count; i++) {
        const bool changed = strcmp(meta.pairs[i].key, key) == 0;
        const char *const text = changed ? value : meta.pairs[i].value;
        if (text != NULL)
            must_be_ok(atr_weights_add_meta(weights, meta.pairs[i].key, strlen(meta.pairs[i].key), text,
                                            strlen(text)));
    }
    const atr_status status = atr_model_meta_read(weights, found, &out);
    atr_weights_destroy(weights);
    atr_model_meta_free(&meta);
    return status;
}

static void lying_metadata_is_a_message(void **state)
{
    static const struct {
        const char *key, *value;
        atr_status status;
        const char *says;
    } cases[] = {
        {"atrous_model", "2", ATR_ERR_UNSUPPORTED, "version '2'"},
        {"palette", NULL, ATR_ERR_DATA, "'palette' is missing"},
        {"palette", "[[0,0,0]]", ATR_ERR_DATA, "'palette'"},
        {"palette", "nonsense", ATR_ERR_DATA, "'palette'"},
        {"classes", "0", ATR_ERR_DATA, "'class_names'"},
        {"classes", "6", ATR_ERR_DATA, "'class_names'"},
        {"classes", "99999999999999999999", ATR_ERR_DATA, "'classes'"},
        {"classes", "\"5\"", ATR_ERR_DATA, "'classes'"},
        {"class_names", "[1,2,3,4,5]", ATR_ERR_DATA, "'class_names'"},
        {"channels", "1000000", ATR_ERR_DATA, "'scale'"},
        {"scale", "[1,2]", ATR_ERR_DATA, "'scale'"},
        {"scale", "[1,0,1]", ATR_ERR_DATA, "scale 0"},
        {"offset", "[1,\"a\",1]", ATR_ERR_DATA, "'offset'"},
        {"align_corners", "1", ATR_ERR_DATA, "'align_corners'"},
        {"fit", "a word that is longer than all words can be", ATR_ERR_DATA, "'fit'"},
        {"backbone", "", ATR_ERR_DATA, "backbone"},
        {"output_stride", "0", ATR_ERR_DATA, "output stride 0"},
        {"pad_value", "[]", ATR_ERR_DATA, "'pad_value'"},
    };
    sample s;
    bool found = false;

    (void)state;
    sample_make(&s);
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        const atr_status status = read_changed(&s.info, cases[i].key, cases[i].value, &found);
        if (status != cases[i].status || strstr(atr_status_message(), cases[i].says) == NULL)
            fail_msg("%s: status %d, '%s'", cases[i].key, status, atr_status_message());
    }
    must_be_ok(read_changed(&s.info, "atrous_model", NULL, &found));
    assert_false(found);
    sample_free(&s);
}

static atr_status write_sample(void *user)
{
    const sample *const s = user;

    return atr_safetensors_write(s->path, &s->info, s->params);
}

static void full_disk_leaves_the_old_file(void **state)
{
    sample s;
    int64_t size = 0;

    (void)state;
    sample_make(&s);
    must_be_ok(write_sample(&s));
    must_be_ok(atr_path_size(s.path, &size));
    for (int64_t limit = 1; limit < size; limit += size / 7)
        assert_true(full_disk_is_a_message((size_t)limit, write_sample, &s));
    int64_t after = 0;
    must_be_ok(atr_path_size(s.path, &after));
    assert_int_equal(after, size);
    assert_false(atr_path_exists(scratch_text("%s.partial", s.path)));
    sample_free(&s);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_is_written_reads_back_bit_by_bit),
        cmocka_unit_test(data_is_aligned_and_marked_for_pytorch),
        cmocka_unit_test(the_same_content_gives_the_same_bytes),
        cmocka_unit_test(names_that_are_no_text_are_refused),
        cmocka_unit_test(lying_metadata_is_a_message),
        cmocka_unit_test(full_disk_leaves_the_old_file),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
