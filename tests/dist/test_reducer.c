/* Runs alone and under mpirun: gradients are summed over the ranks by each algorithm, wire type, way of progress and size of buckets,
 * whenever each rank finishes them. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#include <cmocka.h>

#include "core/rng.h"
#include "dist/reducer.h"

static atr_comm *comm;

enum { ENTRIES = 9, MOST_RANKS = 16 };

static void must(atr_status status)
{
    if (status != ATR_OK)
        fail_msg("%s: %s", atr_status_name(status), atr_status_message());
}

/* 120 thousand numbers in convolutions of odd sizes, and small entries between them. */
static atr_params *make_params(void)
{
    static const atr_param_spec specs[ENTRIES] = {
        {"backbone.a.weight", ATR_PARAM_CONV_WEIGHT, 4, {37, 11, 3, 3}},
        {"backbone.b.weight", ATR_PARAM_NORM_WEIGHT, 1, {37}},
        {"backbone.b.bias", ATR_PARAM_NORM_BIAS, 1, {37}},
        {"c.weight", ATR_PARAM_CONV_WEIGHT, 4, {127, 37, 3, 3}},
        {"d.weight", ATR_PARAM_NORM_WEIGHT, 1, {127}},
        {"d.bias", ATR_PARAM_NORM_BIAS, 1, {127}},
        {"e.weight", ATR_PARAM_CONV_WEIGHT, 4, {61, 127, 3, 3}},
        {"f.weight", ATR_PARAM_CONV_WEIGHT, 4, {5, 61, 1, 1}},
        {"f.bias", ATR_PARAM_CONV_BIAS, 1, {5}},
    };
    atr_params *params = NULL;

    must(atr_params_create(specs, ENTRIES, &atr_host_allocator, &params));
    return params;
}

/* What each rank's gradients are, round by round, and their sums over the ranks. */
enum { ROUNDS = 3 };
static float *noise[ROUNDS][MOST_RANKS];
static double *sums[ROUNDS];

/* Largest magnitude of element `i`. */
static float scale(int64_t i)
{
    return i % 7 == 0 ? 50.0F : 0.5F;
}

static int draw_noise(void **state)
{
    atr_params *const params = make_params();
    const int64_t count = atr_params_flat_count(params);
    const int size = atr_comm_size(comm);

    (void)state;
    assert_true(size <= MOST_RANKS);
    for (int round = 0; round < ROUNDS; round++) {
        sums[round] = test_calloc((size_t)count, sizeof *sums[round]);
        for (int r = 0; r < size; r++) {
            const uint64_t key = atr_rng_key(3, ATR_RNG_TEST, (uint64_t)r, (uint64_t)round);
            noise[round][r] = test_malloc((size_t)count * sizeof *noise[round][r]);
            for (int64_t i = 0; i < count; i++) {
                noise[round][r][i] = (float)(2 * atr_rng_unit(key, (uint64_t)i) - 1) * scale(i);
                sums[round][i] += (double)noise[round][r][i];
            }
        }
    }
    atr_params_destroy(params);
    return 0;
}

static int drop_noise(void **state)
{
    (void)state;
    for (int round = 0; round < ROUNDS; round++) {
        test_free(sums[round]);
        for (int r = 0; r < atr_comm_size(comm); r++)
            test_free(noise[round][r]);
    }
    return 0;
}

static void fill(atr_params *params, int64_t round)
{
    memcpy(atr_params_flat_gradients(params), noise[round][atr_comm_rank(comm)],
           (size_t)atr_params_flat_count(params) * sizeof(float));
}

/* Backward and wait; ranks are late at different times. `fails`: this rank reports nothing. */
static void reduce(atr_reducer *reducer, const atr_params *params, int64_t round, bool fails)
{
    const uint64_t key = atr_rng_key(5, ATR_RNG_TEST, (uint64_t)atr_comm_rank(comm), (uint64_t)round);

    atr_reducer_begin(reducer);
    for (int64_t i = ENTRIES - 1; i >= 0 && !fails; i--) {
        const struct timespec work = {0, (long)(atr_rng_unit(key, (uint64_t)i) * 1e6)};
        const atr_tensor gradient = atr_params_gradient(params, i);
        if (atr_params_frozen(params, i))
            continue;
        nanosleep(&work, NULL);
        must(atr_reducer_ready(reducer, atr_params_flat_offset(params, i), atr_tensor_count(&gradient)));
    }
    must(atr_reducer_wait(reducer));
}

