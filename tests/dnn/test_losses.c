/* Every term of a loss, fused with the resize before it, on every back end: golden numbers of the public PyTorch implementation,
 * finite differences, formulas written out plainly, ignored pixels, threads. Cross-entropy's own edges: test_loss.c. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "core/rng.h"
#include "dnn/bilinear.h"
#include "tests/support/parity.h"
#include "tests/support/rig.h"

enum { THREADS = 2 };

/* Logits and labels of a batch. */
typedef struct problem {
    int64_t n, h, w, classes, height, width;
    float *logits, *dlogits; /* [N,h,w,K] */
    uint8_t *labels;         /* [N,H,W] */
    atr_loss_config config;
    double f_score; /* of the last run */
} problem;

static int64_t logit_count(const problem *p)
{
    return p->n * p->h * p->w * p->classes;
}

static int64_t pixel_count(const problem *p)
{
    return p->n * p->height * p->width;
}

static atr_tensor tensor_of(const problem *p, float *data)
{
    return atr_tensor_nhwc(ATR_F32, p->n, p->h, p->w, p->classes, data);
}

static void problem_create(problem *p, int64_t n, int64_t h, int64_t w, int64_t classes, int64_t height,
                           int64_t width, const char *loss)
{
    *p = (problem){.n = n, .h = h, .w = w, .classes = classes, .height = height, .width = width};
    assert_int_equal(ATR_NEW(logit_count(p), &p->logits), ATR_OK);
    assert_int_equal(ATR_NEW(logit_count(p), &p->dlogits), ATR_OK);
    assert_int_equal(ATR_NEW(pixel_count(p), &p->labels), ATR_OK);
    const atr_tensor logits = tensor_of(p, p->logits);
    rig_fill(&logits, 17, 3.0, 0.0);
    for (int64_t i = 0; i < pixel_count(p); i++) {
        const uint64_t label = atr_rng_below(18, (uint64_t)i, (uint64_t)classes + 1);
        p->labels[i] = label < (uint64_t)classes ? (uint8_t)label : 255;
    }
    atr_loss_defaults(&p->config);
    if (atr_loss_parse(loss, &p->config) != ATR_OK)
        fail_msg("%s", atr_status_message());
}

static void problem_destroy(problem *p)
{
    atr_free(p->logits);
    atr_free(p->dlogits);
    atr_free(p->labels);
}

static void set_weights(problem *p)
{
    p->config.class_weight_count = p->classes;
    for (int64_t k = 0; k < p->classes; k++)
        p->config.class_weights[k] = 1.0f + 0.25f * (float)(k % 4);
}

/* The two passes over pictures first .. first+count-1, settled by the sums of all: what a rank does with its part. */
static double run_part(problem *p, atr_backend *backend, atr_loss *loss, int64_t first, int64_t count,
                       bool sums_only)
{
    atr_loss_args args = {.logits = atr_tensor_nhwc(ATR_F32, count, p->h, p->w, p->classes,
                                                    p->logits + first * p->h * p->w * p->classes),
                          .labels = p->labels + first * p->height * p->width,
                          .height = p->height,
                          .width = p->width,
                          .sums = atr_loss_sums_of(loss),
                          .form = atr_loss_form_of(loss),
                          .votes = atr_loss_votes_of(loss)};
    const size_t bytes = backend->table->loss_scratch(&args);
    void *scratch = NULL;

    args.dlogits = args.logits;
    args.dlogits.data = p->dlogits + first * p->h * p->w * p->classes;
    assert_int_equal(atr_alloc((int64_t)bytes, 1, &scratch), ATR_OK);
    memset(scratch, 0x7F, bytes); /* rubbish */
    args.scratch = scratch;
    atr_backend_enter(backend);
    const atr_status status =
        sums_only ? backend->table->loss_sums(backend, &args) : backend->table->loss(backend, &args);
    if (status != ATR_OK)
        fail_msg("%s", atr_status_message());
    atr_free(scratch);
    return args.loss;
}

