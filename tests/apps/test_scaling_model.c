/* The arithmetic of `atrous simulate`: sums by hand, and limits that hold whatever the numbers are. */
#include <math.h>
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <cmocka.h>

#include "apps/scaling_model.h"

/* a = 1 s, B = 2 bytes/s, C = 4 bytes/s, M = 8 bytes/s, K = infinite: numbers that can be followed in the head. */
static const atr_cluster plain = {.nodes = 4,
                                  .ranks = 1,
                                  .latency = 1,
                                  .bandwidth = 2,
                                  .host_rate = 4,
                                  .memory_rate = 8,
                                  .convert_rate = INFINITY};

static double total(atr_reduction reduction, const atr_cluster *cluster, double count, int wire_bytes)
{
    const atr_sum_cost cost = atr_reduction_cost(reduction, cluster, count, wire_bytes);

    return cost.wire + cost.host + cost.convert;
}

static double seconds(atr_reduction reduction, int64_t nodes, int64_t ranks, double bytes)
{
    atr_cluster cluster = plain;

    cluster.nodes = nodes;
    cluster.ranks = ranks;
    return total(reduction, &cluster, bytes / 4, 4);
}

static void near(double value, double wanted)
{
    if (!(fabs(value - wanted) <= 1e-9 * fabs(wanted)))
        fail_msg("%.12g, not %.12g", value, wanted);
}

static void each_reduction_takes_what_its_formula_says(void **state)
{
    (void)state;
    /* 4 nodes, 16 bytes. Ring: 6 rounds of 4 bytes; halving: 8, 4, 4, 8 bytes; both 6 or 4 a + 24/B + 12/C. */
    near(seconds(ATR_REDUCTION_RING, 4, 1, 16), 6 + 12 + 3);
    near(seconds(ATR_REDUCTION_HALVING, 4, 1, 16), 4 + 12 + 3);
    near(seconds(ATR_REDUCTION_TREE, 4, 1, 16), 4 * (1 + 8) + 2 * 4);
    near(seconds(ATR_REDUCTION_DOUBLING, 4, 1, 16), 2 * (1 + 8 + 4));
    /* 3 nodes: the tree has two levels; doubling and halving fold one node into another and have one round for two. */
    near(seconds(ATR_REDUCTION_RING, 3, 1, 12), 4 * (1 + 2) + 2);
    near(seconds(ATR_REDUCTION_TREE, 3, 1, 16), 4 * (1 + 8) + 2 * 4);
    near(seconds(ATR_REDUCTION_DOUBLING, 3, 1, 16), (1 + 8 + 4) + 2 * (1 + 8) + 4);
    near(seconds(ATR_REDUCTION_HALVING, 3, 1, 16), (2 * (1 + 4) + 2) + 3 + 2 * 8 + 2);
    /* Two: all by one round or two of everything or of halves. */
    near(seconds(ATR_REDUCTION_RING, 2, 1, 16), 2 * (1 + 4) + 2);
    near(seconds(ATR_REDUCTION_HALVING, 2, 1, 16), 2 * (1 + 4) + 2);
    near(seconds(ATR_REDUCTION_TREE, 2, 1, 16), 2 * (1 + 8) + 4);
}

static void flat_is_what_the_reducer_does(void **state)
{
    atr_cluster cluster = plain;

    (void)state;
    for (cluster.nodes = 1; cluster.nodes < 9; cluster.nodes++) {
        near(total(ATR_REDUCTION_FLAT, &cluster, 4e5, 4), total(ATR_REDUCTION_HALVING, &cluster, 4e5, 4));
        near(total(ATR_REDUCTION_FLAT, &cluster, 4e5, 2), total(ATR_REDUCTION_PAIRWISE, &cluster, 4e5, 2));
        near(total(ATR_REDUCTION_PAIRWISE, &cluster, 4e5, 2),
             total(ATR_REDUCTION_RING, &cluster, 4e5, 2)); /* where a node has one rank */
    }
}

