/* Runs alone and under mpirun: with batch norms over all ranks a step over N ranks is the step of one rank over the same global
 * batch, whatever the shares are. The one rank is this program's rank 0 by itself, through the same code. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "core/deal.h"
#include "dist/step.h"
#include "tests/support/network.h"

static atr_comm *comm, *alone;

/* Weights, pictures and labels of the golden case mobilenet_os16_k5_97x129_tight, which come from formulas: no input of a ReLU lies so
 * near its kink that rounding would move it across, which changes a gradient by far more than rounding itself. */
static const parity_case tight = {
    .group = "mobilenet_os16_k5_97x129_tight",
    .backbone = "mobilenet",
    .output_stride = 16,
    .classes = 5,
    .batch = 4,
    .height = 97,
    .width = 129,
    .seed = 2030,
    .norm_weight_offset = 1,
    .norm_bias_offset = 2,
};

enum { STEPS = 20 };

/* The bounds that must hold, relative: the whole gradient of a first step, over ranks (measured: 3e-7) and over threads (1.3e-6); the losses of STEPS
 * steps. */
static const double gradient_bound = 1e-6, thread_bound = 1e-5, loss_bound = 1e-3;
static const double rate = 1e-3;

/* How a job computes. */
typedef struct setting {
    const parity_case *c;
    atr_comm *comm;     /* all ranks, or this one alone */
    int64_t norm_ranks; /* that share statistics; 0: all */
    int64_t parts;      /* 0: 1 */
    int threads;        /* 0: 1 */
    int64_t last;       /* pictures of a short step; 0: none */
    const char *frozen; /* prefix, with the batch's statistics; NULL: nothing */
    const char *backend;
} setting;

typedef struct job {
    setting how;
    network net;
    atr_norm_ranks norm_ranks;
    atr_plans *plans;
    atr_optim *optim;
    atr_loss *loss;
    atr_reducer *reducer;
    float *sums;
    float *images; /* this rank's, in the order of its passes */
    uint8_t *labels;
} job;

static void job_open(job *j, const setting *how)
{
    const atr_optim_config optim = {
        .kind = ATR_OPTIM_SGD, .momentum = 0.9, .weight_decay = 1e-4, .nesterov = true};
    atr_loss_config loss;

    memset(j, 0, sizeof *j);
    j->how = *how;
    network_open_on(&j->net, how->c, how->backend != NULL ? how->backend : "auto",
                    how->threads > 0 ? how->threads : 1, -1);
    if (how->frozen != NULL)
        atr_params_freeze(j->net.params, how->frozen, true, false);
    must(atr_norm_ranks_open(how->comm, how->norm_ranks > 0 ? how->norm_ranks : INT64_MAX, &j->norm_ranks));
    const atr_plans_config config = {
        .graph = j->net.graph,
        .params = j->net.params,
        .backend = j->net.backend,
        .norm_ranks = &j->norm_ranks,
        .plan = {.mode = ATR_TRAIN,
                 .height = how->c->height,
                 .width = how->c->width,
                 .rewrites = ATR_REWRITE_ALL},
        .batch = how->c->batch,
        .parts = how->parts > 0 ? how->parts : 1,
        .steps = {how->c->batch, how->last},
        .rank = atr_comm_rank(how->comm),
        .ranks = atr_comm_size(how->comm),
    };
    must(atr_plans_create(&config, &j->plans));
    must(atr_optim_create(&optim, j->net.params, j->net.backend, &j->optim));
    atr_loss_defaults(&loss);
    must(atr_loss_parse("ce", &loss));
    must(atr_loss_create(&loss, how->c->classes, &j->loss));
    must(atr_reducer_create(how->comm, j->net.params, NULL, &j->reducer));
    must(ATR_NEW(atr_params_flat_count(j->net.params), &j->sums));
    must(ATR_NEW(how->c->batch * how->c->height * how->c->width * 3, &j->images));
    must(ATR_NEW(how->c->batch * how->c->height * how->c->width, &j->labels));
}

static void job_close(job *j)
{
    atr_free(j->labels);
    atr_free(j->images);
    atr_free(j->sums);
    atr_reducer_destroy(j->reducer);
    atr_loss_destroy(j->loss);
    atr_optim_destroy(j->optim);
    atr_plans_destroy(j->plans);
    atr_norm_ranks_close(&j->norm_ranks);
    network_close(&j->net);
}

