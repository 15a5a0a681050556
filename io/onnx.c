#include "io/onnx.h"

#include <string.h>

#include "io/image.h"
#include "io/model_meta.h"
#include "io/onnx_impl.h"

/* A value of the ONNX graph: what one node of ours makes. */
typedef struct value {
    const char *name;
    bool one_pixel;        /* [N,C,1,1] whatever the input's size */
    int64_t height, width; /* where the input's size is given, else 0 */
} value;

typedef struct exporter {
    const atr_graph *graph;
    const atr_params *params;
    const atr_onnx_shape *shape;
    atr_onnx_builder builder;
    value *values;       /* [nodes of graph] */
    int64_t (*sizes)[4]; /* [nodes of graph], where the input's size is given */
    bool *used;          /* [params] */
    const char *six;     /* constants of ReLU6, made with the first one */
    const char *zero;
} exporter;

static const char input_name[] = "images", output_name[] = "logits";

static const char *parameter(exporter *e, int64_t index)
{
    e->used[index] = true;
    return atr_params_spec(e->params, index)->name;
}

/* A constant list of integers under a name made of `owner` and `what`. */
static atr_status integers(exporter *e, const char *owner, const char *what, const int64_t *numbers,
                           int64_t count, const char **out)
{
    atr_status status = ATR_OK;
    char *name = NULL;
    void *bytes = NULL;

    ATR_TRY(atr_onnx_text(&e->builder, &name, "%s.%s", owner, what));
    ATR_TRY(atr_onnx_name(&e->builder, name, &name));
    ATR_TRY(atr_onnx_copy(&e->builder, numbers, (size_t)count * sizeof *numbers, &bytes));
    const atr_tensor tensor = atr_tensor_make(ATR_I64, 1, &count, bytes);
    ATR_TRY(atr_onnx_constant(&e->builder, name, &tensor));
    *out = name;

done:
    return status;
}

/* Extents [start, end) of a value, read when the network runs. */
static atr_status extents_of(exporter *e, const char *owner, const char *what, const char *of, int64_t start,
                             int64_t end, const char **out)
{
    atr_status status = ATR_OK;
    AtrOnnx__NodeProto *node = NULL;
    char *name = NULL;

    ATR_TRY(atr_onnx_text(&e->builder, &name, "%s.%s", owner, what));
    ATR_TRY(atr_onnx_name(&e->builder, name, &name));
    ATR_TRY(atr_onnx_node(&e->builder, "Shape", &of, 1, name, &node));
    ATR_TRY(atr_onnx_set_int(&e->builder, node, "start", start));
    ATR_TRY(atr_onnx_set_int(&e->builder, node, "end", end));
    *out = name;

done:
    return status;
}

/* The shape [N,C,H,W] that resizing `x` to the size of `like` gives, or [1,1,H,W] with `spread` (to be broadcast to): constant where
 * all of it is known, else put together when the network runs. */
static atr_status target_shape(exporter *e, const char *owner, const value *x, int64_t channels,
                               const value *like, bool spread, const char **out)
{
    atr_status status = ATR_OK;
    const int64_t all[4] = {spread ? 1 : e->shape->batch, spread ? 1 : channels, like->height, like->width};
    const bool batch_known = all[0] > 0, size_known = like->height > 0;
    const char *parts[2] = {NULL, NULL};
    AtrOnnx__NodeProto *node = NULL;
    char *name = NULL;

    if (batch_known && size_known)
        return integers(e, owner, "sizes", all, 4, out);
    if (batch_known)
        ATR_TRY(integers(e, owner, "sizes.nc", all, 2, &parts[0]));
    else
        ATR_TRY(extents_of(e, owner, "sizes.nc", x->name, 0, 2, &parts[0]));
    if (size_known)
        ATR_TRY(integers(e, owner, "sizes.hw", all + 2, 2, &parts[1]));
    else
        ATR_TRY(extents_of(e, owner, "sizes.hw", like->name, 2, 4, &parts[1]));
    ATR_TRY(atr_onnx_text(&e->builder, &name, "%s.sizes", owner));
    ATR_TRY(atr_onnx_name(&e->builder, name, &name));
    ATR_TRY(atr_onnx_node(&e->builder, "Concat", parts, 2, name, &node));
    ATR_TRY(atr_onnx_set_int(&e->builder, node, "axis", 0));
    *out = name;

done:
    return status;
}

/* One pixel spread over the whole map: the same as resizing it, without arithmetic. */
static atr_status write_spread(exporter *e, const value *x, int64_t channels, const value *like, char *output)
{
    atr_status status = ATR_OK;
    const char *inputs[2] = {x->name, NULL};

    ATR_TRY(target_shape(e, output, x, channels, like, true, &inputs[1]));
    ATR_TRY(atr_onnx_node(&e->builder, "Expand", inputs, 2, output, NULL));

done:
    return status;
}