/* All ranks have rank 0's bits. */
static void must_be_everywhere(const float *values, int64_t count)
{
    float *const first = test_malloc((size_t)count * sizeof *first);

    memcpy(first, values, (size_t)count * sizeof *first);
    must(atr_comm_broadcast(comm, first, (size_t)count * sizeof *first, 0));
    assert_memory_equal(first, values, (size_t)count * sizeof *first);
    test_free(first);
}

/* `tolerance`: of the sum of the ranks' largest magnitudes. */
static void must_be_sums(const float *values, const atr_params *params, int64_t round, double tolerance,
                         const atr_reducer_options *options)
{
    for (int64_t i = 0; i < atr_params_flat_count(params); i++)
        if (!(fabs((double)values[i] - sums[round][i]) <= tolerance * atr_comm_size(comm) * (double)scale(i)))
            fail_msg("%s, %s, %s, buckets of %g MB: element %lld is %.9g instead of %.9g",
                     atr_allreduce_names[options->allreduce], atr_wire_names[options->wire],
                     atr_reducer_progress_names[options->progress], options->bucket_mb, (long long)i,
                     (double)values[i], sums[round][i]);
}

/* Three backwards; the last one's sums stay in the gradients. */
static void check(const atr_reducer_options *options)
{
    atr_params *const params = make_params();
    const int64_t count = atr_params_flat_count(params);
    const float *const gradients = atr_params_flat_gradients(params);
    float *const first = test_malloc((size_t)count * sizeof *first);

    for (int repeat = 0; repeat < 2; repeat++) {
        atr_reducer *reducer = NULL;
        must(atr_reducer_create(comm, params, options, &reducer));
        for (int64_t round = 0; round < ROUNDS; round++) {
            fill(params, round);
            reduce(reducer, params, round, round == 1 && atr_comm_rank(comm) == 1);
            must_be_everywhere(gradients, count);
            /* bf16 has 8 bits: half a unit for gradients and sum, and as much from the step before */
            must_be_sums(gradients, params, round, options->wire == ATR_WIRE_BF16 ? 0x1p-7 : 1e-6, options);
        }
        atr_reducer_destroy(reducer);
        if (repeat == 0)
            memcpy(first, gradients, (size_t)count * sizeof *first);
        assert_memory_equal(first, gradients, (size_t)count * sizeof *first);
    }
    test_free(first);
    atr_params_destroy(params);
}

static void sums_are_right_equal_on_all_ranks_and_repeatable(void **state)
{
    static const double buckets[] = {0, 0.02, 4};
    atr_reducer_options options;

    (void)state;
    for (int a = ATR_ALLREDUCE_FLAT; a <= ATR_ALLREDUCE_HIERARCHICAL; a++)
        for (int w = 0; w < 2; w++)
            for (int p = 0; p < 2; p++)
                for (int b = 0; b < 3; b++) {
                    options = (atr_reducer_options){(atr_allreduce)a, (atr_wire)w, (atr_reducer_progress)p,
                                                    buckets[b]};
                    check(&options);
                }
}

/* What bf16 leaves out of a step comes in the next ones: the sum over many steps is as good as that of one rounding. */
static void error_feedback_keeps_the_sum_over_steps(void **state)
{
    enum { STEPS = 64 };
    static const atr_reducer_options options = {.wire = ATR_WIRE_BF16, .bucket_mb = 0.1};
    atr_params *const params = make_params();
    const int64_t count = atr_params_flat_count(params);
    const float *const gradients = atr_params_flat_gradients(params);
    double *const means = test_calloc((size_t)count, sizeof *means);
    atr_reducer *reducer = NULL;

    (void)state;
    must(atr_reducer_create(comm, params, &options, &reducer));
    for (int step = 0; step < STEPS; step++) {
        fill(params, 0);
        reduce(reducer, params, 0, false);
        for (int64_t i = 0; i < count; i++)
            means[i] += (double)gradients[i] / STEPS;
    }
    for (int64_t i = 0; i < count; i++)
        assert_true(fabs(means[i] - sums[0][i]) <=
                    0x1p-7 / STEPS * atr_comm_size(comm) * (double)scale(i) * 2);
    atr_reducer_destroy(reducer);
    test_free(means);
    atr_params_destroy(params);
}

