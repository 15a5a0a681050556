#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "core/quant.h"
#include "io/checkpoint_impl.h"
#include "tests/support/scratch.h"

/* How a network runs in integers, in a model file. */

static char *folder;

static void must(atr_status status)
{
    if (status != ATR_OK)
        fail_msg("%s", atr_status_message());
}

static const atr_param_spec specs[] = {{"conv.weight", ATR_PARAM_CONV_WEIGHT, 4, {2, 3, 1, 1}}};

static void write_model(const char *path, const atr_quant *quant)
{
    atr_params *params = NULL;
    atr_model_info *info = NULL;

    must(ATR_NEW(1, &info));
    strcpy(info->architecture, "deeplabv3plus");
    strcpy(info->backbone, "mobilenetv2");
    strcpy(info->fit, "none");
    info->output_stride = 16;
    info->classes = 2;
    info->channels = 1;
    info->scale[0] = 1;
    must(atr_params_create(specs, 1, &atr_host_allocator, &params));
    must(atr_checkpoint_write(path, &(atr_checkpoint){.info = info, .params = params, .quant = quant}));
    atr_params_destroy(params);
    atr_free(info);
}

static void same_list(const atr_quant_list *a, const atr_quant_list *b)
{
    assert_int_equal(a->count, b->count);
    for (int64_t i = 0; i < a->count; i++) {
        const atr_quant_steps *other = atr_quant_find(b, a->items[i].name);
        assert_non_null(other);
        assert_int_equal(a->items[i].has_negative, other->has_negative);
        assert_int_equal(a->items[i].count, other->count);
        assert_memory_equal(a->items[i].steps, other->steps, (size_t)other->count * sizeof(float));
    }
}

static void steps_come_back_bit_by_bit(void **state)
{
    const float steps[3] = {0.1f, 3e-7f, 12345.678f};
    const char *path = scratch_text("%s/int8.h5", folder);
    atr_quant quant = {{0}, {0}}, back = {{0}, {0}};
    atr_checkpoint_file *file = NULL;

    (void)state;
    must(atr_quant_add(&quant.activations, "b.conv.1", true, steps, 3));
    must(atr_quant_add(&quant.activations, "a.input", false, steps + 1, 2));
    must(atr_quant_add(&quant.weights, "conv", false, steps, 2));
    write_model(path, &quant);
    must(atr_checkpoint_open(path, &file));
    assert_true(atr_checkpoint_has_quant(file));
    must(atr_checkpoint_load_quant(file, &back));
    same_list(&quant.activations, &back.activations);
    same_list(&quant.weights, &back.weights);
    atr_checkpoint_close(file);
    atr_quant_free(&quant);
    atr_quant_free(&back);
}

static void a_plain_model_has_none(void **state)
{
    const char *path = scratch_text("%s/plain.h5", folder);
    atr_quant back = {{0}, {0}};
    atr_checkpoint_file *file = NULL;

    (void)state;
    write_model(path, NULL);
    must(atr_checkpoint_open(path, &file));
    assert_false(atr_checkpoint_has_quant(file));
    assert_int_equal(atr_checkpoint_load_quant(file, &back), ATR_ERR_NOT_FOUND);
    assert_non_null(strstr(atr_status_message(), "atrous quantize"));
    atr_checkpoint_close(file);
}

/* A sealed file whose /int8 group somebody wrote with care, but wrong. */
typedef void (*wrong)(atr_h5 *file);

static void no_version(atr_h5 *file)
{
    must(atr_h5_group(file, "int8"));
}

static void of_tomorrow(atr_h5 *file)
{
    must(atr_h5_group(file, "int8"));
    must(atr_h5_set_i64(file, "int8", "version", 2));
}

static void put(atr_h5 *file, const char *path, atr_dtype type, int rank, void *data, int64_t zero)
{
    const int64_t dims[2] = {2, 1};
    const atr_tensor tensor = atr_tensor_make(type, rank, dims, data);

    must(atr_h5_group(file, "int8"));
    must(atr_h5_set_i64(file, "int8", "version", 1));
    must(atr_h5_group(file, "int8/activations"));
    must(atr_h5_group(file, "int8/weights"));
    must(atr_h5_write(file, path, &tensor));
    must(atr_h5_set_i64(file, path, "zero", zero));
}

static void negative_step(atr_h5 *file)
{
    put(file, "int8/weights/conv", ATR_F32, 1, (float[]){1, -1}, 0);
}

static void whole_numbers(atr_h5 *file)
{
    put(file, "int8/weights/conv", ATR_I32, 1, (int32_t[]){1, 1}, 0);
}

static void two_dimensions(atr_h5 *file)
{
    put(file, "int8/activations/conv", ATR_F32, 2, (float[]){1, 1}, 0);
}

static void odd_zero(atr_h5 *file)
{
    put(file, "int8/activations/conv", ATR_F32, 1, (float[]){1, 1}, 3);
}

static void a_group_for_steps(atr_h5 *file)
{
    put(file, "int8/activations/conv", ATR_F32, 1, (float[]){1, 1}, 0);
    must(atr_h5_group(file, "int8/weights/conv"));
}

/* Damage that the seal does not show is a message, never a crash. */
static void damaged_steps_are_a_message(void **state)
{
    static const struct {
        wrong make;
        atr_status want;
        const char *says;
    } faults[] = {
        {no_version, ATR_ERR_NOT_FOUND, "version"},
        {of_tomorrow, ATR_ERR_UNSUPPORTED, "version 2"},
        {negative_step, ATR_ERR_DATA, "channel 1 is -1"},
        {whole_numbers, ATR_ERR_DATA, "no list of f32"},
        {two_dimensions, ATR_ERR_DATA, "no list of f32"},
        {odd_zero, ATR_ERR_DATA, "0 or 128"},
        {a_group_for_steps, ATR_ERR_DATA, ""},
    };

    (void)state;
    for (size_t i = 0; i < sizeof faults / sizeof faults[0]; i++) {
        const char *path = scratch_text("%s/wrong%d.h5", folder, (int)i);
        atr_quant back = {{0}, {0}};
        atr_h5 *file = NULL;
        must(atr_h5_create(path, &file));
        faults[i].make(file);
        must(atr_h5_close(&file));
        must(atr_h5_open(path, &file));
        const atr_status status = atr_checkpoint_read_quant(file, &back);
        if (status != faults[i].want || strstr(atr_status_message(), faults[i].says) == NULL)
            fail_msg("fault %d: %d, %s", (int)i, (int)status, atr_status_message());
        assert_int_equal(back.activations.count + back.weights.count, 0);
        atr_h5_destroy(file);
    }
}

static int set_up(void **state)
{
    (void)state;
    folder = scratch_create();
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    scratch_remove(folder);
    return 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(steps_come_back_bit_by_bit),
        cmocka_unit_test(a_plain_model_has_none),
        cmocka_unit_test(damaged_steps_are_a_message),
    };

    return cmocka_run_group_tests(tests, set_up, tear_down);
}
