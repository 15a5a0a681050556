/* Runs alone and under mpirun: a step over N ranks is the step of one rank over the same global batch. Batch norm is frozen,
 * for its statistics are the one thing that a rank computes from its own pictures alone. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "dist/step.h"
#include "tests/support/network.h"

static atr_comm *comm;

/* 12 pictures: 1, 2, 3 and 4 ranks get the same number. Small ones, and the weights of the `_tight` cases, in which hardly any
 * ReLU is near its kink. */
static const parity_case tight = {
    .group = "ranks",
    .backbone = "mobilenet",
    .output_stride = 16,
    .classes = 5,
    .batch = 12,
    .height = 33,
    .width = 41,
    .seed = 2030,
    .norm_weight_offset = 1,
    .norm_bias_offset = 2,
};

enum { STEPS = 10, THREADS = 2 };

/* The loss falls from 15 to 6; larger rates diverge, and ranks with them. */
static const double rate = 3e-6;

/* One way to train on the 12 pictures: all of them here, or this rank's part. */
typedef struct job {
    network net;
    atr_plan *plan;
    atr_optim *optim;
    atr_loss *loss;
    int64_t first, count; /* pictures */
    int64_t parts;        /* in which a step computes them */
    float *sums;          /* for several parts */
    double clip;
    bool batch_stats;
} job;

/* How a job computes. */
typedef struct setting {
    int threads;
    bool batch_stats; /* of batch norm; else the running ones, which stay as they are */
    bool one_by_one;  /* a step computes one picture after the other, not all at once */
} setting;

static const setting usual = {.threads = THREADS};

/* What the next jobs train on. */
static const char *loss_terms = "ce";

static void job_open(job *j, int64_t first, int64_t count, const setting *how)
{
    const atr_optim_config config = {
        .kind = ATR_OPTIM_SGD, .momentum = 0.9, .weight_decay = 1e-4, .nesterov = true};
    const atr_plan_options options = {.mode = ATR_TRAIN,
                                      .batch = how->one_by_one ? 1 : count,
                                      .height = tight.height,
                                      .width = tight.width,
                                      .freeze_norm = !how->batch_stats,
                                      .rewrites = ATR_REWRITE_ALL};
    atr_loss_config loss;

    memset(j, 0, sizeof *j);
    network_open_on(&j->net, &tight, "auto", how->threads, -1);
    atr_loss_defaults(&loss);
    must(atr_loss_parse(loss_terms, &loss));
    must(atr_loss_create(&loss, tight.classes, &j->loss));
    j->batch_stats = how->batch_stats;
    j->first = first;
    j->count = count;
    j->parts = how->one_by_one ? count : 1;
    must(ATR_NEW(atr_params_flat_count(j->net.params), &j->sums));
    must(atr_plan_create(j->net.graph, j->net.params, j->net.backend, &options, &j->plan));
    must(atr_optim_create(&config, j->net.params, j->net.backend, &j->optim));
}

static void job_close(job *j)
{
    atr_loss_destroy(j->loss);
    atr_free(j->sums);
    atr_optim_destroy(j->optim);
    atr_plan_destroy(j->plan);
    network_close(&j->net);
}

/* The oracle: the step by hand, without dist. The gradient stays in the params; no update. */
static double plain_gradient(job *j)
{
    int64_t pixels[256] = {0};
    double loss = 0;

    for (int64_t i = 0; i < tight.batch * tight.height * tight.width; i++)
        pixels[j->net.labels[i]]++;
    atr_loss_begin(j->loss, pixels, pixels[255], 1);
    must(atr_plan_forward(j->plan, j->net.images));
    if (atr_loss_needs_sums(j->loss))
        must(atr_plan_loss_sums(j->plan, j->net.labels, j->loss));
    atr_loss_settle(j->loss);
    must(atr_plan_loss(j->plan, j->net.labels, j->loss, &loss));
    must(atr_plan_backward(j->plan, NULL, NULL));
    return loss + atr_loss_known(j->loss);
}

