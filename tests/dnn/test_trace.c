/* Where a NaN comes from: the plan names the first layer whose output holds one, on every back end and with all rewrites. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>

#include "tests/support/network.h"

static const parity_case tight = {
    .group = "trace",
    .backbone = "mobilenet",
    .output_stride = 16,
    .classes = 5,
    .batch = 2,
    .height = 49,
    .width = 41,
    .seed = 2031,
    .norm_weight_offset = 1,
    .norm_bias_offset = 2,
};

/* The first bad place of a forward pass in training. */
static int64_t trace(const network *net, const char **name)
{
    atr_plan *const plan = network_plan(net, ATR_TRAIN, ATR_REWRITE_ALL, false);

    atr_plan_trace(plan, true);
    must(atr_plan_forward(plan, net->images));
    const int64_t place = atr_plan_first_bad(plan, name);
    atr_plan_destroy(plan);
    return place;
}

static int64_t trace_with_bad(network *net, const char *parameter, const char **name)
{
    const int64_t index = atr_params_find(net->params, parameter);

    assert_true(index >= 0);
    float *const value = atr_params_value(net->params, index).data, before = *value;
    *value = NAN;
    atr_params_touch(net->params);
    const int64_t place = trace(net, name);
    *value = before;
    atr_params_touch(net->params);
    return place;
}

static void the_first_bad_layer_is_named(void **unused)
{
    static const char *const backends[] = {"cpu", "ref"};
    /* In the order of the computation; what a bad parameter of it spoils first has a name that begins so. */
    static const struct {
        const char *parameter, *layer;
    } cases[] = {
        {"backbone.features.0.0.weight", "backbone.features.0.0"},
        {"backbone.features.5.conv.3.weight", "backbone.features.5.conv.3"},
        {"backbone.features.17.conv.6.weight", "backbone.features.17.conv.6"},
        {"cat_conv.0.weight", "cat_conv.0"},
        {"cls_conv.bias", "cls_conv"},
    };

    (void)unused;
    for (size_t b = 0; b < sizeof backends / sizeof backends[0]; b++) {
        network net;
        const char *name = NULL;
        int64_t before = 0;
        network_open(&net, &tight, backends[b], -1);
        assert_int_equal(trace(&net, &name), -1);
        assert_null(name);
        for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
            const int64_t place = trace_with_bad(&net, cases[i].parameter, &name);
            if (name == NULL || strncmp(name, cases[i].layer, strlen(cases[i].layer)) != 0)
                fail_msg("%s: '%s' instead of '%s'", backends[b], name != NULL ? name : "(none)",
                         cases[i].layer);
            assert_true(place > before);
            before = place;
        }
        net.images[100] = NAN;
        assert_int_equal(trace(&net, &name), 0);
        assert_string_equal(name, "the pictures");
        network_close(&net);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(the_first_bad_layer_is_named)};

    return cmocka_run_group_tests(tests, NULL, NULL);
}
