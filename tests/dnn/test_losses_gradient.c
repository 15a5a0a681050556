/* Gradients of every term of a loss on every back end: finite differences, back ends beside each other, parts of a batch, threads,
 * ignored pixels, wild logits. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>

#include "tests/support/loss_problem.h"
#include "tests/support/parity.h"
#include "tests/support/rig.h"

enum { THREADS = 2 };

static const struct trial {
    const char *loss;
    bool weighted, reference;
    double smoothing, gamma;
    double slope_bound; /* of finite differences, relative */
    double bound;       /* of cpu against ref */
} trials[] = {
    {"ce", false, false, 0.0, 2.0, 1e-4, 3e-6},
    {"ce", true, false, 0.1, 2.0, 1e-4, 3e-6},
    {"focal", false, false, 0.0, 2.0, 2e-4, 3e-6},
    {"focal", true, false, 0.0, 0.5, 2e-4, 3e-6},
    {"focal", true, true, 0.0, 2.0, 2e-4, 3e-6},
    {"focal", false, false, 0.0, 0.0, 2e-4, 3e-6},
    {"dice", false, false, 0.0, 2.0, 2e-4, 3e-6},
    {"dice", false, true, 0.0, 2.0, 2e-4, 3e-6},
    {"ce+dice", true, false, 0.0, 2.0, 2e-4, 3e-6},
    {"2*ce+focal+0.5*dice", true, false, 0.1, 2.0, 2e-4, 3e-6},
    {"ohem", true, false, 0.0, 2.0, 2e-4, 3e-6},
    {"lovasz", false, false, 0.0, 2.0, 2e-2,
     5e-4}, /* a slope of bins; errors near their ends fall to either side */
    {"ce+lovasz", true, false, 0.0, 2.0, 1e-2, 5e-4},
};

enum { TRIALS = sizeof trials / sizeof trials[0] };

static void set_trial(loss_problem *p, const struct trial *t)
{
    p->config.reference = t->reference;
    p->config.smoothing = t->smoothing;
    p->config.focal_gamma = t->gamma;
    p->config.ohem_threshold = 0.3;
    p->config.dice_beta = 1.5;
    if (t->weighted)
        loss_problem_weigh(p);
}

/* The kept pixels of ohem change by jumps: here each pixel is clearly easy or clearly hard. */
static void part_pixels(loss_problem *p)
{
    for (int64_t i = 0; i < loss_problem_pixels(p); i++)
        if (p->labels[i] < p->classes)
            p->logits[i * p->classes + p->labels[i]] += i % 3 == 0 ? 12.0f : -6.0f;
}

/* In direction of the gradient itself, which is where a wrong one shows most. */
static void gradient_is_the_slope_of_the_loss(void **state)
{
    atr_backend *backends[RIG_BACKENDS];
    const int count = rig_open_backends(THREADS, backends);

    (void)state;
    for (int i = 0; i < TRIALS; i++)
        for (int b = 0; b < count; b++) {
            /* Far enough for an error to pass several bins. */
            const float h = strstr(trials[i].loss, "lovasz") != NULL ? 1.0f : 0.02f;
            loss_problem p;
            double value[2];
            const bool ohem = strstr(trials[i].loss, "ohem") != NULL;
            loss_problem_create(&p, 2, 6, 5, 5, ohem ? 6 : 33, ohem ? 5 : 29, trials[i].loss);
            set_trial(&p, &trials[i]);
            if (ohem)
                part_pixels(&p);
            loss_problem_run(&p, backends[b]);
            const atr_tensor gradient = loss_problem_tensor(&p, p.dlogits);
            const double norm = sqrt(rig_dot(&gradient, &gradient));
            const int64_t logits = loss_problem_logits(&p);
            float *start = NULL, *along = NULL;
            assert_int_equal(ATR_NEW(logits, &start), ATR_OK);
            assert_int_equal(ATR_NEW(logits, &along), ATR_OK);
            memcpy(start, p.logits, (size_t)logits * sizeof *start);
            for (int64_t j = 0; j < logits; j++)
                along[j] = (float)((double)p.dlogits[j] / norm);
            for (int side = 0; side < 2; side++) {
                for (int64_t j = 0; j < logits; j++)
                    p.logits[j] = start[j] + (side == 0 ? h : -h) * along[j];
                value[side] = loss_problem_run(&p, backends[b]);
            }
            const double slope = (value[0] - value[1]) / (2.0 * (double)h);
            if (!(fabs(slope - norm) <= trials[i].slope_bound * norm))
                fail_msg("%s (%d) on %s: slope %.8g, gradient %.8g", trials[i].loss, i,
                         backends[b]->table->name, slope, norm);
            atr_free(start);
            atr_free(along);
            loss_problem_destroy(&p);
        }
    rig_close_backends(backends, count);
}

