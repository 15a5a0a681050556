#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "core/graph.h"

static atr_graph *make(int64_t channels, int *input)
{
    atr_graph *graph = NULL;

    assert_int_equal(atr_graph_create(&graph), ATR_OK);
    assert_int_equal(atr_graph_input(graph, channels, input), ATR_OK);
    return graph;
}

static const atr_conv_spec dense = {
    .out_channels = 8, .kernel = 3, .stride = 1, .pad = 1, .dilation = 1, .groups = 1, .bias = true};

static void nodes_know_inputs_channels_and_parameters(void **state)
{
    int x = -1, conv = -1, norm = -1, act = -1, pool = -1, join = -1;
    atr_graph *graph = make(3, &x);

    (void)state;
    assert_int_equal(atr_graph_conv(graph, "stem", x, dense, &conv), ATR_OK);
    assert_int_equal(atr_graph_norm(graph, "bn", conv, 0.1, 1e-5, &norm), ATR_OK);
    assert_int_equal(atr_graph_act(graph, "relu", norm, ATR_ACT_RELU6, &act), ATR_OK);
    assert_int_equal(atr_graph_global_pool(graph, "pool", act, &pool), ATR_OK);
    assert_int_equal(atr_graph_resize(graph, "up", pool, act, &pool), ATR_OK);
    assert_int_equal(atr_graph_concat(graph, "cat", (const int[]){act, x, pool}, 3, &join), ATR_OK);
    assert_int_equal(atr_graph_count(graph), 7);
    assert_int_equal(atr_graph_node(graph, join)->channels, 8 + 3 + 8);
    assert_int_equal(atr_graph_node(graph, join)->inputs[1], x);
    assert_int_equal(atr_graph_node(graph, act)->act, ATR_ACT_RELU6);
    const atr_param_spec *specs = atr_graph_param_specs(graph);
    assert_int_equal(atr_graph_param_count(graph), 7);
    assert_string_equal(specs[0].name, "stem.weight");
    assert_int_equal(specs[0].dims[0], 8);
    assert_int_equal(specs[0].dims[1], 3);
    assert_string_equal(specs[1].name, "stem.bias");
    assert_string_equal(specs[2].name, "bn.weight");
    assert_string_equal(specs[6].name, "bn.num_batches_tracked");
    assert_int_equal(atr_graph_node(graph, conv)->conv.bias, 1);
    assert_int_equal(atr_graph_node(graph, norm)->norm.running_var, 5);
    atr_graph_destroy(graph);
}

static void groups_divide_both_channel_counts(void **state)
{
    int x = -1, y = -1;
    atr_graph *graph = make(6, &x);
    atr_conv_spec spec = dense;

    (void)state;
    spec.bias = false;
    spec.out_channels = 6;
    spec.groups = 6;
    assert_int_equal(atr_graph_conv(graph, "dw", x, spec, &y), ATR_OK);
    assert_int_equal(atr_graph_param_specs(graph)[0].dims[1], 1);
    assert_int_equal(atr_graph_node(graph, y)->conv.bias, -1);
    spec.groups = 4;
    assert_int_equal(atr_graph_conv(graph, "bad", x, spec, &y), ATR_ERR_SHAPE);
    atr_graph_destroy(graph);
}

static void what_does_not_fit_is_refused(void **state)
{
    int x = -1, y = -1, z = -1;
    atr_graph *graph = make(3, &x);
    atr_conv_spec spec = dense;
    const int nine[9] = {0};

    (void)state;
    assert_int_equal(atr_graph_conv(graph, "conv", x, spec, &y), ATR_OK);
    assert_int_equal(atr_graph_add(graph, "add", x, y, &z), ATR_ERR_SHAPE);
    assert_non_null(strstr(atr_status_message(), "3 and 8"));
    assert_int_equal(atr_graph_act(graph, "act", 99, ATR_ACT_RELU, &z), ATR_ERR_USAGE);
    assert_int_equal(atr_graph_act(graph, "act", -1, ATR_ACT_RELU, &z), ATR_ERR_USAGE);
    assert_int_equal(atr_graph_dropout(graph, "drop", x, 1.0, &z), ATR_ERR_USAGE);
    assert_int_equal(atr_graph_dropout(graph, "drop", x, -0.1, &z), ATR_ERR_USAGE);
    assert_int_equal(atr_graph_concat(graph, "cat", nine, 9, &z), ATR_ERR_UNSUPPORTED);
    assert_int_equal(atr_graph_concat(graph, "cat", nine, 0, &z), ATR_ERR_USAGE);
    assert_int_equal(atr_graph_input(graph, 0, &z), ATR_ERR_SHAPE);
    spec.dilation = 0;
    assert_int_equal(atr_graph_conv(graph, "conv", x, spec, &z), ATR_ERR_SHAPE);
    assert_int_equal(z, -1);
    atr_graph_destroy(graph);
}

