#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "dnn/optim.h"
#include "tests/support/rig.h"

/* Optimisers against their formulas carried through in double, on every back end of this build. */

enum { THREADS = 2, STEPS = 4 };

static const atr_param_spec specs[] = {
    {"a.weight", ATR_PARAM_CONV_WEIGHT, 4, {7, 3, 3, 3}},
    {"a.bias", ATR_PARAM_CONV_BIAS, 1, {7}},
    {"b.weight", ATR_PARAM_NORM_WEIGHT, 1, {19}},
    {"b.bias", ATR_PARAM_NORM_BIAS, 1, {19}},
    {"b.running_mean", ATR_PARAM_RUNNING_MEAN, 1, {19}},
    {"b.running_var", ATR_PARAM_RUNNING_VAR, 1, {19}},
    {"b.num_batches_tracked", ATR_PARAM_TRACKED, 0, {0}},
    {"c.weight", ATR_PARAM_CONV_WEIGHT, 4, {64, 33, 3, 3}},
};

enum { SPECS = sizeof specs / sizeof specs[0] };

static atr_tensor row(atr_tensor t)
{
    return atr_tensor_nhwc(ATR_F32, 1, 1, 1, atr_tensor_count(&t), t.data);
}

static atr_params *make_params(void)
{
    atr_params *params = NULL;

    assert_int_equal(atr_params_create(specs, SPECS, &atr_host_allocator, &params), ATR_OK);
    for (int64_t i = 0; i < SPECS; i++)
        if (!atr_param_is_buffer(specs[i].kind)) {
            const atr_tensor value = row(atr_params_value(params, i));
            rig_fill(&value, 100 + (uint64_t)i, 1.0, 0.1);
        }
    return params;
}

/* Gradients of step `step`, of very different sizes. */
static void make_gradients(atr_params *params, int step)
{
    for (int64_t i = 0; i < SPECS; i++)
        if (!atr_param_is_buffer(specs[i].kind)) {
            const atr_tensor gradient = row(atr_params_gradient(params, i));
            rig_fill(&gradient, 200 + (uint64_t)i * 10 + (uint64_t)step, i % 2 == 0 ? 1.0 : 1e-4, 0.0);
        }
}

/* One element's life in double. */
typedef struct element {
    double p, m, v;
} element;

static void formula(const atr_optim_config *c, element *e, double gradient, double lr, double scale, int step)
{
    const bool decoupled = c->kind == ATR_OPTIM_ADAMW;
    const double g = scale * gradient + (decoupled ? 0 : c->weight_decay * e->p);

    if (c->kind == ATR_OPTIM_SGD) {
        e->m = c->momentum * e->m + g;
        e->p -= lr * (c->nesterov ? g + c->momentum * e->m : e->m);
    } else {
        e->m = c->momentum * e->m + (1.0 - c->momentum) * g;
        e->v = c->beta2 * e->v + (1.0 - c->beta2) * g * g;
        const double m = e->m / (1.0 - pow(c->momentum, step)), v = e->v / (1.0 - pow(c->beta2, step));
        e->p -= decoupled ? lr * c->weight_decay * e->p : 0;
        e->p -= lr * m / (sqrt(v) + c->eps);
    }
}

static const atr_optim_config configs[] = {
    {ATR_OPTIM_SGD, .momentum = 0.0},
    {ATR_OPTIM_SGD, .momentum = 0.9},
    {ATR_OPTIM_SGD, .momentum = 0.9, .weight_decay = 1e-2, .nesterov = true},
    {ATR_OPTIM_ADAM, .momentum = 0.9, .beta2 = 0.999, .eps = 1e-8},
    {ATR_OPTIM_ADAM, .momentum = 0.9, .beta2 = 0.99, .eps = 1e-6, .weight_decay = 1e-2},
    {ATR_OPTIM_ADAMW, .momentum = 0.9, .beta2 = 0.999, .eps = 1e-8, .weight_decay = 1e-2},
    {ATR_OPTIM_ADAMW, .momentum = 0.8, .beta2 = 0.99, .eps = 1e-6, .weight_decay = 0.5},
};

enum { CONFIGS = sizeof configs / sizeof configs[0] };