static const struct size {
    int64_t n, h, w, classes, height, width;
} sizes[] = {
    {2, 5, 7, 21, 17, 26},  {1, 9, 6, 5, 33, 21},  {3, 1, 1, 4, 5, 7}, {1, 2, 3, 2, 3, 5},
    {2, 7, 5, 11, 7, 5},    {1, 4, 5, 255, 13, 9}, {1, 3, 3, 1, 9, 9}, {2, 8, 8, 19, 4, 3},
    {1, 6, 17, 16, 22, 65}, {1, 1, 1, 3, 1, 1},
};

enum { SIZES = sizeof sizes / sizeof sizes[0] };

static void compare(loss_problem *p, atr_backend *backend, atr_backend *ref, bool split, double bound)
{
    float *kept = p->dlogits;
    const double want = loss_problem_run(p, ref), score = p->f_score;
    const atr_tensor expected = loss_problem_tensor(p, kept);

    assert_int_equal(ATR_NEW(loss_problem_logits(p), &p->dlogits), ATR_OK);
    const double got = loss_problem_run_split(p, backend, split);
    const atr_tensor found = loss_problem_tensor(p, p->dlogits);
    rig_assert_near(got, want, bound * fmax(1.0, fabs(want)));
    assert_true(p->f_score == score || (isnan(p->f_score) && isnan(score)));
    if (rig_dot(&expected, &expected) > 1e-16)
        rig_assert_near(rig_relative_l2(&found, &expected), 0.0, bound);
    atr_free(kept);
}

static void back_ends_agree_at_all_sizes(void **state)
{
    atr_backend *backends[RIG_BACKENDS];
    const int count = rig_open_backends(THREADS, backends);

    (void)state;
    for (int i = 0; i < TRIALS; i++)
        for (int s = 0; s < SIZES; s++)
            for (int b = 0; b < count - 1; b++) {
                loss_problem p;
                loss_problem_create(&p, sizes[s].n, sizes[s].h, sizes[s].w, sizes[s].classes, sizes[s].height,
                                    sizes[s].width, trials[i].loss);
                set_trial(&p, &trials[i]);
                compare(&p, backends[b], backends[count - 1], false, trials[i].bound);
                loss_problem_destroy(&p);
            }
    rig_close_backends(backends, count);
}

static void parts_with_common_sums_are_the_whole_batch(void **state)
{
    atr_backend *backends[RIG_BACKENDS];
    const int count = rig_open_backends(THREADS, backends);

    (void)state;
    for (int i = 0; i < TRIALS; i++)
        for (int b = 0; b < count; b++) {
            loss_problem p;
            loss_problem_create(&p, 3, 5, 4, 5, 17, 13, trials[i].loss);
            set_trial(&p, &trials[i]);
            compare(&p, backends[b], backends[b], true, 1e-6);
            loss_problem_destroy(&p);
        }
    rig_close_backends(backends, count);
}

