/* Runs alone and under mpirun: every promise below holds for any number of ranks. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "core/rng.h"
#include "dist/reducer.h"

static atr_comm *comm;

static void must(atr_status status)
{
    if (status != ATR_OK)
        fail_msg("%s: %s", atr_status_name(status), atr_status_message());
}

static void ranks_are_numbered_from_0_on_a_named_node(void **state)
{
    (void)state;
    assert_in_range(atr_comm_rank(comm), 0, atr_comm_size(comm) - 1);
    assert_in_range(atr_comm_node_rank(comm), 0, atr_comm_node_size(comm) - 1);
    assert_true(atr_comm_node_size(comm) <= atr_comm_size(comm));
    assert_true(strlen(atr_comm_host(comm)) > 0);
}

static void broadcast_gives_the_roots_bytes_to_all(void **state)
{
    enum { BYTES = 100003 };
    static unsigned char bytes[BYTES];
    const int root = atr_comm_size(comm) - 1;

    (void)state;
    for (int i = 0; i < BYTES; i++)
        bytes[i] = (unsigned char)(atr_comm_rank(comm) == root ? i * 7 : 0);
    must(atr_comm_broadcast(comm, bytes, BYTES, root));
    for (int i = 0; i < BYTES; i++)
        assert_int_equal(bytes[i], (unsigned char)(i * 7));
}

static void sums_are_over_all_ranks(void **state)
{
    const int size = atr_comm_size(comm), rank = atr_comm_rank(comm);
    const int64_t ranks = (int64_t)size * (size - 1) / 2;
    float f32[3] = {(float)rank, 1, -2};
    double f64[2] = {rank, 0.5};
    int64_t i64[2] = {rank, (int64_t)1 << 40};

    (void)state;
    must(atr_comm_sum_f32(comm, f32, 3));
    must(atr_comm_sum_f64(comm, f64, 2));
    must(atr_comm_sum_i64(comm, i64, 2));
    assert_true(f32[0] == (float)ranks && f32[1] == (float)size && f32[2] == (float)(-2 * size));
    assert_true(f64[0] == (double)ranks && f64[1] == 0.5 * size);
    assert_int_equal(i64[0], ranks);
    assert_int_equal(i64[1], size * ((int64_t)1 << 40));
}

/* Only rank 0 calls: nobody else may be needed. */
static void one_that_is_alone_neither_sends_nor_waits(void **state)
{
    double value = 3;
    atr_comm *alone = NULL;

    (void)state;
    if (atr_comm_rank(comm) != 0)
        return;
    must(atr_comm_alone(&alone));
    assert_int_equal(atr_comm_size(alone), 1);
    assert_int_equal(atr_comm_rank(alone), 0);
    assert_int_equal(atr_comm_node_size(alone), 1);
    must(atr_comm_sum_f64(alone, &value, 1));
    must(atr_comm_barrier(alone));
    assert_true(value == 3);
    assert_int_equal(atr_comm_agree(alone, ATR_ERR_DATA), ATR_ERR_DATA);
    atr_comm_close(alone);
}

static void gather_lists_the_ranks_in_order(void **state)
{
    enum { MOST = 64 };
    const int64_t mine = 100 + atr_comm_rank(comm);
    int64_t all[MOST] = {0};

    (void)state;
    must(atr_comm_gather(comm, &mine, sizeof mine, all));
    for (int r = 0; r < atr_comm_size(comm); r++)
        assert_int_equal(all[r], 100 + r);
    const int64_t local = 200 + atr_comm_node_rank(comm);
    must(atr_comm_node_gather(comm, &local, sizeof local, all));
    for (int r = 0; r < atr_comm_node_size(comm); r++)
        assert_int_equal(all[r], 200 + r);
}