/* This rank's of the first `count` pictures, in the order of its passes. Returns how many. */
static int64_t deal(job *j, int64_t count)
{
    const int64_t pixels = j->how.c->height * j->how.c->width, passes = atr_plans_passes(j->plans, count);
    const int rank = atr_comm_rank(j->how.comm), size = atr_comm_size(j->how.comm);
    int64_t own = 0;

    for (int64_t pass = 0; pass < passes; pass++) {
        const atr_share share = atr_deal_pass(count, passes, pass, size, rank, rank + 1);
        memcpy(j->images + own * pixels * 3, j->net.images + share.first * pixels * 3,
               (size_t)(share.count * pixels * 3) * sizeof *j->images);
        memcpy(j->labels + own * pixels, j->net.labels + share.first * pixels,
               (size_t)(share.count * pixels));
        own += share.count;
    }
    return own;
}

static atr_status try_step(job *j, int64_t count, double lr, atr_parallel_result *out)
{
    static const uint64_t keys[16];
    static const int64_t samples[16];
    const atr_parallel_batch batch = {.count = deal(j, count),
                                      .height = j->how.c->height,
                                      .width = j->how.c->width,
                                      .images = j->images,
                                      .labels = j->labels,
                                      .keys = keys,
                                      .samples = samples,
                                      .global_count = count};
    const atr_parallel parallel = {.comm = j->how.comm,
                                   .backend = j->net.backend,
                                   .params = j->net.params,
                                   .plans = j->plans,
                                   .optim = j->optim,
                                   .reducer = j->reducer,
                                   .classes = j->how.c->classes,
                                   .loss = j->loss,
                                   .sums = j->sums,
                                   .norm_ranks = &j->norm_ranks};

    return atr_parallel_step(&parallel, &batch, ATR_OK, false, 1, lr, out);
}

static atr_parallel_result step(job *j, int64_t count, double lr)
{
    atr_parallel_result result;

    must(try_step(j, count, lr, &result));
    return result;
}

/* |a - b| / |b| */
static double distance(const float *a, const float *b, int64_t count)
{
    double apart = 0, norm = 0;

    for (int64_t i = 0; i < count; i++) {
        apart += pow((double)a[i] - (double)b[i], 2);
        norm += pow((double)b[i], 2);
    }
    return sqrt(apart / norm);
}

typedef struct apart {
    double gradient, loss, statistics; /* of the first step; the worst of all; running ones after the first */
} apart;

/* `count` pictures a step: how far `got` is from `want`. Two jobs on all ranks, or `want` on rank 0 alone: then the others know
 * nothing. Steps run in turns, so that ranks do not wait for one after the other. */
static bool compare(job *got, job *want, int64_t count, int steps, apart *out)
{
    const bool knows = want->how.comm == comm || atr_comm_rank(comm) == 0;

    *out = (apart){0};
    step(got, count,
         0.0); /* rate 0: the gradient stays readable; the momentum goes on from there, on both sides */
    if (knows) {
        step(want, count, 0.0);
        out->gradient =
            distance(atr_params_flat_gradients(got->net.params), atr_params_flat_gradients(want->net.params),
                     atr_params_flat_count(want->net.params));
        out->statistics =
            distance(atr_params_flat_buffers(got->net.params), atr_params_flat_buffers(want->net.params),
                     atr_params_buffer_count(want->net.params));
    }
    for (int i = 0; i < steps; i++) {
        const double mine = step(got, count, rate).loss;
        const double theirs = knows ? step(want, count, rate).loss : mine;
        out->loss = fmax(out->loss, fabs(mine - theirs) / theirs);
    }
    return knows;
}

static void check(const char *what, const apart *a, double bound)
{
    printf("%s: gradient %.2g apart, losses of %d steps %.2g, running statistics %.2g\n", what, a->gradient,
           STEPS, a->loss, a->statistics);
    assert_true(a->gradient <= bound);
    assert_true(a->loss <= loss_bound);
    assert_true(a->statistics <= 1e-6);
}

/* `how` on all ranks against one rank, which computes in the same passes. */
static void ranks_against_one(const char *label, const setting *how, int64_t count, int steps)
{
    setting one = *how;
    job ranks, single;
    apart a;
    char what[128];

    one.comm = alone;
    job_open(&ranks, how);
    job_open(&single, &one);
    if (compare(&ranks, &single, count, steps, &a)) {
        snprintf(what, sizeof what, "%d ranks against one, %s", atr_comm_size(comm), label);
        check(what, &a, gradient_bound);
    }
    job_close(&single);
    job_close(&ranks);
}