static void results_do_not_depend_on_the_number_of_threads(void **state)
{
    const int threads[] = {1, 2, 3, 5};
    atr_backend *backends[RIG_BACKENDS];

    (void)state;
    for (int i = 0; i < TRIALS; i++) {
        double first_value[RIG_BACKENDS];
        float *first[RIG_BACKENDS] = {NULL};
        int count = 0;
        for (int t = 0; t < 4; t++) {
            count = rig_open_backends(threads[t], backends);
            for (int b = 0; b < count; b++) {
                loss_problem p;
                loss_problem_create(&p, 2, 5, 7, 21, 17, 26, trials[i].loss);
                set_trial(&p, &trials[i]);
                const double value = loss_problem_run(&p, backends[b]);
                if (t == 0) {
                    first_value[b] = value;
                    first[b] = p.dlogits;
                    p.dlogits = NULL;
                } else {
                    assert_memory_equal(&value, &first_value[b], sizeof value);
                    assert_memory_equal(p.dlogits, first[b], (size_t)loss_problem_logits(&p) * sizeof(float));
                }
                loss_problem_destroy(&p);
            }
            rig_close_backends(backends, count);
        }
        for (int b = 0; b < count; b++)
            atr_free(first[b]);
    }
}

/* ---- edges --------------------------------------------------------------------------------------------------------------- */

/* Pictures of one logit a pixel, so that a pixel's gradient stands alone. */
static void ignored_pixels_change_nothing(void **state)
{
    atr_backend *backends[RIG_BACKENDS];
    const int count = rig_open_backends(THREADS, backends);

    (void)state;
    for (int i = 0; i < TRIALS; i++)
        for (int b = 0; b < count && !trials[i].reference; b++) {
            loss_problem p;
            loss_problem_create(&p, 1, 9, 11, 4, 9, 11, trials[i].loss);
            set_trial(&p, &trials[i]);
            const double before = loss_problem_run(&p, backends[b]), score = p.f_score;
            for (int64_t j = 0; j < 99; j++)
                for (int k = 0; k < 4; k++)
                    if (p.labels[j] == 255) {
                        assert_true(p.dlogits[j * 4 + k] == 0.0f);
                        p.logits[j * 4 + k] = 5.0f * (float)k;
                    }
            assert_true(loss_problem_run(&p, backends[b]) == before && p.f_score == score);
            loss_problem_destroy(&p);
        }
    rig_close_backends(backends, count);
}

static void nothing_but_ignored_pixels_is_no_gradient(void **state)
{
    atr_backend *backends[RIG_BACKENDS];
    const int count = rig_open_backends(THREADS, backends);

    (void)state;
    for (int i = 0; i < TRIALS; i++)
        for (int b = 0; b < count && !trials[i].reference; b++) {
            loss_problem p;
            loss_problem_create(&p, 2, 3, 4, 7, 9, 13, trials[i].loss);
            set_trial(&p, &trials[i]);
            memset(p.labels, 255, (size_t)loss_problem_pixels(&p));
            assert_true(loss_problem_run(&p, backends[b]) == 0.0);
            const atr_tensor dlogits = loss_problem_tensor(&p, p.dlogits);
            assert_true(rig_dot(&dlogits, &dlogits) == 0.0 && isnan(p.f_score));
            loss_problem_destroy(&p);
        }
    rig_close_backends(backends, count);
}

/* A class without a pixel has no overlap to speak of: dice and lovasz leave it out. */
static void a_perfect_batch_without_some_classes_has_no_loss(void **state)
{
    static const char *const losses[] = {"ce", "focal", "dice", "ohem", "lovasz"};
    atr_backend *backends[RIG_BACKENDS];
    const int count = rig_open_backends(THREADS, backends);

    (void)state;
    for (size_t i = 0; i < sizeof losses / sizeof losses[0]; i++)
        for (int b = 0; b < count; b++) {
            loss_problem p;
            loss_problem_create(&p, 1, 4, 4, 9, 4, 4, losses[i]);
            for (int64_t j = 0; j < 16; j++) {
                p.labels[j] = (uint8_t)(j % 2 == 0 ? 2 : 7);
                for (int k = 0; k < 9; k++)
                    p.logits[j * 9 + k] = k == p.labels[j] ? 60.0f : -60.0f;
            }
            rig_assert_near(loss_problem_run(&p, backends[b]), 0.0, 1e-6);
            assert_true(p.f_score == 1.0);
            loss_problem_destroy(&p);
        }
    rig_close_backends(backends, count);
}

