/* `atrous info --layers` against numbers that were counted elsewhere: multiply-accumulates and outputs of the convolutions by hooks on
 * the PyTorch reference's modules, parameters from the key lists of the golden data, and arithmetic as `bench` plans it. */
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
#include "apps/session.h"
#include "tests/support/command.h"
#include "tests/support/network.h"
#include "tests/support/scratch.h"

enum { MOST_CASES = 16, PARTS = 4 };

static const char *const part_names[PARTS] = {"backbone", "aspp", "decoder", "head"};

static json_t *layers_of(const char *backbone, const char *stride, const char *classes, const char *size)
{
    return command_json(command_run(atr_cmd_info, "info", "--layers", "--json", "--backbone", backbone,
                                    "--output-stride", stride, "--classes", classes, "--size", size, NULL));
}

static int64_t number(const json_t *object, const char *key)
{
    const json_t *value = json_object_get(object, key);

    if (!json_is_integer(value))
        fail_msg("'%s' is no number", key);
    return json_integer_value(value);
}

/* Counted by forward hooks on every Conv2d of the reference; the decoder is its shortcut_conv and cat_conv. */
static const struct {
    const char *backbone, *stride, *classes, *size;
    int64_t macs[PARTS], conv_bytes, parameters[PARTS];
} counted[] = {
    {"mobilenetv2",
     "16",
     "21",
     "512",
     {2380267520, 2684436480, 21158166528, 88080384},
     203490304,
     {1811712, 2707968, 1293072, 5397}},
    {"mobilenetv2",
     "8",
     "21",
     "97x129",
     {411858688, 579420160, 1065398400, 4435200},
     20474100,
     {1811712, 2707968, 1293072, 5397}},
    {"xception",
     "16",
     "21",
     "512x512",
     {46023352320, 15368454144, 21340618752, 88080384},
     681051136,
     {37867312, 15536640, 1304208, 5397}},
    {"xception",
     "8",
     "5",
     "97x129",
     {8539907904, 3317235712, 1074585600, 1056000},
     94397588,
     {37867312, 15536640, 1304208, 1285}},
    {"xception",
     "8",
     "21",
     "512",
     {158714167296, 61472243712, 21340618752, 88080384},
     1772815360,
     {37867312, 15536640, 1304208, 5397}},
};

static void arithmetic_and_sizes_are_those_that_hooks_on_the_reference_count(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof counted / sizeof counted[0]; i++) {
        json_t *o = layers_of(counted[i].backbone, counted[i].stride, counted[i].classes, counted[i].size);
        const json_t *cost = json_object_get(o, "cost"), *parts = json_object_get(cost, "parts");
        int64_t macs = 0, parameters = 0;
        for (int p = 0; p < PARTS; p++) {
            const json_t *part = json_object_get(parts, part_names[p]);
            assert_int_equal(number(part, "macs"), counted[i].macs[p]);
            assert_int_equal(number(part, "parameters"), counted[i].parameters[p]);
            macs += counted[i].macs[p];
            parameters += counted[i].parameters[p];
        }
        assert_int_equal(number(json_object_get(cost, "total"), "macs"), macs);
        assert_int_equal(number(json_object_get(cost, "total"), "parameters"), parameters);
        int64_t conv_bytes = 0;
        size_t at;
        json_t *layer;
        json_array_foreach(json_object_get(cost, "layers"), at, layer)
        {
            if (json_object_get(layer, "kernel") != NULL)
                conv_bytes += number(layer, "output_bytes");
        }
        assert_int_equal(conv_bytes, counted[i].conv_bytes);
        json_decref(o);
    }
}

