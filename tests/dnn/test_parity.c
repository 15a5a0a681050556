/* The whole network against the golden numbers (float64 results of the public PyTorch implementation): forward, losses,
 * gradients, running statistics, optimiser steps, on every host back end. Bounds: three times the error that PyTorch itself
 * has in float32, but never less than a floor, as the golden data's README says in section 4. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "dnn/optim.h"
#include "tests/support/network.h"

enum { ROOM = 16 };

static const double floor_relative_l2 = 1e-5, floor_max_abs = 1e-4, floor_loss = 2e-5, floor_running = 1e-5,
                    floor_gradient_norm = 2e-4, floor_gradient_first8 = 1e-3, floor_stepped_norm = 3e-5,
                    floor_stepped_loss = 1e-3, floor_delta_norm = 1e-2;

typedef struct subject {
    parity_case c;
    const char *backend;
} subject;

static atr_h5 *golden;

/* `got` is at most max(floor, 3 stored) away; says what and where when it is not. */
static void check_error(const subject *s, const char *what, double got, double stored, double floor)
{
    const double bound = fmax(floor, 3 * stored);

    if (!(got <= bound))
        fail_msg("%s on %s: %s is off by %.3g, bound %.3g", s->c.group, s->backend, what, got, bound);
}

static void check_whole(const subject *s, const char *name, const float *mine)
{
    int64_t count = 0;
    double *wanted = parity_read(golden, &s->c, &count, "%s", name);
    double *stored = parity_read(golden, &s->c, NULL, "%s_f32_err", name);

    check_error(s, name, parity_relative_l2(mine, wanted, count), stored[1], floor_relative_l2);
    check_error(s, name, parity_max_abs(mine, wanted, count), stored[0], floor_max_abs);
    atr_free(wanted);
    atr_free(stored);
}

/* A tapped activation against norm and sampled values; `index` counts in NCHW. */
static void check_feature(const subject *s, const char *name, const atr_tensor *t)
{
    double *shape = parity_read(golden, &s->c, NULL, "features/%s/shape", name);
    double *index = parity_read(golden, &s->c, NULL, "features/%s/index", name);
    double *value = parity_read(golden, &s->c, NULL, "features/%s/value", name);
    double *stored = parity_read(golden, &s->c, NULL, "features/%s/f32_err", name);
    const int64_t n = t->dims[0], h = t->dims[1], w = t->dims[2], c = t->dims[3];
    double squares = 0;

    assert_non_null(t->data);
    assert_true(shape[0] == (double)n && shape[1] == (double)c && shape[2] == (double)h &&
                shape[3] == (double)w);
    for (int64_t p = 0; p < n * h * w; p++)
        for (int64_t k = 0; k < c; k++) {
            const double v = ((float *)t->data)[p * t->strides[2] + k];
            squares += v * v;
        }
    const double l2 = parity_scalar(golden, &s->c, "features/%s/l2", name);
    check_error(s, name, fabs(sqrt(squares) - l2) / l2, stored[1], floor_relative_l2);
    for (int i = 0; i < 64; i++) {
        const int64_t flat = (int64_t)index[i], x = flat % w, y = flat / w % h, k = flat / (w * h) % c,
                      image = flat / (w * h * c);
        const double mine = ((float *)t->data)[((image * h + y) * w + x) * t->strides[2] + k];
        check_error(s, name, fabs(mine - value[i]), stored[0], floor_max_abs);
    }
    atr_free(shape);
    atr_free(index);
    atr_free(value);
    atr_free(stored);
}

static void forward_in_training_mode_agrees(void **state)
{
    static const char *const taps[ATR_TAPS] = {"low_level", "backbone", "aspp", "shortcut", "decoder", "cls"};
    const subject *s = *state;
    network net;
    float *logits;

    network_open(&net, &s->c, s->backend, -1);
    atr_plan *plan = network_plan(&net, ATR_TRAIN, ATR_REWRITE_ALL, true);
    must(atr_plan_forward(plan, net.images));
    for (int tap = 0; tap < ATR_TAPS; tap++) {
        const atr_tensor t = atr_plan_tap(plan, (atr_tap)tap);
        check_feature(s, taps[tap], &t);
    }
    logits = network_logits(&net, plan);
    check_whole(s, "train_logits", logits);
    atr_free(logits);
    atr_plan_destroy(plan);
    network_close(&net);
}