/* Steps [from, to). */
static void reduce_steps(atr_reducer *reducer, const atr_params *params, int from, int to)
{
    for (int step = from; step < to; step++) {
        memcpy(atr_params_flat_gradients(params), noise[step % ROUNDS][atr_comm_rank(comm)],
               (size_t)atr_params_flat_count(params) * sizeof(float));
        reduce(reducer, params, step % ROUNDS, false);
    }
}

/* Ranks that send: all, or (hierarchical) one of each node; 0 where nothing goes over a wire. */
static int64_t senders(bool hierarchical)
{
    int64_t found[2] = {atr_comm_node_rank(comm) == 0, atr_comm_node_size(comm) > 1};

    must(atr_comm_sum_i64(comm, found, 2));
    const int64_t count = hierarchical && found[1] > 0 ? found[0] : atr_comm_size(comm);
    return count > 1 ? count : 0;
}

/* A reducer that goes on with what another one left gives the same bits; from the sum of it alone as good a sum over steps. */
static void what_is_unsent_goes_on_in_another_reducer(void **state)
{
    enum { HALF = 3, END = 6 };
    const int ranks = atr_comm_size(comm), root = atr_comm_rank(comm) == 0;

    (void)state;
    for (int allreduce = ATR_ALLREDUCE_AUTO; allreduce <= ATR_ALLREDUCE_FLAT; allreduce++) {
        const atr_reducer_options options = {
            .allreduce = (atr_allreduce)allreduce, .wire = ATR_WIRE_BF16, .bucket_mb = 0.1};
        atr_params *const whole = make_params(), *const parts = make_params();
        const size_t bytes = (size_t)atr_params_flat_count(whole) * sizeof(float);
        atr_reducer *one = NULL, *first = NULL, *second = NULL, *third = NULL;
        must(atr_reducer_create(comm, whole, &options, &one));
        must(atr_reducer_create(comm, parts, &options, &first));
        must(atr_reducer_create(comm, parts, &options, &second));
        must(atr_reducer_create(comm, parts, &options, &third));
        const int64_t count = atr_reducer_unsent_blocks(first, MOST_RANKS);
        assert_int_equal(count, senders(allreduce == ATR_ALLREDUCE_AUTO));
        assert_int_equal(atr_reducer_unsent_blocks(first, 1), count > 0 ? 1 : 0);
        float *const blocks = root ? test_malloc((size_t)(count + 2) * bytes) : NULL;
        float *const sum = root ? blocks + count * (int64_t)(bytes / sizeof(float)) : NULL;
        reduce_steps(one, whole, 0, END);
        reduce_steps(first, parts, 0, HALF);
        must(atr_reducer_unsent_get(first, MOST_RANKS, blocks));
        must(atr_reducer_unsent_set(second, blocks, count));
        reduce_steps(second, parts, HALF, END);
        assert_memory_equal(atr_params_flat_gradients(whole), atr_params_flat_gradients(parts), bytes);
        if (count > 1) { /* the sum, from the reducer and by hand */
            must(atr_reducer_unsent_get(first, 1, sum));
            for (int64_t i = 0; root && i < (int64_t)(bytes / sizeof(float)); i++) {
                double want = 0;
                for (int64_t k = 0; k < count; k++)
                    want += (double)blocks[k * (int64_t)(bytes / sizeof(float)) + i];
                assert_true(fabs((double)sum[i] - want) <= 1e-6 * ranks * (double)scale(i));
            }
            must(atr_reducer_unsent_set(third, sum, 1));
            float *const back = root ? sum + bytes / sizeof(float) : NULL;
            must(atr_reducer_unsent_get(third, 1, back));
            if (root)
                assert_memory_equal(sum, back, bytes);
        }
        test_free(blocks);
        atr_reducer_destroy(third);
        atr_reducer_destroy(second);
        atr_reducer_destroy(first);
        atr_reducer_destroy(one);
        atr_params_destroy(parts);
        atr_params_destroy(whole);
    }
}

