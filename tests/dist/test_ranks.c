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

enum { STEPS = 10 };

/* One way to train on the 12 pictures: all of them here, or this rank's part. */
typedef struct job {
    network net;
    atr_plan *plan;
    atr_optim *optim;
    int64_t first, count; /* pictures */
    int64_t parts;        /* in which a step computes them */
    float *sums;          /* for several parts */
    double clip;
    bool batch_stats;
    double gradient_norm; /* of the last step */
} job;

enum { WHOLE = 1, ONE_BY_ONE = 0 };

/* A step computes the pictures at once, or one by one. */
static void job_open_parts(job *j, int64_t first, int64_t count, int64_t parts)
{
    const atr_optim_config config = {
        .kind = ATR_OPTIM_SGD, .momentum = 0.9, .weight_decay = 1e-4, .nesterov = true};
    const atr_plan_options options = {.mode = ATR_TRAIN,
                                      .batch = parts == WHOLE ? count : 1,
                                      .height = tight.height,
                                      .width = tight.width,
                                      .freeze_norm = true,
                                      .rewrites = ATR_REWRITE_ALL};

    memset(j, 0, sizeof *j);
    network_open(&j->net, &tight, "auto", -1);
    j->first = first;
    j->count = count;
    j->parts = parts == WHOLE ? 1 : count;
    must(ATR_NEW(atr_params_flat_count(j->net.params), &j->sums));
    must(atr_plan_create(j->net.graph, j->net.params, j->net.backend, &options, &j->plan));
    must(atr_optim_create(&config, j->net.params, j->net.backend, &j->optim));
}

static void job_open(job *j, int64_t first, int64_t count)
{
    job_open_parts(j, first, count, WHOLE);
}

static void job_close(job *j)
{
    atr_free(j->sums);
    atr_optim_destroy(j->optim);
    atr_plan_destroy(j->plan);
    network_close(&j->net);
}

/* The oracle: the step by hand, without dist. The gradient stays in the params; no update. */
static double plain_gradient(job *j)
{
    double loss = 0;

    must(atr_plan_forward(j->plan, j->net.images));
    must(atr_plan_cross_entropy(j->plan, j->net.labels, NULL, j->net.valid, &loss));
    must(atr_plan_backward(j->plan, NULL, NULL));
    return loss;
}

static double parallel_step(job *j, double lr, int64_t number)
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
    must(atr_reducer_create(comm, j->net.params, &reducer));
    const atr_parallel parallel = {.comm = comm,
                                   .backend = j->net.backend,
                                   .params = j->net.params,
                                   .plan = j->plan,
                                   .optim = j->optim,
                                   .reducer = reducer,
                                   .classes = tight.classes,
                                   .freeze_norm = !j->batch_stats,
                                   .parts = j->parts,
                                   .sums = j->sums,
                                   .clip = j->clip};
    must(atr_parallel_step(&parallel, &batch, ATR_OK, false, number, lr, &result));
    assert_int_equal(result.valid_pixels, (int64_t)j->net.valid);
    assert_false(result.stop);
    atr_reducer_destroy(reducer);
    j->gradient_norm = result.gradient_norm;
    return result.loss;
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
static void open_parts(job *j, int64_t parts)
{
    const int64_t size = atr_comm_size(comm), rank = atr_comm_rank(comm);
    const int64_t first = rank * tight.batch / size;

    job_open_parts(j, first, (rank + 1) * tight.batch / size - first, parts);
}

