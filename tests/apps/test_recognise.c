#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <cmocka.h>
#include <stdio.h>
#include <string.h>

#include "apps/recognise.h"

/* Weights of two or fewer empty-valued tensors, as the header of a .safetensors file with zeros behind it. */
static atr_weights *weights_of(const char *header, size_t data)
{
    static uint8_t bytes[1 << 20];
    const uint64_t length = strlen(header);
    atr_weights *weights = NULL;

    memset(bytes, 0, sizeof bytes);
    memcpy(bytes, &length, 8);
    memcpy(bytes + 8, header, length);
    if (atr_weights_parse(bytes, 8 + length + data, &weights) != ATR_OK)
        fail_msg("%s", atr_status_message());
    return weights;
}

/* A first convolution of OIHW `stem` and a classifier `head`, under the reference's names. */
static atr_weights *network(int out, int in, int classes)
{
    char header[1024];
    const int first = out * in * 9 * 4, second = classes * 256 * 4;

    snprintf(
        header, sizeof header,
        "{\"backbone.features.0.0.weight\":{\"dtype\":\"F32\",\"shape\":[%d,%d,3,3],\"data_offsets\":[0,%d]},"
        "\"cls_conv.weight\":{\"dtype\":\"F32\",\"shape\":[%d,256,1,1],\"data_offsets\":[%d,%d]}}",
        out, in, first, classes, first, first + second);
    return weights_of(header, (size_t)(first + second));
}

static void classes_and_channels_are_read_off_the_shapes(void **state)
{
    static const int cases[][2] = {{3, 21}, {3, 1}, {1, 2}, {4, 255}, {16, 5}};
    atr_model_info info;

    (void)state;
    for (int i = 0; i < 5; i++) {
        atr_weights *weights = network(32, cases[i][0], cases[i][1]);
        assert_int_equal(atr_recognise(weights, 8, &info), ATR_OK);
        assert_string_equal(info.architecture, "deeplabv3plus");
        assert_string_equal(info.backbone, "mobilenetv2");
        assert_int_equal(info.channels, cases[i][0]);
        assert_int_equal(info.classes, cases[i][1]);
        assert_int_equal(info.output_stride, 8);
        assert_true(info.align_corners);
        for (int c = 0; c < cases[i][0]; c++) {
            assert_true(info.scale[c] == 1.0 / 255.0);
            assert_true(info.offset[c] == 0);
        }
        atr_weights_destroy(weights);
    }
}

static void refuse(atr_weights *weights, const char *says)
{
    atr_model_info info;

    assert_int_equal(atr_recognise(weights, 16, &info), ATR_ERR_DATA);
    assert_non_null(strstr(atr_status_message(), says));
    atr_weights_destroy(weights);
}

static void what_is_no_such_network_is_refused_with_what_is_missing(void **state)
{
    (void)state;
    refuse(weights_of("{}", 0), "backbone.features.0.0.weight");
    refuse(weights_of("{}", 0), "'backbone.block1.sepconv1.depthwise.weight' (xception)");
    refuse(weights_of("{\"backbone.block1.sepconv1.depthwise.weight\":{\"dtype\":\"F32\",\"shape\":[1],"
                      "\"data_offsets\":[0,4]},\"cls_conv.weight\":{\"dtype\":\"F32\",\"shape\":[1,1,1,1],"
                      "\"data_offsets\":[4,8]}}",
                      8),
           "'backbone.conv1.weight', which xception begins with");
    refuse(weights_of("{\"x\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[0,4]}}", 4), "first: 'x'");
    refuse(weights_of("{\"backbone.features.0.0.weight\":{\"dtype\":\"F32\",\"shape\":[1,3,1,1],"
                      "\"data_offsets\":[0,12]}}",
                      12),
           "cls_conv.weight");
    refuse(network(32, 3, 256), "no network here has");
    refuse(network(1, 257, 2), "no network here has");
    refuse(network(32, 3, 0), "no network here has");
    refuse(weights_of(
               "{\"backbone.features.0.0.weight\":{\"dtype\":\"F32\",\"shape\":[3],\"data_offsets\":[0,12]},"
               "\"cls_conv.weight\":{\"dtype\":\"F32\",\"shape\":[],\"data_offsets\":[12,16]}}",
               16),
           "no network here has");
}

static void expect_backbone(const char *header, size_t data, const char *backbone, int channels)
{
    atr_weights *weights = weights_of(header, data);
    static atr_model_info info;

    if (atr_recognise_backbone(weights, 8, &info) != ATR_OK)
        fail_msg("%s", atr_status_message());
    assert_string_equal(info.backbone, backbone);
    assert_int_equal(info.channels, channels);
    assert_int_equal(info.classes, 1);
    assert_int_equal(info.output_stride, 8);
    atr_weights_destroy(weights);
}

/* Weights trained for classifying pictures have no "backbone." before their names, and no classifier of ours. */
static void a_backbone_alone_is_told_with_and_without_prefix(void **state)
{
    static atr_model_info info;

    (void)state;
    expect_backbone(
        "{\"features.0.0.weight\":{\"dtype\":\"F32\",\"shape\":[1,3,1,1],\"data_offsets\":[0,12]}}", 12,
        "mobilenetv2", 3);
    expect_backbone(
        "{\"backbone.features.0.0.weight\":{\"dtype\":\"F32\",\"shape\":[1,4,1,1],\"data_offsets\":[0,16]}}",
        16, "mobilenetv2", 4);
    expect_backbone(
        "{\"block1.sepconv1.depthwise.weight\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[0,4]},"
        "\"conv1.weight\":{\"dtype\":\"F32\",\"shape\":[1,1,1,1],\"data_offsets\":[4,8]}}",
        8, "xception", 1);
    atr_weights *const other =
        weights_of("{\"x\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[0,4]}}", 4);
    assert_int_equal(atr_recognise_backbone(other, 16, &info), ATR_ERR_DATA);
    assert_non_null(strstr(atr_status_message(), "no backbone that is known here"));
    atr_weights_destroy(other);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(classes_and_channels_are_read_off_the_shapes),
        cmocka_unit_test(a_backbone_alone_is_told_with_and_without_prefix),
        cmocka_unit_test(what_is_no_such_network_is_refused_with_what_is_missing),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