static atr_status write_resize_to(exporter *e, const value *x, int64_t channels, const value *like,
                                  char *output)
{
    atr_status status = ATR_OK;
    const char *inputs[4] = {x->name, "", "", NULL}; /* neither a region nor factors, but sizes */
    AtrOnnx__NodeProto *node = NULL;

    if (x->one_pixel)
        return write_spread(e, x, channels, like, output);
    ATR_TRY(target_shape(e, output, x, channels, like, false, &inputs[3]));
    ATR_TRY(atr_onnx_node(&e->builder, "Resize", inputs, 4, output, &node));
    ATR_TRY(atr_onnx_set_text(&e->builder, node, "mode", "linear"));
    ATR_TRY(atr_onnx_set_text(&e->builder, node, "coordinate_transformation_mode", "align_corners"));

done:
    return status;
}

static atr_status write_input(exporter *e, const atr_node *node, value *out)
{
    static const char *const names[4] = {"batch", "channels", "height", "width"};
    const int64_t extents[4] = {e->shape->batch, node->channels, e->shape->height, e->shape->width};

    return atr_onnx_input(&e->builder, out->name, extents, names);
}

static atr_status write_conv(exporter *e, const atr_node *node, value *out)
{
    atr_status status = ATR_OK;
    const atr_conv_attr *const conv = &node->conv;
    const value *const x = &e->values[node->inputs[0]];
    const int64_t kernel[2] = {conv->kernel, conv->kernel}, strides[2] = {conv->stride, conv->stride},
                  pads[4] = {conv->pad, conv->pad, conv->pad, conv->pad},
                  dilations[2] = {conv->dilation, conv->dilation};
    const char *inputs[3] = {x->name, parameter(e, conv->weight), NULL};
    AtrOnnx__NodeProto *proto = NULL;

    if (conv->bias >= 0)
        inputs[2] = parameter(e, conv->bias);
    ATR_TRY(atr_onnx_node(&e->builder, "Conv", inputs, conv->bias >= 0 ? 3 : 2, (char *)out->name, &proto));
    ATR_TRY(atr_onnx_set_ints(&e->builder, proto, "kernel_shape", kernel, 2));
    ATR_TRY(atr_onnx_set_ints(&e->builder, proto, "strides", strides, 2));
    ATR_TRY(atr_onnx_set_ints(&e->builder, proto, "pads", pads, 4));
    ATR_TRY(atr_onnx_set_ints(&e->builder, proto, "dilations", dilations, 2));
    ATR_TRY(atr_onnx_set_int(&e->builder, proto, "group", conv->groups));
    out->one_pixel = x->one_pixel && conv->kernel == 1 && conv->pad == 0;

done:
    return status;
}

static atr_status write_norm(exporter *e, const atr_node *node, value *out)
{
    atr_status status = ATR_OK;
    const atr_norm_attr *const norm = &node->norm;
    const char *const inputs[5] = {e->values[node->inputs[0]].name, parameter(e, norm->weight),
                                   parameter(e, norm->bias), parameter(e, norm->running_mean),
                                   parameter(e, norm->running_var)};
    AtrOnnx__NodeProto *proto = NULL;

    out->one_pixel = e->values[node->inputs[0]].one_pixel;
    ATR_TRY(atr_onnx_node(&e->builder, "BatchNormalization", inputs, 5, (char *)out->name, &proto));
    ATR_TRY(atr_onnx_set_float(&e->builder, proto, "epsilon", (float)norm->eps));

done:
    return status;
}

static atr_status limits_of_relu6(exporter *e)
{
    static const float zero = 0, six = 6;
    const atr_tensor low = atr_tensor_make(ATR_F32, 0, NULL, (void *)&zero),
                     high = atr_tensor_make(ATR_F32, 0, NULL, (void *)&six);
    atr_status status = ATR_OK;
    char *name = NULL;

    if (e->zero != NULL)
        return ATR_OK;
    ATR_TRY(atr_onnx_name(&e->builder, "relu6.least", &name));
    ATR_TRY(atr_onnx_constant(&e->builder, name, &low));
    e->zero = name;
    ATR_TRY(atr_onnx_name(&e->builder, "relu6.most", &name));
    ATR_TRY(atr_onnx_constant(&e->builder, name, &high));
    e->six = name;

done:
    return status;
}

/* Nothing to compute: the value is its input under the same name. */
static atr_status pass_on(exporter *e, const atr_node *node, value *out)
{
    *out = e->values[node->inputs[0]];
    return ATR_OK;
}