static atr_params *make_params(void)
{
    static const atr_param_spec specs[] = {
        {"a.weight", ATR_PARAM_CONV_WEIGHT, 4, {5, 3, 3, 3}},
        {"b.weight", ATR_PARAM_NORM_WEIGHT, 1, {5}},
        {"b.bias", ATR_PARAM_NORM_BIAS, 1, {5}},
        {"b.running_mean", ATR_PARAM_RUNNING_MEAN, 1, {5}},
        {"b.running_var", ATR_PARAM_RUNNING_VAR, 1, {5}},
        {"b.num_batches_tracked", ATR_PARAM_TRACKED, 0, {0}},
    };
    atr_params *params = NULL;

    must(atr_params_create(specs, sizeof specs / sizeof specs[0], &atr_host_allocator, &params));
    return params;
}

static float noise(int rank, int64_t i)
{
    return (float)(atr_rng_unit(atr_rng_key(3, ATR_RNG_TEST, (uint64_t)rank, 0), (uint64_t)i) - 0.5);
}

static void reducer_equals_the_serial_sum_with_the_same_bits_on_all_ranks(void **state)
{
    atr_params *const params = make_params();
    const int64_t count = atr_params_flat_count(params);
    float *const gradients = atr_params_flat_gradients(params);
    atr_reducer *reducer = NULL;

    (void)state;
    must(atr_reducer_create(comm, params, NULL, &reducer));
    for (int64_t i = 0; i < count; i++)
        gradients[i] = noise(atr_comm_rank(comm), i);
    atr_reducer_begin(reducer);
    must(atr_reducer_ready(reducer, 0, 16));
    must(atr_reducer_ready(reducer, 16, count - 16));
    must(atr_reducer_wait(reducer));
    for (int64_t i = 0; i < count; i++) {
        double sum = 0;
        for (int r = 0; r < atr_comm_size(comm); r++)
            sum += (double)noise(r, i);
        assert_true(gradients[i] - sum < 1e-6 && sum - gradients[i] < 1e-6);
    }
    float *const first = test_malloc((size_t)count * sizeof *first);
    memcpy(first, gradients, (size_t)count * sizeof *first);
    must(atr_comm_broadcast(comm, first, (size_t)count * sizeof *first, 0));
    assert_memory_equal(first, gradients, (size_t)count * sizeof *first);
    test_free(first);
    atr_reducer_destroy(reducer);
    atr_params_destroy(params);
}

static void reducer_refuses_gradients_out_of_order(void **state)
{
    atr_params *const params = make_params();
    atr_reducer *reducer = NULL;

    (void)state;
    must(atr_reducer_create(comm, params, NULL, &reducer));
    atr_reducer_begin(reducer);
    must(atr_reducer_ready(reducer, 16, 16));
    assert_int_equal(atr_reducer_ready(reducer, 0, 16), ATR_ERR_INTERNAL);
    assert_int_equal(atr_reducer_ready(reducer, 32, 1 << 20), ATR_ERR_INTERNAL);
    atr_reducer_destroy(reducer);
    atr_params_destroy(params);
}

static void parameters_buffers_and_counters_come_from_rank_0(void **state)
{
    atr_params *const params = make_params();
    const int rank = atr_comm_rank(comm);
    const uint64_t version = atr_params_version(params);

    (void)state;
    for (int64_t i = 0; i < 5; i++) {
        ((float *)atr_params_value(params, 0).data)[i] = (float)(10 * rank + 1);
        ((float *)atr_params_value(params, 3).data)[i] = (float)(10 * rank + 2);
    }
    *(int64_t *)atr_params_value(params, 5).data = 10 * rank + 3;
    must(atr_comm_broadcast_params(comm, params, 0));
    assert_true(((float *)atr_params_value(params, 0).data)[4] == 1.0f);
    assert_true(((float *)atr_params_value(params, 3).data)[4] == 2.0f);
    assert_int_equal(*(int64_t *)atr_params_value(params, 5).data, 3);
    if (atr_comm_size(comm) > 1)
        assert_true(atr_params_version(params) != version);
    atr_params_destroy(params);
}