static atr_parallel_result parallel_step(job *j, double lr, int64_t number)
{
    static const uint64_t keys[12];
    int64_t samples[12];
    atr_reducer *reducer = NULL;
    atr_parallel_result result;
    const int64_t pixels = tight.height * tight.width;
    const atr_parallel_batch batch = {.count = j->count,
                                      .height = tight.height,
                                      .width = tight.width,
                                      .images = j->net.images + j->first * pixels * 3,
                                      .labels = j->net.labels + j->first * pixels,
                                      .keys = keys,
                                      .samples = samples};

    for (int64_t i = 0; i < j->count; i++)
        samples[i] = j->first + i;
    must(atr_reducer_create(comm, j->net.params, NULL, &reducer));
    const atr_parallel parallel = {.comm = comm,
                                   .backend = j->net.backend,
                                   .params = j->net.params,
                                   .plan = j->plan,
                                   .optim = j->optim,
                                   .reducer = reducer,
                                   .classes = tight.classes,
                                   .loss = j->loss,
                                   .freeze_norm = !j->batch_stats,
                                   .parts = j->parts,
                                   .sums = j->sums,
                                   .clip = j->clip};
    must(atr_parallel_step(&parallel, &batch, ATR_OK, false, number, lr, &result));
    assert_int_equal(result.valid_pixels, (int64_t)j->net.valid);
    assert_false(result.stop);
    atr_reducer_destroy(reducer);
    return result;
}

static double distance(const float *a, const float *b, int64_t count, double *norm)
{
    double apart = 0;

    *norm = 0;
    for (int64_t i = 0; i < count; i++) {
        apart += ((double)a[i] - (double)b[i]) * ((double)a[i] - (double)b[i]);
        *norm += (double)b[i] * (double)b[i];
    }
    *norm = sqrt(*norm);
    return sqrt(apart);
}

/* This rank's part by the loader's deal. */
static void open_part(job *j, const setting *how)
{
    const int64_t size = atr_comm_size(comm), rank = atr_comm_rank(comm);
    const int64_t first = rank * tight.batch / size;

    job_open(j, first, (rank + 1) * tight.batch / size - first, how);
}

/* Parameters with a gradient too small to be more than rounding are measured against the whole. */
static double worst_parameter(const atr_params *got, const atr_params *want, double whole)
{
    double worst = 0;

    for (int64_t i = 0; i < atr_params_count(want); i++) {
        const atr_tensor a = atr_params_gradient(got, i), b = atr_params_gradient(want, i);
        double norm = 0;
        if (b.data == NULL)
            continue;
        const double apart = distance(a.data, b.data, atr_tensor_count(&b), &norm);
        worst = fmax(worst, apart / fmax(norm, 1e-6 * whole));
    }
    return worst;
}

/* How far two runs of one training are from each other, relative. */
typedef struct apart {
    double gradient, parameter; /* of the first step: all of it, the worst parameter */
    double loss;                /* the worst of STEPS steps */
} apart;

static void compare_gradients(const job *got, const job *want, apart *out)
{
    double norm = 0;
    const double distant =
        distance(atr_params_flat_gradients(got->net.params), atr_params_flat_gradients(want->net.params),
                 atr_params_flat_count(want->net.params), &norm);

    out->gradient = distant / norm;
    out->parameter = worst_parameter(got->net.params, want->net.params, norm);
}

/* The same on one rank: losses [STEPS] of the steps by hand. */
static void plain_losses(job *j, double *losses)
{
    for (int step = 0; step < STEPS; step++) {
        losses[step] = plain_gradient(j);
        must(atr_optim_step(j->optim, rate, 1.0));
    }
}

static double compare_losses(const double *got, const double *want)
{
    double worst = 0;

    for (int step = 0; step < STEPS; step++)
        worst = fmax(worst, fabs(got[step] - want[step]) / want[step]);
    return worst;
}

static void check_bounds(const char *what, const apart *a)
{
    printf("%s: gradient %.2g apart, worst parameter %.2g, loss of %d steps %.2g\n", what, a->gradient,
           a->parameter, STEPS, a->loss);
    assert_true(a->gradient <= 2e-6);
    assert_true(a->parameter <= 1e-5);
    assert_true(a->loss <= 1e-4);
}

/* What the distance between ranks is to be seen beside: rounding alone, by another number of threads on one rank. */
static void training_on_other_thread_counts_is_the_same(void **state)
{
    double want[STEPS], got[STEPS];
    job base, other;
    char what[64];

    (void)state;
    if (atr_comm_size(comm) > 1)
        return; /* nothing that ranks would change */
    static const int counts[] = {2, 3, 8, 13};
    for (size_t i = 0; i < sizeof counts / sizeof counts[0]; i++) {
        const int threads = counts[i];
        apart a;
        job_open(&base, 0, tight.batch, &(setting){.threads = 1});
        job_open(&other, 0, tight.batch, &(setting){.threads = threads});
        plain_gradient(&base);
        plain_gradient(&other);
        compare_gradients(&other, &base, &a);
        plain_losses(&base, want);
        plain_losses(&other, got);
        a.loss = compare_losses(got, want);
        job_close(&other);
        job_close(&base);
        snprintf(what, sizeof what, "%d threads against one", threads);
        check_bounds(what, &a);
    }
}

