/* `atrous bench` in the form that machines read, and `atrous sample`. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <cmocka.h>
#include <jansson.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "apps/commands.h"
#include "core/cpu.h"
#include "io/image.h"
#include "io/path.h"
#include "tests/support/command.h"
#include "tests/support/model.h"
#include "tests/support/network.h"
#include "tests/support/scratch.h"

static json_t *bench(const char *what, const char *extra)
{
    return command_json(command_run(atr_cmd_bench, "bench", what, "--json", "--size", "33x49", "--classes",
                                    "4", "-n", "3", "--warmup", "1", "--threads", "1", extra, NULL));
}

static double number(const json_t *object, const char *key)
{
    const json_t *value = json_object_get(object, key);

    if (!json_is_number(value))
        fail_msg("'%s' is no number", key);
    return json_number_value(value);
}

static const char *text(const json_t *object, const char *key)
{
    const char *value = json_string_value(json_object_get(object, key));

    return value != NULL ? value : "(none)";
}

static void the_figures_are_all_there_and_fit_each_other(void **state)
{
    (void)state;
    for (int training = 0; training < 2; training++) {
        json_t *o = bench(training ? "train" : "inference", NULL);
        assert_string_equal(text(o, "work"), training ? "train" : "inference");
        assert_string_equal(text(o, "backbone"), "mobilenetv2");
        assert_string_equal(text(o, "precision"), "f32");
        assert_string_equal(text(o, "isa"), atr_isa_name(atr_isa_level()));
        assert_true(number(o, "batch") == (training ? 2 : 1));
        assert_true(number(o, "height") == 33 && number(o, "width") == 49 && number(o, "classes") == 4);
        assert_true(number(o, "threads") == 1 && number(o, "repeats") == 3);
        const double min = number(o, "min_ms"), median = number(o, "median_ms"), p95 = number(o, "p95_ms");
        assert_true(0 < min && min <= median && median <= p95);
        const double rate = number(o, "batch") / median * 1e3;
        assert_true(number(o, "images_per_s") > 0.999 * rate && number(o, "images_per_s") < 1.001 * rate);
        assert_true(number(o, "cold_start_s") > 0);
        assert_true(number(o, "arena_mib") > 0 && number(o, "peak_rss_mib") > number(o, "arena_mib"));
        assert_true(number(o, "gflop") > 0);
        assert_null(json_object_get(o, "steps"));
        json_decref(o);
    }
}

/* A small model file under `folder`, of made-up weights. */
static const char *model_in(const char *folder)
{
    const char *path = scratch_text("%s/model.h5", folder);

    model_write(path, 4, NULL);
    return path;
}

static void a_model_file_brings_its_network(void **state)
{
    char *folder = scratch_create();
    const char *path = model_in(folder);
    double loss[2];

    (void)state;
    for (int i = 0; i < 2; i++) {
        json_t *o = command_json(command_run(atr_cmd_bench, "bench", "train", "--json", "--size", "33x49",
                                             "-n", i == 0 ? "1" : "2", "--warmup", "0", "--threads", "1",
                                             "--model", path, "--no-dropout", NULL));
        assert_true(number(o, "classes") == 4);
        loss[i] = number(o, "loss");
        assert_true(loss[i] > 0);
        json_decref(o);
    }
    assert_true(loss[0] == loss[1]); /* nothing is drawn, nothing is learned */
    for (int labels = 0; labels < 2; labels++) {
        json_t *o = command_json(command_run(atr_cmd_bench, "bench", "--json", "--size", "33x49", "-n", "1",
                                             "--warmup", "1", "--threads", "1", "--model", path,
                                             labels ? "--labels" : NULL, NULL));
        assert_string_equal(text(o, "output"), labels ? "labels" : "scores");
        assert_string_equal(text(o, "backbone"), "mobilenetv2");
        json_decref(o);
    }
    command_expect(2, "has its own --classes", atr_cmd_bench, "bench", "--model", path, "--classes", "4",
                   NULL);
    command_expect(2, "bench train", atr_cmd_bench, "bench", "--no-dropout", NULL);
    command_expect(2, "bench inference", atr_cmd_bench, "bench", "train", "--labels", NULL);
    command_expect(1, "none.h5", atr_cmd_bench, "bench", "--model", "/none.h5", NULL);
    scratch_remove(folder);
}