static void follow_formula(const atr_optim_config *config, atr_backend *backend)
{
    atr_params *params = make_params();
    atr_optim *optim = NULL;
    element *elements = NULL;
    const int64_t count = atr_params_flat_count(params);
    const uint64_t version = atr_params_version(params);

    assert_int_equal(atr_optim_create(config, params, backend, &optim), ATR_OK);
    assert_int_equal(ATR_NEW(count, &elements), ATR_OK);
    for (int64_t i = 0; i < count; i++)
        elements[i].p = (double)atr_params_flat_values(params)[i];
    for (int step = 1; step <= STEPS; step++) {
        const double lr = 1e-2 / step, scale = step == 2 ? 0.25 : 1.0;
        make_gradients(params, step);
        assert_int_equal(atr_optim_step(optim, lr, scale), ATR_OK);
        for (int64_t i = 0; i < count; i++) {
            formula(config, &elements[i], (double)atr_params_flat_gradients(params)[i], lr, scale, step);
            rig_assert_near((double)atr_params_flat_values(params)[i], elements[i].p, 2e-6);
            rig_assert_near((double)atr_params_flat_values(atr_optim_moment(optim, 0))[i], elements[i].m,
                            2e-6 * (1.0 + fabs(elements[i].m)));
        }
    }
    assert_int_equal(atr_optim_steps(optim), STEPS);
    assert_true(atr_params_version(params) > version);
    atr_free(elements);
    atr_optim_destroy(optim);
    atr_params_destroy(params);
}

static void steps_follow_the_formula(void **state)
{
    atr_backend *backends[RIG_BACKENDS];
    const int count = rig_open_backends(THREADS, backends);

    (void)state;
    for (int b = 0; b < count; b++)
        for (int i = 0; i < CONFIGS; i++)
            follow_formula(&configs[i], backends[b]);
    rig_close_backends(backends, count);
}

static void buffers_and_gaps_stay_as_they_are(void **state)
{
    atr_backend *backends[RIG_BACKENDS];
    const int count = rig_open_backends(THREADS, backends);

    (void)state;
    for (int b = 0; b < count; b++)
        for (int i = 0; i < CONFIGS; i++) {
            atr_params *params = make_params();
            atr_optim *optim = NULL;
            const atr_tensor mean = row(atr_params_value(params, 4));
            rig_fill(&mean, 1, 0.0, 0.5);
            make_gradients(params, 1);
            assert_int_equal(atr_optim_create(&configs[i], params, backends[b], &optim), ATR_OK);
            assert_int_equal(atr_optim_step(optim, 0.1, 1.0), ATR_OK);
            rig_assert_near((double)((float *)mean.data)[3], 0.5, 0.0);
            const int64_t gap = atr_params_flat_offset(params, 1) + 7; /* behind a.bias */
            rig_assert_near((double)atr_params_flat_values(params)[gap], 0.0, 0.0);
            atr_optim_destroy(optim);
            atr_params_destroy(params);
        }
    rig_close_backends(backends, count);
}

static void moments_carry_the_names_of_the_trainable_parameters(void **state)
{
    atr_backend *backend = NULL;
    atr_params *params = make_params();
    atr_optim *optim = NULL;

    (void)state;
    assert_int_equal(atr_backend_open("ref", THREADS, &backend), ATR_OK);
    assert_int_equal(atr_optim_create(&configs[3], params, backend, &optim), ATR_OK);
    assert_int_equal(atr_optim_moment_count(optim), 2);
    assert_string_equal(atr_optim_moment_name(optim, 0), "exp_avg");
    assert_string_equal(atr_optim_moment_name(optim, 1), "exp_avg_sq");
    for (int k = 0; k < 2; k++) {
        const atr_params *moment = atr_optim_moment(optim, k);
        assert_int_equal(atr_params_flat_count(moment), atr_params_flat_count(params));
        for (int64_t i = 0; i < SPECS; i++) {
            const int64_t at = atr_params_find(moment, specs[i].name);
            assert_int_equal(at >= 0, !atr_param_is_buffer(specs[i].kind));
            if (at >= 0)
                assert_int_equal(atr_params_flat_offset(moment, at), atr_params_flat_offset(params, i));
        }
    }
    atr_optim_destroy(optim);
    atr_params_destroy(params);
    atr_backend_close(backend);
}

