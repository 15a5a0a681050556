#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "dnn/model.h"
#include "tests/support/rig.h"

static const atr_param_spec specs[] = {
    {"a.weight", ATR_PARAM_CONV_WEIGHT, 4, {128, 64, 3, 3}},
    {"a.bias", ATR_PARAM_CONV_BIAS, 1, {128}},
    {"b.weight", ATR_PARAM_NORM_WEIGHT, 1, {2048}},
    {"b.bias", ATR_PARAM_NORM_BIAS, 1, {2048}},
    {"b.running_mean", ATR_PARAM_RUNNING_MEAN, 1, {2048}},
    {"b.running_var", ATR_PARAM_RUNNING_VAR, 1, {2048}},
    {"b.num_batches_tracked", ATR_PARAM_TRACKED, 0, {0}},
    {"c.weight", ATR_PARAM_CONV_WEIGHT, 4, {128, 64, 3, 3}},
};

enum { SPECS = sizeof specs / sizeof specs[0] };

static atr_params *make(const atr_param_spec *of, int64_t count, atr_init init, double gain, uint64_t seed)
{
    atr_params *params = NULL;

    assert_int_equal(atr_params_create(of, count, &atr_host_allocator, &params), ATR_OK);
    assert_int_equal(atr_model_init(params, init, gain, seed), ATR_OK);
    return params;
}

static void moments(const atr_params *params, int64_t index, double *mean, double *std)
{
    const atr_tensor t = atr_params_value(params, index);
    const int64_t count = atr_tensor_count(&t);
    double sum = 0.0, squares = 0.0;

    for (int64_t i = 0; i < count; i++) {
        sum += (double)((float *)t.data)[i];
        squares += (double)((float *)t.data)[i] * (double)((float *)t.data)[i];
    }
    *mean = sum / (double)count;
    *std = sqrt(squares / (double)count - *mean * *mean);
}

static void weights_have_the_spread_that_was_asked_for(void **state)
{
    const struct {
        atr_init init;
        double gain, want;
    } rows[] = {
        {ATR_INIT_NORMAL, 0.02, 0.02},
        {ATR_INIT_XAVIER, 0.5, 0.5 * sqrt(2.0 / (64 * 9 + 128 * 9))},
        {ATR_INIT_KAIMING, 0.02, sqrt(2.0 / (64 * 9))},
    };

    (void)state;
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        atr_params *params = make(specs, SPECS, rows[i].init, rows[i].gain, 5);
        double mean, std;
        moments(params, 0, &mean, &std);
        rig_assert_near(mean, 0.0, 0.02 * rows[i].want); /* 73,728 values: 5 standard deviations */
        rig_assert_near(std, rows[i].want, 0.015 * rows[i].want);
        moments(params, 2, &mean, &std);
        rig_assert_near(mean, 1.0, 0.0025);
        rig_assert_near(std, 0.02, 0.0025);
        atr_params_destroy(params);
    }
}

/* Inner product of rows (or columns) i and j of the weight as a matrix [O, rest]. */
static double product(const float *w, const atr_param_spec *spec, bool rows, int64_t i, int64_t j)
{
    const int64_t columns = spec->dims[1] * spec->dims[2] * spec->dims[3];
    const int64_t length = rows ? columns : spec->dims[0];
    double sum = 0.0;

    for (int64_t k = 0; k < length; k++)
        sum += rows ? (double)w[i * columns + k] * (double)w[j * columns + k]
                    : (double)w[k * columns + i] * (double)w[k * columns + j];
    return sum;
}

static void orthogonal_weights_have_orthogonal_rows_or_columns(void **state)
{
    static const atr_param_spec shapes[] = {
        {"wide.weight", ATR_PARAM_CONV_WEIGHT, 4, {12, 5, 3, 3}}, /* 12 x 45: rows */
        {"tall.weight", ATR_PARAM_CONV_WEIGHT, 4, {40, 7, 1, 1}}, /* 40 x 7: columns */
        {"square.weight", ATR_PARAM_CONV_WEIGHT, 4, {64, 64, 1, 1}},
        {"depthwise.weight", ATR_PARAM_CONV_WEIGHT, 4, {32, 1, 3, 3}},
        {"one.weight", ATR_PARAM_CONV_WEIGHT, 4, {1, 1, 1, 1}},
    };
    enum { COUNT = sizeof shapes / sizeof shapes[0] };
    const double gain = 1.5;
    atr_params *params = make(shapes, COUNT, ATR_INIT_ORTHOGONAL, gain, 5);

    (void)state;
    for (int64_t p = 0; p < COUNT; p++) {
        const float *const w = atr_params_value(params, p).data;
        const int64_t columns = shapes[p].dims[1] * shapes[p].dims[2] * shapes[p].dims[3];
        const bool rows = shapes[p].dims[0] < columns;
        const int64_t count = rows ? shapes[p].dims[0] : columns;
        for (int64_t i = 0; i < count; i++)
            for (int64_t j = 0; j <= i; j++)
                rig_assert_near(product(w, &shapes[p], rows, i, j), i == j ? gain * gain : 0.0, 1e-6);
    }
    atr_params_destroy(params);
}

