/* Traces of steps: recorded, written, read; and `atrous simulate`, which goes by them. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <cmocka.h>
#include <jansson.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "apps/commands.h"
#include "apps/network_fit.h"
#include "apps/step_trace.h"
#include "tests/support/command.h"
#include "tests/support/network.h"
#include "tests/support/scratch.h"

static char *folder;

static int set_up(void **state)
{
    (void)state;
    folder = scratch_create();
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    scratch_remove(folder);
    return 0;
}

/* A file of the folder; valid until the end. */
static const char *file(const char *name)
{
    static char paths[8][4096];
    static int next;
    char *const path = paths[next++ % 8];

    snprintf(path, sizeof paths[0], "%s/%s", folder, name);
    return path;
}

static json_t *run_json(const char *trace, const char *option, const char *other)
{
    return command_json(command_run(atr_cmd_simulate, "simulate", trace, "--json", "--nodes", "1,2,16",
                                    "--spread", "0", "--host-gbyte", "20", option, other, NULL));
}

static void a_recorder_keeps_each_slices_figures(void **state)
{
    atr_step_recorder *recorder = NULL;
    atr_step_trace trace = {0};

    (void)state;
    must(atr_step_recorder_create(3, &recorder));
    assert_int_equal(atr_step_recorder_figures(recorder, &trace), ATR_ERR_USAGE);
    for (int step = 0; step < 3; step++) {
        atr_step_recorder_begin(recorder);
        for (int i = 0; i < 300; i++)
            must(atr_step_recorder_ready(recorder, 10 * i, 7));
        must(atr_step_recorder_end(recorder, 0, 5 + step, 2 - step * 0.5));
    }
    assert_int_equal(atr_step_recorder_ready(recorder, 0, 7), ATR_ERR_INTERNAL); /* a fourth step */
    must(atr_step_recorder_figures(recorder, &trace));
    assert_int_equal(trace.slice_count, 300);
    assert_int_equal(trace.steps, 3);
    assert_int_equal(atr_step_trace_elements(&trace), 2100);
    assert_true(trace.backward[ATR_TRACE_MIN] == 5 && trace.backward[ATR_TRACE_MEDIAN] == 6);
    assert_true(fabs(trace.spread - 1.4826 * 0.5) < 1e-9); /* steps of 7, 7.5 and 8 s */
    assert_true(trace.update[ATR_TRACE_MIN] == 1 && trace.update[ATR_TRACE_MEDIAN] == 1.5);
    for (int i = 1; i < 300; i++)
        for (int f = 0; f < ATR_TRACE_FIGURES; f++)
            assert_true(trace.slices[i].at[f] >= trace.slices[i - 1].at[f] && trace.slices[i].at[f] <= 5);
    atr_step_trace_free(&trace);
    atr_step_recorder_destroy(recorder);

    must(atr_step_recorder_create(2, &recorder));
    atr_step_recorder_begin(recorder);
    must(atr_step_recorder_ready(recorder, 0, 7));
    must(atr_step_recorder_end(recorder, 0, 1, 1));
    atr_step_recorder_begin(recorder);
    assert_int_equal(atr_step_recorder_ready(recorder, 7, 7),
                     ATR_ERR_INTERNAL); /* not as in the first step */
    atr_step_recorder_destroy(recorder);
}

static void a_trace_comes_back_as_it_was_written(void **state)
{
    const char *path = file("t.json");
    atr_trace_slice slices[] = {{0, 7, {0.001, 0.002}}, {16, 9, {0.003, 0.004}}};
    const atr_step_trace out = {.spread = 0.125,
                                .work = "a network",
                                .batch = 4,
                                .steps = 11,
                                .forward = {0.5, 0.625},
                                .backward = {1, 1.25},
                                .update = {0.25, 0.375},
                                .slice_count = 2,
                                .slices = slices,
                                .before_count = 1,
                                .after_count = 2,
                                .before = {192},
                                .after = {16, 336}};
    atr_step_trace in;

    (void)state;
    must(atr_step_trace_write(&out, path));
    must(atr_step_trace_read(path, &in));
    assert_string_equal(in.work, out.work);
    assert_true(in.spread == 0.125);
    assert_true(in.batch == 4 && in.steps == 11 && in.slice_count == 2);
    assert_true(in.before_count == 1 && in.before[0] == 192 && in.after_count == 2 && in.after[1] == 336);
    for (int f = 0; f < ATR_TRACE_FIGURES; f++) {
        assert_true(fabs(in.forward[f] - out.forward[f]) < 1e-9 &&
                    fabs(in.backward[f] - out.backward[f]) < 1e-9 &&
                    fabs(in.update[f] - out.update[f]) < 1e-9);
        for (int i = 0; i < 2; i++)
            assert_true(in.slices[i].offset == slices[i].offset && in.slices[i].count == slices[i].count &&
                        fabs(in.slices[i].at[f] - slices[i].at[f]) < 1e-9);
    }
    atr_step_trace_free(&in);
}