static void training_is_that_of_one_rank(void **state)
{
    (void)state;
    ranks_against_one("4 pictures", &(setting){.c = &tight, .comm = comm}, tight.batch, STEPS);
}

/* What the distance between ranks is to be seen beside: rounding alone, by another number of threads on one rank. */
static void training_on_other_thread_counts_is_the_same(void **state)
{
    static const int threads[] = {2, 3, 4, 5, 8};
    const bool all = getenv("ATR_TEST_THREADS") != NULL; /* for the figures in the docs */
    char what[64];

    (void)state;
    if (atr_comm_size(comm) > 1)
        return; /* nothing that ranks would change */
    for (size_t i = 0; i < (all ? sizeof threads / sizeof threads[0] : 1); i++) {
        job base, other;
        apart a;
        job_open(&base, &(setting){.c = &tight, .comm = alone});
        job_open(&other, &(setting){.c = &tight, .comm = alone, .threads = threads[i]});
        compare(&other, &base, tight.batch, STEPS, &a);
        snprintf(what, sizeof what, "%d threads against one", threads[i]);
        check(what, &a, thread_bound);
        job_close(&other);
        job_close(&base);
    }
}

static double norm_of(const atr_tensor *t)
{
    double squares = 0;

    for (int64_t i = 0; i < atr_tensor_count(t); i++)
        squares += pow((double)((const float *)t->data)[i], 2);
    return sqrt(squares);
}

/* The same step in float64 on one device, by PyTorch: loss, and the norm of each parameter's gradient. */
static void a_step_is_that_of_the_reference(void **state)
{
    atr_h5 *golden = NULL;
    job ranks;
    int64_t k = 0;
    double worst = 0;

    (void)state;
    job_open(&ranks, &(setting){.c = &tight, .comm = comm});
    const atr_parallel_result got = step(&ranks, tight.batch, 0.0);
    if (atr_comm_rank(comm) == 0)
        golden = parity_open();
    if (golden != NULL) {
        double *const l2 = parity_read(golden, &tight, NULL, "grad/ce/l2");
        double *const zero = parity_read(golden, &tight, NULL, "param_zero_grad");
        for (int64_t p = 0; p < atr_params_count(ranks.net.params); p++) {
            const atr_tensor gradient = atr_params_gradient(ranks.net.params, p);
            if (atr_param_is_buffer(atr_params_spec(ranks.net.params, p)->kind))
                continue;
            if (zero[k] == 0)
                worst = fmax(worst, fabs(norm_of(&gradient) - l2[k]) / l2[k]);
            k++;
        }
        const double loss = parity_scalar(golden, &tight, "losses/ce");
        printf("%d ranks against float64: loss %.2g apart, worst norm of a gradient %.2g\n",
               atr_comm_size(comm), fabs(got.loss - loss) / loss, worst);
        assert_true(fabs(got.loss - loss) <= 2e-5 * loss);
        assert_true(worst <= 2e-4);
        atr_free(l2);
        atr_free(zero);
        atr_h5_close(&golden);
    }
    job_close(&ranks);
}

/* Small pictures for what needs no conditioning. */
static const parity_case small = {
    .group = "ranks",
    .backbone = "mobilenet",
    .output_stride = 16,
    .classes = 5,
    .batch = 6,
    .height = 33,
    .width = 41,
    .seed = 2030,
    .norm_weight_offset = 1,
    .norm_bias_offset = 2,
};

/* 6 pictures on 4 ranks are 1, 2, 1, 2; the last 3 are 0, 1, 1, 1, and one alone leaves all ranks but one without: there the norm
 * of pooled values has one value per channel and uses its running statistics (T03), on one rank as on many. */
static void short_batches_are_those_of_one_rank(void **state)
{
    (void)state;
    for (int64_t last = 1; last <= 3; last += 2) {
        char label[64];
        snprintf(label, sizeof label, "last %lld of 6 pictures", (long long)last);
        ranks_against_one(label, &(setting){.c = &small, .comm = comm, .last = last}, last, 2);
    }
}