/* Trainable numbers of a golden case by part, from its list of keys. */
static void count_keys(const atr_h5 *golden, const parity_case *c, int64_t parameters[PARTS])
{
    static const char *const prefixes[] = {"backbone.", "aspp.", "shortcut_conv.", "cat_conv.", "cls_conv."};
    static const int part_of[] = {0, 1, 2, 2, 3};
    char **texts = NULL;
    int64_t count = 0;
    size_t at, d;
    json_t *key, *extent;

    must(atr_h5_read_texts(golden, scratch_text("%.60s/keys_json", c->group), &texts, &count));
    json_t *keys = json_loads(texts[0], 0, NULL);
    assert_true(json_array_size(keys) > 100);
    memset(parameters, 0, PARTS * sizeof *parameters);
    json_array_foreach(keys, at, key)
    {
        const char *name = json_string_value(json_object_get(key, "name")),
                   *kind = json_string_value(json_object_get(key, "kind"));
        int64_t elements = 1;
        int part = -1;
        if (strstr(kind, "running") != NULL || strstr(kind, "tracked") != NULL)
            continue;
        json_array_foreach(json_object_get(key, "shape"), d, extent) elements *= json_integer_value(extent);
        for (size_t i = 0; i < sizeof prefixes / sizeof prefixes[0]; i++)
            if (strncmp(name, prefixes[i], strlen(prefixes[i])) == 0)
                part = part_of[i];
        assert_true(part >= 0);
        parameters[part] += elements;
    }
    json_decref(keys);
    atr_h5_names_free(texts, count);
}

static void parameters_are_those_of_the_golden_keys(void **state)
{
    atr_h5 *golden = parity_open();
    parity_case cases[MOST_CASES];
    int found;

    (void)state;
    if (golden == NULL)
        skip();
    found = parity_cases(golden, "mobilenet", cases, MOST_CASES);
    found += parity_cases(golden, "xception", cases + found, MOST_CASES - found);
    assert_true(found >= 10);
    for (int i = 0; i < found; i++) {
        const parity_case *c = &cases[i];
        const bool small = strcmp(c->backbone, "mobilenet") == 0;
        int64_t parameters[PARTS];
        char stride[8], classes[8], size[32];
        snprintf(stride, sizeof stride, "%d", (int)c->output_stride);
        snprintf(classes, sizeof classes, "%d", (int)c->classes);
        snprintf(size, sizeof size, "%dx%d", (int)c->height, (int)c->width);
        count_keys(golden, c, parameters);
        json_t *o = layers_of(small ? "mobilenetv2" : "xception", stride, classes, size);
        const json_t *parts = json_object_get(json_object_get(o, "cost"), "parts");
        for (int p = 0; p < PARTS; p++)
            assert_int_equal(number(json_object_get(parts, part_names[p]), "parameters"), parameters[p]);
        json_decref(o);
    }
    atr_h5_destroy(golden);
}

/* A plan merges and rewrites layers; what it computes stays the same. */
static void arithmetic_is_that_of_the_plan(void **state)
{
    const atr_backbone *backbone;

    (void)state;
    for (int i = 0; (backbone = atr_backbone_at(i)) != NULL; i++) {
        json_t *o = layers_of(backbone->name, "8", "4", "33x49");
        json_t *bench = command_json(command_run(atr_cmd_bench, "bench", "--backbone", backbone->name,
                                                 "--output-stride", "8", "--classes", "4", "--size", "33x49",
                                                 "-n", "1", "--warmup", "0", "--json", NULL));
        const double gflop =
            2e-9 * (double)number(json_object_get(json_object_get(o, "cost"), "total"), "macs");
        assert_true(fabs(json_real_value(json_object_get(bench, "gflop")) / gflop - 1) < 1e-5);
        json_decref(o);
        json_decref(bench);
    }
}

static void sums_are_those_of_the_layers_at_any_size(void **state)
{
    static const char *const sizes[] = {"1", "1x2", "31x33", "360x480", "4096x16384"};
    static const char *const members[] = {"parameters", "macs", "output_bytes"};

    (void)state;
    for (size_t i = 0; i < sizeof sizes / sizeof sizes[0]; i++) {
        json_t *o = layers_of("xception", "16", "255", sizes[i]), *layer;
        const json_t *cost = json_object_get(o, "cost"), *layers = json_object_get(cost, "layers");
        size_t at;
        for (int m = 0; m < 3; m++) {
            int64_t by_layer = 0, by_part = 0;
            json_array_foreach(layers, at, layer)
            {
                int64_t elements = 1;
                for (size_t d = 0; d < 4; d++)
                    elements *= json_integer_value(json_array_get(json_object_get(layer, "output"), d));
                assert_int_equal(number(layer, "output_bytes"), 4 * elements);
                assert_true(number(layer, members[m]) >= 0);
                by_layer += number(layer, members[m]);
            }
            for (int p = 0; p < PARTS; p++)
                by_part += number(json_object_get(json_object_get(cost, "parts"), part_names[p]), members[m]);
            assert_int_equal(by_layer, number(json_object_get(cost, "total"), members[m]));
            assert_int_equal(by_part, by_layer);
        }
        assert_int_equal(json_array_size(layers), number(json_object_get(cost, "total"), "layers"));
        json_decref(o);
    }
}