/* Rank r has r+1 pictures and statistics r+i: their mean by pictures; then all count the same, and one counts nothing. */
static void running_statistics_become_their_mean_by_pictures(void **state)
{
    const int size = atr_comm_size(comm), rank = atr_comm_rank(comm);
    const int64_t weights[3] = {rank + 1, 4, rank == 0 && size > 1 ? 0 : 2};

    (void)state;
    for (int k = 0; k < 3; k++) {
        atr_params *const params = make_params();
        float *const values = atr_params_value(params, 4).data;
        int64_t total = weights[k];
        double mean = (double)(weights[k] * rank);
        must(atr_comm_sum_i64(comm, &total, 1));
        must(atr_comm_sum_f64(comm, &mean, 1));
        for (int64_t i = 0; i < 5; i++)
            values[i] = (float)(rank + i);
        must(atr_comm_average_buffers(comm, params, weights[k], total));
        for (int64_t i = 0; i < 5; i++)
            assert_true(fabs((double)values[i] - mean / (double)total - (double)i) < 1e-6);
        atr_params_destroy(params);
    }
}

/* Groups of neighbours, the last one smaller where they do not divide the ranks. */
static void ranks_split_into_groups_with_sums_of_their_own(void **state)
{
    const int size = atr_comm_size(comm), rank = atr_comm_rank(comm);
    const int first = rank - rank % 2, end = first + 2 < size ? first + 2 : size;
    atr_comm *part = NULL;
    double sum = rank;
    int64_t want = 0;

    (void)state;
    for (int r = first; r < end; r++)
        want += r;
    must(atr_comm_split(comm, rank / 2, &part));
    assert_int_equal(atr_comm_size(part), end - first);
    assert_int_equal(atr_comm_rank(part), rank - first);
    assert_string_equal(atr_comm_host(part), atr_comm_host(comm));
    must(atr_comm_sum_f64(part, &sum, 1));
    assert_true(sum == (double)want);
    atr_comm_close(part);
}

static void agreeing_on_success_changes_nothing(void **state)
{
    (void)state;
    assert_int_equal(atr_comm_agree(comm, ATR_OK), ATR_OK);
    assert_false(atr_comm_agreed_to_stop(comm));
}

/* The last test: a job that has agreed to stop stays stopped. */
static void all_ranks_stop_with_the_message_of_the_lowest_that_failed(void **state)
{
    const int size = atr_comm_size(comm), rank = atr_comm_rank(comm);
    const bool failing = size == 1 || rank == 1 || rank == size - 1;
    atr_status status = ATR_OK;
    char want[256];

    (void)state;
    if (failing)
        status = atr_fail(ATR_ERR_DATA, "read error, train.h5 sample %d", 5120 + rank);
    status = atr_comm_agree(comm, status);
    assert_int_equal(status, ATR_ERR_DATA);
    snprintf(want, sizeof want,
             "R01: rank 1 on node %s: read error, train.h5 sample 5121. Stopping all %d ranks.",
             atr_comm_host(comm), size);
    assert_string_equal(atr_status_message(), size == 1 ? "read error, train.h5 sample 5120" : want);
    atr_fail(ATR_ERR_IO, "something else while cleaning up");
    if (size > 1) {
        assert_int_equal(atr_comm_agree(comm, ATR_OK), ATR_ERR_DATA);
        assert_string_equal(atr_status_message(), want);
        assert_true(atr_comm_agreed_to_stop(comm));
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(ranks_are_numbered_from_0_on_a_named_node),
        cmocka_unit_test(broadcast_gives_the_roots_bytes_to_all),
        cmocka_unit_test(sums_are_over_all_ranks),
        cmocka_unit_test(one_that_is_alone_neither_sends_nor_waits),
        cmocka_unit_test(gather_lists_the_ranks_in_order),
        cmocka_unit_test(reducer_equals_the_serial_sum_with_the_same_bits_on_all_ranks),
        cmocka_unit_test(reducer_refuses_gradients_out_of_order),
        cmocka_unit_test(parameters_buffers_and_counters_come_from_rank_0),
        cmocka_unit_test(running_statistics_become_their_mean_by_pictures),
        cmocka_unit_test(ranks_split_into_groups_with_sums_of_their_own),
        cmocka_unit_test(agreeing_on_success_changes_nothing),
        cmocka_unit_test(all_ranks_stop_with_the_message_of_the_lowest_that_failed),
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