static void a_file_that_is_no_trace_says_what_is_wrong(void **state)
{
    static const char good[] =
        "{\"kind\": \"atrous step trace\", \"version\": 1, \"work\": \"w\", \"batch\": 1, \"steps\": 1, "
        "\"spread_ms\": 0.5, "
        "\"forward\": {\"min_ms\": 1, \"median_ms\": 1}, \"backward\": {\"min_ms\": 1, \"median_ms\": 2}, "
        "\"update\": {\"min_ms\": 1, \"median_ms\": 1}, \"collectives_before\": [8], \"collectives_after\": "
        "[], "
        "\"ready\": [{\"offset\": 0, \"count\": 5, \"min_ms\": 0, \"median_ms\": 1}]}";
    static const struct {
        const char *from, *to, *says;
    } cases[] = {{"atrous step trace", "a poem", "no step trace"},
                 {"\"version\": 1", "\"version\": 2", "no step trace"},
                 {"\"work\"", "\"word\"", "'work'"},
                 {"\"batch\": 1", "\"batch\": -1", "'batch'"},
                 {"\"spread_ms\": 0.5", "\"spread_ms\": -0.5", "'spread_ms'"},
                 {"\"forward\": {\"min_ms\": 1", "\"forward\": {\"min_ms\": -1", "'forward'"},
                 {"\"median_ms\": 2", "\"median_ms\": \"2\"", "'backward'"},
                 {"[8]", "[8,8,8,8,8,8,8,8,8]", "'collectives_before'"},
                 {"\"count\": 5", "\"count\": 5000000000000", "'ready'"},
                 {"\"median_ms\": 1}]", "\"median_ms\": 3}]", "'ready'"}, /* behind the end of backward */
                 {"[{\"offset\": 0, ", "[{\"offset\": 0.5, ", "'ready'"}};
    const char *path = file("bad.json");

    (void)state;
    scratch_write_text(path, good);
    command_expect(0, "efficiency", atr_cmd_simulate, "simulate", path, NULL);
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        const char *const at = strstr(good, cases[i].from);
        assert_non_null(at);
        char *text = NULL;
        must(atr_format(&text, "%.*s%s%s", (int)(at - good), good, cases[i].to, at + strlen(cases[i].from)));
        scratch_write_text(path, text);
        atr_free(text);
        command_expect(1, cases[i].says, atr_cmd_simulate, "simulate", path, NULL);
    }
}

static void wrong_options_are_refused(void **state)
{
    const char *path = file("t.json");

    (void)state;
    command_expect(2, "there is no 'star'", atr_cmd_simulate, "simulate", path, "--allreduce", "star", NULL);
    command_expect(2, "nodes", atr_cmd_simulate, "simulate", path, "--nodes", "0", NULL);
    command_expect(2, "1 needed", atr_cmd_simulate, "simulate", NULL);
    command_expect(1, "missing.json", atr_cmd_simulate, "simulate", file("missing.json"), NULL);
}

static double of(const json_t *results, const char *way, int overlap, int nodes, const char *member)
{
    size_t i;
    json_t *row;

    json_array_foreach(results, i,
                       row) if (strcmp(json_string_value(json_object_get(row, "allreduce")), way) == 0 &&
                                json_is_true(json_object_get(row, "overlap")) == overlap &&
                                json_integer_value(json_object_get(row, "nodes")) ==
                                    nodes) return json_number_value(json_object_get(row, member));
    fail_msg("no row of %s with %d nodes", way, nodes);
    return 0;
}