static void ranks_of_a_node_share_its_link_and_its_memory(void **state)
{
    (void)state;
    /* One node of two ranks, 16 bytes: nothing on the wire. */
    near(seconds(ATR_REDUCTION_RING, 1, 2, 16), 2 * (1 + 16 / 8.0) + 2);
    near(seconds(ATR_REDUCTION_HIERARCHICAL, 1, 2, 16), 3 * 2 * 16 / 8.0 + 8 / 4.0);
    /* Four nodes of two: leaders alone go over the wire. */
    near(seconds(ATR_REDUCTION_HIERARCHICAL, 4, 2, 16),
         3 * 2 * 16 / 8.0 + 8 / 4.0 + seconds(ATR_REDUCTION_FLAT, 4, 1, 16));
    /* Halving with all eight: distances 4 and 2 cross the link with two ranks each (16 + 8 bytes), 1 stays inside (2 * 2). */
    near(seconds(ATR_REDUCTION_HALVING, 4, 2, 16), 6 + 2 * (16 + 8) / 2.0 + 2 * 4 / 8.0 + 14 / 4.0);
    /* The ring crosses each link once in a direction. Pairwise: six of eight pieces of both ranks cross it. */
    near(seconds(ATR_REDUCTION_PAIRWISE, 4, 2, 16), 2 * (7 + 6 * 2 * 2 / 2.0 + 2 * 2 / 8.0) + 7 * 2 / 4.0);
    near(seconds(ATR_REDUCTION_RING, 4, 2, 16), 14 * (1 + 2 / 2.0 + 4 / 8.0) + 7 * 2 / 4.0);
    assert_true(seconds(ATR_REDUCTION_HIERARCHICAL, 64, 8, 1e6) < seconds(ATR_REDUCTION_FLAT, 64, 8, 1e6));
}

static void one_rank_needs_no_network_and_a_perfect_one_takes_no_time(void **state)
{
    const atr_cluster perfect = {.nodes = 1000,
                                 .ranks = 3,
                                 .bandwidth = INFINITY,
                                 .host_rate = INFINITY,
                                 .memory_rate = INFINITY,
                                 .convert_rate = INFINITY};

    (void)state;
    for (int r = 0; r < ATR_REDUCTIONS; r++) {
        near(seconds((atr_reduction)r, 1, 1, 1e9), 0);
        near(total((atr_reduction)r, &perfect, 1e9, 2), 0);
    }
}

/* Known expectations: 1/sqrt(pi), 1.5/sqrt(pi), 3.2414. */
static void the_slowest_of_many_is_estimated(void **state)
{
    (void)state;
    near(atr_normal_largest(1), 0);
    assert_true(fabs(atr_normal_largest(2) - 0.5642) < 0.03);
    assert_true(fabs(atr_normal_largest(3) - 0.8463) < 0.03);
    assert_true(fabs(atr_normal_largest(1000) - 3.2414) < 0.03);
}

/* Four slices of 1000 values (4000 bytes), ready at 1, 2, 3 and 4 s of a backward of 4 s. */
static atr_trace_slice slices[] = {
    {0, 1000, {1, 1}}, {1000, 1000, {2, 2}}, {2000, 1000, {3, 3}}, {3000, 1000, {4, 4}}};
static const atr_step_trace trace = {.batch = 2,
                                     .steps = 1,
                                     .forward = {2, 2},
                                     .backward = {4, 4},
                                     .update = {1, 1},
                                     .slice_count = 4,
                                     .slices = slices};

static atr_forecast forecast(int64_t nodes, double rate, int64_t bucket, int64_t edge, int wire, bool overlap)
{
    const atr_cluster cluster = {.nodes = nodes,
                                 .ranks = 1,
                                 .latency = 0.25,
                                 .bandwidth = rate,
                                 .host_rate = INFINITY,
                                 .memory_rate = INFINITY,
                                 .convert_rate = INFINITY};
    const atr_reduction_plan plan = {.reduction = ATR_REDUCTION_RING,
                                     .bucket = bucket,
                                     .edge = edge,
                                     .wire_bytes = wire,
                                     .overlap = overlap};
    atr_forecast out;

    atr_forecast_step(&trace, ATR_TRACE_MEDIAN, &cluster, &plan, &out);
    return out;
}