static void check_running(const subject *s, const network *net, const char *when)
{
    static const char *const names[] = {"running_mean", "running_var"};

    for (int which = 0; which < 2; which++) {
        double *l2 = parity_read(golden, &s->c, NULL, "%s/%s_l2", when, names[which]);
        double *first8 = parity_read(golden, &s->c, NULL, "%s/%s_first8", when, names[which]);
        double *stored = parity_read(golden, &s->c, NULL, "%s/%s_f32_rel_l2", when, names[which]);
        int64_t b = 0;
        for (int64_t p = 0; p < atr_params_count(net->params); p++) {
            const atr_param_spec *spec = atr_params_spec(net->params, p);
            if (spec->kind != (which == 0 ? ATR_PARAM_RUNNING_MEAN : ATR_PARAM_RUNNING_VAR))
                continue;
            const float *mine = atr_params_value(net->params, p).data;
            double squares = 0;
            for (int64_t i = 0; i < spec->dims[0]; i++)
                squares += (double)mine[i] * mine[i];
            check_error(s, spec->name, fabs(sqrt(squares) - l2[b]) / l2[b], stored[b], floor_running);
            for (int64_t i = 0; i < 8 && i < spec->dims[0]; i++)
                check_error(s, spec->name, fabs(mine[i] - first8[b * 8 + i]) / l2[b], stored[b],
                            floor_running);
            b++;
        }
        atr_free(l2);
        atr_free(first8);
        atr_free(stored);
    }
}

static void running_statistics_and_eval_logits_agree_after_30_passes(void **state)
{
    const subject *s = *state;
    network net;

    network_open(&net, &s->c, s->backend, -1);
    atr_plan *train = network_plan(&net, ATR_TRAIN, ATR_REWRITE_ALL, false);
    for (int pass = 0; pass < 30; pass++) {
        must(atr_plan_forward(train, net.images));
        if (pass == 0)
            check_running(s, &net, "bn_after1");
    }
    check_running(s, &net, "bn_after30");
    atr_plan_destroy(train);
    atr_plan *infer = network_plan(&net, ATR_INFER, ATR_REWRITE_ALL, false);
    must(atr_plan_forward(infer, net.images));
    float *logits = network_logits(&net, infer);
    check_whole(s, "eval_logits", logits);
    atr_free(logits);
    atr_plan_destroy(infer);
    network_close(&net);
}

static void eval_logits_with_the_batchs_own_statistics_agree(void **state)
{
    const subject *s = *state;
    network net;

    network_open(&net, &s->c, s->backend, 1);
    atr_plan *train = network_plan(&net, ATR_TRAIN, ATR_REWRITE_ALL, false);
    must(atr_plan_forward(train, net.images));
    atr_plan_destroy(train);
    for (int rewrites = 0; rewrites >= -1; rewrites--) { /* none, all */
        atr_plan *infer = network_plan(&net, ATR_INFER, rewrites, false);
        must(atr_plan_forward(infer, net.images));
        float *logits = network_logits(&net, infer);
        check_whole(s, "eval_logits_m1", logits);
        atr_free(logits);
        atr_plan_destroy(infer);
    }
    network_close(&net);
}

/* The golden losses, and the gradients that some of them are of. */
static const struct golden_loss {
    const char *terms, *name; /* of losses/; NULL: the sum whose value stands with its gradient */
    const char *group;        /* of grad/, or NULL */
    bool weighted;
} golden_losses[] = {
    {"ce", "ce", "ce", false},
    {"ce", "ce_weighted", NULL, true},
    {"focal", "focal", NULL, false},
    {"focal", "focal_weighted", NULL, true},
    {"dice", "dice", NULL, false},
    {"ce+dice", NULL, "cew_dice", true},
    {"focal+dice", NULL, "focal_dice", false},
};

enum { GOLDEN_LOSSES = sizeof golden_losses / sizeof golden_losses[0] };