/* From this machine's own step: bench writes the trace, simulate reads it, every option counts. */
static void a_benchs_trace_makes_a_forecast(void **state)
{
    const char *path = file("bench.json"), *plot = file("p.png");
    atr_step_trace trace;

    (void)state;
    command_expect(0, NULL, atr_cmd_bench, "bench", "train", "--size", "33", "--threads", "1", "-n", "3",
                   "--warmup", "1", "--trace", path, NULL);
    must(atr_step_trace_read(path, &trace));
    assert_true(trace.slice_count > 100 && atr_step_trace_elements(&trace) > 5000000);
    assert_true(trace.slices[0].at[0] < trace.backward[0] / 2 && trace.batch == 2 && trace.steps == 3);
    assert_int_equal(trace.before_count, 1);
    atr_step_trace_free(&trace);

    json_t *const plain = run_json(path, NULL, NULL), *results = json_object_get(plain, "results");
    assert_int_equal(json_array_size(results), 4 * 3 * 2);
    assert_true(of(results, "ring", 1, 1, "efficiency") == 1 && of(results, "ring", 1, 1, "exposed_ms") == 0);
    assert_true(of(results, "ring", 1, 16, "step_ms") <= of(results, "ring", 0, 16, "step_ms"));
    assert_true(of(results, "ring", 0, 16, "exposed_ms") > of(results, "ring", 0, 16, "sums_ms"));
    const char *const changes[] = {"--wire=bf16", "--bandwidth-gbit=200", "--latency-us=0", "--bucket-mb=0",
                                   "--speed=2",   "--figure=min"};
    for (size_t i = 0; i < sizeof changes / sizeof changes[0]; i++) {
        json_t *const changed = run_json(path, changes[i], i == 0 ? "--convert-gbyte=0" : NULL);
        assert_true(of(json_object_get(changed, "results"), "ring", 0, 16, "step_ms") <
                    of(results, "ring", 0, 16, "step_ms"));
        json_decref(changed);
    }
    json_t *const busy = run_json(path, "--host-gbyte=1", NULL);
    assert_true(of(json_object_get(busy, "results"), "ring", 0, 16, "step_ms") >
                of(results, "ring", 0, 16, "step_ms"));
    json_decref(busy);
    json_t *const half = run_json(path, "--wire=bf16", "--convert-gbyte=0"), *const converted = run_json(
                                                                                 path, "--wire=bf16",
                                                                                 "--convert-gbyte=0.1");
    assert_true(of(json_object_get(converted, "results"), "ring", 0, 16, "step_ms") >
                of(json_object_get(half, "results"), "ring", 0, 16, "step_ms"));
    json_decref(half);
    json_decref(converted);
    json_t *const wide = run_json(path, "--ranks-per-node=4", NULL),
                  *of_wide = json_object_get(wide, "results");
    json_t *const slow = run_json(path, "--ranks-per-node=4", "--memory-gbyte=0.1");
    json_t *const uneven = run_json(path, "--spread=5", NULL), *const thread =
                                                                   run_json(path, "--progress=thread", NULL);
    assert_true(of(of_wide, "ring", 0, 16, "step_ms") > of(results, "ring", 0, 16, "step_ms"));
    assert_true(of(of_wide, "hierarchical", 0, 16, "step_ms") <
                of(json_object_get(slow, "results"), "hierarchical", 0, 16, "step_ms"));
    assert_true(of(json_object_get(uneven, "results"), "ring", 0, 16, "waiting_ms") > 0);
    assert_true(of(json_object_get(thread, "results"), "ring", 1, 16, "step_ms") <
                of(results, "ring", 1, 16, "step_ms"));
    json_decref(wide);
    json_decref(slow);
    json_decref(uneven);
    json_decref(thread);
    json_decref(plain);
    if (system("gnuplot --version >/dev/null 2>&1") != 0)
        skip();
    command_expect(0, "ring: 2(p-1) a", atr_cmd_simulate, "simulate", path, "--plot", plot, NULL);
    size_t size = 0;
    uint8_t *const png = scratch_read(plot, &size);
    assert_true(size > 1000 && memcmp(png + 1, "PNG", 3) == 0);
    free(png);
}

/* 50 us and 1000 bytes/us. A small size that a buffer took, a size with a lost packet, other methods and broken rows do not count. */
static void a_measured_network_is_fitted(void **state)
{
    static const char rows[] = "{\"sums\": [{\"method\": \"exchange\", \"mb\": 0.0001, \"median_ms\": 0.05},"
                               "{\"method\": \"exchange\", \"mb\": 0.1, \"median_ms\": 0.06},"
                               "{\"method\": \"exchange\", \"mb\": 4, \"median_ms\": 200},"
                               "{\"method\": \"exchange\", \"mb\": 10, \"median_ms\": 10.05},"
                               "{\"method\": \"exchange\", \"mb\": 9}, {\"mb\": 9, \"median_ms\": 5},"
                               "{\"method\": \"flat f32\", \"mb\": 9, \"median_ms\": 2}]}";
    const char *path = file("comm.json"), *bad = file("nothing.json");
    double latency = 0, bandwidth = 0;

    (void)state;
    scratch_write_text(path, rows);
    must(atr_network_fit(path, &latency, &bandwidth));
    assert_true(fabs(latency - 50e-6) < 1e-9 && fabs(bandwidth / 1e9 - 1) < 1e-6);
    scratch_write_text(bad, "{\"sums\": [{\"method\": \"exchange\", \"mb\": 1, \"median_ms\": 1}]}");
    assert_int_equal(atr_network_fit(bad, &latency, &bandwidth), ATR_ERR_DATA);
    scratch_write_text(bad, "[1");
    assert_int_equal(atr_network_fit(bad, &latency, &bandwidth), ATR_ERR_DATA);
    command_expect(0, "a = 50 us, B = 8 Gbit/s", atr_cmd_simulate, "simulate", file("t.json"), "--network",
                   path, NULL);
    command_expect(2, "--network goes without", atr_cmd_simulate, "simulate", file("t.json"), "--network",
                   path, "--latency-us", "1", NULL);
}

static void options_of_training_are_refused_elsewhere(void **state)
{
    (void)state;
    command_expect(2, "bench train", atr_cmd_bench, "bench", "inference", "--size", "33", "--trace", "x.json",
                   NULL);
    command_expect(2, "bench train", atr_cmd_bench, "bench", "--size", "33", "--against-alone", NULL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_recorder_keeps_each_slices_figures),
        cmocka_unit_test(a_trace_comes_back_as_it_was_written),
        cmocka_unit_test(a_file_that_is_no_trace_says_what_is_wrong),
        cmocka_unit_test(wrong_options_are_refused),
        cmocka_unit_test(a_benchs_trace_makes_a_forecast),
        cmocka_unit_test(a_measured_network_is_fitted),
        cmocka_unit_test(options_of_training_are_refused_elsewhere),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
