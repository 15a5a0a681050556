/* Sizes of what a graph computes, for pictures of one size. */
#include <string.h>

#include "core/graph.h"

static atr_status conv_shape(const atr_node *node, const int64_t in[4], int64_t out[4])
{
    const atr_conv_attr *conv = &node->conv;
    const int64_t reach = conv->dilation * (conv->kernel - 1) + 1;

    out[0] = in[0];
    out[3] = conv->out_channels;
    for (int i = 1; i <= 2; i++) {
        const int64_t room = in[i] + 2 * conv->pad - reach;
        if (room < 0)
            return atr_fail(
                ATR_ERR_SHAPE,
                "%s: a picture of %lldx%lld is too small for a kernel that reaches over %lld pixels",
                node->name, (long long)in[1], (long long)in[2], (long long)reach);
        out[i] = room / conv->stride + 1;
    }
    return ATR_OK;
}

/* Of one shape but for the channels, which are the node's. */
static atr_status common_shape(const atr_node *node, int64_t (*shapes)[4], int64_t out[4])
{
    const int64_t *first = shapes[node->inputs[0]];

    memcpy(out, first, 4 * sizeof *out);
    out[3] = node->channels;
    for (int i = 1; i < node->input_count; i++) {
        const int64_t *other = shapes[node->inputs[i]];
        if (memcmp(first, other, 3 * sizeof *out) != 0)
            return atr_fail(ATR_ERR_SHAPE, "%s: inputs of %lldx%lld and %lldx%lld pixels do not fit",
                            node->name, (long long)first[1], (long long)first[2], (long long)other[1],
                            (long long)other[2]);
    }
    return ATR_OK;
}

atr_status atr_graph_shapes(const atr_graph *graph, int64_t batch, int64_t height, int64_t width,
                            int64_t (*shapes)[4])
{
    atr_status status = ATR_OK;

    for (int i = 0; i < atr_graph_count(graph); i++) {
        const atr_node *node = atr_graph_node(graph, i);
        const int64_t *in = node->input_count > 0 ? shapes[node->inputs[0]] : NULL;
        int64_t pixels[3];
        switch (node->op) {
        case ATR_OP_INPUT:
            memcpy(pixels, (const int64_t[]){batch, height, width}, sizeof pixels);
            break;
        case ATR_OP_RESIZE:
            memcpy(pixels, (const int64_t[]){in[0], shapes[node->inputs[1]][1], shapes[node->inputs[1]][2]},
                   sizeof pixels);
            break;
        case ATR_OP_GLOBAL_POOL:
            memcpy(pixels, (const int64_t[]){in[0], 1, 1}, sizeof pixels);
            break;
        case ATR_OP_CONV:
            ATR_TRY(conv_shape(node, in, shapes[i]));
            continue;
        default:
            ATR_TRY(common_shape(node, shapes, shapes[i]));
            continue;
        }
        memcpy(shapes[i], pixels, sizeof pixels);
        shapes[i][3] = node->channels;
    }
done:
    return status;
}

int64_t atr_conv_filter(const atr_conv_attr *conv)
{
    return conv->in_channels / conv->groups * conv->kernel * conv->kernel;
}

int64_t atr_conv_macs(const atr_conv_attr *conv, const int64_t y[4])
{
    return y[0] * y[1] * y[2] * conv->out_channels * atr_conv_filter(conv);
}