/* The first step of all ranks against one rank's. Rank 0 compares; the others have the same bits, as a test below shows. */
static void compare_first_step(const setting *how, apart *out)
{
    job whole, part;

    open_part(&part, how);
    const atr_parallel_result got =
        parallel_step(&part, 0.0, 1); /* rate 0: the gradient stays readable, nothing moves */
    if (atr_comm_rank(comm) == 0) {
        job_open(&whole, 0, tight.batch, &usual);
        const double loss = plain_gradient(&whole);
        compare_gradients(&part, &whole, out);
        assert_true(got.f_score == atr_loss_f_score(whole.loss));
        assert_true(fabs(got.loss - loss) <= 1e-5 * loss);
        job_close(&whole);
    }
    job_close(&part);
}

static void training_is_that_of_one_rank(void **state)
{
    double got[STEPS], want[STEPS];
    job whole, part;
    apart a;
    char what[64];

    (void)state;
    compare_first_step(&usual, &a);
    open_part(&part, &usual);
    for (int step = 0; step < STEPS; step++)
        got[step] = parallel_step(&part, rate, step + 1).loss;
    job_close(&part);
    if (atr_comm_rank(comm) != 0)
        return;
    job_open(&whole, 0, tight.batch, &usual);
    plain_losses(&whole, want);
    job_close(&whole);
    a.loss = compare_losses(got, want);
    snprintf(what, sizeof what, "%d ranks against one", atr_comm_size(comm));
    check_bounds(what, &a);
}

/* Their gradients need sums over all ranks' pixels first. */
static void gradients_of_all_losses_are_those_of_one_rank(void **state)
{
    static const char *const losses[] = {"focal+0.5*dice", "ohem", "ce+lovasz"};

    (void)state;
    for (size_t i = 0; i < sizeof losses / sizeof losses[0]; i++) {
        apart a = {0};
        loss_terms = losses[i];
        compare_first_step(&usual, &a);
        if (atr_comm_rank(comm) == 0)
            printf("%d ranks, %s: gradient %.2g apart, worst parameter %.2g\n", atr_comm_size(comm),
                   losses[i], a.gradient, a.parameter);
        assert_true(a.gradient <= 2e-6);
        assert_true(a.parameter <= 1e-5);
    }
    loss_terms = "ce";
}

static const setting one_by_one = {.threads = THREADS, .one_by_one = true};

/* Micro-batches of one picture: their losses share the whole step's divisor. */
static void gradient_in_parts_is_that_of_the_whole_batch(void **state)
{
    apart a = {0};

    (void)state;
    compare_first_step(&one_by_one, &a);
    assert_true(a.gradient <= 2e-6);
    assert_true(a.parameter <= 1e-5);
}

/* A step with several parts must not remember the one before. */
static void losses_of_steps_in_parts_are_those_of_whole_steps(void **state)
{
    job whole, parts;

    (void)state;
    open_part(&whole, &usual);
    open_part(&parts, &one_by_one);
    for (int step = 1; step <= 4; step++) {
        const double want = parallel_step(&whole, rate, step).loss;
        const double got = parallel_step(&parts, rate, step).loss;
        if (fabs(got - want) > 1e-4 * want)
            fail_msg("step %d: loss %.8g in parts, %.8g at once", step, got, want);
    }
    job_close(&whole);
    job_close(&parts);
}

