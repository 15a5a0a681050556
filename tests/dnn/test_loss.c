#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "core/rng.h"
#include "tests/support/parity.h"
#include "tests/support/rig.h"

/* Softmax cross-entropy fused with the resize before it, on every back end of this build; other losses: test_losses.c. */

enum { THREADS = 2 };

/* A loss with buffers of its own. */
typedef struct problem {
    atr_loss_args args;
    const float *class_weights; /* [K], or NULL */
    double divisor;
    float *logits, *dlogits;
    uint8_t *labels;
} problem;

static void problem_create(problem *p, int64_t n, int64_t h, int64_t w, int64_t classes, int64_t height,
                           int64_t width)
{
    memset(p, 0, sizeof *p);
    assert_int_equal(ATR_NEW(n * h * w * classes, &p->logits), ATR_OK);
    assert_int_equal(ATR_NEW(n * h * w * classes, &p->dlogits), ATR_OK);
    assert_int_equal(ATR_NEW(n * height * width, &p->labels), ATR_OK);
    p->args.logits = atr_tensor_nhwc(ATR_F32, n, h, w, classes, p->logits);
    p->args.dlogits = atr_tensor_nhwc(ATR_F32, n, h, w, classes, p->dlogits);
    p->args.labels = p->labels;
    p->args.height = height;
    p->args.width = width;
    rig_fill(&p->args.logits, 17, 4.0, 0.0);
    for (int64_t i = 0; i < n * height * width; i++) {
        const uint64_t label = atr_rng_below(18, (uint64_t)i, (uint64_t)classes + 1);
        p->labels[i] = label < (uint64_t)classes ? (uint8_t)label : 255;
    }
    p->divisor = (double)(n * height * width);
}

static void problem_destroy(problem *p)
{
    atr_free(p->logits);
    atr_free(p->dlogits);
    atr_free(p->labels);
}

/* Runs it on `backend` with scratch that holds rubbish. */
static double run(problem *p, atr_backend *backend)
{
    const atr_backend_table *table = backend->table;
    const size_t bytes = table->loss_scratch(&p->args);
    atr_loss_form form = {.parts = ATR_LOSS_PLAIN};
    void *scratch = NULL;

    for (int64_t k = 0; k < p->args.logits.dims[3] && p->divisor > 0.0; k++)
        form.plain[k] = (p->class_weights != NULL ? (double)p->class_weights[k] : 1.0) / p->divisor;
    p->args.form = &form;

    assert_int_equal(atr_alloc((int64_t)bytes, 1, &scratch), ATR_OK);
    if (bytes > 0)
        memset(scratch, 0x7F, bytes);
    p->args.scratch = scratch;
    atr_backend_enter(backend);
    if (table->loss(backend, &p->args) != ATR_OK)
        fail_msg("%s", atr_status_message());
    atr_free(scratch);
    return p->args.loss;
}

/* ---- golden numbers ------------------------------------------------------------------------------------------------------ */

/* The stored logits [N,K,H,W] as [N,H,W,K]. */
static void load_logits(const atr_h5 *file, const parity_case *c, problem *p)
{
    const int64_t pixels = c->height * c->width;
    double *stored = parity_read(file, c, NULL, "train_logits");

    for (int64_t i = 0; i < c->batch * pixels * c->classes; i++) {
        const int64_t pixel = i % pixels, k = i / pixels % c->classes, n = i / (pixels * c->classes);
        p->logits[(n * pixels + pixel) * c->classes + k] = (float)stored[i];
    }
    atr_free(stored);
}

/* Sum of class weights over valid pixels: what the loss is divided by. */
static double divisor(const problem *p, int64_t count)
{
    double sum = 0.0;

    for (int64_t i = 0; i < count; i++)
        if (p->labels[i] < p->args.logits.dims[3])
            sum += p->class_weights != NULL ? (double)p->class_weights[p->labels[i]] : 1.0;
    return sum;
}

static void check_dlogits(const atr_h5 *file, const parity_case *c, const problem *p)
{
    const int64_t pixels = c->height * c->width;
    const double l2 = parity_scalar(file, c, "grad/ce/dlogits/l2");
    double *index = parity_read(file, c, NULL, "grad/ce/dlogits/index");
    double *value = parity_read(file, c, NULL, "grad/ce/dlogits/value");
    double *error = parity_read(file, c, NULL, "grad/ce/dlogits/f32_err");
    const double bound = fmax(3.0 * error[0], 1e-9);

    rig_assert_near(sqrt(rig_dot(&p->args.dlogits, &p->args.dlogits)), l2, fmax(1e-5, 3.0 * error[1]) * l2);
    for (int i = 0; i < 64; i++) {
        const int64_t at = (int64_t)index[i], pixel = at % pixels, k = at / pixels % c->classes;
        const int64_t n = at / (pixels * c->classes);
        rig_assert_near((double)p->dlogits[(n * pixels + pixel) * c->classes + k], value[i], bound);
    }
    atr_free(index);
    atr_free(value);
    atr_free(error);
}