/* Neither summed nor sent; what is frozen may change between steps. */
static void frozen_gradients_are_left_alone(void **state)
{
    static const atr_reducer_options options = {.bucket_mb = 0.05};
    const float canary = 777;
    atr_params *const params = make_params();
    float *const gradients = atr_params_flat_gradients(params);
    const atr_reducer_bucket *buckets = NULL;
    atr_reducer *reducer = NULL;
    int64_t sent = 0;

    (void)state;
    must(atr_reducer_create(comm, params, &options, &reducer));
    for (int frozen = 1; frozen >= 0; frozen--) {
        atr_span span = {0, 0};
        atr_params_freeze(params, "c.", frozen == 1, false);
        const int64_t at = atr_params_flat_offset(params, 3), count = 127 * 37 * 9;
        fill(params, 0);
        for (int64_t i = 0; i < count && frozen == 1; i++)
            gradients[at + i] = canary;
        reduce(reducer, params, 0, false);
        for (int64_t i = 0; i < count && frozen == 1; i++)
            assert_true(gradients[at + i] == canary);
        if (frozen == 0)
            must_be_sums(gradients, params, 0, 1e-6, &options);
        int64_t wanted = 0;
        while (atr_params_next_span(params, false, &span))
            wanted += span.count;
        sent = 0;
        for (int64_t i = atr_reducer_buckets(reducer, &buckets) - 1; i >= 0; i--)
            sent += buckets[i].count;
        assert_int_equal(sent, atr_comm_size(comm) > 1 ? wanted : 0);
    }
    atr_reducer_destroy(reducer);
    atr_params_destroy(params);
}

/* In order, without gap or overlap; small at both ends; each finished after it was sent, sent after it was final. */
static void buckets_cover_the_block_and_start_while_backward_runs(void **state)
{
    static const atr_reducer_options options = {.bucket_mb = 0.05};
    atr_params *const params = make_params();
    const atr_reducer_bucket *buckets = NULL;
    atr_reducer *reducer = NULL;

    (void)state;
    must(atr_reducer_create(comm, params, &options, &reducer));
    fill(params, 0);
    reduce(reducer, params, 0, false);
    const int64_t count = atr_reducer_buckets(reducer, &buckets);
    assert_int_equal(count > 0, atr_comm_size(comm) > 1);
    for (int64_t i = 0; i < count; i++) {
        assert_int_equal(buckets[i].offset, i > 0 ? buckets[i - 1].offset + buckets[i - 1].count : 0);
        assert_true(buckets[i].count * (int64_t)sizeof(float) <= 50000);
        assert_true(buckets[i].ready <= buckets[i].started && buckets[i].started <= buckets[i].finished);
    }
    if (count > 0) {
        assert_int_equal(buckets[count - 1].offset + buckets[count - 1].count, atr_params_flat_count(params));
        assert_true(buckets[0].started < buckets[count - 1].ready);
    }
    atr_reducer_destroy(reducer);
    atr_params_destroy(params);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(sums_are_right_equal_on_all_ranks_and_repeatable),
        cmocka_unit_test(error_feedback_keeps_the_sum_over_steps),
        cmocka_unit_test(what_is_unsent_goes_on_in_another_reducer),
        cmocka_unit_test(frozen_gradients_are_left_alone),
        cmocka_unit_test(buckets_cover_the_block_and_start_while_backward_runs),
    };

    if (atr_comm_open(&comm) != ATR_OK) {
        fprintf(stderr, "%s\n", atr_status_message());
        return 1;
    }
    const int failures = cmocka_run_group_tests(tests, draw_noise, drop_noise);
    if (failures > 0)
        atr_comm_abort(comm, 1); /* the other ranks may wait for this one */
    atr_comm_close(comm);
    return failures;
}
