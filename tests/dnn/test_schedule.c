#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "dnn/schedule.h"
#include "tests/support/parity.h"
#include "tests/support/rig.h"

static void rates_are_pytorchs(void **state)
{
    const parity_case where = {.group = "lr_schedule"};
    atr_h5 *file = parity_open();
    char **names = NULL;
    int64_t count = 0;

    (void)state;
    if (file == NULL)
        skip();
    assert_int_equal(atr_h5_list(file, "lr_schedule", &names, &count), ATR_OK);
    assert_true(count >= 10);
    for (int64_t i = 0; i < count; i++) {
        char path[256], *type = NULL;
        atr_schedule s = {0};
        int64_t epochs = 0;
        snprintf(path, sizeof path, "lr_schedule/%s", names[i]);
        assert_int_equal(atr_h5_get_f64(file, path, "lr", &s.lr), ATR_OK);
        assert_int_equal(atr_h5_get_f64(file, path, "min_lr", &s.min_lr), ATR_OK);
        assert_int_equal(atr_h5_get_i64(file, path, "total", &s.epochs), ATR_OK);
        assert_int_equal(atr_h5_get_text(file, path, "type", &type), ATR_OK);
        assert_int_equal(atr_schedule_kind_parse(type, &s.kind), ATR_OK);
        assert_int_equal(atr_schedule_check(&s), ATR_OK);
        double *want = parity_read(file, &where, &epochs, "%s", names[i]);
        assert_int_equal(epochs, s.epochs);
        for (int64_t e = 0; e < epochs; e++)
            rig_assert_near(atr_schedule_at(&s, e, 3, 7), want[e], 1e-12 * want[e]);
        atr_free(want);
        atr_free(type);
    }
    atr_h5_names_free(names, count);
    atr_h5_destroy(file);
}

static void step_takes_the_floor_of_the_exact_quotient(void **state)
{
    /* 16 epochs: stages of 1.6; 8 / 1.6 rounds to 5, yet the double nearest 1.6 is larger, so epoch 8 is still in stage 4. */
    const atr_schedule s = {ATR_SCHEDULE_STEP, 1e-2, 1e-4, 16, 0, false, 0};

    (void)state;
    rig_assert_near(atr_schedule_at(&s, 8, 3, 7), 1e-2 * pow(1e-2, 4.0 / 9.0), 1e-15);
    rig_assert_near(atr_schedule_at(&s, 0, 3, 7), 1e-2, 1e-15);
    rig_assert_near(atr_schedule_at(&s, 15, 3, 7), 1e-4, 1e-15);
}

static void cosine_warms_up_falls_and_stays_low(void **state)
{
    const atr_schedule s = {ATR_SCHEDULE_COS, 1e-2, 1e-4, 100, 0, false, 0};

    (void)state;
    rig_assert_near(atr_schedule_at(&s, 0, 3, 7), 1e-3, 1e-15);
    rig_assert_near(atr_schedule_at(&s, 3, 3, 7), 1e-2, 1e-15);
    for (int64_t e = 4; e < 85; e++)
        assert_true(atr_schedule_at(&s, e, 3, 7) < atr_schedule_at(&s, e - 1, 3, 7));
    for (int64_t e = 85; e < 100; e++)
        rig_assert_near(atr_schedule_at(&s, e, 3, 7), 1e-4, 0.0);
}

/* lr (1 - s/S)^0.9 over all steps, DeepLab's own. */
static void poly_falls_at_every_step_to_the_least(void **state)
{
    const atr_schedule s = {ATR_SCHEDULE_POLY, 1e-2, 0.0, 20, 0.9, false, 0},
                       floor = {ATR_SCHEDULE_POLY, 1e-2, 1e-3, 20, 2, false, 0};
    const int64_t steps = 7;
    double before = INFINITY;

    (void)state;
    for (int64_t i = 0; i < 20 * steps; i++) {
        const double rate = atr_schedule_at(&s, i / steps, i % steps, steps), left = 1.0 - (double)i / 140.0;
        rig_assert_near(rate, 1e-2 * pow(left, 0.9), 1e-15);
        rig_assert_near(atr_schedule_at(&floor, i / steps, i % steps, steps), 1e-3 + 9e-3 * left * left,
                        1e-15);
        assert_true(rate < before);
        before = rate;
    }
}

static void a_given_warm_up_rises_to_the_schedule(void **state)
{
    const atr_schedule poly = {ATR_SCHEDULE_POLY, 1e-2, 0.0, 20, 0.9, true, 4};
    const atr_schedule cosine = {ATR_SCHEDULE_COS, 1e-2, 1e-4, 100, 0, true, 10};
    const atr_schedule none = {ATR_SCHEDULE_COS, 1e-2, 1e-4, 100, 0, true, 0};
    const atr_schedule staged = {ATR_SCHEDULE_STEP, 1e-2, 1e-4, 100, 0, true, 5};

    (void)state;
    rig_assert_near(atr_schedule_at(&poly, 0, 0, 8), 1e-3, 1e-15);
    rig_assert_near(atr_schedule_at(&poly, 2, 0, 8), 1e-3 + 9e-3 * 0.25, 1e-15);
    rig_assert_near(atr_schedule_at(&poly, 2, 4, 8), 1e-3 + 9e-3 * 0.625 * 0.625, 1e-15);
    rig_assert_near(atr_schedule_at(&poly, 4, 0, 8), 1e-2, 1e-15);
    rig_assert_near(atr_schedule_at(&poly, 12, 0, 8), 1e-2 * pow(0.5, 0.9), 1e-15);
    rig_assert_near(atr_schedule_at(&cosine, 5, 1, 8), 1e-3 + 9e-3 * 0.25, 1e-15);
    rig_assert_near(atr_schedule_at(&cosine, 10, 1, 8), 1e-2, 1e-15);
    assert_true(atr_schedule_at(&cosine, 11, 0, 8) < 1e-2 && atr_schedule_at(&cosine, 85, 0, 8) == 1e-4);
    rig_assert_near(atr_schedule_at(&none, 0, 0, 8), 1e-2, 1e-15);
    rig_assert_near(atr_schedule_at(&staged, 0, 0, 8), 1e-3, 1e-15);
    rig_assert_near(atr_schedule_at(&staged, 5, 0, 8), 1e-2, 1e-15);
}