static void open_part(job *j)
{
    open_parts(j, WHOLE);
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

/* Rank 0 compares; the others have the same bits, as a test below shows. */
static void compare_first_gradient(int64_t parts)
{
    job whole, part;
    double norm = 0;

    open_parts(&part, parts);
    const double got = parallel_step(&part, 0.0, 1); /* rate 0: the gradient stays readable, nothing moves */
    if (atr_comm_rank(comm) == 0) {
        job_open(&whole, 0, tight.batch);
        const double loss = plain_gradient(&whole);
        const double apart =
            distance(atr_params_flat_gradients(part.net.params), atr_params_flat_gradients(whole.net.params),
                     atr_params_flat_count(whole.net.params), &norm);
        const double worst = worst_parameter(part.net.params, whole.net.params, norm);
        printf("%d ranks: gradient %.2g apart, worst parameter %.2g\n", atr_comm_size(comm), apart / norm,
               worst);
        assert_true(fabs(got - loss) <= 1e-5 * loss);
        assert_true(apart <= 2e-6 * norm);
        assert_true(worst <= 1e-5);
        job_close(&whole);
    }
    job_close(&part);
}

static void gradient_of_the_first_step_is_that_of_one_rank(void **state)
{
    (void)state;
    compare_first_gradient(WHOLE);
}

/* Micro-batches of one picture: their losses share the whole step's divisor. */
static void gradient_in_parts_is_that_of_the_whole_batch(void **state)
{
    (void)state;
    compare_first_gradient(ONE_BY_ONE);
}

/* A step with several parts must not remember the one before. */
static void losses_of_steps_in_parts_are_those_of_whole_steps(void **state)
{
    job whole, parts;

    (void)state;
    open_parts(&whole, WHOLE);
    open_parts(&parts, ONE_BY_ONE);
    for (int step = 1; step <= 4; step++) {
        const double want = parallel_step(&whole, 3e-6, step), got = parallel_step(&parts, 3e-6, step);
        if (fabs(got - want) > 1e-4 * want)
            fail_msg("step %d: loss %.8g in parts, %.8g at once", step, got, want);
    }
    job_close(&whole);
    job_close(&parts);
}

/* The update sees the gradient at the norm that was asked for; the reported norm is that before. */
static void gradients_are_clipped_to_the_norm(void **state)
{
    const double decay = 1e-4; /* job_open_parts */
    job free, clipped;
    double apart = 0, whole = 0;

    (void)state;
    open_part(&free);
    open_part(&clipped);
    parallel_step(&free, 0, 1);
    clipped.clip = free.gradient_norm / 4;
    parallel_step(&clipped, 0, 1);
    assert_true(clipped.gradient_norm == free.gradient_norm && free.gradient_norm > 0);
    const float *const m = atr_params_flat_values(atr_optim_moment(clipped.optim, 0));
    for (int64_t i = 0; i < atr_params_flat_count(free.net.params); i++) {
        const double g = (double)atr_params_flat_gradients(free.net.params)[i];
        const double want = 0.25 * g + decay * (double)atr_params_flat_values(free.net.params)[i];
        apart += pow((double)m[i] - want, 2);
        whole += pow(want, 2);
    }
    assert_true(sqrt(apart / whole) < 1e-5);

    job_close(&clipped); /* a larger bound changes nothing */
    open_part(&clipped);
    clipped.clip = free.gradient_norm * 1.01;
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
    open_part(&part);
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

static void losses_of_ten_steps_are_those_of_one_rank(void **state)
{
    const double lr = 3e-6; /* the loss falls from 15 to 6; larger rates diverge, and ranks with them */
    double got[STEPS];
    job whole, part;

    (void)state;
    open_part(&part);
    for (int step = 0; step < STEPS; step++)
        got[step] = parallel_step(&part, lr, step + 1);
    job_close(&part);
    if (atr_comm_rank(comm) != 0)
        return;
    job_open(&whole, 0, tight.batch);
    for (int step = 0; step < STEPS; step++) {
        const double loss = plain_gradient(&whole);
        must(atr_optim_step(whole.optim, lr, 1.0));
        if (fabs(got[step] - loss) > 1e-4 * loss)
            fail_msg("step %d: loss %.8g on %d ranks, %.8g on one", step + 1, got[step], atr_comm_size(comm),
                     loss);
    }
    job_close(&whole);
}

static void parameters_stay_bit_equal_on_all_ranks(void **state)
{
    job part;

    (void)state;
    open_part(&part);
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

static void a_step_is_bit_equal_when_repeated(void **state)
{
    job first, second;

    (void)state;
    open_part(&first);
    open_part(&second);
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
    open_part(&part);
    if (atr_comm_rank(comm) == last)
        part.net.images[part.first * tight.height * tight.width * 3] = NAN;
    must(atr_reducer_create(comm, part.net.params, &reducer));
    const atr_parallel parallel = {comm,
                                   part.net.backend,
                                   part.net.params,
                                   part.plan,
                                   part.optim,
                                   reducer,
                                   tight.classes,
                                   NULL,
                                   true,
                                   1,
                                   NULL,
                                   0};
    const atr_parallel_batch batch = {part.count,
                                      tight.height,
                                      tight.width,
                                      part.net.images + part.first * tight.height * tight.width * 3,
                                      part.net.labels + part.first * tight.height * tight.width,
                                      keys,
                                      samples};
    assert_int_equal(atr_parallel_step(&parallel, &batch, ATR_OK, false, 341, 1e-3, &result),
                     ATR_ERR_NUMERIC);
    snprintf(want, sizeof want, "T01: step 341 rank %d: loss is NaN. First non-finite tensor: ", last);
    assert_non_null(strstr(atr_status_message(), want));
    assert_non_null(strstr(atr_status_message(), "Samples 100"));
    assert_int_equal(atr_optim_steps(part.optim), 0);
    atr_reducer_destroy(reducer);
    job_close(&part);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(gradient_of_the_first_step_is_that_of_one_rank),
        cmocka_unit_test(gradient_in_parts_is_that_of_the_whole_batch),
        cmocka_unit_test(losses_of_steps_in_parts_are_those_of_whole_steps),
        cmocka_unit_test(gradients_are_clipped_to_the_norm),
        cmocka_unit_test(frozen_parameters_and_statistics_keep_their_bits),
        cmocka_unit_test(losses_of_ten_steps_are_those_of_one_rank),
        cmocka_unit_test(parameters_stay_bit_equal_on_all_ranks),
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
