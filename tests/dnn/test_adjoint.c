#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "tests/dnn/ops_cases.h"

/* Backward is the derivative of forward, without reference to another implementation: for linear operations by the identity
 * <A x, y> = <x, A' y>, for the others by finite differences. On every back end of this build. */

enum { THREADS = 2, SEED = 4242 };

/* <got> and <want> agree as far as f32 tensors of these norms can. */
static void assert_same_product(const rig *r, const char *what, double got, double want, double scale)
{
    if (!(fabs(got - want) <= 3e-6 * scale))
        fail_msg("'%s' on %s: %s: %.9g and %.9g", r->spec->label, r->backend->table->name, what, got, want);
}

static double norm_of(const atr_tensor *t)
{
    return sqrt(rig_dot(t, t));
}

static void check_linear(const rig_case *spec, atr_backend *backend)
{
    rig r;

    rig_create(&r, spec, backend, SEED);
    if (r.bias.block != NULL)
        rig_fill(&r.bias.view, 0, 0.0, 0.0);
    rig_run(&r);
    const double forward = rig_dot(&r.y.view, &r.dy.view);
    const double scale = norm_of(&r.y.view) * norm_of(&r.dy.view);
    if (r.step.wants_dx[0])
        assert_same_product(&r, "<x, dx>", rig_dot(&r.x[0].view, &r.dx[0].view), forward, scale);
    if (r.dweight.block != NULL && r.step.wants_dw)
        assert_same_product(&r, "<w, dw>", rig_dot(&r.weight.view, &r.dweight.view), forward, scale);
    if (r.dbias.block != NULL && r.step.wants_dw) { /* d<y, dy>/db = sum of dy over pixels */
        rig_fill(&r.bias.view, 11, 1.0, 0.0);
        rig_forward(&r);
        assert_same_product(&r, "<b, db>", rig_dot(&r.bias.view, &r.dbias.view),
                            rig_dot(&r.y.view, &r.dy.view) - forward,
                            norm_of(&r.y.view) * norm_of(&r.dy.view));
    }
    rig_destroy(&r);
}

static void convolution_pooling_and_resize_are_adjoint_to_their_gradients(void **state)
{
    atr_backend *backends[RIG_BACKENDS];
    const int count = rig_open_backends(THREADS, backends);

    (void)state;
    for (int i = 0; i < OPS_CASES; i++) {
        const rig_case *spec = &ops_cases[i];
        const bool linear =
            spec->op == ATR_OP_CONV || spec->op == ATR_OP_RESIZE || spec->op == ATR_OP_GLOBAL_POOL;
        for (int b = 0; b < count && linear && !spec->infer; b++)
            check_linear(spec, backends[b]);
    }
    rig_close_backends(backends, count);
}

/* The slope of <y, dy> when `into` moves along a random direction, by central difference; `along` receives
 * <gradient, direction>. */
static double slope(rig *r, rig_buffer *into, const rig_buffer *gradient, double step, double *along)
{
    rig_buffer start = *into, direction = *into;
    double value[2];

    assert_int_equal(ATR_NEW(into->count, &start.block), ATR_OK);
    assert_int_equal(ATR_NEW(into->count, &direction.block), ATR_OK);
    memcpy(start.block, into->block, (size_t)into->count * sizeof(float));
    direction.view.data = direction.block;
    rig_fill(&direction.view, 99, 1.0, 0.0);
    *along = rig_dot(&gradient->view, &direction.view);
    for (int side = 0; side < 2; side++) {
        for (int64_t i = 0; i < into->count; i++)
            into->block[i] =
                (float)((double)start.block[i] + (side == 0 ? step : -step) * (double)direction.block[i]);
        rig_forward(r);
        value[side] = rig_dot(&r->y.view, &r->dy.view);
    }
    memcpy(into->block, start.block, (size_t)into->count * sizeof(float));
    atr_free(start.block);
    atr_free(direction.block);
    return (value[0] - value[1]) / (2.0 * step);
}