/* Both passes of a loss over the last forward, as the reference counts; `f_score` may be NULL. */
static double golden_value(const network *net, atr_plan *plan, const struct golden_loss *golden_loss,
                           double *f_score)
{
    int64_t pixels[256] = {0};
    atr_loss_config config;
    atr_loss *loss = NULL;
    double value = 0;

    atr_loss_defaults(&config);
    must(atr_loss_parse(golden_loss->terms, &config));
    config.reference = true;
    config.class_weight_count = golden_loss->weighted ? net->c.classes : 0;
    for (int64_t k = 0; k < config.class_weight_count; k++)
        config.class_weights[k] = (float)(1 + 0.25 * (double)(k % 4));
    for (int64_t i = 0; i < net->c.batch * net->c.height * net->c.width; i++)
        pixels[net->labels[i]]++;
    must(atr_loss_create(&config, net->c.classes, &loss));
    atr_loss_begin(loss, pixels, pixels[255], 1);
    if (atr_loss_needs_sums(loss))
        must(atr_plan_loss_sums(plan, net->labels, loss));
    atr_loss_settle(loss);
    must(atr_plan_loss(plan, net->labels, loss, &value));
    value += atr_loss_known(loss);
    if (f_score != NULL)
        *f_score = atr_loss_f_score(loss);
    atr_loss_destroy(loss);
    return value;
}

static void losses_agree(void **state)
{
    const subject *s = *state;
    network net;

    network_open(&net, &s->c, s->backend, -1);
    assert_true(net.valid == parity_scalar(golden, &s->c, "losses/valid_pixels"));
    atr_plan *plan = network_plan(&net, ATR_TRAIN, ATR_REWRITE_ALL, false);
    must(atr_plan_forward(plan, net.images));
    for (int i = 0; i < GOLDEN_LOSSES; i++) {
        const struct golden_loss *g = &golden_losses[i];
        double f_score = 0;
        const double got = golden_value(&net, plan, g, &f_score);
        const double want = g->name != NULL ? parity_scalar(golden, &s->c, "losses/%s", g->name)
                                            : parity_scalar(golden, &s->c, "grad/%s/loss", g->group);
        check_error(s, g->name != NULL ? g->name : g->group, fabs(got - want), 0, floor_loss);
        check_error(s, "f_score", fabs(f_score - parity_scalar(golden, &s->c, "losses/f_score")), 0, 1e-3);
    }
    atr_plan_destroy(plan);
    network_close(&net);
}

static double norm_of(const float *values, int64_t count)
{
    double squares = 0;

    for (int64_t i = 0; i < count; i++)
        squares += (double)values[i] * values[i];
    return sqrt(squares);
}

typedef struct gradient_golden {
    double *l2, *first8, *l2_err, *first8_err, *zero;
} gradient_golden;

static void check_gradient(const subject *s, const network *net, int64_t p, int64_t k,
                           const gradient_golden *g)
{
    const char *name = atr_params_spec(net->params, p)->name;
    const atr_tensor tensor = atr_params_gradient(net->params, p);
    const int64_t count = atr_tensor_count(&tensor);
    const float *mine = tensor.data;

    check_error(s, name, fabs(norm_of(mine, count) - g->l2[k]) / g->l2[k], g->l2_err[k], floor_gradient_norm);
    for (int64_t i = 0; i < 8 && i < count; i++)
        check_error(s, name, fabs(mine[i] - g->first8[k * 8 + i]), g->first8_err[k * 8 + i],
                    floor_gradient_first8 * g->l2[k]);
}

static void check_gradients(const subject *s, const network *net, const char *group)
{
    gradient_golden g = {parity_read(golden, &s->c, NULL, "grad/%s/l2", group),
                         parity_read(golden, &s->c, NULL, "grad/%s/first8", group),
                         parity_read(golden, &s->c, NULL, "grad/%s/l2_f32_rel_err", group),
                         parity_read(golden, &s->c, NULL, "grad/%s/first8_f32_abs_err", group),
                         parity_read(golden, &s->c, NULL, "param_zero_grad")};
    const double total = parity_scalar(golden, &s->c, "grad/%s/total_l2", group);
    double squares = 0;
    int64_t k = 0;

    for (int64_t p = 0; p < atr_params_count(net->params); p++) {
        if (atr_param_is_buffer(atr_params_spec(net->params, p)->kind))
            continue;
        const atr_tensor tensor = atr_params_gradient(net->params, p);
        if (g.zero[k] == 0) {
            check_gradient(s, net, p, k, &g);
            squares += pow(norm_of(tensor.data, atr_tensor_count(&tensor)), 2);
        }
        k++;
    }
    check_error(s, "whole gradient", fabs(sqrt(squares) - total) / total,
                parity_scalar(golden, &s->c, "grad/%s/total_l2_f32_rel_err", group), floor_gradient_norm);
    atr_free(g.l2);
    atr_free(g.first8);
    atr_free(g.l2_err);
    atr_free(g.first8_err);
    atr_free(g.zero);
}