static void wild_logits_give_a_message_or_a_number_but_no_crash(void **state)
{
    const float wild[] = {1e4f, -1e4f, 9990.0f, 3e38f, -3e38f, NAN, INFINITY, -INFINITY};
    atr_backend *backends[RIG_BACKENDS];
    const int count = rig_open_backends(THREADS, backends);

    (void)state;
    for (int i = 0; i < TRIALS; i++)
        for (int b = 0; b < count; b++) {
            loss_problem p;
            loss_problem_create(&p, 1, 4, 4, 3, 7, 7, trials[i].loss);
            set_trial(&p, &trials[i]);
            for (int64_t j = 0; j < 48; j++)
                p.logits[j] = wild[j % 3];
            assert_true(isfinite(loss_problem_run(&p, backends[b])));
            for (int64_t j = 0; j < 48; j++)
                p.logits[j] = wild[(j * 5 + j / 8) % 8];
            loss_problem_run(&p, backends[b]);
            loss_problem_destroy(&p);
        }
    rig_close_backends(backends, count);
}

/* Gradients of the parts of a step, added up. */
static void parts_of_a_step_add_up(void **state)
{
    atr_backend *backends[RIG_BACKENDS];
    const int count = rig_open_backends(1, backends);
    int64_t pixels[256] = {0};
    loss_problem p;
    atr_loss *loss = NULL;
    double sum = 0.0;

    (void)state;
    loss_problem_create(&p, 4, 5, 4, 5, 17, 13, "ce");
    loss_problem_weigh(&p);
    const double whole = loss_problem_run(&p, backends[0]), score = p.f_score;
    for (int64_t i = 0; i < loss_problem_pixels(&p); i++)
        pixels[p.labels[i] < p.classes ? p.labels[i] : 255]++;
    assert_int_equal(atr_loss_create(&p.config, p.classes, &loss), ATR_OK);
    atr_loss_begin(loss, pixels, pixels[255], 4);
    for (int64_t n = 0; n < 4; n++) {
        atr_loss_settle(loss);
        sum += loss_problem_run_part(&p, backends[0], loss, n, 1, false);
    }
    rig_assert_near(sum, whole, 1e-6 * whole);
    assert_true(atr_loss_f_score(loss) == score);
    atr_loss_destroy(loss);

    /* dice: the mean of the parts' own */
    double mean = 0.0;
    assert_int_equal(atr_loss_parse("dice", &p.config), ATR_OK);
    loss_problem one = p;
    one.n = 1;
    for (int64_t n = 0; n < 4; n++) {
        one.logits = p.logits + n * loss_problem_logits(&one);
        one.labels = p.labels + n * loss_problem_pixels(&one);
        mean += 0.25 * loss_problem_run(&one, backends[0]);
    }
    assert_int_equal(atr_loss_create(&p.config, p.classes, &loss), ATR_OK);
    atr_loss_begin(loss, pixels, pixels[255], 4);
    for (int64_t n = 0; n < 4; n++) {
        loss_problem_run_part(&p, backends[0], loss, n, 1, true);
        atr_loss_settle(loss);
        assert_true(loss_problem_run_part(&p, backends[0], loss, n, 1, false) == 0.0);
    }
    rig_assert_near(atr_loss_known(loss), mean, 1e-9);
    atr_loss_destroy(loss);
    loss_problem_destroy(&p);
    rig_close_backends(backends, count);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(gradient_is_the_slope_of_the_loss),
        cmocka_unit_test(back_ends_agree_at_all_sizes),
        cmocka_unit_test(parts_with_common_sums_are_the_whole_batch),
        cmocka_unit_test(results_do_not_depend_on_the_number_of_threads),
        cmocka_unit_test(ignored_pixels_change_nothing),
        cmocka_unit_test(nothing_but_ignored_pixels_is_no_gradient),
        cmocka_unit_test(a_perfect_batch_without_some_classes_has_no_loss),
        cmocka_unit_test(wild_logits_give_a_message_or_a_number_but_no_crash),
        cmocka_unit_test(parts_of_a_step_add_up),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