/* The passes of a step have the same pictures on any number of ranks; 6 in 4 passes are 1, 2, 1, 2. */
static void batches_in_passes_are_those_of_one_rank(void **state)
{
    (void)state;
    ranks_against_one("2 passes", &(setting){.c = &small, .comm = comm, .parts = 2}, small.batch, 2);
    ranks_against_one("4 passes, 5 pictures", &(setting){.c = &small, .comm = comm, .parts = 4, .last = 5}, 5,
                      2);
}

/* Norms of a frozen backbone that go on with the batch's statistics have no gradient to share. */
static void a_frozen_backbone_is_that_of_one_rank(void **state)
{
    (void)state;
    ranks_against_one("frozen backbone", &(setting){.c = &small, .comm = comm, .frozen = "backbone."},
                      small.batch, 2);
}

static void the_reference_kernels_agree(void **state)
{
    static parity_case tiny;

    (void)state;
    tiny = small;
    tiny.height = tiny.width = 17;
    tiny.batch = 4;
    ranks_against_one("back end ref", &(setting){.c = &tiny, .comm = comm, .backend = "ref"}, tiny.batch, 1);
}

/* Neighbours in pairs: as half as many ranks, each for itself. Ranks that share statistics have the same bits. */
static void groups_are_as_fewer_ranks_each_for_itself(void **state)
{
    const int size = atr_comm_size(comm), rank = atr_comm_rank(comm);
    atr_comm *half = NULL;
    job pairs, single;
    apart a = {0};

    (void)state;
    if (size % 2 != 0)
        return;
    must(atr_comm_split(comm, rank < size / 2 ? 0 : 1, &half));
    job_open(&pairs, &(setting){.c = &tight, .comm = comm, .norm_ranks = 2});
    job_open(&single, &(setting){.c = &tight, .comm = half, .norm_ranks = 1});
    step(&pairs, tight.batch, 0.0);
    step(&single, tight.batch, 0.0);
    a.gradient =
        distance(atr_params_flat_gradients(pairs.net.params), atr_params_flat_gradients(single.net.params),
                 atr_params_flat_count(single.net.params));
    a.statistics =
        distance(atr_params_flat_buffers(pairs.net.params), atr_params_flat_buffers(single.net.params),
                 atr_params_buffer_count(single.net.params));
    if (rank == 0)
        check("pairs against half as many ranks", &a, gradient_bound);
    assert_true(a.gradient <= gradient_bound && a.statistics <= 1e-6);
    job_close(&single);
    job_close(&pairs);
    atr_comm_close(half);
}

/* `bytes` of rank 0 are those of this rank. */
static void check_rank_0_has(const void *bytes, size_t count)
{
    unsigned char *const root = test_malloc(count);

    memcpy(root, bytes, count);
    must(atr_comm_broadcast(comm, root, count, 0));
    assert_memory_equal(root, bytes, count);
    test_free(root);
}

/* Also in a short step that leaves some ranks without a picture, with and without a group. */
static void steps_are_bit_equal_on_all_ranks_and_when_repeated(void **state)
{
    (void)state;
    for (int64_t norm_ranks = 0; norm_ranks <= 1; norm_ranks++) {
        const setting how = {.c = &small, .comm = comm, .last = 1, .norm_ranks = norm_ranks};
        job first, second;
        job_open(&first, &how);
        job_open(&second, &how);
        for (int i = 0; i < 3; i++) {
            step(&first, i == 1 ? 1 : small.batch, rate);
            step(&second, i == 1 ? 1 : small.batch, rate);
        }
        const size_t values = (size_t)atr_params_flat_count(first.net.params) * sizeof(float);
        const size_t buffers = (size_t)atr_params_buffer_count(first.net.params) * sizeof(float);
        assert_memory_equal(atr_params_flat_values(first.net.params),
                            atr_params_flat_values(second.net.params), values);
        assert_memory_equal(atr_params_flat_buffers(first.net.params),
                            atr_params_flat_buffers(second.net.params), buffers);
        check_rank_0_has(atr_params_flat_values(first.net.params), values);
        check_rank_0_has(atr_params_flat_buffers(first.net.params), buffers);
        for (int64_t i = 0; i < atr_params_count(first.net.params); i++)
            if (atr_params_spec(first.net.params, i)->kind == ATR_PARAM_TRACKED)
                check_rank_0_has(atr_params_value(first.net.params, i).data, sizeof(int64_t));
        job_close(&second);
        job_close(&first);
    }
}