/* Value of the whole loss; dlogits. `split`: pictures go one by one, as over ranks. */
static double run_split(problem *p, atr_backend *backend, bool split)
{
    const int64_t step = split ? 1 : p->n;
    int64_t pixels[256] = {0};
    atr_loss *loss = NULL;
    double value = 0.0;

    if (atr_loss_create(&p->config, p->classes, &loss) != ATR_OK)
        fail_msg("%s", atr_status_message());
    for (int64_t i = 0; i < pixel_count(p); i++)
        pixels[p->labels[i] < p->classes ? p->labels[i] : 255]++;
    atr_loss_begin(loss, pixels, pixels[255], 1);
    for (int64_t first = 0; first < p->n && atr_loss_needs_sums(loss); first += step)
        run_part(p, backend, loss, first, step, true);
    atr_loss_settle(loss);
    for (int64_t first = 0; first < p->n; first += step)
        value += run_part(p, backend, loss, first, step, false);
    value += atr_loss_known(loss);
    p->f_score = atr_loss_f_score(loss);
    atr_loss_destroy(loss);
    return value;
}

static double run(problem *p, atr_backend *backend)
{
    return run_split(p, backend, false);
}

/* ---- golden numbers ------------------------------------------------------------------------------------------------------ */

static void load_case(const atr_h5 *file, const parity_case *c, problem *p)
{
    const int64_t pixels = c->height * c->width;
    double *stored = parity_read(file, c, NULL, "train_logits");

    problem_create(p, c->batch, c->height, c->width, c->classes, c->height, c->width, "ce");
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
static void check_dlogits(const atr_h5 *file, const problem *p, const parity_case *c, const char *group)
{
    const int64_t pixels = c->height * c->width;
    const double l2 = parity_scalar(file, c, "grad/%s/dlogits/l2", group);
    double *index = parity_read(file, c, NULL, "grad/%s/dlogits/index", group);
    double *value = parity_read(file, c, NULL, "grad/%s/dlogits/value", group);
    double *error = parity_read(file, c, NULL, "grad/%s/dlogits/f32_err", group);
    const atr_tensor dlogits = tensor_of(p, p->dlogits);

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
    problem p;

    load_case(file, c, &p);
    for (size_t i = 0; i < sizeof goldens / sizeof goldens[0]; i++) {
        const struct golden *g = &goldens[i];
        assert_int_equal(atr_loss_parse(g->loss, &p.config), ATR_OK);
        p.config.class_weight_count = 0;
        if (g->weighted)
            set_weights(&p);
        const double want = g->name != NULL ? parity_scalar(file, c, "losses/%s", g->name)
                                            : parity_scalar(file, c, "grad/%s/loss", g->group);
        rig_assert_near(run(&p, backend), want, 2e-6);
        rig_assert_near(p.f_score, parity_scalar(file, c, "losses/f_score"), 2e-6);
        if (g->group != NULL)
            check_dlogits(file, &p, c, g->group);
    }
    problem_destroy(&p);
}

static void losses_of_stored_logits_are_the_references(void **state)
{
    (void)state;
    if (!rig_on_golden_cases(THREADS, check_case))
        skip();
}

/* ---- formulas written out ------------------------------------------------------------------------------------------------ */

/* Probabilities of all pixels [N,H,W,K] in double. */
static double *probabilities(const problem *p)
{
    double *out = NULL;

    assert_int_equal(ATR_NEW(pixel_count(p) * p->classes, &out), ATR_OK);
    for (int64_t i = 0; i < pixel_count(p); i++) {
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
static double sorted_lovasz(const problem *p, const double *q)
{
    error_of_pixel *errors = NULL;
    double sum = 0.0, present = 0.0;

    assert_int_equal(ATR_NEW(pixel_count(p), &errors), ATR_OK);
    for (int64_t k = 0; k < p->classes; k++) {
        int64_t count = 0, total = 0, owns = 0, others = 0;
        double before = 0.0, loss = 0.0;
        for (int64_t i = 0; i < pixel_count(p); i++)
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
        problem p;
        problem_create(&p, 2, 6, 7, 5, 41, 50, "lovasz");
        double *const q = probabilities(&p);
        rig_assert_near(run(&p, backends[b]), sorted_lovasz(&p, q), 1e-5);
        atr_free(q);
        problem_destroy(&p);
    }
    rig_close_backends(backends, count);
}

static int by_value(const void *a, const void *b)
{
    const double x = *(const double *)a, y = *(const double *)b;

    return (x > y) - (x < y);
}

/* Mean of -w ln q over the pixels whose q is below 0.7 or among the `keep` lowest; the last by sorting. */
static double sorted_ohem(const problem *p, const double *q, double threshold, double keep, int64_t *kept)
{
    double *own = NULL, sum = 0.0, divisor = 0.0;
    int64_t count = 0;

    assert_int_equal(ATR_NEW(pixel_count(p), &own), ATR_OK);
    for (int64_t i = 0; i < pixel_count(p); i++)
        if (p->labels[i] < p->classes)
            own[count++] = q[i * p->classes + p->labels[i]];
    qsort(own, (size_t)count, sizeof *own, by_value);
    const int64_t least = (int64_t)ceil(keep * (double)count);
    const double limit = fmax(threshold, least > 0 ? own[least - 1] : 0.0);
    *kept = 0;
    for (int64_t i = 0; i < pixel_count(p); i++) {
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
        problem p;
        int64_t kept = 0;
        problem_create(&p, 2, 6, 7, 5, 41, 50, "ohem");
        p.config.ohem_threshold = 0.05;
        set_weights(&p);
        double *const q = probabilities(&p);
        rig_assert_near(run(&p, backends[b]), sorted_ohem(&p, q, 0.05, 0.0625, &kept), 2e-6);
        assert_true(kept > 500 && kept < 3000); /* not all, and more than the least share */
        atr_free(q);
        problem_destroy(&p);
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
            problem p;
            int64_t kept = 0;
            problem_create(&p, 1, 40, 50, 3, 40, 50, "ohem");
            p.config.ohem_threshold = 1e-6;
            p.config.ohem_keep = all ? 1.0 : 0.25;
            double *const q = probabilities(&p);
            const double want = sorted_ohem(&p, q, 1e-6, p.config.ohem_keep, &kept);
            /* By levels a little more is kept than wanted, so the mean lies a little lower. */
            const double got = run(&p, backends[b]);
            assert_true(got <= want + 2e-6 && got >= (all ? want - 2e-6 : 0.95 * want));
            atr_free(q);
            problem_destroy(&p);
        }
    rig_close_backends(backends, count);
}

/* ---- gradients ----------------------------------------------------------------------------------------------------------- */

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

static void set_trial(problem *p, const struct trial *t)
{
    p->config.reference = t->reference;
    p->config.smoothing = t->smoothing;
    p->config.focal_gamma = t->gamma;
    p->config.ohem_threshold = 0.3;
    p->config.dice_beta = 1.5;
    if (t->weighted)
        set_weights(p);
}

/* The kept pixels of ohem change by jumps: here each pixel is clearly easy or clearly hard. */
static void part_pixels(problem *p)
{
    for (int64_t i = 0; i < pixel_count(p); i++)
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
            problem p;
            double value[2];
            const bool ohem = strstr(trials[i].loss, "ohem") != NULL;
            problem_create(&p, 2, 6, 5, 5, ohem ? 6 : 33, ohem ? 5 : 29, trials[i].loss);
            set_trial(&p, &trials[i]);
            if (ohem)
                part_pixels(&p);
            run(&p, backends[b]);
            const atr_tensor gradient = tensor_of(&p, p.dlogits);
            const double norm = sqrt(rig_dot(&gradient, &gradient));
            const int64_t logits = logit_count(&p);
            float *start = NULL, *along = NULL;
            assert_int_equal(ATR_NEW(logits, &start), ATR_OK);
            assert_int_equal(ATR_NEW(logits, &along), ATR_OK);
            memcpy(start, p.logits, (size_t)logits * sizeof *start);
            for (int64_t j = 0; j < logits; j++)
                along[j] = (float)((double)p.dlogits[j] / norm);
            for (int side = 0; side < 2; side++) {
                for (int64_t j = 0; j < logits; j++)
                    p.logits[j] = start[j] + (side == 0 ? h : -h) * along[j];
                value[side] = run(&p, backends[b]);
            }
            const double slope = (value[0] - value[1]) / (2.0 * (double)h);
            if (!(fabs(slope - norm) <= trials[i].slope_bound * norm))
                fail_msg("%s (%d) on %s: slope %.8g, gradient %.8g", trials[i].loss, i,
                         backends[b]->table->name, slope, norm);
            atr_free(start);
            atr_free(along);
            problem_destroy(&p);
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

static void compare(problem *p, atr_backend *backend, atr_backend *ref, bool split, double bound)
{
    float *kept = p->dlogits;
    const double want = run(p, ref), score = p->f_score;
    const atr_tensor expected = tensor_of(p, kept);

    assert_int_equal(ATR_NEW(logit_count(p), &p->dlogits), ATR_OK);
    const double got = run_split(p, backend, split);
    const atr_tensor found = tensor_of(p, p->dlogits);
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
                problem p;
                problem_create(&p, sizes[s].n, sizes[s].h, sizes[s].w, sizes[s].classes, sizes[s].height,
                               sizes[s].width, trials[i].loss);
                set_trial(&p, &trials[i]);
                compare(&p, backends[b], backends[count - 1], false, trials[i].bound);
                problem_destroy(&p);
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
            problem p;
            problem_create(&p, 3, 5, 4, 5, 17, 13, trials[i].loss);
            set_trial(&p, &trials[i]);
            compare(&p, backends[b], backends[b], true, 1e-6);
            problem_destroy(&p);
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
                problem p;
                problem_create(&p, 2, 5, 7, 21, 17, 26, trials[i].loss);
                set_trial(&p, &trials[i]);
                const double value = run(&p, backends[b]);
                if (t == 0) {
                    first_value[b] = value;
                    first[b] = p.dlogits;
                    p.dlogits = NULL;
                } else {
                    assert_memory_equal(&value, &first_value[b], sizeof value);
                    assert_memory_equal(p.dlogits, first[b], (size_t)logit_count(&p) * sizeof(float));
                }
                problem_destroy(&p);
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
            problem p;
            problem_create(&p, 1, 9, 11, 4, 9, 11, trials[i].loss);
            set_trial(&p, &trials[i]);
            const double before = run(&p, backends[b]), score = p.f_score;
            for (int64_t j = 0; j < 99; j++)
                for (int k = 0; k < 4; k++)
                    if (p.labels[j] == 255) {
                        assert_true(p.dlogits[j * 4 + k] == 0.0f);
                        p.logits[j * 4 + k] = 5.0f * (float)k;
                    }
            assert_true(run(&p, backends[b]) == before && p.f_score == score);
            problem_destroy(&p);
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
            problem p;
            problem_create(&p, 2, 3, 4, 7, 9, 13, trials[i].loss);
            set_trial(&p, &trials[i]);
            memset(p.labels, 255, (size_t)pixel_count(&p));
            assert_true(run(&p, backends[b]) == 0.0);
            const atr_tensor dlogits = tensor_of(&p, p.dlogits);
            assert_true(rig_dot(&dlogits, &dlogits) == 0.0 && isnan(p.f_score));
            problem_destroy(&p);
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
            problem p;
            problem_create(&p, 1, 4, 4, 9, 4, 4, losses[i]);
            for (int64_t j = 0; j < 16; j++) {
                p.labels[j] = (uint8_t)(j % 2 == 0 ? 2 : 7);
                for (int k = 0; k < 9; k++)
                    p.logits[j * 9 + k] = k == p.labels[j] ? 60.0f : -60.0f;
            }
            rig_assert_near(run(&p, backends[b]), 0.0, 1e-6);
            assert_true(p.f_score == 1.0);
            problem_destroy(&p);
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
            problem p;
            problem_create(&p, 1, 4, 4, 3, 7, 7, trials[i].loss);
            set_trial(&p, &trials[i]);
            for (int64_t j = 0; j < 48; j++)
                p.logits[j] = wild[j % 3];
            assert_true(isfinite(run(&p, backends[b])));
            for (int64_t j = 0; j < 48; j++)
                p.logits[j] = wild[(j * 5 + j / 8) % 8];
            run(&p, backends[b]);
            problem_destroy(&p);
        }
    rig_close_backends(backends, count);
}

/* Gradients of the parts of a step, added up. */
static void parts_of_a_step_add_up(void **state)
{
    atr_backend *backends[RIG_BACKENDS];
    const int count = rig_open_backends(1, backends);
    int64_t pixels[256] = {0};
    problem p;
    atr_loss *loss = NULL;
    double sum = 0.0;

    (void)state;
    problem_create(&p, 4, 5, 4, 5, 17, 13, "ce");
    set_weights(&p);
    const double whole = run(&p, backends[0]), score = p.f_score;
    for (int64_t i = 0; i < pixel_count(&p); i++)
        pixels[p.labels[i] < p.classes ? p.labels[i] : 255]++;
    assert_int_equal(atr_loss_create(&p.config, p.classes, &loss), ATR_OK);
    atr_loss_begin(loss, pixels, pixels[255], 4);
    for (int64_t n = 0; n < 4; n++) {
        atr_loss_settle(loss);
        sum += run_part(&p, backends[0], loss, n, 1, false);
    }
    rig_assert_near(sum, whole, 1e-6 * whole);
    assert_true(atr_loss_f_score(loss) == score);
    atr_loss_destroy(loss);

    /* dice: the mean of the parts' own */
    double mean = 0.0;
    assert_int_equal(atr_loss_parse("dice", &p.config), ATR_OK);
    problem one = p;
    one.n = 1;
    for (int64_t n = 0; n < 4; n++) {
        one.logits = p.logits + n * logit_count(&one);
        one.labels = p.labels + n * pixel_count(&one);
        mean += 0.25 * run(&one, backends[0]);
    }
    assert_int_equal(atr_loss_create(&p.config, p.classes, &loss), ATR_OK);
    atr_loss_begin(loss, pixels, pixels[255], 4);
    for (int64_t n = 0; n < 4; n++) {
        run_part(&p, backends[0], loss, n, 1, true);
        atr_loss_settle(loss);
        assert_true(run_part(&p, backends[0], loss, n, 1, false) == 0.0);
    }
    rig_assert_near(atr_loss_known(loss), mean, 1e-9);
    atr_loss_destroy(loss);
    problem_destroy(&p);
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
        cmocka_unit_test(gradient_is_the_slope_of_the_loss),
        cmocka_unit_test(back_ends_agree_at_all_sizes),
        cmocka_unit_test(parts_with_common_sums_are_the_whole_batch),
        cmocka_unit_test(results_do_not_depend_on_the_number_of_threads),
        cmocka_unit_test(ignored_pixels_change_nothing),
        cmocka_unit_test(nothing_but_ignored_pixels_is_no_gradient),
        cmocka_unit_test(a_perfect_batch_without_some_classes_has_no_loss),
        cmocka_unit_test(wild_logits_give_a_message_or_a_number_but_no_crash),
        cmocka_unit_test(parts_of_a_step_add_up),
        cmocka_unit_test(sums_of_terms_are_read_and_written),
        cmocka_unit_test(what_is_no_loss_is_refused),
        cmocka_unit_test(numbers_out_of_bounds_are_refused),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