static void senseless_schedules_are_refused(void **state)
{
    const atr_schedule bad[] = {
        {ATR_SCHEDULE_COS, 0.0, 0.0, 10, 0, false, 0},
        {ATR_SCHEDULE_COS, -1e-3, 0.0, 10, 0, false, 0},
        {ATR_SCHEDULE_COS, NAN, 0.0, 10, 0, false, 0},
        {ATR_SCHEDULE_COS, 1e-3, 1e-2, 10, 0, false, 0},
        {ATR_SCHEDULE_COS, 1e-3, NAN, 10, 0, false, 0},
        {ATR_SCHEDULE_COS, 1e-3, 0.0, 0, 0, false, 0},
        {ATR_SCHEDULE_STEP, 1e-3, 1e-5, 9, 0, false, 0},
        {ATR_SCHEDULE_COS, INFINITY, 0, 9, 0, false, 0},
        {ATR_SCHEDULE_POLY, 1e-3, 0.0, 10, 0, false, 0},
        {ATR_SCHEDULE_POLY, 1e-3, 0.0, 10, NAN, false, 0},
        {ATR_SCHEDULE_POLY, 1e-3, 0.0, 10, 0.9, true, 10.0},
        {ATR_SCHEDULE_COS, 1e-3, 0.0, 10, 0, true, -1.0},
        {ATR_SCHEDULE_COS, 1e-3, 0.0, 10, 0, true, NAN},
    };
    const atr_schedule shortest = {ATR_SCHEDULE_COS, 1e-3, 1e-5, 1, 0, false, 0};
    atr_schedule_kind kind;

    (void)state;
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++)
        assert_int_equal(atr_schedule_check(&bad[i]), ATR_ERR_USAGE);
    assert_int_equal(atr_schedule_check(&shortest), ATR_OK);
    assert_true(isfinite(atr_schedule_at(&shortest, 0, 3, 7)));
    assert_int_equal(atr_schedule_kind_parse("linear", &kind), ATR_ERR_USAGE);
    assert_string_equal(atr_status_message(), "no schedule 'linear' (have: cos, step, poly)");
}

static void rates_scale_with_the_batch_within_the_references_limits(void **state)
{
    const struct {
        atr_optim_kind optim;
        const char *backbone;
        int64_t batch;
        double lr, min_lr, want, want_min;
    } rows[] = {
        {ATR_OPTIM_SGD, "mobilenetv2", 16, 7e-3, 7e-5, 7e-3, 7e-5},
        {ATR_OPTIM_SGD, "mobilenetv2", 8, 7e-3, 7e-5, 3.5e-3, 3.5e-5},
        {ATR_OPTIM_SGD, "xception", 1, 7e-3, 7e-5, 5e-4, 5e-6},
        {ATR_OPTIM_SGD, "mobilenetv2", 1024, 7e-3, 7e-5, 1e-1, 1e-3},
        {ATR_OPTIM_ADAM, "mobilenetv2", 8, 5e-4, 5e-6, 3e-4, 3e-6},
        {ATR_OPTIM_ADAM, "mobilenetv2", 32, 5e-4, 5e-6, 5e-4, 5e-6},
        {ATR_OPTIM_ADAMW, "mobilenetv2", 8, 5e-4, 5e-6, 3e-4, 3e-6},
        {ATR_OPTIM_ADAMW, "xception", 32, 5e-4, 5e-6, 1e-4, 1e-6},
        {ATR_OPTIM_ADAM, "xception", 32, 5e-4, 5e-6, 1e-4, 1e-6},
    };

    (void)state;
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        double lr, min_lr;
        atr_schedule_fit(rows[i].optim, rows[i].backbone, rows[i].batch, rows[i].lr, rows[i].min_lr, &lr,
                         &min_lr);
        rig_assert_near(lr, rows[i].want, 1e-15);
        rig_assert_near(min_lr, rows[i].want_min, 1e-15);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(rates_are_pytorchs),
        cmocka_unit_test(step_takes_the_floor_of_the_exact_quotient),
        cmocka_unit_test(cosine_warms_up_falls_and_stays_low),
        cmocka_unit_test(poly_falls_at_every_step_to_the_least),
        cmocka_unit_test(a_given_warm_up_rises_to_the_schedule),
        cmocka_unit_test(senseless_schedules_are_refused),
        cmocka_unit_test(rates_scale_with_the_batch_within_the_references_limits),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