/* A job of its own: one that has agreed to stop stays stopped. */
static void open_last_test_job(job *j, atr_comm **own)
{
    must(atr_comm_split(comm, 0, own));
    job_open(j, &(setting){.c = &small, .comm = *own});
}

static atr_status break_down(atr_backend *backend, atr_step *at)
{
    (void)backend;
    return atr_fail(ATR_ERR_MEMORY, "%s broke down", at->name);
}

/* A convolution in the middle of the network, of this rank's plan, fails forward or backward. */
static void sabotage(const job *j, bool backward, atr_kernel *broken)
{
    const atr_plan *const plan = atr_plans_largest(j->plans);

    for (int s = atr_plan_step_count(plan) / 3; s < atr_plan_step_count(plan); s++) {
        atr_step *const at = (atr_step *)(uintptr_t)atr_plan_step(plan, s);
        if (at->op != ATR_OP_CONV)
            continue;
        *broken = *at->kernel;
        if (backward)
            broken->backward = break_down;
        else
            broken->forward = break_down;
        at->kernel = broken;
        return;
    }
}

/* The others are on their way to sums that this rank must not leave them alone with. */
static void a_rank_that_fails_on_the_way_stops_all_with_its_message(void **state)
{
    const int last = atr_comm_size(comm) - 1;

    (void)state;
    for (int backward = 0; backward <= 1; backward++) {
        atr_kernel broken;
        atr_parallel_result result;
        atr_comm *own = NULL;
        job j;
        char want[64];
        open_last_test_job(&j, &own);
        step(&j, small.batch, rate);
        if (atr_comm_rank(comm) == last)
            sabotage(&j, backward, &broken);
        assert_int_equal(try_step(&j, small.batch, rate, &result), ATR_ERR_MEMORY);
        snprintf(want, sizeof want, "R01: rank %d on node", last);
        assert_true(last == 0 || strstr(atr_status_message(), want) != NULL);
        assert_non_null(strstr(atr_status_message(), "broke down"));
        job_close(&j);
        atr_comm_close(own);
    }
}

/* Shared statistics spread a fault over all ranks before any gradient is summed; the rank that has it is named all the same. */
static void a_picture_that_is_not_finite_is_found_by_its_rank(void **state)
{
    const int last = atr_comm_size(comm) - 1;
    atr_parallel_result result;
    atr_comm *own = NULL;
    job j;
    char want[64];

    (void)state;
    open_last_test_job(&j, &own);
    if (atr_comm_rank(comm) == last)
        j.net.images[(small.batch - 1) * small.height * small.width * 3] = NAN;
    assert_int_equal(try_step(&j, small.batch, rate, &result), ATR_ERR_NUMERIC);
    snprintf(want, sizeof want, "T01: step 1 rank %d: loss is NaN", last);
    if (strstr(atr_status_message(), want) == NULL)
        fail_msg("%s", atr_status_message());
    job_close(&j);
    atr_comm_close(own);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(training_is_that_of_one_rank),
        cmocka_unit_test(training_on_other_thread_counts_is_the_same),
        cmocka_unit_test(a_step_is_that_of_the_reference),
        cmocka_unit_test(short_batches_are_those_of_one_rank),
        cmocka_unit_test(batches_in_passes_are_those_of_one_rank),
        cmocka_unit_test(a_frozen_backbone_is_that_of_one_rank),
        cmocka_unit_test(the_reference_kernels_agree),
        cmocka_unit_test(groups_are_as_fewer_ranks_each_for_itself),
        cmocka_unit_test(steps_are_bit_equal_on_all_ranks_and_when_repeated),
        cmocka_unit_test(a_rank_that_fails_on_the_way_stops_all_with_its_message),
        cmocka_unit_test(a_picture_that_is_not_finite_is_found_by_its_rank),
    };

    if (atr_comm_open(&comm) != ATR_OK || atr_comm_split(comm, atr_comm_rank(comm), &alone) != ATR_OK) {
        fprintf(stderr, "%s\n", atr_status_message());
        return 1;
    }
    const int failures = cmocka_run_group_tests(tests, NULL, NULL);
    if (failures > 0)
        atr_comm_abort(comm, 1); /* the other ranks may wait for this one */
    atr_comm_close(alone);
    atr_comm_close(comm);
    return failures;
}
