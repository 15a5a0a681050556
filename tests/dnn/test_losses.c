/* What every term of a loss is, fused with the resize before it, on every back end: golden numbers of the public PyTorch
 * implementation, formulas written out plainly, what options mean. Gradients and edges: test_losses_gradient.c; cross-entropy's own
 * edges: test_loss.c. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "dnn/bilinear.h"
#include "tests/support/loss_problem.h"
#include "tests/support/parity.h"
#include "tests/support/rig.h"

enum { THREADS = 2 };

/* ---- golden numbers ------------------------------------------------------------------------------------------------------ */

static void load_case(const atr_h5 *file, const parity_case *c, loss_problem *p)
{
    const int64_t pixels = c->height * c->width;
    double *stored = parity_read(file, c, NULL, "train_logits");

    loss_problem_create(p, c->batch, c->height, c->width, c->classes, c->height, c->width, "ce");
    for (int64_t i = 0; i < c->batch * pixels * c->classes; i++) {
        const int64_t pixel = i % pixels, k = i / pixels % c->classes, n = i / (pixels * c->classes);
        p->logits[(n * pixels + pixel) * c->classes + k] = (float)stored[i];
    }
    atr_free(stored);
    atr_free(p->labels);
    p->labels = parity_labels(c);
    p->config.reference = true;
}

/* dlogits against norm and 64 sampled values; `index` counts in NCHW. */
static void check_dlogits(const atr_h5 *file, const loss_problem *p, const parity_case *c, const char *group)
{
    const int64_t pixels = c->height * c->width;
    const double l2 = parity_scalar(file, c, "grad/%s/dlogits/l2", group);
    double *index = parity_read(file, c, NULL, "grad/%s/dlogits/index", group);
    double *value = parity_read(file, c, NULL, "grad/%s/dlogits/value", group);
    double *error = parity_read(file, c, NULL, "grad/%s/dlogits/f32_err", group);
    const atr_tensor dlogits = loss_problem_tensor(p, p->dlogits);

    rig_assert_near(sqrt(rig_dot(&dlogits, &dlogits)), l2, fmax(1e-5, 3.0 * error[1]) * l2);
    for (int i = 0; i < 64; i++) {
        const int64_t at = (int64_t)index[i], pixel = at % pixels, k = at / pixels % c->classes;
        const int64_t n = at / (pixels * c->classes);
        rig_assert_near((double)p->dlogits[(n * pixels + pixel) * c->classes + k], value[i],
                        fmax(3.0 * error[0], 1e-9));
    }
    atr_free(index);
    atr_free(value);
    atr_free(error);
}

static const struct golden {
    const char *loss, *name; /* of losses/, NULL: the sum that `group` is the gradient of */
    const char *group;       /* of grad/, or NULL */
    bool weighted;
} goldens[] = {
    {"ce", "ce", "ce", false},
    {"ce", "ce_weighted", NULL, true},
    {"focal", "focal", NULL, false},
    {"focal", "focal_weighted", NULL, true},
    {"dice", "dice", NULL, false},
    {"ce+dice", NULL, "cew_dice", true},
    {"focal+dice", NULL, "focal_dice", false},
};

static void check_case(const atr_h5 *file, const parity_case *c, atr_backend *backend)
{
    loss_problem p;

    load_case(file, c, &p);
    for (size_t i = 0; i < sizeof goldens / sizeof goldens[0]; i++) {
        const struct golden *g = &goldens[i];
        assert_int_equal(atr_loss_parse(g->loss, &p.config), ATR_OK);
        p.config.class_weight_count = 0;
        if (g->weighted)
            loss_problem_weigh(&p);
        const double want = g->name != NULL ? parity_scalar(file, c, "losses/%s", g->name)
                                            : parity_scalar(file, c, "grad/%s/loss", g->group);
        rig_assert_near(loss_problem_run(&p, backend), want, 2e-6);
        rig_assert_near(p.f_score, parity_scalar(file, c, "losses/f_score"), 2e-6);
        if (g->group != NULL)
            check_dlogits(file, &p, c, g->group);
    }
    loss_problem_destroy(&p);
}

static void losses_of_stored_logits_are_the_references(void **state)
{
    (void)state;
    if (!rig_on_golden_cases(THREADS, check_case))
        skip();
}

/* ---- formulas written out ------------------------------------------------------------------------------------------------ */

/* Probabilities of all pixels [N,H,W,K] in double. */
static double *probabilities(const loss_problem *p)
{
    double *out = NULL;

    assert_int_equal(ATR_NEW(loss_problem_pixels(p) * p->classes, &out), ATR_OK);
    for (int64_t i = 0; i < loss_problem_pixels(p); i++) {
        const int64_t n = i / (p->height * p->width), y = i / p->width % p->height, x = i % p->width;
        const atr_bilinear_tap v = atr_bilinear_corners(y, p->h, p->height),
                               u = atr_bilinear_corners(x, p->w, p->width);
        const float *picture = p->logits + n * p->h * p->w * p->classes;
        double sum = 0.0;
        for (int64_t k = 0; k < p->classes; k++) {
            const double a = (double)picture[(v.first * p->w + u.first) * p->classes + k];
            const double b = (double)picture[(v.first * p->w + u.second) * p->classes + k];
            const double c = (double)picture[(v.second * p->w + u.first) * p->classes + k];
            const double d = (double)picture[(v.second * p->w + u.second) * p->classes + k];
            const double above = a + u.weight * (b - a), below = c + u.weight * (d - c);
            out[i * p->classes + k] = exp(above + v.weight * (below - above));
            sum += out[i * p->classes + k];
        }
        for (int64_t k = 0; k < p->classes; k++)
            out[i * p->classes + k] /= sum;
    }
    return out;
}