/* Values and moments copied into a fresh optimiser go on as if nothing had happened. */
static void a_restored_optimiser_goes_on_bit_for_bit(void **state)
{
    atr_backend *backends[RIG_BACKENDS];
    const int count = rig_open_backends(THREADS, backends);

    (void)state;
    for (int b = 0; b < count; b++)
        for (int i = 0; i < CONFIGS; i++) {
            atr_params *params[2] = {make_params(), make_params()};
            atr_optim *optim[2] = {NULL, NULL};
            assert_int_equal(atr_optim_create(&configs[i], params[0], backends[b], &optim[0]), ATR_OK);
            for (int step = 1; step <= 2; step++) {
                make_gradients(params[0], step);
                assert_int_equal(atr_optim_step(optim[0], 0.01, 1.0), ATR_OK);
            }
            assert_int_equal(atr_optim_create(&configs[i], params[1], backends[b], &optim[1]), ATR_OK);
            assert_int_equal(atr_params_copy(params[0], params[1]), ATR_OK);
            for (int k = 0; k < atr_optim_moment_count(optim[0]); k++)
                assert_int_equal(
                    atr_params_copy(atr_optim_moment(optim[0], k), atr_optim_moment(optim[1], k)), ATR_OK);
            atr_optim_set_steps(optim[1], atr_optim_steps(optim[0]));
            for (int k = 0; k < 2; k++) {
                make_gradients(params[k], 3);
                assert_int_equal(atr_optim_step(optim[k], 0.01, 1.0), ATR_OK);
            }
            assert_memory_equal(atr_params_flat_values(params[0]), atr_params_flat_values(params[1]),
                                (size_t)atr_params_flat_count(params[0]) * sizeof(float));
            for (int k = 0; k < 2; k++) {
                atr_optim_destroy(optim[k]);
                atr_params_destroy(params[k]);
            }
        }
    rig_close_backends(backends, count);
}

/* Five steps of torch.optim (2.x, float64) from p = (0.5, -1.25, 3, 0), gradients sin(1.7 i + 0.9 t) for element i and step t
 * counted from 1: SGD with Nesterov momentum, Adam with an L2 term, AdamW. */
static const struct {
    atr_optim_config config;
    double lr, want[4];
} golden[] = {
    {{ATR_OPTIM_SGD, .momentum = 0.9, .weight_decay = 0.01, .nesterov = true},
     0.05,
     {0.193458082461, -1.00421455931, 3.21651866683, -0.29757476251}},
    {{ATR_OPTIM_ADAM, .momentum = 0.9, .beta2 = 0.999, .eps = 1e-8, .weight_decay = 0.1},
     0.05,
     {0.31834655835, -1.18877830265, 3.10780761565, -0.0721917039695}},
    {{ATR_OPTIM_ADAMW, .momentum = 0.9, .beta2 = 0.999, .eps = 1e-8, .weight_decay = 0.1},
     0.05,
     {0.312773225326, -1.1889298982, 3.08104802472, -0.072201447798}},
};

static void steps_are_those_of_pytorch(void **state)
{
    static const atr_param_spec spec = {"p.bias", ATR_PARAM_CONV_BIAS, 1, {4}};
    static const float start[4] = {0.5f, -1.25f, 3.0f, 0.0f};
    atr_backend *backends[RIG_BACKENDS];
    const int count = rig_open_backends(THREADS, backends);

    (void)state;
    for (int b = 0; b < count; b++)
        for (size_t k = 0; k < sizeof golden / sizeof golden[0]; k++) {
            atr_params *params = NULL;
            atr_optim *optim = NULL;
            assert_int_equal(atr_params_create(&spec, 1, &atr_host_allocator, &params), ATR_OK);
            memcpy(atr_params_flat_values(params), start, sizeof start);
            assert_int_equal(atr_optim_create(&golden[k].config, params, backends[b], &optim), ATR_OK);
            for (int t = 1; t <= 5; t++) {
                for (int i = 0; i < 4; i++)
                    atr_params_flat_gradients(params)[i] = (float)sin(1.7 * i + 0.9 * t);
                assert_int_equal(atr_optim_step(optim, golden[k].lr, 1.0), ATR_OK);
            }
            for (int i = 0; i < 4; i++)
                rig_assert_near((double)atr_params_flat_values(params)[i], golden[k].want[i], 2e-6);
            atr_optim_destroy(optim);
            atr_params_destroy(params);
        }
    rig_close_backends(backends, count);
}