static void check_case(const atr_h5 *file, const parity_case *c, atr_backend *backend)
{
    problem p;
    float weights[255];

    problem_create(&p, c->batch, c->height, c->width, c->classes, c->height, c->width);
    load_logits(file, c, &p);
    atr_free(p.labels);
    p.args.labels = p.labels = parity_labels(c);
    const int64_t count = c->batch * c->height * c->width;
    p.divisor = divisor(&p, count);
    rig_assert_near(p.divisor, parity_scalar(file, c, "losses/valid_pixels"), 0.0);
    rig_assert_near(run(&p, backend), parity_scalar(file, c, "losses/ce"), 2e-6);
    check_dlogits(file, c, &p);

    for (int64_t k = 0; k < c->classes; k++)
        weights[k] = 1.0f + 0.25f * (float)(k % 4);
    p.class_weights = weights;
    p.divisor = divisor(&p, count);
    rig_assert_near(run(&p, backend), parity_scalar(file, c, "losses/ce_weighted"), 2e-6);
    problem_destroy(&p);
}

static void cross_entropy_of_stored_logits_is_pytorchs(void **state)
{
    (void)state;
    if (!rig_on_golden_cases(THREADS, check_case))
        skip();
}

/* ---- the resize in it ---------------------------------------------------------------------------------------------------- */

static const struct size {
    int64_t n, h, w, classes, height, width;
} sizes[] = {
    {2, 5, 7, 21, 17, 26}, {1, 9, 6, 5, 33, 21}, {3, 1, 1, 4, 5, 7},
    {1, 2, 3, 2, 3, 5},    {2, 7, 5, 11, 7, 5},  {1, 4, 5, 255, 13, 9},
    {1, 3, 3, 1, 9, 9},    {2, 8, 8, 19, 4, 3},  {1, 6, 17, 16, 22, 65},
};

enum { SIZES = sizeof sizes / sizeof sizes[0] };

/* Resize to the labels' size as a step of its own, the loss there, and the gradient back through the step. */
static double in_two_steps(const problem *p, atr_backend *ref, float *dlogits)
{
    const int64_t *d = p->args.logits.dims;
    const rig_case spec = {.label = "resize",
                           .op = ATR_OP_RESIZE,
                           .n = d[0],
                           .h = d[1],
                           .w = d[2],
                           .c = d[3],
                           .out_h = p->args.height,
                           .out_w = p->args.width};
    problem full = *p;
    rig r;

    rig_create(&r, &spec, ref, 1);
    memcpy(r.x[0].block, p->logits, (size_t)r.x[0].count * sizeof(float));
    rig_forward(&r);
    full.args.logits = r.y.view;
    full.args.dlogits = r.dy.view;
    const double loss = run(&full, ref);
    rig_backward(&r);
    memcpy(dlogits, r.dx[0].block, (size_t)r.x[0].count * sizeof(float));
    rig_destroy(&r);
    return loss;
}

static void fused_resize_is_resize_then_loss(void **state)
{
    atr_backend *backends[RIG_BACKENDS];
    const int count = rig_open_backends(THREADS, backends);

    (void)state;
    for (int i = 0; i < SIZES; i++)
        for (int b = 0; b < count; b++) {
            const struct size s = sizes[i];
            problem p;
            problem_create(&p, s.n, s.h, s.w, s.classes, s.height, s.width);
            atr_tensor want = p.args.dlogits;
            float *expected = NULL;
            assert_int_equal(ATR_NEW(atr_tensor_count(&want), &expected), ATR_OK);
            want.data = expected;
            const double loss = in_two_steps(&p, backends[count - 1], expected);
            rig_assert_near(run(&p, backends[b]), loss, 2e-6 * fmax(1.0, loss));
            rig_assert_near(rig_relative_l2(&p.args.dlogits, &want), 0.0, 3e-6);
            rig_assert_near(rig_relative_max(&p.args.dlogits, &want), 0.0, 1e-5);
            atr_free(expected);
            problem_destroy(&p);
        }
    rig_close_backends(backends, count);
}

static void loss_alone_is_the_same_loss(void **state)
{
    atr_backend *backends[RIG_BACKENDS];
    const int count = rig_open_backends(THREADS, backends);

    (void)state;
    for (int i = 0; i < SIZES; i++)
        for (int b = 0; b < count; b++) {
            const struct size s = sizes[i];
            problem p;
            problem_create(&p, s.n, s.h, s.w, s.classes, s.height, s.width);
            const double with_gradient = run(&p, backends[b]);
            p.args.dlogits.data = NULL;
            rig_assert_near(run(&p, backends[b]), with_gradient, 1e-7 * fmax(1.0, with_gradient));
            problem_destroy(&p);
        }
    rig_close_backends(backends, count);
}

