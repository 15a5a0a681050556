#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <cmocka.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "apps/adopt.h"
#include "apps/session.h"
#include "io/safetensors.h"
#include "tests/support/network.h"
#include "tests/support/scratch.h"

/* A network of six tensors under names by which a whole one is recognised. */
enum { BACKBONE = 3, HEAD = 2, TENSORS = BACKBONE + 1 + HEAD };

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

static void describe_network(int64_t channels, int64_t classes, atr_param_spec specs[TENSORS])
{
    const atr_param_spec all[TENSORS] = {
        {"backbone.features.0.0.weight", ATR_PARAM_CONV_WEIGHT, 4, {4, channels, 3, 3}},
        {"backbone.features.0.1.weight", ATR_PARAM_NORM_WEIGHT, 1, {4}},
        {"backbone.features.0.1.num_batches_tracked", ATR_PARAM_TRACKED, 0, {0}},
        {"aspp.conv.weight", ATR_PARAM_CONV_WEIGHT, 4, {2, 4, 1, 1}},
        {"cls_conv.weight", ATR_PARAM_CONV_WEIGHT, 4, {classes, 2, 1, 1}},
        {"cls_conv.bias", ATR_PARAM_CONV_BIAS, 1, {classes}},
    };

    memcpy(specs, all, sizeof all);
}

/* Parameters whose values all are `value`. */
static atr_params *make_params(const atr_param_spec *specs, int64_t count, int value)
{
    atr_params *params = NULL;

    must(atr_params_create(specs, count, &atr_host_allocator, &params));
    for (int64_t i = 0; i < count; i++) {
        const atr_tensor tensor = atr_params_value(params, i);
        for (int64_t k = 0; k < atr_tensor_count(&tensor); k++)
            if (tensor.type == ATR_I64)
                ((int64_t *)tensor.data)[k] = value;
            else
                ((float *)tensor.data)[k] = (float)value;
    }
    return params;
}

/* A file of tensors whose values all are 1, read again. */
static atr_weights *weights_of(const atr_param_spec *specs, int64_t count)
{
    const char *const path = scratch_text("%s/file.safetensors", folder);
    static atr_model_info info;
    atr_params *const params = make_params(specs, count, 1);
    atr_weights *weights = NULL;

    atr_session_describe("mobilenetv2", 5, 16, &info);
    must(atr_safetensors_write(path, &info, params));
    must(atr_weights_read(path, &weights));
    atr_params_destroy(params);
    return weights;
}

/* A network with 3 channels and values 2, what a file with values 1 made of it, and how that went. */
typedef struct adoption {
    atr_params *params;
    atr_load_report report;
    atr_status status;
    char text[ATR_ADOPT_TEXT_BYTES];
} adoption;

static adoption adopt(atr_weights *weights, atr_adopt_part part, int64_t classes)
{
    atr_param_spec specs[TENSORS];
    static atr_model_info asked;
    adoption a = {0};

    describe_network(3, classes, specs);
    a.params = make_params(specs, TENSORS, 2);
    atr_session_describe("mobilenetv2", classes, 16, &asked);
    a.status = atr_adopt("F", weights, part, &asked, a.params, &a.report);
    atr_adopt_text(&a.report, a.text);
    atr_weights_destroy(weights);
    return a;
}

static void release(adoption *a)
{
    atr_load_report_free(&a->report);
    atr_params_destroy(a->params);
}

/* What each tensor holds, as digits: 1 the values of the file, 2 the fresh ones. */
static void expect_values(const adoption *a, const char *values)
{
    for (int i = 0; i < TENSORS; i++) {
        const atr_tensor tensor = atr_params_value(a->params, i);
        for (int64_t k = 0; k < atr_tensor_count(&tensor); k++) {
            const int value =
                tensor.type == ATR_I64 ? (int)((int64_t *)tensor.data)[k] : (int)((float *)tensor.data)[k];
            if (value != values[i] - '0')
                fail_msg("%s holds %d, not %c", atr_params_spec(a->params, i)->name, value, values[i]);
        }
    }
}

static void expect_loaded(adoption a, const char *values, const char *text)
{
    if (a.status != ATR_OK)
        fail_msg("%s", atr_status_message());
    expect_values(&a, values);
    assert_string_equal(a.text, text);
    release(&a);
}

/* A refusal says so, and leaves every value as it was. */
static void expect_refused(adoption a, atr_status status, const char *first, const char *second)
{
    assert_int_equal(a.status, status);
    if (strstr(atr_status_message(), "M01: F: ") == NULL || strstr(atr_status_message(), first) == NULL ||
        strstr(atr_status_message(), second) == NULL)
        fail_msg("'%s' does not say '%s' and '%s'", atr_status_message(), first, second);
    expect_values(&a, "222222");
    release(&a);
}

static void what_fits_is_loaded_whole(void **state)
{
    atr_param_spec specs[TENSORS];

    (void)state;
    describe_network(3, 5, specs);
    expect_loaded(adopt(weights_of(specs, TENSORS), ATR_ADOPT_ALL, 5), "111111", "6 tensors loaded");
}

static void names_of_ddp_are_understood(void **state)
{
    atr_param_spec specs[TENSORS];

    (void)state;
    describe_network(3, 5, specs);
    for (int i = 0; i < TENSORS; i++) {
        char name[ATR_NAME_BYTES];
        strcpy(name, specs[i].name);
        snprintf(specs[i].name, sizeof specs[i].name, "module.%.100s", name);
    }
    expect_loaded(adopt(weights_of(specs, TENSORS), ATR_ADOPT_ALL, 5), "111111", "6 tensors loaded");
}