static atr_status write_act(exporter *e, const atr_node *node, value *out)
{
    atr_status status = ATR_OK;
    const char *inputs[3] = {e->values[node->inputs[0]].name, NULL, NULL};

    out->one_pixel = e->values[node->inputs[0]].one_pixel;
    switch (node->act) {
    case ATR_ACT_NONE:
        return pass_on(e, node, out);
    case ATR_ACT_RELU:
        return atr_onnx_node(&e->builder, "Relu", inputs, 1, (char *)out->name, NULL);
    case ATR_ACT_RELU6:
        ATR_TRY(limits_of_relu6(e));
        inputs[1] = e->zero;
        inputs[2] = e->six;
        return atr_onnx_node(&e->builder, "Clip", inputs, 3, (char *)out->name, NULL);
    }
    status = atr_fail(ATR_ERR_UNSUPPORTED, "%s: activation %d has no form in ONNX", node->name, node->act);

done:
    return status;
}

static atr_status write_add(exporter *e, const atr_node *node, value *out)
{
    const char *const inputs[2] = {e->values[node->inputs[0]].name, e->values[node->inputs[1]].name};

    out->one_pixel = e->values[node->inputs[0]].one_pixel;
    return atr_onnx_node(&e->builder, "Add", inputs, 2, (char *)out->name, NULL);
}

static atr_status write_concat(exporter *e, const atr_node *node, value *out)
{
    atr_status status = ATR_OK;
    const char *inputs[ATR_MAX_INPUTS] = {NULL};
    AtrOnnx__NodeProto *proto = NULL;

    out->one_pixel = e->values[node->inputs[0]].one_pixel;
    for (int i = 0; i < node->input_count; i++)
        inputs[i] = e->values[node->inputs[i]].name;
    ATR_TRY(atr_onnx_node(&e->builder, "Concat", inputs, node->input_count, (char *)out->name, &proto));
    ATR_TRY(atr_onnx_set_int(&e->builder, proto, "axis", 1));

done:
    return status;
}

static atr_status write_global_pool(exporter *e, const atr_node *node, value *out)
{
    const char *const x = e->values[node->inputs[0]].name;

    out->one_pixel = true;
    return atr_onnx_node(&e->builder, "GlobalAveragePool", &x, 1, (char *)out->name, NULL);
}

static atr_status write_resize(exporter *e, const atr_node *node, value *out)
{
    const value *const x = &e->values[node->inputs[0]], *const like = &e->values[node->inputs[1]];

    out->one_pixel = like->one_pixel;
    return write_resize_to(e, x, node->channels, like, (char *)out->name);
}

/* How each operation is written; what is missing has no form in ONNX. */
static atr_status (*const writers[ATR_OPS])(exporter *e, const atr_node *node, value *out) = {
    [ATR_OP_INPUT] = write_input,   [ATR_OP_CONV] = write_conv,
    [ATR_OP_NORM] = write_norm,     [ATR_OP_ACT] = write_act,
    [ATR_OP_ADD] = write_add,       [ATR_OP_CONCAT] = write_concat,
    [ATR_OP_RESIZE] = write_resize, [ATR_OP_GLOBAL_POOL] = write_global_pool,
    [ATR_OP_DROPOUT] = pass_on,
};

static atr_status write_node(exporter *e, int index)
{
    atr_status status = ATR_OK;
    const atr_node *const node = atr_graph_node(e->graph, index);
    value *const out = &e->values[index];
    char *name = NULL;

    if (writers[node->op] == NULL)
        return atr_fail(ATR_ERR_UNSUPPORTED, "%s: operation %d has no form in ONNX", node->name, node->op);
    ATR_TRY(atr_onnx_name(&e->builder, node->op == ATR_OP_INPUT ? input_name : node->name, &name));
    out->name = name;
    if (e->shape->height > 0) {
        out->height = e->sizes[index][1];
        out->width = e->sizes[index][2];
    }
    ATR_TRY(writers[node->op](e, node, out));

done:
    return status;
}

/* Class scores at the input's size. */
static atr_status write_output(exporter *e)
{
    static const char *const names[4] = {"batch", "classes", "height", "width"};
    const atr_node *const logits = atr_graph_node(e->graph, atr_graph_tap(e->graph, ATR_TAP_LOGITS));
    const int64_t extents[4] = {e->shape->batch, logits->channels, e->shape->height, e->shape->width};
    const value *input = NULL;
    atr_status status = ATR_OK;

    for (int i = 0; i < atr_graph_count(e->graph) && input == NULL; i++)
        if (atr_graph_node(e->graph, i)->op == ATR_OP_INPUT)
            input = &e->values[i];
    if (input == NULL)
        return atr_fail(ATR_ERR_USAGE, "the network has no input");
    ATR_TRY(write_resize_to(e, &e->values[atr_graph_tap(e->graph, ATR_TAP_LOGITS)], logits->channels, input,
                            (char *)output_name));
    ATR_TRY(atr_onnx_output(&e->builder, output_name, extents, names));

done:
    return status;
}