/* The update sees the gradient at the norm that was asked for; the reported norm is that before. */
static void gradients_are_clipped_to_the_norm(void **state)
{
    const double decay = 1e-4; /* job_open */
    job free, clipped;
    double off = 0, whole = 0;

    (void)state;
    open_part(&free, &usual);
    open_part(&clipped, &usual);
    const double length = parallel_step(&free, 0, 1).gradient_norm;
    clipped.clip = length / 4;
    assert_true(parallel_step(&clipped, 0, 1).gradient_norm == length && length > 0);
    const float *const m = atr_params_flat_values(atr_optim_moment(clipped.optim, 0));
    for (int64_t i = 0; i < atr_params_flat_count(free.net.params); i++) {
        const double g = (double)atr_params_flat_gradients(free.net.params)[i];
        const double want = 0.25 * g + decay * (double)atr_params_flat_values(free.net.params)[i];
        off += pow((double)m[i] - want, 2);
        whole += pow(want, 2);
    }
    assert_true(sqrt(off / whole) < 1e-5);

    job_close(&clipped); /* a larger bound changes nothing */
    open_part(&clipped, &usual);
    clipped.clip = length * 1.01;
    parallel_step(&clipped, 0, 1);
    assert_memory_equal(atr_params_flat_values(atr_optim_moment(clipped.optim, 0)),
                        atr_params_flat_values(atr_optim_moment(free.optim, 0)),
                        (size_t)atr_params_flat_count(free.net.params) * sizeof(float));
    job_close(&free);
    job_close(&clipped);
}

/* Neither sums over ranks nor updates nor means of statistics touch what is frozen, not even by rounding. */
static void frozen_parameters_and_statistics_keep_their_bits(void **state)
{
    enum { CANARY = 777 };
    job part;
    network fresh;
    atr_span values = {0, 0}, buffers = {0, 0};

    (void)state;
    open_part(&part, &usual);
    network_open(&fresh, &tight, "auto", -1);
    part.batch_stats = true; /* the mean over ranks is taken */
    atr_plan_destroy(part.plan);
    atr_params_freeze(part.net.params, "backbone.", true, true);
    const atr_plan_options options = {.mode = ATR_TRAIN,
                                      .batch = part.count,
                                      .height = tight.height,
                                      .width = tight.width,
                                      .rewrites = ATR_REWRITE_ALL};
    must(atr_plan_create(part.net.graph, part.net.params, part.net.backend, &options, &part.plan));
    assert_true(atr_params_next_span(part.net.params, false, &values));
    assert_true(atr_params_next_span(part.net.params, true, &buffers));
    const int64_t count = atr_params_flat_count(part.net.params), frozen = count - values.count;
    for (int64_t i = values.count; i < count; i++)
        atr_params_flat_gradients(part.net.params)[i] = CANARY;
    for (int step = 1; step <= 2; step++)
        parallel_step(&part, 1e-3, step);
    for (int64_t i = values.count; i < count; i++)
        assert_true(atr_params_flat_gradients(part.net.params)[i] == CANARY);
    assert_memory_equal(atr_params_flat_values(part.net.params) + values.count,
                        atr_params_flat_values(fresh.params) + values.count, (size_t)frozen * sizeof(float));
    assert_memory_equal(atr_params_flat_buffers(part.net.params), atr_params_flat_buffers(fresh.params),
                        (size_t)buffers.offset * sizeof(float));
    assert_true(memcmp(atr_params_flat_values(part.net.params), atr_params_flat_values(fresh.params),
                       (size_t)values.count * sizeof(float)) != 0);
    network_close(&fresh);
    job_close(&part);
}

static void parameters_stay_bit_equal_on_all_ranks(void **state)
{
    job part;

    (void)state;
    open_part(&part, &usual);
    for (int step = 1; step <= 3; step++)
        parallel_step(&part, 1e-4, step);
    const size_t bytes = (size_t)atr_params_flat_count(part.net.params) * sizeof(float);
    unsigned char *const root = test_malloc(bytes);
    memcpy(root, atr_params_flat_values(part.net.params), bytes);
    must(atr_comm_broadcast(comm, root, bytes, 0));
    assert_memory_equal(root, atr_params_flat_values(part.net.params), bytes);
    test_free(root);
    job_close(&part);
}

/* Each rank's norms see its own pictures; what evaluation and checkpoints get is the mean of all ranks. */
static void running_statistics_are_averaged_over_ranks(void **state)
{
    job part, alone;
    const float size = (float)atr_comm_size(comm);

    (void)state;
    open_part(&part, &(setting){.threads = THREADS, .batch_stats = true});
    open_part(&alone, &(setting){.threads = THREADS, .batch_stats = true});
    const int64_t count = atr_params_buffer_count(part.net.params);
    float *const got = atr_params_flat_buffers(part.net.params), *const want = atr_params_flat_buffers(
                                                                     alone.net.params);
    parallel_step(&part, 1e-4, 1);
    must(atr_plan_forward(alone.plan, alone.net.images + alone.first * tight.height * tight.width * 3));
    float *const sizes = test_malloc((size_t)count * sizeof *sizes); /* of the terms, which may cancel */
    for (int64_t i = 0; i < count; i++)
        sizes[i] = fabsf(want[i]);
    must(atr_comm_sum_f32(comm, want, count));
    must(atr_comm_sum_f32(comm, sizes, count));
    for (int64_t i = 0; i < count; i++)
        if (fabsf(got[i] - want[i] / size) > 1e-6f * sizes[i] / size)
            fail_msg("running statistic %lld is %.9g, the mean over ranks %.9g", (long long)i, (double)got[i],
                     (double)(want[i] / size));
    test_free(sizes);
    job_close(&alone);
    job_close(&part);
}