static void a_profile_has_the_time_of_each_step(void **state)
{
    json_t *o = bench("train", "--profile");
    const json_t *steps = json_object_get(o, "steps");
    double sum = 0;

    (void)state;
    assert_true(json_array_size(steps) > 50);
    for (size_t i = 0; i < json_array_size(steps); i++) {
        const json_t *step = json_array_get(steps, i);
        assert_true(strlen(text(step, "name")) > 0);
        assert_true(number(step, "forward_ms") >= 0 && number(step, "backward_ms") >= 0);
        sum += number(step, "forward_ms") + number(step, "backward_ms");
    }
    assert_true(sum > 0);
    json_decref(o);
}

static void a_profile_tells_kinds_of_steps_beside_the_limits(void **state)
{
    json_t *o = bench("train", "--profile");
    const json_t *kinds = json_object_get(o, "kinds"), *limits = json_object_get(o, "limits");
    bool depthwise = false, loss = false;
    double sum = 0, share = 0;

    (void)state;
    assert_true(number(limits, "gflop_per_s") > 0 && number(limits, "gb_per_s") > 0);
    for (size_t i = 0; i < json_array_size(kinds); i++) {
        const json_t *kind = json_array_get(kinds, i);
        const double ms = number(kind, "forward_ms") + number(kind, "backward_ms");
        assert_true(ms > 0);
        sum += ms;
        share += number(kind, "share_of_time");
        loss = loss || strcmp(text(kind, "kind"), "loss") == 0;
        if (strcmp(text(kind, "kind"), "depthwise convolution") == 0) {
            depthwise = true;
            assert_true(number(kind, "steps") == 17 && number(kind, "backward_ms") > 0);
            assert_true(number(kind, "gflop_per_s") > 0 && number(kind, "gb_per_s") > 0);
            assert_true(number(kind, "share_of_limit") > 0);
        }
    }
    assert_true(depthwise && loss);
    /* The kinds are the whole run, or less than it where minima come from different runs. */
    assert_true(sum <= number(o, "min_ms") * 1.001 && share > 0.99 && share < 1.01);
    json_decref(o);
}

/* Milliseconds backward of the backbone's steps, and whether its batch norms are steps of their own. */
static double backbone_backward(const json_t *o, bool *norms)
{
    const json_t *steps = json_object_get(o, "steps");
    double sum = 0;

    *norms = false;
    for (size_t i = 0; i < json_array_size(steps); i++) {
        const json_t *step = json_array_get(steps, i);
        if (strncmp(text(step, "name"), "backbone.", 9) != 0)
            continue;
        sum += number(step, "backward_ms");
        *norms = *norms || strcmp(text(step, "name"), "backbone.features.0.1") == 0;
    }
    return sum;
}

static void a_frozen_backbone_has_no_backward(void **state)
{
    static const struct {
        const char *option;
        bool norms, backward;
    } rows[] = {{NULL, true, true}, {"--frozen=batch", true, false}, {"--frozen=running", false, false}};
    double arena[3], gflop[3];

    (void)state;
    for (int i = 0; i < 3; i++) {
        bool norms = false;
        json_t *o = command_json(command_run(atr_cmd_bench, "bench", "train", "--json", "--size", "33x49",
                                             "--classes", "4", "-n", "1", "--warmup", "0", "--threads", "1",
                                             "--profile", rows[i].option, NULL));
        const double backward = backbone_backward(o, &norms);
        assert_true(norms == rows[i].norms);
        assert_true(rows[i].backward ? backward > 0 : backward == 0);
        arena[i] = number(o, "arena_mib");
        gflop[i] = number(o, "gflop");
        json_decref(o);
    }
    assert_true(arena[1] < arena[0] && arena[2] < arena[0]);
    assert_true(gflop[1] < gflop[0] && fabs(gflop[2] / gflop[1] - 1) < 1e-9);
    command_expect(2, "belongs to `atrous bench train`", atr_cmd_bench, "bench", "inference", "--frozen",
                   "batch", NULL);
    command_expect(2, "running, batch", atr_cmd_bench, "bench", "train", "--frozen", "half", NULL);
}