/* With all rewrites each loss whose gradient is known; without them cross-entropy's. */
static void every_gradient_agrees(void **state)
{
    const subject *s = *state;

    for (int rewrites = -1; rewrites <= 0; rewrites++) {
        network net;
        network_open(&net, &s->c, s->backend, -1);
        atr_plan *plan = network_plan(&net, ATR_TRAIN, rewrites, false);
        for (int i = 0; i < (rewrites == 0 ? 1 : GOLDEN_LOSSES); i++) {
            if (golden_losses[i].group == NULL)
                continue;
            must(atr_plan_forward(plan, net.images));
            golden_value(&net, plan, &golden_losses[i], NULL);
            must(atr_plan_backward(plan, NULL, NULL));
            check_gradients(s, &net, golden_losses[i].group);
        }
        atr_plan_destroy(plan);
        network_close(&net);
    }
}

typedef struct step_golden {
    double *loss, *loss_err, *l2, *l2_err, *delta, *delta_err, *zero;
} step_golden;

/* Norms of all parameters and of their distance from the start, after step `t` (0-based). */
static void check_parameters(const subject *s, const network *net, const atr_params *start, int t,
                             const step_golden *g, int64_t P)
{
    int64_t k = 0;

    for (int64_t p = 0; p < atr_params_count(net->params); p++) {
        const atr_param_spec *spec = atr_params_spec(net->params, p);
        if (atr_param_is_buffer(spec->kind))
            continue;
        const atr_tensor value = atr_params_value(net->params, p), old = atr_params_value(start, p);
        const int64_t count = atr_tensor_count(&value), at = t * P + k;
        double delta = 0;
        for (int64_t i = 0; i < count; i++)
            delta += pow((double)((float *)value.data)[i] - ((float *)old.data)[i], 2);
        const bool compare =
            g->zero[k++] == 0; /* a zero gradient is rounding noise, and Adam makes full steps of it */
        if (!compare)
            continue;
        check_error(s, spec->name, fabs(norm_of(value.data, count) - g->l2[at]) / g->l2[at], g->l2_err[at],
                    floor_stepped_norm);
        check_error(s, spec->name, fabs(sqrt(delta) - g->delta[at]) / g->delta[at], g->delta_err[at],
                    floor_delta_norm);
    }
}

static void three_steps(const subject *s, const char *name, const atr_optim_config *config, double lr)
{
    step_golden g = {parity_read(golden, &s->c, NULL, "opt/%s/loss", name),
                     parity_read(golden, &s->c, NULL, "opt/%s/loss_f32_abs_err", name),
                     parity_read(golden, &s->c, NULL, "opt/%s/l2", name),
                     parity_read(golden, &s->c, NULL, "opt/%s/l2_f32_rel_err", name),
                     parity_read(golden, &s->c, NULL, "opt/%s/delta_l2", name),
                     parity_read(golden, &s->c, NULL, "opt/%s/delta_l2_f32_rel_err", name),
                     NULL};
    int64_t P = 0;
    network net, start;
    atr_optim *optim = NULL;

    g.zero = parity_read(golden, &s->c, &P, "param_zero_grad");
    network_open(&net, &s->c, s->backend, -1);
    network_open(&start, &s->c, s->backend, -1);
    must(atr_optim_create(config, net.params, net.backend, &optim));
    atr_plan *plan = network_plan(&net, ATR_TRAIN, ATR_REWRITE_ALL, false);
    for (int t = 0; t <= 3; t++) {
        double loss = 0;
        must(atr_plan_forward(plan, net.images));
        must(atr_plan_cross_entropy(plan, net.labels, NULL, net.valid, &loss));
        check_error(s, "loss of a step", fabs(loss - g.loss[t]), g.loss_err[t],
                    floor_stepped_loss * g.loss[t]);
        if (t == 3)
            break;
        must(atr_plan_backward(plan, NULL, NULL));
        must(atr_optim_step(optim, lr, 1));
        check_parameters(s, &net, start.params, t, &g, P);
    }
    atr_plan_destroy(plan);
    atr_optim_destroy(optim);
    network_close(&net);
    network_close(&start);
    double *owned[] = {g.loss, g.loss_err, g.l2, g.l2_err, g.delta, g.delta_err, g.zero};
    for (size_t i = 0; i < sizeof owned / sizeof owned[0]; i++)
        atr_free(owned[i]);
}

static void three_sgd_steps_agree(void **state)
{
    const atr_optim_config config = {ATR_OPTIM_SGD, 0.9, 0, 0, 1e-4, true};

    three_steps(*state, "sgd", &config, 0.007);
}