typedef struct error_of_pixel {
    double error;
    bool own;
} error_of_pixel;

static int by_falling_error(const void *a, const void *b)
{
    const double x = ((const error_of_pixel *)a)->error, y = ((const error_of_pixel *)b)->error;

    return (x < y) - (x > y);
}

/* Lovasz-softmax with errors sorted one by one (Berman et al. 2018, algorithm 1). */
static double sorted_lovasz(const loss_problem *p, const double *q)
{
    error_of_pixel *errors = NULL;
    double sum = 0.0, present = 0.0;

    assert_int_equal(ATR_NEW(loss_problem_pixels(p), &errors), ATR_OK);
    for (int64_t k = 0; k < p->classes; k++) {
        int64_t count = 0, total = 0, owns = 0, others = 0;
        double before = 0.0, loss = 0.0;
        for (int64_t i = 0; i < loss_problem_pixels(p); i++)
            if (p->labels[i] < p->classes) {
                const bool own = p->labels[i] == k;
                const double value = q[i * p->classes + k];
                errors[count++] = (error_of_pixel){own ? 1.0 - value : value, own};
                total += own;
            }
        if (total == 0)
            continue;
        qsort(errors, (size_t)count, sizeof *errors, by_falling_error);
        for (int64_t i = 0; i < count; i++) {
            owns += errors[i].own;
            others += !errors[i].own;
            const double jaccard = 1.0 - (double)(total - owns) / (double)(total + others);
            loss += errors[i].error * (jaccard - before);
            before = jaccard;
        }
        sum += loss;
        present += 1.0;
    }
    atr_free(errors);
    return sum / present;
}

static void lovasz_in_bins_is_lovasz_sorted(void **state)
{
    atr_backend *backends[RIG_BACKENDS];
    const int count = rig_open_backends(THREADS, backends);

    (void)state;
    for (int b = 0; b < count; b++) {
        loss_problem p;
        loss_problem_create(&p, 2, 6, 7, 5, 41, 50, "lovasz");
        double *const q = probabilities(&p);
        rig_assert_near(loss_problem_run(&p, backends[b]), sorted_lovasz(&p, q), 1e-5);
        atr_free(q);
        loss_problem_destroy(&p);
    }
    rig_close_backends(backends, count);
}

static int by_value(const void *a, const void *b)
{
    const double x = *(const double *)a, y = *(const double *)b;

    return (x > y) - (x < y);
}

/* Mean of -w ln q over the pixels whose q is below 0.7 or among the `keep` lowest; the last by sorting. */
static double sorted_ohem(const loss_problem *p, const double *q, double threshold, double keep,
                          int64_t *kept)
{
    double *own = NULL, sum = 0.0, divisor = 0.0;
    int64_t count = 0;

    assert_int_equal(ATR_NEW(loss_problem_pixels(p), &own), ATR_OK);
    for (int64_t i = 0; i < loss_problem_pixels(p); i++)
        if (p->labels[i] < p->classes)
            own[count++] = q[i * p->classes + p->labels[i]];
    qsort(own, (size_t)count, sizeof *own, by_value);
    const int64_t least = (int64_t)ceil(keep * (double)count);
    const double limit = fmax(threshold, least > 0 ? own[least - 1] : 0.0);
    *kept = 0;
    for (int64_t i = 0; i < loss_problem_pixels(p); i++) {
        const int64_t label = p->labels[i];
        if (label >= p->classes || q[i * p->classes + label] > limit)
            continue;
        const double w = p->config.class_weight_count > 0 ? (double)p->config.class_weights[label] : 1.0;
        sum -= w * log(q[i * p->classes + label]);
        divisor += w;
        ++*kept;
    }
    atr_free(own);
    return sum / divisor;
}

static void ohem_keeps_pixels_below_the_threshold(void **state)
{
    atr_backend *backends[RIG_BACKENDS];
    const int count = rig_open_backends(THREADS, backends);

    (void)state;
    for (int b = 0; b < count; b++) {
        loss_problem p;
        int64_t kept = 0;
        loss_problem_create(&p, 2, 6, 7, 5, 41, 50, "ohem");
        p.config.ohem_threshold = 0.05;
        loss_problem_weigh(&p);
        double *const q = probabilities(&p);
        rig_assert_near(loss_problem_run(&p, backends[b]), sorted_ohem(&p, q, 0.05, 0.0625, &kept), 2e-6);
        assert_true(kept > 500 && kept < 3000); /* not all, and more than the least share */
        atr_free(q);
        loss_problem_destroy(&p);
    }
    rig_close_backends(backends, count);
}