static void a_rewrite_that_is_switched_off_is_not_in_the_plan(void **state)
{
    json_t *with = bench("inference", "--profile"), *without[3];
    const char *const switches[3] = {"--rewrite=-resized", "--rewrite=-fold-norm,-resized", "--rewrite=-all"};
    size_t steps = json_array_size(json_object_get(with, "steps"));

    (void)state;
    for (int i = 0; i < 3; i++) {
        json_t *profiled = NULL;
        command_result r =
            command_run(atr_cmd_bench, "bench", "inference", "--json", "--size", "33x49", "--classes", "4",
                        "-n", "1", "--warmup", "0", "--threads", "1", "--profile", switches[i], NULL);
        assert_int_equal(r.exit_code, 0);
        profiled = json_loads(r.out, 0, NULL);
        assert_non_null(profiled);
        without[i] = profiled;
        const size_t count = json_array_size(json_object_get(profiled, "steps"));
        assert_true(count > steps); /* each takes away more than the one before */
        steps = count;
        command_free(&r);
    }
    for (int i = 0; i < 3; i++)
        json_decref(without[i]);
    json_decref(with);
}

static void wrong_usage_says_what_there_is(void **state)
{
    (void)state;
    command_expect(2, "inference, train", atr_cmd_bench, "bench", "sleep", NULL);
    command_expect(2, "mobilenetv2", atr_cmd_bench, "bench", "--backbone", "resnet", "--size", "33", NULL);
    command_expect(2, "between 1 and", atr_cmd_bench, "bench", "--size", "0x5", NULL);
    command_expect(2, "fold-norm, norm-act", atr_cmd_bench, "bench", "--rewrite", "fold-norm", "--size", "33",
                   NULL);
    command_expect(2, "fold-norm, norm-act", atr_cmd_bench, "bench", "--rewrite", "-nothing", "--size", "33",
                   NULL);
    command_expect(1, "have: ", atr_cmd_bench, "bench", "--backend", "cuda", "--size", "33", NULL);
}

static void a_sample_is_the_same_everywhere_and_never_drawn_over_by_accident(void **state)
{
    char *folder = scratch_create();
    size_t size[2];
    uint8_t *bytes[2];

    (void)state;
    for (int i = 0; i < 2; i++)
        command_expect(0, "6 pictures of 40x24 pixels, 2 of them for validation", atr_cmd_sample, "sample",
                       scratch_text("%s/%d", folder, i), "-n", "6", "--width", "40", "--height", "24",
                       "--val", "0.3", NULL);
    for (int i = 0; i < 2; i++)
        bytes[i] = scratch_read(scratch_text("%s/%d/JPEGImages/shape_00005.jpg", folder, i), &size[i]);
    assert_int_equal(size[0], size[1]);
    assert_memory_equal(bytes[0], bytes[1], size[0]);
    command_expect(2, "--force", atr_cmd_sample, "sample", scratch_text("%s/0", folder), NULL);
    command_expect(0, NULL, atr_cmd_sample, "sample", scratch_text("%s/0", folder), "-n", "4", "--force",
                   NULL);
    command_expect(1, "cannot make the folder", atr_cmd_sample, "sample", "/dev/null/x", NULL);
    for (int i = 0; i < 2; i++)
        free(bytes[i]);
    scratch_remove(folder);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_figures_are_all_there_and_fit_each_other),
        cmocka_unit_test(a_model_file_brings_its_network),
        cmocka_unit_test(a_profile_has_the_time_of_each_step),
        cmocka_unit_test(a_profile_tells_kinds_of_steps_beside_the_limits),
        cmocka_unit_test(a_frozen_backbone_has_no_backward),
        cmocka_unit_test(a_rewrite_that_is_switched_off_is_not_in_the_plan),
        cmocka_unit_test(wrong_usage_says_what_there_is),
        cmocka_unit_test(a_sample_is_the_same_everywhere_and_never_drawn_over_by_accident),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
