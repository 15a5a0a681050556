#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include <stdio.h>

#include "core/params.h"

static const atr_param_spec specs[] = {
    {"conv.weight", ATR_PARAM_CONV_WEIGHT, 4, {4, 3, 3, 3}}, /* 108 -> 112 */
    {"conv.bias", ATR_PARAM_CONV_BIAS, 1, {4}},              /* 4 -> 16 */
    {"bn.weight", ATR_PARAM_NORM_WEIGHT, 1, {20}},           /* 20 -> 32 */
    {"bn.bias", ATR_PARAM_NORM_BIAS, 1, {20}},
    {"bn.running_mean", ATR_PARAM_RUNNING_MEAN, 1, {20}},
    {"bn.running_var", ATR_PARAM_RUNNING_VAR, 1, {20}},
    {"bn.num_batches_tracked", ATR_PARAM_TRACKED, 0, {0}},
};
enum { SPECS = sizeof specs / sizeof specs[0], TRAINABLE = 4 };

static atr_params *make(void)
{
    atr_params *params = NULL;

    assert_int_equal(atr_params_create(specs, SPECS, &atr_host_allocator, &params), ATR_OK);
    return params;
}

static void trainable_values_lie_in_reverse_order_without_holes(void **state)
{
    atr_params *params = make();
    int64_t next = 0;

    (void)state;
    for (int64_t i = TRAINABLE - 1; i >= 0; i--) {
        const atr_tensor value = atr_params_value(params, i);
        assert_int_equal(atr_params_flat_offset(params, i), next);
        assert_ptr_equal(value.data, atr_params_flat_values(params) + next);
        assert_ptr_equal(atr_params_gradient(params, i).data, atr_params_flat_gradients(params) + next);
        next += (int64_t)(atr_align_up((size_t)atr_tensor_count(&value) * sizeof(float)) / sizeof(float));
    }
    assert_int_equal(next, atr_params_flat_count(params));
    assert_int_equal(next, 112 + 16 + 32 + 32);
    atr_params_destroy(params);
}

static void every_entry_starts_on_a_cache_line_and_is_zero(void **state)
{
    atr_params *params = make();

    (void)state;
    for (int64_t i = 0; i < SPECS - 1; i++) {
        const atr_tensor value = atr_params_value(params, i);
        assert_int_equal((uintptr_t)value.data % ATR_ALIGN, 0);
        for (int64_t k = 0; k < atr_tensor_count(&value); k++)
            assert_true(((const float *)value.data)[k] == 0);
    }
    atr_params_destroy(params);
}

static void buffers_lie_apart_and_have_no_gradient(void **state)
{
    atr_params *params = make();
    float *buffers = atr_params_flat_buffers(params);

    (void)state;
    assert_int_equal(atr_params_buffer_count(params), 64);
    assert_ptr_equal(atr_params_value(params, 4).data, buffers);
    assert_ptr_equal(atr_params_value(params, 5).data, buffers + 32);
    const atr_tensor tracked = atr_params_value(params, 6);
    assert_int_equal(tracked.type, ATR_I64);
    assert_int_equal(tracked.rank, 0);
    assert_int_equal(*(const int64_t *)tracked.data, 0);
    for (int64_t i = TRAINABLE; i < SPECS; i++)
        assert_null(atr_params_gradient(params, i).data);
    atr_params_destroy(params);
}

static void entries_keep_their_order_and_are_found_by_name(void **state)
{
    atr_params *params = make();

    (void)state;
    assert_int_equal(atr_params_count(params), SPECS);
    for (int64_t i = 0; i < SPECS; i++) {
        assert_string_equal(atr_params_spec(params, i)->name, specs[i].name);
        assert_int_equal(atr_params_find(params, specs[i].name), i);
    }
    assert_int_equal(atr_params_find(params, "bn"), -1);
    atr_params_destroy(params);
}

static void a_copy_takes_values_and_buffers_but_not_gradients(void **state)
{
    atr_params *from = make(), *to = make();
    const uint64_t version = atr_params_version(to);

    (void)state;
    for (int64_t i = 0; i < SPECS - 1; i++)
        *(float *)atr_params_value(from, i).data = (float)(i + 1);
    *(int64_t *)atr_params_value(from, 6).data = 77;
    atr_params_flat_gradients(from)[0] = 5;
    assert_int_equal(atr_params_copy(from, to), ATR_OK);
    for (int64_t i = 0; i < SPECS - 1; i++)
        assert_true(*(const float *)atr_params_value(to, i).data == (float)(i + 1));
    assert_int_equal(*(const int64_t *)atr_params_value(to, 6).data, 77);
    assert_true(atr_params_flat_gradients(to)[0] == 0);
    assert_true(atr_params_version(to) > version);
    atr_params_destroy(from);
    atr_params_destroy(to);
}

static void a_copy_between_different_networks_is_refused(void **state)
{
    atr_param_spec others[SPECS];
    atr_params *from = make(), *to = NULL;

    (void)state;
    memcpy(others, specs, sizeof others);
    others[0].dims[0] = 3;
    others[0].dims[1] = 4; /* as many elements, another shape */
    assert_int_equal(atr_params_create(others, SPECS, &atr_host_allocator, &to), ATR_OK);
    assert_int_equal(atr_params_copy(from, to), ATR_ERR_SHAPE);
    atr_params_destroy(to);
    memcpy(others, specs, sizeof others);
    snprintf(others[1].name, sizeof others[1].name, "conv2.bias");
    assert_int_equal(atr_params_create(others, SPECS, &atr_host_allocator, &to), ATR_OK);
    assert_int_equal(atr_params_copy(from, to), ATR_ERR_SHAPE);
    atr_params_destroy(to);
    assert_int_equal(atr_params_create(specs, SPECS - 1, &atr_host_allocator, &to), ATR_OK);
    assert_int_equal(atr_params_copy(from, to), ATR_ERR_SHAPE);
    atr_params_destroy(to);
    atr_params_destroy(from);
}

