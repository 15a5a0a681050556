/* The whole network with bf16 activations against the golden numbers and against itself in f32, which test_parity holds to them. A
 * bf16 number has 8 bits: each layer's output is off by up to 2^-9 of itself, and a network of 60 layers adds these up like a random
 * walk. Bounds are about twice what was measured; docs/performance.md has them in its table of tolerances. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "tests/support/network.h"

enum { ROOM = 16 };

static atr_h5 *golden;

typedef struct subject {
    parity_case c;
    const char *backend;
} subject;

static void open_narrow(network *net, const subject *s, double momentum)
{
    network_open(net, &s->c, s->backend, momentum);
    net->backend->precision = ATR_BF16;
}

static double check(const subject *s, const char *what, double got, double bound)
{
    print_message("%s on %s: %s %.3g (bound %.3g)\n", s->c.group, s->backend, what, got, bound);
    if (!(got <= bound))
        fail_msg("%s on %s: %s is off by %.3g, bound %.3g", s->c.group, s->backend, what, got, bound);
    return got;
}

static void check_logits(const subject *s, const network *net, atr_plan *plan, const char *name, double bound)
{
    int64_t count = 0;
    double *wanted = parity_read(golden, &s->c, &count, "%s", name);
    float *mine = network_logits(net, plan);

    check(s, name, parity_relative_l2(mine, wanted, count), bound);
    atr_free(mine);
    atr_free(wanted);
}

static void class_scores_are_near_the_golden_ones(void **state)
{
    const subject *s = *state;
    network net;

    open_narrow(&net, s, 1);
    atr_plan *train = network_plan(&net, ATR_TRAIN, ATR_REWRITE_ALL, false);
    must(atr_plan_forward(train, net.images));
    check_logits(s, &net, train, "train_logits", 0.1);
    atr_plan_destroy(train);
    atr_plan *infer = network_plan(&net, ATR_INFER, ATR_REWRITE_ALL, false);
    must(atr_plan_forward(infer, net.images));
    check_logits(s, &net, infer, "eval_logits_m1", 0.1);
    atr_plan_destroy(infer);
    network_close(&net);
}

/* Gradients of all parameters after one pass; to be freed. */
static float *gradients(network *net, int rewrites, double *loss)
{
    atr_plan *plan = network_plan(net, ATR_TRAIN, rewrites, false);
    const int64_t count = atr_params_flat_count(net->params);
    float *all = NULL;

    must(atr_plan_forward(plan, net->images));
    must(atr_plan_cross_entropy(plan, net->labels, NULL, net->valid, loss));
    must(atr_plan_backward(plan, NULL, NULL));
    must(ATR_NEW(count, &all));
    memcpy(all, atr_params_flat_gradients(net->params), (size_t)count * sizeof *all);
    atr_plan_destroy(plan);
    return all;
}

/* How far `a` points away from `b`, 1 - cosine, and how much longer or shorter it is, over both. */
static void compare(const float *a, const float *b, int64_t count, double *turned, double *stretched)
{
    double aa = 0, bb = 0, ab = 0;

    for (int64_t i = 0; i < count; i++) {
        aa += (double)a[i] * (double)a[i];
        bb += (double)b[i] * (double)b[i];
        ab += (double)a[i] * (double)b[i];
    }
    *turned = 1 - ab / sqrt(aa * bb);
    *stretched = fabs(sqrt(aa / bb) - 1);
}

static void loss_and_gradient_are_near_those_in_f32(void **state)
{
    const subject *s = *state;

    for (int rewrites = -1; rewrites <= 0; rewrites++) {
        double narrow_loss = 0, wide_loss = 0, turned = 0, stretched = 0;
        network narrow, wide;
        open_narrow(&narrow, s, -1);
        network_open(&wide, &s->c, "cpu", -1);
        float *a = gradients(&narrow, rewrites, &narrow_loss), *b = gradients(&wide, -1, &wide_loss);
        check(s, "loss", fabs(narrow_loss - wide_loss) / wide_loss, 0.02);
        compare(a, b, atr_params_flat_count(wide.params), &turned, &stretched);
        check(s, "gradient's direction", turned, 0.1);
        check(s, "gradient's length", stretched, 0.1);
        atr_free(a);
        atr_free(b);
        network_close(&narrow);
        network_close(&wide);
    }
}

/* usage: test_parity_bf16 */
int main(void)
{
    static const char *const backends[] = {"cpu", "ref"};
    static subject subjects[4 * ROOM];
    static char names[8 * ROOM][192];
    static struct CMUnitTest tests[8 * ROOM];
    parity_case cases[2 * ROOM];
    size_t count = 0;

    golden = parity_open();
    if (golden == NULL)
        return 77;
    int found = parity_cases(golden, "mobilenet", cases, ROOM);
    found += parity_cases(golden, "xception", cases + found, ROOM);
    for (int b = 0; b < 2; b++)
        for (int c = 0; c < found; c++) {
            subject *s = &subjects[b * found + c];
            *s = (subject){cases[c], backends[b]};
            /* `ref` is slow: on one case of each backbone. */
            if (b == 1 && (strstr(cases[c].group, "_tight") == NULL || cases[c].output_stride != 8))
                continue;
            snprintf(names[count], sizeof names[count], "%s %.60s: class scores", backends[b],
                     cases[c].group);
            tests[count] =
                (struct CMUnitTest){names[count], class_scores_are_near_the_golden_ones, NULL, NULL, s};
            count++;
            snprintf(names[count], sizeof names[count], "%s %.60s: gradient", backends[b], cases[c].group);
            tests[count] =
                (struct CMUnitTest){names[count], loss_and_gradient_are_near_those_in_f32, NULL, NULL, s};
            count++;
        }
    const int failed = _cmocka_run_group_tests("parity in bf16", tests, count, NULL, NULL);
    atr_h5_destroy(golden);
    return failed;
}