static void ohem_keeps_the_least_share_of_an_easy_batch(void **state)
{
    atr_backend *backends[RIG_BACKENDS];
    const int count = rig_open_backends(THREADS, backends);

    (void)state;
    for (int b = 0; b < count; b++)
        for (int all = 0; all < 2; all++) {
            loss_problem p;
            int64_t kept = 0;
            loss_problem_create(&p, 1, 40, 50, 3, 40, 50, "ohem");
            p.config.ohem_threshold = 1e-6;
            p.config.ohem_keep = all ? 1.0 : 0.25;
            double *const q = probabilities(&p);
            const double want = sorted_ohem(&p, q, 1e-6, p.config.ohem_keep, &kept);
            /* By levels a little more is kept than wanted, so the mean lies a little lower. */
            const double got = loss_problem_run(&p, backends[b]);
            assert_true(got <= want + 2e-6 && got >= (all ? want - 2e-6 : 0.95 * want));
            atr_free(q);
            loss_problem_destroy(&p);
        }
    rig_close_backends(backends, count);
}

/* ---- what it is made of -------------------------------------------------------------------------------------------------- */

static void sums_of_terms_are_read_and_written(void **state)
{
    atr_loss_config config;
    char text[ATR_LOSS_TEXT_BYTES];

    (void)state;
    atr_loss_defaults(&config);
    assert_string_equal(atr_loss_text(&config, text), "ce");
    assert_int_equal(atr_loss_parse("focal+0.5*dice", &config), ATR_OK);
    assert_true(config.factor[ATR_LOSS_CE] == 0.0 && config.factor[ATR_LOSS_FOCAL] == 1.0 &&
                config.factor[ATR_LOSS_DICE] == 0.5);
    assert_string_equal(atr_loss_text(&config, text), "focal + 0.5 dice");
}

static void what_is_no_loss_is_refused(void **state)
{
    static const char *const bad[] = {
        "",        "+",    "ce+",     "dise",    "ce+ce",  "0*ce",
        "-1*ce",   "x*ce", "ce*2",    "nan*ce",  "*ce",    "1e400*ce",
        "ce,dice", "CE",   "ce dice", "2**dice", "1*1*ce", "0.00000000000000000000000000000000001*ce+"};
    atr_loss_config config;

    (void)state;
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        atr_loss_defaults(&config);
        if (atr_loss_parse(bad[i], &config) != ATR_ERR_USAGE)
            fail_msg("'%s' was read as a loss", bad[i]);
        assert_true(config.factor[ATR_LOSS_CE] == 1.0); /* nothing is half done */
    }
    assert_int_equal(atr_loss_parse("ce+dise", &config), ATR_ERR_USAGE);
    assert_non_null(strstr(atr_status_message(), "did you mean 'dice'?"));
    assert_non_null(strstr(atr_status_message(), "lovasz"));
}

static void numbers_out_of_bounds_are_refused(void **state)
{
    atr_loss *loss = NULL;
    atr_loss_config good, bad[12];

    (void)state;
    atr_loss_defaults(&good);
    for (int i = 0; i < 12; i++)
        bad[i] = good;
    bad[0].factor[ATR_LOSS_CE] = 0.0;
    bad[1].factor[ATR_LOSS_DICE] = NAN;
    bad[2].smoothing = 1.0;
    bad[3].focal_alpha = 0.0;
    bad[4].focal_gamma = -1.0;
    bad[5].dice_beta = 0.0;
    bad[6].dice_smooth = 0.0;
    bad[7].ohem_threshold = 1.5;
    bad[8].ohem_keep = -0.1;
    bad[9].class_weight_count = 4; /* all 0 */
    bad[10].class_weight_count = 4;
    bad[10].class_weights[0] = 1.0f;
    bad[10].class_weights[2] = -1.0f;
    bad[11].class_weight_count = 3; /* of 4 classes */
    bad[11].class_weights[0] = 1.0f;
    for (int i = 0; i < 12; i++) {
        assert_int_equal(atr_loss_create(&bad[i], 4, &loss), ATR_ERR_USAGE);
        assert_null(loss);
    }
    assert_int_equal(atr_loss_create(&good, 256, &loss), ATR_ERR_SHAPE);
    assert_int_equal(atr_loss_create(&good, 0, &loss), ATR_ERR_SHAPE);
    atr_loss_destroy(NULL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(losses_of_stored_logits_are_the_references),
        cmocka_unit_test(lovasz_in_bins_is_lovasz_sorted),
        cmocka_unit_test(ohem_keeps_pixels_below_the_threshold),
        cmocka_unit_test(ohem_keeps_the_least_share_of_an_easy_batch),
        cmocka_unit_test(sums_of_terms_are_read_and_written),
        cmocka_unit_test(what_is_no_loss_is_refused),
        cmocka_unit_test(numbers_out_of_bounds_are_refused),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