static void another_head_needs_a_word(void **state)
{
    atr_param_spec specs[TENSORS];

    (void)state;
    describe_network(3, 21, specs);
    expect_refused(adopt(weights_of(specs, TENSORS), ATR_ADOPT_ALL, 3), ATR_ERR_USAGE,
                   "head 21 -> 3: the head would start fresh (2 tensors), 4 be loaded", "say --new-head");
    expect_loaded(adopt(weights_of(specs, TENSORS), ATR_ADOPT_BODY, 3), "111122",
                  "4 tensors loaded, 2 start fresh (first: cls_conv.weight), 2 of the file not used (first: "
                  "cls_conv.weight)");
}

/* Classes of the same number may be other classes: a new head is new even where the old one would fit. */
static void a_new_head_is_new_though_the_old_one_fits(void **state)
{
    atr_param_spec specs[TENSORS];

    (void)state;
    describe_network(3, 3, specs);
    expect_loaded(adopt(weights_of(specs, TENSORS), ATR_ADOPT_BODY, 3), "111122",
                  "4 tensors loaded, 2 start fresh (first: cls_conv.weight), 2 of the file not used (first: "
                  "cls_conv.weight)");
}

static void the_backbone_of_a_whole_network_can_be_had_alone(void **state)
{
    atr_param_spec specs[TENSORS];

    (void)state;
    describe_network(3, 3, specs);
    expect_loaded(adopt(weights_of(specs, TENSORS), ATR_ADOPT_BACKBONE, 3), "111222",
                  "3 tensors loaded, 3 start fresh (first: aspp.conv.weight), 3 of the file not used (first: "
                  "aspp.conv.weight)");
}

/* The form of weights trained for classifying pictures: no prefix, and a classifier of their own. */
static void backbone_file(atr_param_spec specs[BACKBONE + 1])
{
    atr_param_spec whole[TENSORS];

    describe_network(3, 3, whole);
    for (int i = 0; i < BACKBONE; i++) {
        specs[i] = whole[i];
        strcpy(specs[i].name, whole[i].name + strlen("backbone."));
    }
    specs[BACKBONE] = (atr_param_spec){"classifier.weight", ATR_PARAM_CONV_WEIGHT, 4, {2, 2, 1, 1}};
}

static void a_backbone_alone_is_found_without_its_prefix(void **state)
{
    atr_param_spec specs[BACKBONE + 1];

    (void)state;
    backbone_file(specs);
    expect_loaded(adopt(weights_of(specs, BACKBONE + 1), ATR_ADOPT_BACKBONE, 3), "111222",
                  "3 tensors loaded, 3 start fresh (first: aspp.conv.weight), 1 of the file not used (first: "
                  "classifier.weight)");
    expect_refused(adopt(weights_of(specs, BACKBONE + 1), ATR_ADOPT_ALL, 3), ATR_ERR_NOT_FOUND,
                   "missing in the file", "say --backbone-only");
    expect_refused(adopt(weights_of(specs, BACKBONE + 1), ATR_ADOPT_BODY, 3), ATR_ERR_NOT_FOUND,
                   "missing in the file", "say --backbone-only");
}

static void another_backbone_is_refused_whatever_is_asked(void **state)
{
    atr_param_spec specs[TENSORS], alone[BACKBONE + 1];

    (void)state;
    describe_network(4, 3, specs);
    for (int part = 0; part < ATR_ADOPT_PARTS; part++)
        expect_refused(adopt(weights_of(specs, TENSORS), (atr_adopt_part)part, 3), ATR_ERR_USAGE,
                       "4 channels. Asked: mobilenetv2, 3 classes, 3 channels", "Backbone differs: refused.");
    describe_network(3, 3, specs);
    specs[1].dims[0] = 5;
    for (int part = 0; part < ATR_ADOPT_PARTS; part++)
        expect_refused(adopt(weights_of(specs, TENSORS), (atr_adopt_part)part, 3), ATR_ERR_SHAPE,
                       "backbone.features.0.1.weight is [5] in the file, [4] in the network",
                       "Backbone differs: refused.");
    backbone_file(alone);
    strcpy(alone[1].name, "layer1.weight");
    expect_refused(adopt(weights_of(alone, BACKBONE + 1), ATR_ADOPT_BACKBONE, 3), ATR_ERR_NOT_FOUND,
                   "1 missing in the file (first: backbone.features.0.1.weight)",
                   "Backbone differs: refused.");
}

/* What stands between backbone and classifier has no option of its own. */
static void another_middle_leaves_the_backbone_to_be_had(void **state)
{
    atr_param_spec specs[TENSORS];

    (void)state;
    describe_network(3, 3, specs);
    specs[BACKBONE].dims[0] = 7;
    expect_refused(adopt(weights_of(specs, TENSORS), ATR_ADOPT_ALL, 3), ATR_ERR_SHAPE, "aspp.conv.weight",
                   "--backbone-only loads the backbone alone");
    expect_loaded(adopt(weights_of(specs, TENSORS), ATR_ADOPT_BACKBONE, 3), "111222",
                  "3 tensors loaded, 3 start fresh (first: aspp.conv.weight), 3 of the file not used (first: "
                  "aspp.conv.weight)");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_fits_is_loaded_whole),
        cmocka_unit_test(names_of_ddp_are_understood),
        cmocka_unit_test(another_head_needs_a_word),
        cmocka_unit_test(a_new_head_is_new_though_the_old_one_fits),
        cmocka_unit_test(the_backbone_of_a_whole_network_can_be_had_alone),
        cmocka_unit_test(a_backbone_alone_is_found_without_its_prefix),
        cmocka_unit_test(another_backbone_is_refused_whatever_is_asked),
        cmocka_unit_test(another_middle_leaves_the_backbone_to_be_had),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