static void shapes_that_make_no_sense_are_refused(void **state)
{
    static const atr_param_spec bad[] = {
        {"zero", ATR_PARAM_CONV_BIAS, 1, {0}},
        {"negative", ATR_PARAM_CONV_WEIGHT, 4, {4, -3, 3, 3}},
        {"overflow", ATR_PARAM_CONV_WEIGHT, 4, {INT64_C(1) << 40, INT64_C(1) << 40, 3, 3}},
        {"huge", ATR_PARAM_CONV_BIAS, 1, {INT64_MAX}},
        {"rank", ATR_PARAM_CONV_BIAS, 5, {1, 1, 1, 1}},
    };

    (void)state;
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        atr_params *params = (atr_params *)1;
        assert_int_equal(atr_params_create(&bad[i], 1, &atr_host_allocator, &params), ATR_ERR_SHAPE);
        assert_null(params);
        assert_non_null(strstr(atr_status_message(), bad[i].name));
    }
}

static void a_network_without_parameters_is_allowed(void **state)
{
    atr_params *params = NULL, *other = NULL;

    (void)state;
    assert_int_equal(atr_params_create(NULL, 0, &atr_host_allocator, &params), ATR_OK);
    assert_int_equal(atr_params_create(NULL, 0, &atr_host_allocator, &other), ATR_OK);
    assert_int_equal(atr_params_copy(params, other), ATR_OK);
    assert_int_equal(atr_params_flat_count(params), 0);
    atr_params_destroy(params);
    atr_params_destroy(other);
    atr_params_destroy(NULL);
}

static void spans_are_the_runs_between_what_is_frozen(void **state)
{
    atr_params *params = make();
    atr_span span = {0, 0};

    (void)state;
    assert_true(atr_params_next_span(params, false, &span));
    assert_true(span.offset == 0 && span.count == 192);
    assert_false(atr_params_next_span(params, false, &span));
    assert_int_equal(atr_params_flat_room(params, 0), 112);

    atr_params_set_frozen(params, 1, true); /* conv.bias: 64..80 */
    assert_true(atr_params_frozen(params, 1) && !atr_params_frozen(params, 0));
    span = (atr_span){0, 0};
    assert_true(atr_params_next_span(params, false, &span));
    assert_true(span.offset == 0 && span.count == 64);
    assert_true(atr_params_next_span(params, false, &span));
    assert_true(span.offset == 80 && span.count == 112);
    assert_false(atr_params_next_span(params, false, &span));

    atr_params_freeze(params, "bn.", true, false);
    span = (atr_span){0, 0};
    assert_true(atr_params_next_span(params, false, &span));
    assert_true(span.offset == 80 && span.count == 112);
    span = (atr_span){0, 0};
    assert_true(atr_params_next_span(params, true, &span));
    assert_true(span.offset == 0 && span.count == 64);

    atr_params_freeze(params, "", true, true);
    span = (atr_span){0, 0};
    assert_false(atr_params_next_span(params, false, &span));
    assert_false(atr_params_next_span(params, true, &span));
    atr_params_freeze(params, "", false, true);
    assert_true(atr_params_next_span(params, false, &span));
    assert_int_equal(span.count, 192);
    atr_params_destroy(params);
}

static void plain_sets_have_the_layout_but_no_gradients(void **state)
{
    atr_params *params = make(), *plain = NULL;

    (void)state;
    assert_int_equal(atr_params_create_plain(specs, SPECS, &atr_host_allocator, &plain), ATR_OK);
    assert_int_equal(atr_params_flat_count(plain), atr_params_flat_count(params));
    assert_int_equal(atr_params_flat_offset(plain, 0), atr_params_flat_offset(params, 0));
    assert_null(atr_params_flat_gradients(plain));
    assert_null(atr_params_gradient(plain, 0).data);
    ((float *)atr_params_value(params, 0).data)[0] = 3;
    assert_int_equal(atr_params_copy(params, plain), ATR_OK);
    assert_true(((float *)atr_params_value(plain, 0).data)[0] == 3);
    atr_params_destroy(params);
    atr_params_destroy(plain);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(trainable_values_lie_in_reverse_order_without_holes),
        cmocka_unit_test(every_entry_starts_on_a_cache_line_and_is_zero),
        cmocka_unit_test(buffers_lie_apart_and_have_no_gradient),
        cmocka_unit_test(entries_keep_their_order_and_are_found_by_name),
        cmocka_unit_test(a_copy_takes_values_and_buffers_but_not_gradients),
        cmocka_unit_test(a_copy_between_different_networks_is_refused),
        cmocka_unit_test(shapes_that_make_no_sense_are_refused),
        cmocka_unit_test(spans_are_the_runs_between_what_is_frozen),
        cmocka_unit_test(plain_sets_have_the_layout_but_no_gradients),
        cmocka_unit_test(a_network_without_parameters_is_allowed),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