static void a_file_is_shown_at_its_own_size_unless_another_is_asked(void **state)
{
    char *folder = scratch_create();
    const char *model = scratch_text("%s/model.h5", folder);
    atr_session session;
    atr_model_info info;

    (void)state;
    atr_session_describe("mobilenetv2", 3, 8, &info);
    info.height = 64;
    info.width = 96;
    must(atr_session_open(&(atr_session_options){.backend = "ref", .threads = 1}, NULL, &session));
    must(atr_session_build(&session, &info, NULL));
    must(atr_checkpoint_write(model, &(atr_checkpoint){.info = &info, .params = session.params}));
    atr_session_close(&session);

    json_t *own = command_json(command_run(atr_cmd_info, "info", model, "--layers", "--json", NULL)),
           *other = command_json(
               command_run(atr_cmd_info, "info", model, "--layers", "--json", "--size", "97x129", NULL)),
           *same = layers_of("mobilenetv2", "8", "3", "97x129");
    assert_string_equal(json_string_value(json_object_get(own, "kind")), "model");
    assert_int_equal(number(json_object_get(own, "cost"), "height"), 64);
    assert_int_equal(number(json_object_get(own, "cost"), "width"), 96);
    assert_true(json_equal(json_object_get(other, "cost"), json_object_get(same, "cost")));
    command_expect(0, "depthwise 3x3 rate 4", atr_cmd_info, "info", model, "--layers", NULL);
    command_expect(0, "[8,12,320]", atr_cmd_info, "info", model, "--layers", NULL);
    json_decref(own);
    json_decref(other);
    json_decref(same);
    scratch_remove(folder);
}

static void weights_are_shown_as_the_network_that_is_recognised(void **state)
{
    (void)state;
    if (parity_shared() == NULL)
        skip();
    const char *pth = scratch_text("%s/parity/mobilenetv2_os16_k21.pth", parity_shared());
    json_t *o = command_json(command_run(atr_cmd_info, "info", pth, "--layers", "--json", "--output-stride",
                                         "8", "--size", "97x129", NULL)),
           *same = layers_of("mobilenetv2", "8", "21", "97x129");
    assert_true(json_equal(json_object_get(o, "cost"), json_object_get(same, "cost")));
    json_decref(o);
    json_decref(same);
    command_expect(0, "total", atr_cmd_info, "info", pth, "--layers", NULL);
    command_expect(1, "no backbone that is known here", atr_cmd_info, "info",
                   scratch_text("%s/parity/legacy.pth", parity_shared()), "--layers", NULL);
}

static void what_has_no_layers_is_refused(void **state)
{
    (void)state;
    command_expect(2, "a FILE is missing", atr_cmd_info, "info", "--layers", NULL);
    command_expect(2, "only one", atr_cmd_info, "info", "x.h5", "--layers", "--backbone", "xception", NULL);
    command_expect(2, "for --layers", atr_cmd_info, "info", "--backbone", "xception", NULL);
    command_expect(2, "for --layers", atr_cmd_info, "info", "x.h5", "--size", "33", NULL);
    command_expect(2, "FILE, which is missing", atr_cmd_info, "info", "--layers", "--backbone", "xception",
                   "--tensors", NULL);
    command_expect(2, "have: mobilenetv2, xception", atr_cmd_info, "info", "--layers", "--backbone", "resnet",
                   NULL);
    command_expect(2, "8 or 16", atr_cmd_info, "info", "--layers", "--backbone", "xception",
                   "--output-stride", "9", NULL);
    command_expect(2, "between 1 and", atr_cmd_info, "info", "--layers", "--backbone", "xception", "--size",
                   "0", NULL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(arithmetic_and_sizes_are_those_that_hooks_on_the_reference_count),
        cmocka_unit_test(parameters_are_those_of_the_golden_keys),
        cmocka_unit_test(arithmetic_is_that_of_the_plan),
        cmocka_unit_test(sums_are_those_of_the_layers_at_any_size),
        cmocka_unit_test(a_file_is_shown_at_its_own_size_unless_another_is_asked),
        cmocka_unit_test(weights_are_shown_as_the_network_that_is_recognised),
        cmocka_unit_test(what_has_no_layers_is_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