static void a_graph_grows_as_long_as_one_adds(void **state)
{
    int x = -1;
    atr_graph *graph = make(4, &x);
    atr_conv_spec spec = dense;

    (void)state;
    spec.out_channels = 4;
    for (int i = 0; i < 700; i++)
        assert_int_equal(atr_graph_conv(graph, "conv", x, spec, &x), ATR_OK);
    assert_int_equal(atr_graph_count(graph), 701);
    assert_int_equal(atr_graph_param_count(graph), 1400);
    assert_int_equal(atr_graph_node(graph, 700)->inputs[0], 699);
    assert_int_equal(atr_graph_node(graph, 700)->conv.weight, 1398);
    atr_graph_destroy(graph);
}

static void names_that_do_not_fit_are_refused(void **state)
{
    char name[200];
    int x = -1, y = -1;
    atr_graph *graph = make(3, &x);

    (void)state;
    memset(name, 'n', sizeof name - 1);
    name[sizeof name - 1] = '\0';
    assert_int_equal(atr_graph_conv(graph, name, x, dense, &y), ATR_ERR_USAGE);
    atr_graph_destroy(graph);
}

static void taps_start_unset(void **state)
{
    int x = -1;
    atr_graph *graph = make(3, &x);

    (void)state;
    for (int tap = 0; tap < ATR_TAPS; tap++)
        assert_int_equal(atr_graph_tap(graph, (atr_tap)tap), -1);
    atr_graph_set_tap(graph, ATR_TAP_LOGITS, x);
    assert_int_equal(atr_graph_tap(graph, ATR_TAP_LOGITS), x);
    atr_graph_destroy(graph);
    atr_graph_destroy(NULL);
}

static void shapes_follow_the_formula_of_each_operation(void **state)
{
    int x = -1, wide = -1, pool = -1, join = -1;
    int64_t shapes[6][4];
    atr_conv_spec strided = dense;
    atr_graph *graph = make(3, &x);

    (void)state;
    strided.stride = 2;
    strided.kernel = 5;
    strided.dilation = 2;
    assert_int_equal(atr_graph_conv(graph, "wide", x, strided, &wide), ATR_OK);
    assert_int_equal(atr_graph_global_pool(graph, "pool", wide, &pool), ATR_OK);
    assert_int_equal(atr_graph_resize(graph, "up", pool, wide, &pool), ATR_OK);
    assert_int_equal(atr_graph_concat(graph, "cat", (const int[]){wide, pool}, 2, &join), ATR_OK);
    assert_int_equal(atr_graph_shapes(graph, 2, 20, 9, shapes), ATR_OK);
    /* (20 + 2 - 2 4 - 1) / 2 + 1 = 7, (9 + 2 - 8 - 1) / 2 + 1 = 2 */
    const int64_t wanted[5][4] = {{2, 20, 9, 3}, {2, 7, 2, 8}, {2, 1, 1, 8}, {2, 7, 2, 8}, {2, 7, 2, 16}};
    assert_memory_equal(shapes, wanted, sizeof wanted);
    assert_int_equal(atr_conv_macs(&atr_graph_node(graph, wide)->conv, shapes[wide]), 2 * 7 * 2 * 8 * 3 * 25);
    assert_int_equal(atr_graph_shapes(graph, 1, 6, 9, shapes), ATR_ERR_SHAPE);
    assert_int_equal(atr_graph_concat(graph, "misfit", (const int[]){wide, x}, 2, &join), ATR_OK);
    assert_int_equal(atr_graph_shapes(graph, 2, 20, 9, shapes), ATR_ERR_SHAPE);
    assert_non_null(strstr(atr_status_message(), "misfit: inputs of 7x2 and 20x9 pixels"));
    atr_graph_destroy(graph);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(nodes_know_inputs_channels_and_parameters),
        cmocka_unit_test(groups_divide_both_channel_counts),
        cmocka_unit_test(what_does_not_fit_is_refused),
        cmocka_unit_test(a_graph_grows_as_long_as_one_adds),
        cmocka_unit_test(names_that_do_not_fit_are_refused),
        cmocka_unit_test(taps_start_unset),
        cmocka_unit_test(shapes_follow_the_formula_of_each_operation),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
