/* Xception (Chollet, CVPR 2017) as DeepLabV3+ modifies it (Chen et al., ECCV 2018, figure 4): strided separable convolutions in
 * place of pooling, batch norm behind each depthwise convolution, and late strides turned into dilation. */
#include <stdio.h>

#include "dnn/models/models_impl.h"

enum { SEPARABLE = 3, LOW_LEVEL_BLOCK = 2, LOW_LEVEL_SEPARABLE = 2 };
static const double norm_momentum = 0.0003;

/* `repeats` blocks of three separable convolutions; the last one of each carries the stride. */
typedef struct stage {
    int64_t channels[SEPARABLE], repeats, stride;
} stage;

static const stage stages[] = {
    {{128, 128, 128}, 1, 2},  {{256, 256, 256}, 1, 2},   {{728, 728, 728}, 1, 2},
    {{728, 728, 728}, 16, 1}, {{728, 1024, 1024}, 1, 1},
};

/* Channels of conv3, conv4, conv5 behind the blocks. */
static const int64_t exits[] = {1536, 1536, 2048};

/* One 3x3 depthwise convolution with its norm and the 1x1 behind it with its own: members of `module`. `act` is the
 * activation behind both. */
static atr_status separable(atr_graph *graph, const char *module, int64_t channels, int64_t stride,
                            int64_t dilation, atr_act act, int *x)
{
    const int64_t in = atr_graph_node(graph, *x)->channels;
    const atr_conv_spec convs[] = {{in, 3, stride, dilation, dilation, in, false},
                                   {channels, 1, 1, 0, 1, 1, false}};
    static const char *const members[] = {"depthwise", "pointwise"};
    atr_status status = ATR_OK;

    for (int i = 0; i < 2; i++) {
        char names[3][ATR_NAME_BYTES];
        snprintf(names[0], sizeof names[0], "%.100s.%s", module, members[i]);
        snprintf(names[1], sizeof names[1], "%.100s.bn%d", module, i + 1);
        snprintf(names[2], sizeof names[2], "%.100s.relu%d", module, i + 1);
        const atr_conv_block block = {names[0], names[1], names[2], convs[i], norm_momentum, act};
        ATR_TRY(atr_build_conv_block(graph, *x, &block, x));
    }
done:
    return status;
}

/* A 1x1 that brings the residual to the block's shape. */
static atr_status skip(atr_graph *graph, const char *module, int64_t channels, int64_t stride, int *x)
{
    char names[2][ATR_NAME_BYTES];

    snprintf(names[0], sizeof names[0], "%.100s.skip", module);
    snprintf(names[1], sizeof names[1], "%.100s.skipbn", module);
    const atr_conv_block block = {names[0],      names[1],    NULL, {channels, 1, stride, 0, 1, 1, false},
                                  norm_momentum, ATR_ACT_NONE};
    return atr_build_conv_block(graph, *x, &block, x);
}

/* y = separable(relu(separable(relu(separable(relu(x)))))) + residual. The residual is skip(x) where the shape changes, and
 * relu(x) elsewhere: the reference's first ReLU works in place, so its sum sees x behind it. */
static atr_status build_block(atr_graph *graph, int number, const stage *s, int64_t stride, int64_t dilation,
                              int *x, atr_features *out)
{
    const bool changes = s->stride != 1 || atr_graph_node(graph, *x)->channels != s->channels[SEPARABLE - 1];
    char block[ATR_NAME_BYTES], module[ATR_NAME_BYTES], relu[ATR_NAME_BYTES];
    atr_status status = ATR_OK;
    int residual = *x;

    snprintf(block, sizeof block, "backbone.block%d", number);
    if (changes)
        ATR_TRY(skip(graph, block, s->channels[SEPARABLE - 1], stride, &residual));
    for (int i = 0; i < SEPARABLE; i++) {
        snprintf(module, sizeof module, "%.60s.sepconv%d", block, i + 1);
        snprintf(relu, sizeof relu, "%.100s.relu", module);
        if (number > 1 || i > 0) /* block 1 receives a tensor that is behind a ReLU already */
            ATR_TRY(atr_graph_act(graph, relu, *x, ATR_ACT_RELU, x));
        if (i == 0 && !changes)
            residual = *x;
        ATR_TRY(separable(graph, module, s->channels[i], i == SEPARABLE - 1 ? stride : 1, dilation,
                          ATR_ACT_NONE, x));
        if (number == LOW_LEVEL_BLOCK && i + 1 == LOW_LEVEL_SEPARABLE)
            out->low_level = *x;
    }
    ATR_TRY(atr_graph_add(graph, block, residual, *x, x));
done:
    return status;
}

/* The two convolutions in front of the blocks. */
static atr_status build_stem(atr_graph *graph, int *x)
{
    const atr_conv_block blocks[] = {
        {"backbone.conv1",
         "backbone.bn1",
         "backbone.relu1",
         {32, 3, 2, 1, 1, 1, false},
         norm_momentum,
         ATR_ACT_RELU},
        {"backbone.conv2",
         "backbone.bn2",
         "backbone.relu2",
         {64, 3, 1, 1, 1, 1, false},
         norm_momentum,
         ATR_ACT_RELU},
    };
    atr_status status = ATR_OK;

    for (int i = 0; i < 2; i++)
        ATR_TRY(atr_build_conv_block(graph, *x, &blocks[i], x));
done:
    return status;
}

atr_status atr_build_xception(atr_graph *graph, int x, int64_t output_stride, atr_features *out)
{
    atr_status status = ATR_OK;
    int64_t reached = 2, dilation = 1; /* product of the strides so far, and of those left out */
    int number = 0;

    ATR_TRY(build_stem(graph, &x));
    for (size_t s = 0; s < sizeof stages / sizeof stages[0]; s++)
        for (int64_t repeat = 0; repeat < stages[s].repeats; repeat++) {
            const bool strides = reached < output_stride;
            const int64_t stride = strides ? stages[s].stride : 1;
            ATR_TRY(build_block(graph, ++number, &stages[s], stride, dilation, &x, out));
            reached *= stride;
            dilation *= strides ? 1 : stages[s].stride; /* from the next block on */
        }
    for (size_t i = 0; i < sizeof exits / sizeof exits[0]; i++) {
        char module[ATR_NAME_BYTES];
        snprintf(module, sizeof module, "backbone.conv%zu", i + 3);
        ATR_TRY(separable(graph, module, exits[i], 1, dilation, ATR_ACT_RELU, &x));
    }
    out->high_level = x;
done:
    return status;
}