/* The signs are those of a QR decomposition with a positive diagonal: the first row keeps the direction of its normal numbers. */
static void orthogonal_weights_keep_the_direction_of_the_first_row(void **state)
{
    static const atr_param_spec spec = {"wide.weight", ATR_PARAM_CONV_WEIGHT, 4, {12, 5, 3, 3}};
    atr_params *drawn = make(&spec, 1, ATR_INIT_NORMAL, 1.0, 5);
    atr_params *params = make(&spec, 1, ATR_INIT_ORTHOGONAL, 1.0, 5);
    const float *const from = atr_params_value(drawn, 0).data, *const to = atr_params_value(params, 0).data;
    const double length = sqrt(product(from, &spec, true, 0, 0));

    (void)state;
    for (int64_t k = 0; k < 45; k++)
        rig_assert_near((double)to[k], (double)from[k] / length, 1e-6);
    atr_params_destroy(drawn);
    atr_params_destroy(params);
}

static void biases_and_statistics_start_where_pytorch_starts_them(void **state)
{
    atr_params *params = make(specs, SPECS, ATR_INIT_NORMAL, 0.02, 5);
    const float *bias = atr_params_value(params, 1).data;
    const double bound = 1.0 / sqrt(64 * 9);
    double least = 1.0, most = -1.0;

    (void)state;
    for (int i = 0; i < 128; i++) {
        least = fmin(least, (double)bias[i]);
        most = fmax(most, (double)bias[i]);
    }
    assert_true(least >= -bound && most <= bound && least < -0.8 * bound && most > 0.8 * bound);
    for (int i = 0; i < 2048; i++) {
        rig_assert_near((double)((float *)atr_params_value(params, 3).data)[i], 0.0, 0.0);
        rig_assert_near((double)((float *)atr_params_value(params, 4).data)[i], 0.0, 0.0);
        rig_assert_near((double)((float *)atr_params_value(params, 5).data)[i], 1.0, 0.0);
    }
    assert_int_equal(*(int64_t *)atr_params_value(params, 6).data, 0);
    atr_params_destroy(params);
}

static void a_value_depends_on_seed_and_name_alone(void **state)
{
    const atr_param_spec other_order[] = {specs[7], specs[0]};
    const size_t bytes = 128 * 64 * 9 * sizeof(float);
    atr_params *a = make(specs, SPECS, ATR_INIT_NORMAL, 0.02, 5);
    atr_params *b = make(other_order, 2, ATR_INIT_NORMAL, 0.02, 5);
    atr_params *c = make(specs, SPECS, ATR_INIT_NORMAL, 0.02, 6);

    (void)state;
    assert_memory_equal(atr_params_value(a, 0).data, atr_params_value(b, 1).data, bytes);
    assert_memory_equal(atr_params_value(a, 7).data, atr_params_value(b, 0).data, bytes);
    assert_memory_not_equal(atr_params_value(a, 0).data, atr_params_value(a, 7).data, bytes);
    assert_memory_not_equal(atr_params_value(a, 0).data, atr_params_value(c, 0).data, bytes);
    atr_params_destroy(a);
    atr_params_destroy(b);
    atr_params_destroy(c);
}

static void filling_again_is_noticed_as_a_change(void **state)
{
    atr_params *params = make(specs, SPECS, ATR_INIT_NORMAL, 0.02, 5);
    const uint64_t version = atr_params_version(params);

    (void)state;
    assert_int_equal(atr_model_init(params, ATR_INIT_NORMAL, 0.02, 5), ATR_OK);
    assert_true(atr_params_version(params) > version);
    atr_params_destroy(params);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(weights_have_the_spread_that_was_asked_for),
        cmocka_unit_test(orthogonal_weights_have_orthogonal_rows_or_columns),
        cmocka_unit_test(orthogonal_weights_keep_the_direction_of_the_first_row),
        cmocka_unit_test(biases_and_statistics_start_where_pytorch_starts_them),
        cmocka_unit_test(a_value_depends_on_seed_and_name_alone),
        cmocka_unit_test(filling_again_is_noticed_as_a_change),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
