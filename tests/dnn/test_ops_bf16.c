#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "core/bf16.h"
#include "tests/dnn/ops_cases.h"
#include "tests/dnn/tolerance.h"

/* Every operation on bf16 activations: `ref` is its f32 self, rounded; and all back ends compute what `ref` computes. */

enum { THREADS = 2, SEED = 78 };

/* Types of x and y that plans make: bf16 within the network, f32 pictures in front of it, f32 class scores and pooled maps. */
static const atr_dtype pairs[][2] = {{ATR_BF16, ATR_BF16}, {ATR_F32, ATR_BF16}, {ATR_BF16, ATR_F32}};

enum { PAIRS = sizeof pairs / sizeof pairs[0] };

/* A tensor is written once per run: in place its two users are of one type. */
static bool makes_sense(const rig_case *spec, const atr_dtype *pair)
{
    return pair[0] == pair[1] || !spec->in_place;
}

static bool is_activation(const char *name)
{
    return strcmp(name, "y") == 0 || strcmp(name, "dx") == 0;
}

static void compare(const rig *got, const rig *want, const atr_dtype *pair)
{
    rig_result a[RIG_RESULTS], b[RIG_RESULTS];
    const int count = rig_results(want, b);

    assert_int_equal(rig_results(got, a), count);
    for (int i = 0; i < count; i++) {
        const atr_dtype type = strcmp(a[i].name, "y") == 0    ? pair[1]
                               : strcmp(a[i].name, "dx") == 0 ? pair[0]
                                                              : ATR_F32;
        const double l2 = rig_relative_l2(&a[i].buffer->view, &b[i].buffer->view);
        const double most = rig_relative_max(&a[i].buffer->view, &b[i].buffer->view);
        if (!(l2 <= tolerances[type].relative_l2 && most <= tolerances[type].max))
            fail_msg("op %d '%s' on %s, %s to %s: %s is off by %.2g (relative L2), %.2g (largest)",
                     got->spec->op, got->spec->label, got->backend->table->name, atr_dtype_name(pair[0]),
                     atr_dtype_name(pair[1]), a[i].name, l2, most);
    }
}

static void every_back_end_computes_in_bf16_what_ref_computes(void **state)
{
    atr_backend *backends[RIG_BACKENDS];
    const int count = rig_open_backends(THREADS, backends);

    (void)state;
    for (int i = 0; i < OPS_CASES * PAIRS; i++)
        for (int b = 0; b < count - 1; b++) {
            const atr_dtype *pair = pairs[i % PAIRS];
            const rig_case *spec = &ops_cases[i / PAIRS];
            rig want, got;
            if (!makes_sense(spec, pair))
                continue;
            rig_create_typed(&want, spec, backends[count - 1], SEED, pair[0], pair[1]);
            rig_create_typed(&got, spec, backends[b], SEED, pair[0], pair[1]);
            for (int run = 0; run < 2; run++) { /* nothing is left over from the first run */
                rig_run(&want);
                rig_run(&got);
                if (run == 0 || !spec->in_place)
                    compare(&got, &want, pair);
            }
            rig_destroy(&want);
            rig_destroy(&got);
        }
    rig_close_backends(backends, count);
}

/* What the f32 step must be given so that it computes on the numbers that the bf16 one sees. */
static void round_inputs(const rig *r, bool weights)
{
    const rig_buffer *const buffers[] = {&r->x[0], &r->x[1], &r->dy};

    for (int i = 0; i < 3; i++)
        if (buffers[i]->block != NULL)
            atr_bf16_round(buffers[i]->block, buffers[i]->count, buffers[i]->block);
    if (weights)
        atr_bf16_round(r->weight.block, r->weight.count, r->weight.block);
}

static bool is_depthwise(const rig_case *spec)
{
    return spec->conv.groups > 1 && spec->conv.groups == spec->c &&
           spec->conv.groups == spec->conv.out_channels;
}

