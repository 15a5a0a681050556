/* DeepLabV3+ (Chen et al., "Encoder-Decoder with Atrous Separable Convolution", ECCV 2018): backbone, atrous spatial pyramid
 * pooling, decoder. Names and details are the PyTorch reference's. */
#include "dnn/model.h"

#include <stdio.h>
#include <string.h>

#include "dnn/models/models_impl.h"

enum { ASPP_CHANNELS = 256, SHORTCUT_CHANNELS = 48, DECODER_CHANNELS = 256 };
static const double norm_momentum = 0.1;

static const atr_backbone backbones[] = {
    {"mobilenetv2", "backbone.features.0.0.weight", 3e-4, 5e-4, atr_build_mobilenetv2},
    {"xception", "backbone.block1.sepconv1.depthwise.weight", 1e-4, 1e-4, atr_build_xception},
};

enum { BACKBONES = sizeof backbones / sizeof backbones[0] };

atr_model_config atr_model_config_default(void)
{
    return (atr_model_config){"mobilenetv2", 21, 3, 16, {0.5, 0.1}};
}

const atr_backbone *atr_backbone_at(int index)
{
    return index >= 0 && index < BACKBONES ? &backbones[index] : NULL;
}

const atr_backbone *atr_backbone_find(const char *name)
{
    for (int i = 0; i < BACKBONES; i++)
        if (strcmp(backbones[i].name, name) == 0)
            return &backbones[i];
    return NULL;
}

atr_status atr_build_conv_block(atr_graph *graph, int x, const atr_conv_block *block, int *out)
{
    atr_status status = ATR_OK;

    ATR_TRY(atr_graph_conv(graph, block->conv_name, x, block->conv, &x));
    ATR_TRY(atr_graph_norm(graph, block->norm_name, x, block->norm_momentum, ATR_NORM_EPS, &x));
    if (block->act != ATR_ACT_NONE)
        ATR_TRY(atr_graph_act(graph, block->act_name, x, block->act, &x));
    *out = x;
done:
    return status;
}

/* A Sequential(conv, norm, relu) with biased convolution whose first member is number `first`. */
static atr_status sequential(atr_graph *graph, const char *module, int first, atr_conv_spec conv, int x,
                             int *out)
{
    char names[3][ATR_NAME_BYTES];

    for (int i = 0; i < 3; i++)
        snprintf(names[i], sizeof names[i], "%.100s.%d", module, first + i);
    const atr_conv_block block = {names[0], names[1], names[2], conv, norm_momentum, ATR_ACT_RELU};
    return atr_build_conv_block(graph, x, &block, out);
}

/* Four convolution branches and the pooled one, side by side, then a 1x1 over all. */
static atr_status build_aspp(atr_graph *graph, int x, int64_t output_stride, int *out)
{
    const int64_t rate = 16 / output_stride;
    const int64_t dilations[] = {6 * rate, 12 * rate, 18 * rate};
    const atr_conv_spec one = {ASPP_CHANNELS, 1, 1, 0, 1, 1, true};
    atr_status status = ATR_OK;
    int branches[5], pooled = 0;

    ATR_TRY(sequential(graph, "aspp.branch1", 0, one, x, &branches[0]));
    for (int i = 0; i < 3; i++) {
        char module[ATR_NAME_BYTES];
        const atr_conv_spec atrous = {ASPP_CHANNELS, 3, 1, dilations[i], dilations[i], 1, true};
        snprintf(module, sizeof module, "aspp.branch%d", i + 2);
        ATR_TRY(sequential(graph, module, 0, atrous, x, &branches[i + 1]));
    }
    const atr_conv_block block = {"aspp.branch5_conv", "aspp.branch5_bn", "aspp.branch5_relu", one,
                                  norm_momentum,       ATR_ACT_RELU};
    ATR_TRY(atr_graph_global_pool(graph, "aspp.pool", x, &pooled));
    ATR_TRY(atr_build_conv_block(graph, pooled, &block, &pooled));
    ATR_TRY(atr_graph_resize(graph, "aspp.broadcast", pooled, x, &branches[4]));
    ATR_TRY(atr_graph_concat(graph, "aspp.concat", branches, 5, &x));
    ATR_TRY(sequential(graph, "aspp.conv_cat", 0, one, x, out));
done:
    return status;
}