/* The parameters that nodes read, in the order of the state_dict. */
static atr_status write_parameters(exporter *e)
{
    atr_status status = ATR_OK;

    for (int64_t i = 0; i < atr_params_count(e->params); i++) {
        const atr_tensor tensor = atr_params_value(e->params, i);
        if (e->used[i])
            ATR_TRY(atr_onnx_constant(&e->builder, atr_params_spec(e->params, i)->name, &tensor));
    }

done:
    return status;
}

static atr_status write_graph(exporter *e)
{
    atr_status status = ATR_OK;
    char *taken = NULL;

    ATR_TRY(atr_onnx_name(&e->builder, output_name, &taken));
    for (int64_t i = 0; i < atr_params_count(e->params); i++)
        ATR_TRY(atr_onnx_name(&e->builder, atr_params_spec(e->params, i)->name, &taken));
    for (int i = 0; i < atr_graph_count(e->graph); i++)
        ATR_TRY(write_node(e, i));
    ATR_TRY(write_output(e));
    ATR_TRY(write_parameters(e));

done:
    return status;
}

static atr_status check(const atr_graph *graph, const atr_params *params, const atr_onnx_shape *shape)
{
    if (atr_graph_tap(graph, ATR_TAP_LOGITS) < 0)
        return atr_fail(ATR_ERR_USAGE, "the network has no class scores that could be its output");
    if (atr_params_count(params) != atr_graph_param_count(graph))
        return atr_fail(ATR_ERR_SHAPE, "the network has %lld parameters, given are %lld",
                        (long long)atr_graph_param_count(graph), (long long)atr_params_count(params));
    if (shape->batch < 0 || shape->height < 0 || shape->width < 0 ||
        (shape->height == 0) != (shape->width == 0))
        return atr_fail(ATR_ERR_USAGE, "an input of %lld pictures of %lldx%lld", (long long)shape->batch,
                        (long long)shape->height, (long long)shape->width);
    return ATR_OK;
}

atr_status atr_onnx_encode(const atr_model_info *info, const atr_graph *graph, const atr_params *params,
                           const atr_onnx_shape *shape, const char *program_version, void **bytes,
                           size_t *size)
{
    atr_status status = ATR_OK;
    exporter e = {.graph = graph, .params = params, .shape = shape};
    atr_model_meta meta = {0};

    *bytes = NULL;
    *size = 0;
    ATR_TRY(check(graph, params, shape));
    ATR_TRY(atr_onnx_builder_open(&e.builder));
    ATR_TRY(ATR_NEW(atr_graph_count(graph), &e.values));
    ATR_TRY(ATR_NEW(atr_graph_count(graph), &e.sizes));
    ATR_TRY(ATR_NEW(atr_params_count(params), &e.used));
    if (shape->height > 0)
        ATR_TRY(atr_graph_shapes(graph, 1, shape->height, shape->width, e.sizes));
    ATR_TRY(atr_model_meta_make(info, &meta));
    e.builder.model.producer_name = (char *)"atrous";
    e.builder.model.producer_version = (char *)program_version;
    e.builder.model.doc_string =
        (char *)"images: f32 [N,C,H,W], channel c = sample * scale[c] + offset[c] of the metadata. "
                "logits: class scores before softmax.";
    e.builder.graph.name = (char *)info->architecture;
    for (int i = 0; i < meta.count; i++)
        ATR_TRY(atr_onnx_metadata(&e.builder, meta.pairs[i].key, meta.pairs[i].value));
    ATR_TRY(write_graph(&e));
    ATR_TRY(atr_onnx_pack(&e.builder, bytes, size));

done:
    atr_onnx_builder_close(&e.builder);
    atr_model_meta_free(&meta);
    atr_free(e.values);
    atr_free(e.sizes);
    atr_free(e.used);
    return status;
}

atr_status atr_onnx_write(const char *path, const atr_model_info *info, const atr_graph *graph,
                          const atr_params *params, const atr_onnx_shape *shape, const char *program_version)
{
    atr_status status = ATR_OK;
    void *bytes = NULL;
    size_t size = 0;

    ATR_TRY(atr_onnx_encode(info, graph, params, shape, program_version, &bytes, &size));
    ATR_TRY(atr_file_write(path, bytes, size));

done:
    atr_free(bytes);
    return status;
}