static void freeze_a(atr_params *params, bool frozen)
{
    atr_params_freeze(params, "a.", frozen, false);
}

/* Values and moments of what is frozen stay bit for bit under any weight decay; afterwards its bias correction starts at one. */
static void frozen_parameters_stay_and_begin_anew(void **state)
{
    atr_backend *backends[RIG_BACKENDS];
    const int count = rig_open_backends(THREADS, backends);

    (void)state;
    for (int b = 0; b < count; b++)
        for (int c = 0; c < CONFIGS; c++) {
            atr_params *params = make_params(), *alone = make_params();
            atr_optim *optim = NULL, *late = NULL;
            double norm = 0, part = 0;
            assert_int_equal(atr_optim_create(&configs[c], params, backends[b], &optim), ATR_OK);
            assert_int_equal(atr_optim_create(&configs[c], alone, backends[b], &late), ATR_OK);
            freeze_a(params, true);
            for (int step = 1; step <= STEPS; step++) {
                make_gradients(params, step);
                assert_int_equal(atr_optim_step(optim, 1e-2, 1.0), ATR_OK);
            }
            const int64_t a = atr_params_flat_offset(params, 1), room = atr_params_flat_count(params) - a;
            const size_t bytes = (size_t)room * sizeof(float);
            assert_memory_equal(atr_params_flat_values(params) + a, atr_params_flat_values(alone) + a, bytes);
            for (int64_t i = 0; i < room; i++)
                assert_true(atr_params_flat_values(atr_optim_moment(optim, 0))[a + i] == 0);
            assert_int_equal(atr_optim_gradient_norm(optim, &part), ATR_OK);
            freeze_a(params, false);
            make_gradients(params, 9);
            make_gradients(alone, 9);
            assert_int_equal(atr_optim_gradient_norm(optim, &norm), ATR_OK);
            assert_true(part > 0 && norm > part);
            assert_int_equal(atr_optim_step(optim, 1e-2, 1.0), ATR_OK);
            assert_int_equal(atr_optim_step(late, 1e-2, 1.0), ATR_OK);
            assert_memory_equal(atr_params_flat_values(params) + a, atr_params_flat_values(alone) + a, bytes);
            assert_int_equal(atr_optim_entry_steps(optim)[0], 1);
            assert_int_equal(atr_optim_entry_steps(optim)[SPECS - 1], STEPS + 1);
            assert_int_equal(atr_optim_steps(optim), STEPS + 1);
            atr_optim_destroy(optim);
            atr_optim_destroy(late);
            atr_params_destroy(params);
            atr_params_destroy(alone);
        }
    rig_close_backends(backends, count);
}

static void sums_and_averages_of_blocks_follow_their_formulas(void **state)
{
    enum { COUNT = 1037 };
    static float a[COUNT], b[COUNT], sum[COUNT], mean[COUNT];
    atr_backend *backends[RIG_BACKENDS];
    const int count = rig_open_backends(THREADS, backends);

    (void)state;
    for (int i = 0; i < COUNT; i++) {
        a[i] = (float)(i % 37) * 0.37f - 5;
        b[i] = i % 5 == 0 ? a[i] : (float)(i % 101) * -0.11f;
    }
    for (int k = 0; k < count; k++) {
        memcpy(sum, a, sizeof sum);
        memcpy(mean, a, sizeof mean);
        assert_int_equal(backends[k]->table->accumulate(backends[k], sum, b, COUNT - 1), ATR_OK);
        assert_int_equal(backends[k]->table->average(backends[k], mean, b, COUNT - 1, 0.3), ATR_OK);
        for (int i = 0; i < COUNT - 1; i++) {
            assert_true(sum[i] == a[i] + b[i]);
            rig_assert_near((double)mean[i], 0.7 * (double)a[i] + 0.3 * (double)b[i], 2e-6);
            assert_true(i % 5 != 0 || mean[i] == a[i]);
        }
        assert_true(sum[COUNT - 1] == a[COUNT - 1] && mean[COUNT - 1] == a[COUNT - 1]);
    }
    rig_close_backends(backends, count);
}

