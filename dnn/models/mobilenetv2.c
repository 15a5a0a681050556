/* MobileNetV2 (Sandler et al., CVPR 2018) without its last 1x1 and classifier, as a feature extractor whose last stages are
 * dilated instead of strided. */
#include <stdio.h>

#include "dnn/models/models_impl.h"

enum { LOW_LEVEL_FEATURE = 3 };
static const double norm_momentum = 0.1;

/* One row of the paper's table 2: expansion t, output channels c, repeats n, stride of the first repeat s. */
typedef struct stage {
    int64_t expansion, channels, repeats, stride;
} stage;

static const stage stages[] = {
    {1, 16, 1, 1}, {6, 24, 2, 2}, {6, 32, 3, 2}, {6, 64, 4, 2}, {6, 96, 3, 1}, {6, 160, 3, 2}, {6, 320, 1, 1},
};

/* How far striding has gone, and what replaces it beyond the output stride. */
typedef struct pace {
    int64_t stride;   /* product of strides so far */
    int64_t dilation; /* of 3x3 convolutions from here on */
} pace;

/* A stage that would stride past `output_stride` keeps stride 1; its first 3x3 keeps the dilation so far, later ones double it
 * (the reference gives the once-strided convolution half the dilation of its followers). Returns the stride to use. */
static int64_t pace_step(pace *p, int64_t stride, int64_t output_stride, int64_t *dilation)
{
    *dilation = p->dilation;
    if (stride == 1)
        return 1;
    if (p->stride < output_stride) {
        p->stride *= stride;
        return stride;
    }
    p->dilation *= stride;
    return 1;
}

/* conv, norm and activation as members `index`, `index`+1, `index`+2 of the Sequential called `module`. */
static atr_status conv_norm_act(atr_graph *graph, const char *module, int index, atr_conv_spec conv,
                                atr_act act, int *x)
{
    char names[3][ATR_NAME_BYTES];

    for (int i = 0; i < 3; i++)
        snprintf(names[i], sizeof names[i], "%.100s.%d", module, index + i);
    const atr_conv_block block = {names[0], names[1], names[2], conv, norm_momentum, act};
    return atr_build_conv_block(graph, *x, &block, x);
}

/* expand 1x1 -> depthwise 3x3 -> project 1x1 (linear), plus the input where shapes allow. */
static atr_status inverted_residual(atr_graph *graph, const char *module, int64_t expansion, int64_t channels,
                                    int64_t stride, int64_t dilation, bool residual, int *x)
{
    atr_status status = ATR_OK;
    const int input = *x;
    char members[ATR_NAME_BYTES];
    const int64_t hidden = atr_graph_node(graph, input)->channels * expansion;
    int index = 0;

    snprintf(members, sizeof members, "%.100s.conv", module);
    if (expansion != 1) {
        ATR_TRY(conv_norm_act(graph, members, index, (atr_conv_spec){hidden, 1, 1, 0, 1, 1, false},
                              ATR_ACT_RELU6, x));
        index += 3;
    }
    ATR_TRY(conv_norm_act(graph, members, index,
                          (atr_conv_spec){hidden, 3, stride, dilation, dilation, hidden, false},
                          ATR_ACT_RELU6, x));
    index += 3;
    ATR_TRY(conv_norm_act(graph, members, index, (atr_conv_spec){channels, 1, 1, 0, 1, 1, false},
                          ATR_ACT_NONE, x));
    if (residual)
        ATR_TRY(atr_graph_add(graph, module, input, *x, x));
done:
    return status;
}

atr_status atr_build_mobilenetv2(atr_graph *graph, int x, int64_t output_stride, atr_features *out)
{
    atr_status status = ATR_OK;
    pace p = {2, 1};
    int feature = 0;

    ATR_TRY(conv_norm_act(graph, "backbone.features.0", 0, (atr_conv_spec){32, 3, 2, 1, 1, 1, false},
                          ATR_ACT_RELU6, &x));
    for (size_t s = 0; s < sizeof stages / sizeof stages[0]; s++) {
        for (int64_t repeat = 0; repeat < stages[s].repeats; repeat++) {
            char module[ATR_NAME_BYTES];
            int64_t dilation = 1;
            const int64_t asked = repeat == 0 ? stages[s].stride : 1;
            const int64_t stride = pace_step(&p, asked, output_stride, &dilation);
            const bool residual = asked == 1 && atr_graph_node(graph, x)->channels == stages[s].channels;
            snprintf(module, sizeof module, "backbone.features.%d", ++feature);
            ATR_TRY(inverted_residual(graph, module, stages[s].expansion, stages[s].channels, stride,
                                      dilation, residual, &x));
            if (feature == LOW_LEVEL_FEATURE)
                out->low_level = x;
        }
    }
    out->high_level = x;
done:
    return status;
}