static void check_slope(rig *r, const char *what, rig_buffer *into, const rig_buffer *gradient, double bound)
{
    double along;
    const double measured = slope(r, into, gradient, 1e-3, &along);

    if (!(fabs(measured - along) <= bound * (fabs(along) + norm_of(&r->dy.view))))
        fail_msg("'%s' on %s: d/d%s: gradient says %.6g, the difference %.6g", r->spec->label,
                 r->backend->table->name, what, along, measured);
}

static void norm_gradients_are_the_slopes(void **state)
{
    /* Activations come later: on them a finite step may cross a kink. */
    const rig_case cases[] = {
        {.label = "batch", .op = ATR_OP_NORM, .batch_stats = true, .n = 2, .h = 5, .w = 4, .c = 19},
        {.label = "batch of three", .op = ATR_OP_NORM, .batch_stats = true, .n = 3, .h = 1, .w = 1, .c = 32},
        {.label = "frozen", .op = ATR_OP_NORM, .n = 2, .h = 5, .w = 4, .c = 19},
    };
    atr_backend *backends[RIG_BACKENDS];
    const int count = rig_open_backends(THREADS, backends);

    (void)state;
    for (int b = 0; b < count; b++)
        for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
            rig r;
            rig_create(&r, &cases[i], backends[b], SEED);
            rig_run(&r);
            check_slope(&r, "x", &r.x[0], &r.dx[0], 2e-3);
            check_slope(&r, "weight", &r.weight, &r.dweight, 2e-3);
            check_slope(&r, "bias", &r.bias, &r.dbias, 2e-3);
            rig_destroy(&r);
        }
    rig_close_backends(backends, count);
}

/* NORM with an activation behind it equals NORM, then ACT: forward and backward, on one back end. */
static void norm_with_activation_is_norm_then_activation(void **state)
{
    atr_backend *backends[RIG_BACKENDS];
    const int count = rig_open_backends(THREADS, backends);

    (void)state;
    for (int b = 0; b < count; b++)
        for (int k = 0; k < 4; k++) {
            const rig_case fused = {.label = "fused",
                                    .op = ATR_OP_NORM,
                                    .n = 2,
                                    .h = 7,
                                    .w = 5,
                                    .c = 35,
                                    .batch_stats = k / 2 == 0,
                                    .act = k % 2 == 0 ? ATR_ACT_RELU : ATR_ACT_RELU6};
            rig_case norm = fused, act = fused;
            rig whole, first, second;
            norm.act = ATR_ACT_NONE;
            act.op = ATR_OP_ACT;
            rig_create(&whole, &fused, backends[b], SEED);
            rig_create(&first, &norm, backends[b], SEED);
            rig_create(&second, &act, backends[b], SEED);
            rig_fill(&whole.weight.view, 1, 2.0, 3.0); /* beyond both kinks of ReLU6 */
            rig_fill(&first.weight.view, 1, 2.0, 3.0);
            rig_run(&whole);
            rig_forward(&first);
            memcpy(second.x[0].block, first.y.block, (size_t)first.y.count * sizeof(float));
            rig_run(&second);
            memcpy(first.dy.block, second.dx[0].block, (size_t)first.y.count * sizeof(float));
            rig_backward(&first);
            assert_true(rig_relative_max(&whole.y.view, &second.y.view) < 1e-6);
            assert_true(rig_relative_max(&whole.dx[0].view, &first.dx[0].view) < 1e-6);
            assert_true(rig_relative_max(&whole.dweight.view, &first.dweight.view) < 1e-6);
            assert_true(rig_relative_max(&whole.dbias.view, &first.dbias.view) < 1e-6);
            rig_destroy(&whole);
            rig_destroy(&first);
            rig_destroy(&second);
        }
    rig_close_backends(backends, count);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(convolution_pooling_and_resize_are_adjoint_to_their_gradients),
        cmocka_unit_test(norm_gradients_are_the_slopes),
        cmocka_unit_test(norm_with_activation_is_norm_then_activation),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