static void ref_in_bf16_is_ref_rounded(void **state)
{
    atr_backend *ref = NULL;

    (void)state;
    assert_int_equal(atr_backend_open("ref", THREADS, &ref), ATR_OK);
    for (int i = 0; i < OPS_CASES; i++) {
        const rig_case *spec = &ops_cases[i];
        rig want, got;
        rig_result a[RIG_RESULTS], b[RIG_RESULTS];
        if (spec->folded || spec->in_place) /* folded weights are rounded behind the folding: below */
            continue;
        rig_create(&want, spec, ref, SEED);
        rig_create_typed(&got, spec, ref, SEED, ATR_BF16, ATR_BF16);
        round_inputs(&want, spec->op == ATR_OP_CONV && !is_depthwise(spec));
        rig_run(&want);
        rig_run(&got);
        /* An activation's gradient asks its output, which bf16 may have rounded up to the kink at 6. */
        const int count = rig_results(&want, b);
        assert_int_equal(rig_results(&got, a), count);
        for (int k = 0; k < count; k++) {
            const rig_buffer *buffer = b[k].buffer;
            if (spec->op == ATR_OP_ACT && strcmp(b[k].name, "dx") == 0)
                continue;
            if (is_activation(b[k].name))
                atr_bf16_round(buffer->block, buffer->count, buffer->block);
            if (memcmp(a[k].buffer->block, buffer->block, (size_t)buffer->count * sizeof(float)) != 0)
                fail_msg("'%s': %s is not the rounded one", spec->label, b[k].name);
        }
        rig_destroy(&want);
        rig_destroy(&got);
    }
    atr_backend_close(ref);
}

/* (1 + 3/512) (1 - 1/256) is 1 + 1/512 - ..., which rounds to 1; rounded before the folding it would be 1 + 1/256 - .... */
static void folded_weights_are_rounded_behind_the_folding(void **state)
{
    const rig_case spec = {.label = "folded",
                           .op = ATR_OP_CONV,
                           .n = 1,
                           .h = 2,
                           .w = 2,
                           .c = 1,
                           .infer = true,
                           .folded = true,
                           .conv = {1, 1, 1, 0, 1, 1, false}};
    atr_backend *backends[RIG_BACKENDS];
    const int count = rig_open_backends(THREADS, backends);

    (void)state;
    for (int b = 0; b < count; b++) {
        rig r;
        rig_create_typed(&r, &spec, backends[b], SEED, ATR_BF16, ATR_F32);
        r.x[0].block[0] = 1.0f;
        r.weight.block[0] = 1.0f + 0x3p-9f;
        r.norm_weight.block[0] = (float)((1.0 - 0x1p-8) * sqrt(1.0 + 1e-5));
        r.running_mean.block[0] = r.norm_bias.block[0] = 0.0f;
        r.running_var.block[0] = 1.0f;
        rig_forward(&r);
        assert_true(r.y.block[0] == 1.0f);
        rig_destroy(&r);
    }
    rig_close_backends(backends, count);
}

static void nan_and_infinity_come_through(void **state)
{
    const rig_case act = {.label = "act",
                          .op = ATR_OP_ACT,
                          .n = 1,
                          .h = 1,
                          .w = 2,
                          .c = 21,
                          .infer = true,
                          .act = ATR_ACT_RELU};
    atr_backend *backends[RIG_BACKENDS];
    const int count = rig_open_backends(THREADS, backends);

    (void)state;
    for (int b = 0; b < count; b++) {
        rig r;
        rig_create_typed(&r, &act, backends[b], SEED, ATR_BF16, ATR_BF16);
        r.x[0].block[1] = NAN;
        r.x[0].block[20] = INFINITY;
        r.x[0].block[41] = NAN;
        rig_forward(&r);
        assert_true(isnan(r.y.block[1]) && isinf(r.y.block[20]) && isnan(r.y.block[41]));
        assert_false(atr_backend_finite_pixels(backends[b], &r.step.y));
        r.x[0].block[1] = r.x[0].block[20] = r.x[0].block[41] = 0.0f;
        rig_forward(&r);
        assert_true(atr_backend_finite_pixels(backends[b], &r.step.y));
        rig_destroy(&r);
    }
    rig_close_backends(backends, count);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(ref_in_bf16_is_ref_rounded),
        cmocka_unit_test(folded_weights_are_rounded_behind_the_folding),
        cmocka_unit_test(every_back_end_computes_in_bf16_what_ref_computes),
        cmocka_unit_test(nan_and_infinity_come_through),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