static void a_step_is_bit_equal_when_repeated(void **state)
{
    job first, second;

    (void)state;
    open_part(&first, &usual);
    open_part(&second, &usual);
    for (int step = 1; step <= 2; step++) {
        parallel_step(&first, 1e-4, step);
        parallel_step(&second, 1e-4, step);
    }
    assert_memory_equal(atr_params_flat_values(first.net.params), atr_params_flat_values(second.net.params),
                        (size_t)atr_params_flat_count(first.net.params) * sizeof(float));
    job_close(&second);
    job_close(&first);
}

/* The last test: the job has agreed to stop then. */
static void a_step_that_is_not_finite_stops_all_ranks_with_T01(void **state)
{
    const int last = atr_comm_size(comm) - 1;
    static const uint64_t keys[12];
    const int64_t samples[12] = {100, 101, 102, 103, 104, 105, 106, 107, 108, 109, 110, 111};
    atr_reducer *reducer = NULL;
    atr_parallel_result result;
    job part;
    char want[128];

    (void)state;
    open_part(&part, &usual);
    if (atr_comm_rank(comm) == last)
        part.net.images[part.first * tight.height * tight.width * 3] = NAN;
    must(atr_reducer_create(comm, part.net.params, NULL, &reducer));
    const atr_parallel parallel = {.comm = comm,
                                   .backend = part.net.backend,
                                   .params = part.net.params,
                                   .plan = part.plan,
                                   .optim = part.optim,
                                   .reducer = reducer,
                                   .classes = tight.classes,
                                   .loss = part.loss,
                                   .freeze_norm = true,
                                   .parts = 1};
    const atr_parallel_batch batch = {.count = part.count,
                                      .height = tight.height,
                                      .width = tight.width,
                                      .images = part.net.images + part.first * tight.height * tight.width * 3,
                                      .labels = part.net.labels + part.first * tight.height * tight.width,
                                      .keys = keys,
                                      .samples = samples};
    assert_int_equal(atr_parallel_step(&parallel, &batch, ATR_OK, false, 341, 1e-3, &result),
                     ATR_ERR_NUMERIC);
    snprintf(want, sizeof want, "T01: step 341 rank %d: loss is NaN. First non-finite tensor: the pictures",
             last);
    assert_non_null(strstr(atr_status_message(), want));
    assert_non_null(strstr(atr_status_message(), "Samples 100"));
    assert_int_equal(atr_optim_steps(part.optim), 0);
    atr_reducer_destroy(reducer);
    job_close(&part);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(training_is_that_of_one_rank),
        cmocka_unit_test(training_on_other_thread_counts_is_the_same),
        cmocka_unit_test(gradients_of_all_losses_are_those_of_one_rank),
        cmocka_unit_test(gradient_in_parts_is_that_of_the_whole_batch),
        cmocka_unit_test(losses_of_steps_in_parts_are_those_of_whole_steps),
        cmocka_unit_test(gradients_are_clipped_to_the_norm),
        cmocka_unit_test(frozen_parameters_and_statistics_keep_their_bits),
        cmocka_unit_test(parameters_stay_bit_equal_on_all_ranks),
        cmocka_unit_test(running_statistics_are_averaged_over_ranks),
        cmocka_unit_test(a_step_is_bit_equal_when_repeated),
        cmocka_unit_test(a_step_that_is_not_finite_stops_all_ranks_with_T01),
    };

    if (atr_comm_open(&comm) != ATR_OK) {
        fprintf(stderr, "%s\n", atr_status_message());
        return 1;
    }
    const int failures = cmocka_run_group_tests(tests, NULL, NULL);
    if (failures > 0)
        atr_comm_abort(comm, 1); /* the other ranks may wait for this one */
    atr_comm_close(comm);
    return failures;
}