static void gradient_is_the_slope_of_the_loss(void **state)
{
    atr_backend *backends[RIG_BACKENDS];
    const int count = rig_open_backends(THREADS, backends);
    const float weights[] = {1.0f, 0.5f, 2.0f, 3.0f, 1.5f};

    (void)state;
    for (int b = 0; b < count; b++) {
        problem p;
        double value[2];
        problem_create(&p, 2, 4, 5, 5, 13, 11);
        p.class_weights = weights;
        rig_fill(&p.args.logits, 17, 4.0, 0.0);
        run(&p, backends[b]);
        atr_tensor direction = p.args.logits;
        float *along = NULL;
        assert_int_equal(ATR_NEW(atr_tensor_count(&direction), &along), ATR_OK);
        direction.data = along;
        rig_fill(&direction, 19, 1.0, 0.0);
        const double slope = rig_dot(&p.args.dlogits, &direction);
        for (int side = 0; side < 2; side++) {
            rig_fill(&p.args.logits, 17, 4.0, 0.0);
            for (int64_t i = 0; i < atr_tensor_count(&direction); i++)
                p.logits[i] += (side == 0 ? 0.01f : -0.01f) * along[i];
            value[side] = run(&p, backends[b]);
        }
        rig_assert_near((value[0] - value[1]) / 0.02, slope, 1e-4);
        atr_free(along);
        problem_destroy(&p);
    }
    rig_close_backends(backends, count);
}

/* ---- edges --------------------------------------------------------------------------------------------------------------- */

static void nothing_but_ignored_pixels_is_zero_loss_and_zero_gradient(void **state)
{
    atr_backend *backends[RIG_BACKENDS];
    const int count = rig_open_backends(THREADS, backends);

    (void)state;
    for (int b = 0; b < count; b++)
        for (int k = 0; k < 2; k++) {
            problem p;
            problem_create(&p, 2, 3, 4, 7, 9, 13);
            memset(p.labels, k == 0 ? 255 : 7,
                   2 * 9 * 13); /* the first value that is no class ignores as well */
            p.divisor = k == 0 ? 0.0 : 5.0;
            rig_fill(&p.args.dlogits, 3, 1.0, 0.0);
            rig_assert_near(run(&p, backends[b]), 0.0, 0.0);
            rig_assert_near(rig_dot(&p.args.dlogits, &p.args.dlogits), 0.0, 0.0);
            problem_destroy(&p);
        }
    rig_close_backends(backends, count);
}

static void huge_logits_neither_overflow_nor_lose_the_loss(void **state)
{
    atr_backend *backends[RIG_BACKENDS];
    const int count = rig_open_backends(THREADS, backends);

    (void)state;
    for (int b = 0; b < count; b++) {
        problem p;
        problem_create(&p, 1, 1, 1, 3, 1, 1);
        memcpy(p.logits, (const float[]){1e4f, -1e4f, 9990.0f}, 3 * sizeof(float));
        p.labels[0] = 1;
        p.divisor = 1.0;
        rig_assert_near(run(&p, backends[b]), 2e4 + log1p(exp(-10.0)), 2e-3);
        rig_assert_near((double)p.dlogits[1], -1.0, 1e-6);
        problem_destroy(&p);
    }
    rig_close_backends(backends, count);
}

static void loss_and_gradient_do_not_depend_on_the_number_of_threads(void **state)
{
    const int threads[] = {1, 2, 3, 5};
    atr_backend *backends[RIG_BACKENDS];

    (void)state;
    for (int i = 0; i < SIZES; i++) {
        double first_loss[RIG_BACKENDS];
        float *first[RIG_BACKENDS] = {NULL};
        int count = 0;
        for (int t = 0; t < 4; t++) {
            count = rig_open_backends(threads[t], backends);
            for (int b = 0; b < count; b++) {
                const struct size s = sizes[i];
                problem p;
                problem_create(&p, s.n, s.h, s.w, s.classes, s.height, s.width);
                const double loss = run(&p, backends[b]);
                if (t == 0) {
                    first_loss[b] = loss;
                    first[b] = p.dlogits;
                    p.dlogits = NULL;
                } else {
                    assert_memory_equal(&loss, &first_loss[b], sizeof loss);
                    assert_memory_equal(p.dlogits, first[b],
                                        (size_t)atr_tensor_count(&p.args.logits) * sizeof(float));
                }
                problem_destroy(&p);
            }
            rig_close_backends(backends, count);
        }
        for (int b = 0; b < count; b++)
            atr_free(first[b]);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(cross_entropy_of_stored_logits_is_pytorchs),
        cmocka_unit_test(fused_resize_is_resize_then_loss),
        cmocka_unit_test(loss_alone_is_the_same_loss),
        cmocka_unit_test(gradient_is_the_slope_of_the_loss),
        cmocka_unit_test(nothing_but_ignored_pixels_is_zero_loss_and_zero_gradient),
        cmocka_unit_test(huge_logits_neither_overflow_nor_lose_the_loss),
        cmocka_unit_test(loss_and_gradient_do_not_depend_on_the_number_of_threads),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
