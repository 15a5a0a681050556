#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "dnn/ema.h"
#include "tests/support/rig.h"

static const atr_param_spec specs[] = {
    {"a.weight", ATR_PARAM_CONV_WEIGHT, 4, {7, 3, 3, 3}},
    {"b.weight", ATR_PARAM_NORM_WEIGHT, 1, {19}},
    {"b.bias", ATR_PARAM_NORM_BIAS, 1, {19}},
    {"b.running_mean", ATR_PARAM_RUNNING_MEAN, 1, {19}},
    {"b.running_var", ATR_PARAM_RUNNING_VAR, 1, {19}},
    {"b.num_batches_tracked", ATR_PARAM_TRACKED, 0, {0}},
};

enum { SPECS = sizeof specs / sizeof specs[0], STEPS = 40 };

/* Values of the network after update t; the first parameter never changes. */
static double value_at(int64_t entry, int64_t i, int t)
{
    return entry == 0 ? 0.1 + 0.01 * (double)i : sin((double)entry + (double)i + 0.3 * t);
}

static void set_values(atr_params *params, int t)
{
    for (int64_t e = 0; e < SPECS; e++) {
        const atr_tensor value = atr_params_value(params, e);
        if (specs[e].kind == ATR_PARAM_TRACKED)
            *(int64_t *)value.data = t;
        else
            for (int64_t i = 0; i < atr_tensor_count(&value); i++)
                ((float *)value.data)[i] = (float)value_at(e, i, t);
    }
}

static void averages_follow_the_formula(void **state)
{
    const double decay = 0.7; /* the warm-up reaches it at update 21 */
    atr_backend *backends[RIG_BACKENDS];
    const int count = rig_open_backends(2, backends);

    (void)state;
    for (int b = 0; b < count; b++) {
        atr_params *params = NULL;
        atr_ema *ema = NULL;
        double want[19];
        assert_int_equal(atr_params_create(specs, SPECS, &atr_host_allocator, &params), ATR_OK);
        set_values(params, 0);
        assert_int_equal(atr_ema_create(decay, params, backends[b], &ema), ATR_OK);
        for (int64_t i = 0; i < 19; i++)
            want[i] = value_at(3, i, 0);
        for (int t = 1; t <= STEPS; t++) {
            const double d = fmin(decay, (1.0 + t) / (10.0 + t));
            set_values(params, t);
            assert_int_equal(atr_ema_update(ema, params), ATR_OK);
            for (int64_t i = 0; i < 19; i++)
                want[i] = d * want[i] + (1 - d) * value_at(3, i, t);
        }
        const atr_params *const mean = atr_ema_params(ema);
        const float *const statistics = atr_params_value(mean, 3).data, *const still =
                                                                            atr_params_value(mean, 0).data;
        for (int64_t i = 0; i < 19; i++)
            rig_assert_near((double)statistics[i], want[i], 1e-6);
        for (int64_t i = 0; i < 189; i++)
            assert_true(still[i] == (float)value_at(0, i, 0));
        assert_int_equal(*(int64_t *)atr_params_value(mean, 5).data, STEPS);
        assert_int_equal(atr_ema_steps(ema), STEPS);
        atr_ema_destroy(ema);
        atr_params_destroy(params);
    }
    rig_close_backends(backends, count);
}

static void a_restored_average_goes_on_bit_for_bit(void **state)
{
    atr_backend *backends[RIG_BACKENDS];
    const int count = rig_open_backends(2, backends);

    (void)state;
    for (int b = 0; b < count; b++) {
        atr_params *params = NULL;
        atr_ema *straight = NULL, *resumed = NULL;
        assert_int_equal(atr_params_create(specs, SPECS, &atr_host_allocator, &params), ATR_OK);
        assert_int_equal(atr_ema_create(0.9, params, backends[b], &straight), ATR_OK);
        for (int t = 1; t <= 12; t++) {
            set_values(params, t);
            assert_int_equal(atr_ema_update(straight, params), ATR_OK);
            if (t == 5) {
                assert_int_equal(atr_ema_create(0.9, params, backends[b], &resumed), ATR_OK);
                assert_int_equal(atr_params_copy(atr_ema_params(straight), atr_ema_params(resumed)), ATR_OK);
                atr_ema_set_steps(resumed, atr_ema_steps(straight));
            } else if (t > 5) {
                assert_int_equal(atr_ema_update(resumed, params), ATR_OK);
            }
        }
        assert_memory_equal(atr_params_flat_values(atr_ema_params(straight)),
                            atr_params_flat_values(atr_ema_params(resumed)),
                            (size_t)atr_params_flat_count(params) * sizeof(float));
        atr_ema_destroy(straight);
        atr_ema_destroy(resumed);
        atr_params_destroy(params);
    }
    rig_close_backends(backends, count);
}

static void senseless_decays_are_refused(void **state)
{
    static const double bad[] = {0.0, 1.0, -0.1, NAN};
    atr_backend *backends[RIG_BACKENDS];
    const int count = rig_open_backends(1, backends);
    atr_params *params = NULL;
    atr_ema *ema = NULL;

    (void)state;
    assert_int_equal(atr_params_create(specs, SPECS, &atr_host_allocator, &params), ATR_OK);
    for (int i = 0; i < 4; i++)
        assert_int_equal(atr_ema_create(bad[i], params, backends[0], &ema), ATR_ERR_USAGE);
    atr_params_destroy(params);
    rig_close_backends(backends, count);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(averages_follow_the_formula),
        cmocka_unit_test(a_restored_average_goes_on_bit_for_bit),
        cmocka_unit_test(senseless_decays_are_refused),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
