#ifndef ATR_CORE_GRAPH_H
#define ATR_CORE_GRAPH_H

#include <stdbool.h>

#include "core/params.h"

/* What a network computes: nodes, attributes and edges, and the parameters they name. No data, no sizes of pictures,
 * no back end: `dnn` compiles it into a plan, `io` can write it as ONNX. Each node has one output, [N,H,W,C].
 * Nodes are added in an order in which every input exists already, so node order is a topological order. */

enum { ATR_MAX_INPUTS = 8 };

typedef enum atr_op {
    ATR_OP_INPUT,       /* the picture */
    ATR_OP_CONV,        /* 2-d convolution, groups from 1 to depthwise, optional bias, zero padding */
    ATR_OP_NORM,        /* batch norm over N,H,W */
    ATR_OP_ACT,         /* pointwise activation */
    ATR_OP_ADD,         /* sum of two inputs of one shape */
    ATR_OP_CONCAT,      /* along channels */
    ATR_OP_GLOBAL_POOL, /* mean over H,W: [N,1,1,C] */
    ATR_OP_RESIZE,      /* bilinear, align_corners, to the H,W of input 1 (whose values are not read) */
    ATR_OP_DROPOUT,     /* training: zero with probability p, else divide by 1-p; inference: nothing */
    ATR_OP_CONV_RESIZED, /* made by plans only: CONV 3x3 of the concat of (input 0 resized as by RESIZE to the size of input 1)
                            and input 1 */
    ATR_OP_CONV_POOLED, /* made by plans only: CONV 1x1 of the concat of input 0 and input 1 [N,1,1,C] repeated at each pixel */
    ATR_OP_CONV_BANDS, /* made by plans only: three CONVs one behind the other: 1x1, depthwise, 1x1 */
    ATR_OP_CONV_INT8,  /* made by plans only: CONV in 8-bit integers (dnn/int8.h) */
    ATR_OP_QUANTIZE,   /* made by plans only: f32 to u8 */
    ATR_OPS
} atr_op;

typedef enum atr_act { ATR_ACT_NONE, ATR_ACT_RELU, ATR_ACT_RELU6 } atr_act;

/* Dilation d: taps d pixels apart (1: dense). Output extent: (in + 2 pad - dilation (kernel-1) - 1) / stride + 1. */
typedef struct atr_conv_attr {
    int64_t in_channels, out_channels;
    int64_t kernel, stride, pad, dilation, groups; /* square */
    int64_t weight, bias;                          /* parameter indices; bias -1: none */
} atr_conv_attr;

typedef struct atr_norm_attr {
    int64_t channels;
    double eps, momentum; /* running = (1-momentum) running + momentum batch */
    int64_t weight, bias, running_mean, running_var, num_tracked; /* parameter indices */
} atr_norm_attr;

typedef struct atr_node {
    atr_op op;
    char name[ATR_NAME_BYTES]; /* the reference's module path where it has one */
    int inputs[ATR_MAX_INPUTS];
    int input_count;
    int64_t channels; /* of the output */
    union {
        atr_conv_attr conv;
        atr_norm_attr norm;
        atr_act act;
        double dropout; /* p */
    };
} atr_node;

/* Marked nodes, by role: what the parity tests and the plan's head look for. */
typedef enum atr_tap {
    ATR_TAP_LOW_LEVEL,
    ATR_TAP_BACKBONE,
    ATR_TAP_ASPP,
    ATR_TAP_SHORTCUT,
    ATR_TAP_DECODER,
    ATR_TAP_LOGITS, /* class scores before the last resize to the picture's size */
    ATR_TAPS
} atr_tap;

typedef struct atr_graph atr_graph;

atr_status atr_graph_create(atr_graph **out);
void atr_graph_destroy(atr_graph *graph);

int atr_graph_count(const atr_graph *graph);
const atr_node *atr_graph_node(const atr_graph *graph, int index);
int64_t atr_graph_param_count(const atr_graph *graph);
const atr_param_spec *atr_graph_param_specs(const atr_graph *graph);

/* The node with a role, -1 where there is none. */
int atr_graph_tap(const atr_graph *graph, atr_tap tap);
void atr_graph_set_tap(atr_graph *graph, atr_tap tap, int node);

/* Output shapes [N,H,W,C] of all nodes for `batch` pictures of this size into `shapes` [atr_graph_count()][4].
 * ATR_ERR_SHAPE where the pictures are too small for a kernel, or inputs of one node do not fit. */
atr_status atr_graph_shapes(const atr_graph *graph, int64_t batch, int64_t height, int64_t width,
                            int64_t (*shapes)[4]);
/* Weights that one output channel of a convolution has: (I/groups) kernel^2. */
int64_t atr_conv_filter(const atr_conv_attr *conv);
/* Multiply-accumulates of a convolution with an output of shape `y` [N,H,W,O]: N H W O (I/groups) kernel^2, the taps that meet
 * the padding counted too. */
int64_t atr_conv_macs(const atr_conv_attr *conv, const int64_t y[4]);

/* Builders: append a node and its parameters (`NAME.weight` …), give its index in `*out`. Inputs are node indices.
 * ATR_ERR_SHAPE when channels or groups do not fit. */
atr_status atr_graph_input(atr_graph *graph, int64_t channels, int *out);
typedef struct atr_conv_spec {
    int64_t out_channels, kernel, stride, pad, dilation, groups;
    bool bias;
} atr_conv_spec;
atr_status atr_graph_conv(atr_graph *graph, const char *name, int x, atr_conv_spec spec, int *out);
atr_status atr_graph_norm(atr_graph *graph, const char *name, int x, double momentum, double eps, int *out);
atr_status atr_graph_act(atr_graph *graph, const char *name, int x, atr_act act, int *out);
atr_status atr_graph_add(atr_graph *graph, const char *name, int a, int b, int *out);
atr_status atr_graph_concat(atr_graph *graph, const char *name, const int *inputs, int count, int *out);
atr_status atr_graph_global_pool(atr_graph *graph, const char *name, int x, int *out);
atr_status atr_graph_resize(atr_graph *graph, const char *name, int x, int like, int *out);
atr_status atr_graph_dropout(atr_graph *graph, const char *name, int x, double p, int *out);

#endif