static atr_status build_decoder(atr_graph *graph, int aspp, int shortcut, const double dropout[2], int *out)
{
    const atr_conv_spec conv3x3 = {DECODER_CHANNELS, 3, 1, 1, 1, 1, true};
    atr_status status = ATR_OK;
    int x = 0, enlarged = 0;

    ATR_TRY(atr_graph_resize(graph, "decoder.resize", aspp, shortcut, &enlarged));
    ATR_TRY(atr_graph_concat(graph, "decoder.concat", (const int[]){enlarged, shortcut}, 2, &x));
    for (int i = 0; i < 2; i++) {
        ATR_TRY(sequential(graph, "cat_conv", 4 * i, conv3x3, x, &x));
        if (dropout[i] > 0)
            ATR_TRY(atr_graph_dropout(graph, i == 0 ? "cat_conv.3" : "cat_conv.7", x, dropout[i], &x));
    }
    *out = x;
done:
    return status;
}

static atr_status refuse_backbone(const char *name)
{
    char names[256] = "";

    for (int i = 0; i < BACKBONES; i++) {
        const size_t used = strlen(names);
        snprintf(names + used, sizeof names - used, "%s%s", i > 0 ? ", " : "", backbones[i].name);
    }
    return atr_fail(ATR_ERR_USAGE, "no backbone is called '%s' (have: %s)", name, names);
}

static atr_status check_config(const atr_model_config *config)
{
    if (atr_backbone_find(config->backbone) == NULL)
        return refuse_backbone(config->backbone);
    if (config->output_stride != 8 && config->output_stride != 16)
        return atr_fail(ATR_ERR_USAGE, "output stride %lld: it is 8 or 16", (long long)config->output_stride);
    if (config->classes < 1 || config->classes > 255)
        return atr_fail(ATR_ERR_SHAPE, "%lld classes: there can be 1 to 255", (long long)config->classes);
    if (config->input_channels < 1)
        return atr_fail(ATR_ERR_SHAPE, "%lld input channels: there must be at least 1",
                        (long long)config->input_channels);
    return ATR_OK;
}

static atr_status build(const atr_model_config *config, atr_graph *graph)
{
    atr_status status = ATR_OK;
    atr_features features = {-1, -1};
    int x = 0, aspp = 0, shortcut = 0, logits = 0;

    ATR_TRY(atr_graph_input(graph, config->input_channels, &x));
    ATR_TRY(atr_backbone_find(config->backbone)->build(graph, x, config->output_stride, &features));
    ATR_TRY(build_aspp(graph, features.high_level, config->output_stride, &aspp));
    ATR_TRY(sequential(graph, "shortcut_conv", 0, (atr_conv_spec){SHORTCUT_CHANNELS, 1, 1, 0, 1, 1, true},
                       features.low_level, &shortcut));
    ATR_TRY(build_decoder(graph, aspp, shortcut, config->dropout, &x));
    ATR_TRY(
        atr_graph_conv(graph, "cls_conv", x, (atr_conv_spec){config->classes, 1, 1, 0, 1, 1, true}, &logits));
    atr_graph_set_tap(graph, ATR_TAP_LOW_LEVEL, features.low_level);
    atr_graph_set_tap(graph, ATR_TAP_BACKBONE, features.high_level);
    atr_graph_set_tap(graph, ATR_TAP_ASPP, aspp);
    atr_graph_set_tap(graph, ATR_TAP_SHORTCUT, shortcut);
    atr_graph_set_tap(graph, ATR_TAP_DECODER, x);
    atr_graph_set_tap(graph, ATR_TAP_LOGITS, logits);
done:
    return status;
}

atr_status atr_model_build(const atr_model_config *config, atr_graph **out)
{
    atr_status status = ATR_OK;
    atr_graph *graph = NULL;

    *out = NULL;
    ATR_TRY(check_config(config));
    ATR_TRY(atr_graph_create(&graph));
    ATR_TRY(build(config, graph));
    *out = graph;
    graph = NULL;
done:
    atr_graph_destroy(graph);
    return status;
}