static void buckets_follow_each_other_on_one_link(void **state)
{
    (void)state;
    /* Two nodes, 8000 bytes/s: a bucket of 1000 values takes 2 * 0.25 + 0.5 = 1 s. Three are hidden, the last begins at 4. */
    atr_forecast f = forecast(2, 8000, 1000, 1000, 4, true);
    assert_int_equal(f.buckets, 4);
    near(f.compute, 7);
    near(f.sums, 4);
    near(f.exposed, 1);
    near(f.step, 8);
    f = forecast(2, 8000, 1000, 1000, 4, false);
    near(f.exposed, 4);
    /* 4000 bytes/s: 1.5 s each, from 1 on without a gap: the end is 7, 3 s behind backward's. */
    near(forecast(2, 4000, 1000, 1000, 4, true).exposed, 3);
    /* bf16 halves the bytes. */
    near(forecast(2, 4000, 1000, 1000, 2, true).exposed, 1);
    /* 2000 values: at 2 and 4 s, 1.5 s each (8000 bytes/s). */
    f = forecast(2, 8000, 2000, 0, 4, true);
    assert_int_equal(f.buckets, 2);
    near(f.exposed, 1.5);
    /* Edges of 500: 500 at 1 (0.75 s), 2000 at 3 (1.5 s), 1000 and 500 at 4, when the link is free at 4.5: 1 s, 0.75 s. */
    f = forecast(2, 8000, 2000, 500, 4, true);
    assert_int_equal(f.buckets, 4);
    near(f.sums, 0.75 + 1.5 + 1 + 0.75);
    near(f.exposed, 2.25);
    /* All in one: nothing to hide behind. */
    f = forecast(2, 8000, 0, 0, 4, true);
    assert_int_equal(f.buckets, 1);
    near(f.exposed, 2.5);
}

/* Padding between parameters belongs to a bucket; what is frozen does not. */
static void buckets_end_where_frozen_parameters_begin(void **state)
{
    atr_trace_slice apart[] = {{0, 1000, {1, 1}}, {1008, 992, {2, 2}}, {3000, 1000, {4, 4}}};
    atr_step_trace with = trace;
    const atr_cluster cluster = {.nodes = 2,
                                 .ranks = 1,
                                 .bandwidth = 8000,
                                 .host_rate = INFINITY,
                                 .memory_rate = INFINITY,
                                 .convert_rate = INFINITY};
    const atr_reduction_plan plan = {
        .reduction = ATR_REDUCTION_RING, .bucket = 4000, .wire_bytes = 4, .overlap = true};
    atr_forecast f;

    (void)state;
    with.slices = apart;
    with.slice_count = 3;
    atr_forecast_step(&with, ATR_TRACE_MIN, &cluster, &plan, &f);
    assert_int_equal(f.buckets, 2);
    near(f.sums, 1.5);
    near(f.exposed, 0.5);
}

static void overlap_is_never_worse_and_one_node_or_a_perfect_network_cost_nothing(void **state)
{
    static const int64_t nodes[] = {1, 2, 3, 7, 64, 1000, 10000};

    (void)state;
    for (size_t n = 0; n < sizeof nodes / sizeof nodes[0]; n++)
        for (double rate = 100; rate < 1e9; rate *= 10)
            for (int64_t bucket = 0; bucket <= 4000; bucket += 1000) {
                const atr_forecast none = forecast(nodes[n], rate, bucket, bucket, 4, false);
                const atr_forecast over = forecast(nodes[n], rate, bucket, bucket, 4, true);
                assert_true(over.step <= none.step * (1 + 1e-12));
                assert_true(over.step >= over.compute && over.exposed >= 0);
                near(none.exposed, none.sums);
                if (nodes[n] == 1)
                    near(over.step, trace.forward[0] + trace.backward[0] + trace.update[0]);
            }
}

/* Two nodes, halving: 1000 values take 2 * 4000/2 / B = 1 s on the wire and 2000/C = 0.25 s of a thread. */
static void host_time_delays_a_thread_that_polls(void **state)
{
    const atr_cluster cluster = {.nodes = 2,
                                 .ranks = 1,
                                 .bandwidth = 4000,
                                 .host_rate = 8000,
                                 .memory_rate = INFINITY,
                                 .convert_rate = INFINITY};
    atr_reduction_plan plan = {
        .reduction = ATR_REDUCTION_FLAT, .bucket = 1000, .wire_bytes = 4, .overlap = true};
    atr_forecast f;

    (void)state;
    near(atr_reduction_cost(ATR_REDUCTION_FLAT, &cluster, 1000, 4).wire, 1);
    near(atr_reduction_cost(ATR_REDUCTION_FLAT, &cluster, 1000, 4).host, 0.25);
    near(atr_reduction_cost(ATR_REDUCTION_FLAT, &cluster, 1000, 2).host, 0.125);
    /* Buckets at 1, 2.25, 3.5 and 4.75, when backward ends, each 1 s. */
    atr_forecast_step(&trace, ATR_TRACE_MIN, &cluster, &plan, &f);
    near(f.exposed, 1.75);
    /* A thread of its own delays nobody: 1, 2, 3, 4. */
    plan.thread = true;
    atr_forecast_step(&trace, ATR_TRACE_MIN, &cluster, &plan, &f);
    near(f.exposed, 1);
    /* A wire ten times as fast, 0.1 s: the thread is what takes time. */
    atr_cluster fast = cluster;
    fast.bandwidth = 40000;
    atr_forecast_step(&trace, ATR_TRACE_MIN, &fast, &plan, &f);
    near(f.exposed, 0.25);
    plan.thread = false;
    atr_forecast_step(&trace, ATR_TRACE_MIN, &fast, &plan, &f);
    near(f.exposed, 0.75 + 0.25);
    plan.overlap = false;
    atr_forecast_step(&trace, ATR_TRACE_MIN, &fast, &plan, &f);
    near(f.exposed, 4 * 0.25);
}