static void three_adam_steps_agree(void **state)
{
    const atr_optim_config config = {ATR_OPTIM_ADAM, 0.9, 0.999, 1e-8, 0, false};

    three_steps(*state, "adam", &config, 0.0005);
}

static void names_and_initial_values_agree(void **state)
{
    const subject *s = *state;
    char path[128], **names = NULL;
    double *l2 = parity_read(golden, &s->c, NULL, "init/l2");
    int64_t count = 0, k = 0;
    network net;

    network_open(&net, &s->c, s->backend, -1);
    snprintf(path, sizeof path, "%s/names", s->c.group);
    must(atr_h5_read_texts(golden, path, &names, &count));
    assert_int_equal(count, atr_params_count(net.params));
    for (int64_t p = 0; p < count; p++) {
        const atr_param_spec *spec = atr_params_spec(net.params, p);
        assert_string_equal(spec->name, names[p]);
        if (atr_param_is_buffer(spec->kind))
            continue;
        const atr_tensor value = atr_params_value(net.params, p);
        check_error(s, spec->name, fabs(norm_of(value.data, atr_tensor_count(&value)) - l2[k]) / l2[k], 0,
                    1e-12);
        k++;
    }
    atr_h5_names_free(names, count);
    atr_free(l2);
    network_close(&net);
}

typedef struct promise {
    const char *name;
    CMUnitTestFunction check;
    bool tight_only;
    bool many_passes;
} promise;

static const promise promises[] = {
    {"names_and_initial_values_agree", names_and_initial_values_agree, false, false},
    {"forward_in_training_mode_agrees", forward_in_training_mode_agrees, false, false},
    {"eval_logits_with_the_batchs_own_statistics_agree", eval_logits_with_the_batchs_own_statistics_agree,
     false, false},
    {"running_statistics_and_eval_logits_agree_after_30_passes",
     running_statistics_and_eval_logits_agree_after_30_passes, false, true},
    {"losses_agree", losses_agree, false, false},
    {"every_gradient_agrees", every_gradient_agrees, true, false},
    {"three_sgd_steps_agree", three_sgd_steps_agree, true, true},
    {"three_adam_steps_agree", three_adam_steps_agree, true, true},
};

/* What `--short` keeps: what needs few passes, on the tight cases, and on `ref` on the smaller of these. */
static bool is_short(const subject *s, const promise *p)
{
    return strstr(s->c.group, "_tight") != NULL && !p->many_passes &&
           (strcmp(s->backend, "ref") != 0 || s->c.output_stride == 8);
}

/* usage: test_parity [--short] [BACKBONE [BACKEND]] */
int main(int argc, char **argv)
{
    static const char *const backends[] = {"ref", "cpu"};
    static subject subjects[2 * ROOM];
    static char names[2 * ROOM * 8][192];
    static struct CMUnitTest tests[2 * ROOM * 8];
    const bool short_run = argc > 1 && strcmp(argv[1], "--short") == 0;
    const char *const *const names_given = (const char *const *)argv + (short_run ? 2 : 1);
    const char *const backbone = names_given[0] != NULL ? names_given[0] : "mobilenet";
    const char *const backend = names_given[0] != NULL ? names_given[1] : NULL;
    parity_case cases[ROOM];
    size_t count = 0;

    golden = parity_open();
    if (golden == NULL)
        return 77;
    const int found = parity_cases(golden, backbone, cases, ROOM);
    for (int b = 0; b < 2; b++)
        for (int c = 0; c < found; c++) {
            subject *s = &subjects[b * ROOM + c];
            *s = (subject){cases[c], backends[b]};
            if (backend != NULL && strcmp(backend, backends[b]) != 0)
                continue;
            for (size_t i = 0; i < sizeof promises / sizeof promises[0]; i++) {
                if ((promises[i].tight_only && strstr(cases[c].group, "_tight") == NULL) ||
                    (short_run && !is_short(s, &promises[i])))
                    continue;
                snprintf(names[count], sizeof names[count], "%s %.60s: %.100s", backends[b], cases[c].group,
                         promises[i].name);
                tests[count] = (struct CMUnitTest){names[count], promises[i].check, NULL, NULL, s};
                count++;
            }
        }
    const int failed = count == 0 ? 1 : _cmocka_run_group_tests("parity", tests, count, NULL, NULL);
    atr_h5_destroy(golden);
    return failed;
}