static void senseless_settings_are_refused(void **state)
{
    const atr_optim_config bad[] = {
        {ATR_OPTIM_SGD, .momentum = 1.0},
        {ATR_OPTIM_SGD, .momentum = -0.1},
        {ATR_OPTIM_SGD, .momentum = NAN},
        {ATR_OPTIM_SGD, .momentum = 0.9, .weight_decay = -1e-4},
        {ATR_OPTIM_ADAM, .momentum = 0.9, .beta2 = 1.0, .eps = 1e-8},
        {ATR_OPTIM_ADAM, .momentum = 0.9, .beta2 = 0.999, .eps = 0.0},
    };
    atr_params *params = make_params();
    atr_backend *backend = NULL;
    atr_optim_kind kind;

    (void)state;
    assert_int_equal(atr_backend_open("ref", 1, &backend), ATR_OK);
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        atr_optim *optim = NULL;
        assert_int_equal(atr_optim_create(&bad[i], params, backend, &optim), ATR_ERR_USAGE);
        assert_null(optim);
    }
    assert_int_equal(atr_optim_kind_parse("adam", &kind), ATR_OK);
    assert_int_equal(kind, ATR_OPTIM_ADAM);
    assert_int_equal(atr_optim_kind_parse("rmsprop", &kind), ATR_ERR_USAGE);
    assert_string_equal(atr_status_message(), "no optimiser 'rmsprop' (have: sgd, adam, adamw)");
    atr_backend_close(backend);
    atr_params_destroy(params);
}

static void sum_of_squares_is_exact_enough_and_independent_of_threads(void **state)
{
    enum { COUNT = 100003 };
    const int threads[] = {1, 2, 3};
    double first[RIG_BACKENDS], exact = 0.0;
    atr_backend *backends[RIG_BACKENDS];
    float *values = NULL;

    (void)state;
    assert_int_equal(ATR_NEW(COUNT, &values), ATR_OK);
    const atr_tensor view = atr_tensor_nhwc(ATR_F32, 1, 1, 1, COUNT, values);
    rig_fill(&view, 7, 3.0, 0.0);
    for (int64_t i = 0; i < COUNT; i++)
        exact += (double)values[i] * (double)values[i];
    for (int t = 0; t < 3; t++) {
        const int count = rig_open_backends(threads[t], backends);
        for (int b = 0; b < count; b++) {
            const atr_backend_table *table = backends[b]->table;
            double sum = 0.0;
            atr_backend_enter(backends[b]);
            assert_int_equal(table->sum_squares(backends[b], values, COUNT, &sum), ATR_OK);
            rig_assert_near(sum, exact, 1e-12 * exact);
            if (t > 0)
                assert_memory_equal(&sum, &first[b], sizeof sum);
            first[b] = sum;
            for (int bad = 0; bad < 2; bad++) {
                const float kept = values[COUNT - 2];
                values[COUNT - 2] = bad == 0 ? NAN : -INFINITY;
                assert_int_equal(table->sum_squares(backends[b], values, COUNT, &sum), ATR_OK);
                assert_false(isfinite(sum));
                values[COUNT - 2] = kept;
            }
            assert_int_equal(table->sum_squares(backends[b], values, 3, &sum), ATR_OK);
            rig_assert_near(
                sum, (double)(values[0] * values[0] + values[1] * values[1] + values[2] * values[2]), 1e-5);
        }
        rig_close_backends(backends, count);
    }
    atr_free(values);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(steps_follow_the_formula),
        cmocka_unit_test(buffers_and_gaps_stay_as_they_are),
        cmocka_unit_test(moments_carry_the_names_of_the_trainable_parameters),
        cmocka_unit_test(a_restored_optimiser_goes_on_bit_for_bit),
        cmocka_unit_test(steps_are_those_of_pytorch),
        cmocka_unit_test(frozen_parameters_stay_and_begin_anew),
        cmocka_unit_test(sums_and_averages_of_blocks_follow_their_formulas),
        cmocka_unit_test(senseless_settings_are_refused),
        cmocka_unit_test(sum_of_squares_is_exact_enough_and_independent_of_threads),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