/* Half of the bytes, but what is converted on the way takes the thread, and nobody moves data meanwhile: 1000 values of 4 bytes / K = 0.5 s. */
static void converting_to_bf16_takes_time_that_nothing_hides(void **state)
{
    const atr_cluster cluster = {.nodes = 2,
                                 .ranks = 1,
                                 .bandwidth = 4000,
                                 .host_rate = INFINITY,
                                 .memory_rate = INFINITY,
                                 .convert_rate = 8000};
    atr_reduction_plan plan = {
        .reduction = ATR_REDUCTION_FLAT, .bucket = 1000, .wire_bytes = 2, .overlap = false};
    atr_sum_cost cost = atr_reduction_cost(ATR_REDUCTION_FLAT, &cluster, 1000, 2);
    atr_forecast f;

    (void)state;
    near(cost.wire, 0.5);
    near(cost.convert, 0.5);
    near(atr_sum_seconds(cost), 1);
    near(atr_reduction_cost(ATR_REDUCTION_FLAT, &cluster, 1000, 4).convert, 0);
    near(atr_reduction_cost(ATR_REDUCTION_HIERARCHICAL, &cluster, 1000, 2).convert, 0.5);
    atr_forecast_step(&trace, ATR_TRACE_MIN, &cluster, &plan, &f);
    near(f.exposed, 4);
    /* Buckets at 1, 2.5, 4 and 5.5, when backward ends, each 1 s. */
    plan.overlap = true;
    atr_forecast_step(&trace, ATR_TRACE_MIN, &cluster, &plan, &f);
    near(f.exposed, 2.5);
    plan.thread = true; /* 1, 2, 3, 4 */
    atr_forecast_step(&trace, ATR_TRACE_MIN, &cluster, &plan, &f);
    near(f.exposed, 1);
}

static void small_calls_and_slow_ranks_add_to_the_step(void **state)
{
    atr_step_trace with = trace;
    const atr_cluster cluster = {.nodes = 2,
                                 .ranks = 1,
                                 .latency = 0.25,
                                 .bandwidth = INFINITY,
                                 .host_rate = INFINITY,
                                 .memory_rate = INFINITY,
                                 .convert_rate = INFINITY,
                                 .spread = 0.1};
    const atr_reduction_plan plan = {.reduction = ATR_REDUCTION_TREE, .wire_bytes = 4, .overlap = true};
    atr_forecast f;

    (void)state;
    with.before_count = 1;
    with.after_count = 2;
    atr_forecast_step(&with, ATR_TRACE_MIN, &cluster, &plan, &f);
    near(f.exposed, 2 * 0.25 + 3 * 0.25);
    near(f.waiting, 0.1 * atr_normal_largest(2));
    near(f.step, f.compute + f.exposed + f.waiting);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(each_reduction_takes_what_its_formula_says),
        cmocka_unit_test(flat_is_what_the_reducer_does),
        cmocka_unit_test(ranks_of_a_node_share_its_link_and_its_memory),
        cmocka_unit_test(one_rank_needs_no_network_and_a_perfect_one_takes_no_time),
        cmocka_unit_test(the_slowest_of_many_is_estimated),
        cmocka_unit_test(buckets_follow_each_other_on_one_link),
        cmocka_unit_test(buckets_end_where_frozen_parameters_begin),
        cmocka_unit_test(overlap_is_never_worse_and_one_node_or_a_perfect_network_cost_nothing),
        cmocka_unit_test(host_time_delays_a_thread_that_polls),
        cmocka_unit_test(converting_to_bf16_takes_time_that_nothing_hides),
        cmocka_unit_test(small_calls_and_slow_ranks_add_to_the_step),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
