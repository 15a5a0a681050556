/* The written ONNX is read back with the code that protoc-c makes and compared with the graph it came from. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>
#include <onnx.pb-c.h>

#include "dnn/model.h"
#include "io/model_meta.h"
#include "io/names.h"
#include "io/onnx.h"
#include "io/path.h"
#include "tests/support/full_disk.h"
#include "tests/support/scratch.h"

typedef struct sample {
    atr_model_info info;
    atr_graph *graph;
    atr_params *params;
} sample;

static void must_be_ok(atr_status status)
{
    if (status != ATR_OK)
        fail_msg("%s", atr_status_message());
}

/* A description and parameters for `s->graph`; each value is a number of its own. */
static void finish(sample *s, int64_t classes)
{
    strcpy(s->info.architecture, "deeplabv3plus");
    strcpy(s->info.backbone, "mobilenetv2");
    strcpy(s->info.fit, "letterbox");
    s->info.output_stride = 16;
    s->info.align_corners = true;
    s->info.classes = classes;
    strcpy(s->info.class_names[1], "cat");
    s->info.channels = 3;
    for (int c = 0; c < 3; c++)
        s->info.scale[c] = 1.0 / 255;
    must_be_ok(atr_params_create(atr_graph_param_specs(s->graph), atr_graph_param_count(s->graph),
                                 &atr_host_allocator, &s->params));
    for (int64_t i = 0; i < atr_params_count(s->params); i++) {
        const atr_tensor value = atr_params_value(s->params, i);
        for (int64_t k = 0; value.type == ATR_F32 && k < atr_tensor_count(&value); k++)
            ((float *)value.data)[k] = (float)i + (float)k / 65536;
    }
}

/* A network of each operation, small enough to be looked at whole. */
static void sample_small(sample *s)
{
    atr_graph *g = NULL;
    int x = 0, y = 0, pooled = 0, wide = 0;

    memset(s, 0, sizeof *s);
    must_be_ok(atr_graph_create(&g));
    s->graph = g;
    must_be_ok(atr_graph_input(g, 3, &x));
    must_be_ok(atr_graph_conv(g, "stem", x, (atr_conv_spec){4, 3, 2, 1, 1, 1, false}, &y));
    must_be_ok(atr_graph_norm(g, "norm", y, 0.1, 1e-5, &y));
    must_be_ok(atr_graph_act(g, "clip", y, ATR_ACT_RELU6, &y));
    const int stem = y;
    must_be_ok(atr_graph_conv(g, "depthwise", y, (atr_conv_spec){4, 3, 1, 2, 2, 4, false}, &y));
    must_be_ok(atr_graph_act(g, "clip2", y, ATR_ACT_RELU6, &y));
    must_be_ok(atr_graph_add(g, "sum", stem, y, &y));
    must_be_ok(atr_graph_global_pool(g, "pool", y, &pooled));
    must_be_ok(atr_graph_conv(g, "pooled", pooled, (atr_conv_spec){2, 1, 1, 0, 1, 1, true}, &pooled));
    must_be_ok(atr_graph_act(g, "relu", pooled, ATR_ACT_RELU, &pooled));
    must_be_ok(atr_graph_resize(g, "spread", pooled, y, &wide));
    must_be_ok(atr_graph_concat(g, "join", (const int[]){y, wide}, 2, &y));
    must_be_ok(atr_graph_conv(g, "half", y, (atr_conv_spec){4, 3, 2, 1, 1, 1, true}, &y));
    must_be_ok(atr_graph_resize(g, "enlarge", y, stem, &y));
    must_be_ok(atr_graph_dropout(g, "drop", y, 0.5, &y));
    must_be_ok(atr_graph_conv(g, "cls_conv", y, (atr_conv_spec){2, 1, 1, 0, 1, 1, true}, &y));
    atr_graph_set_tap(g, ATR_TAP_LOGITS, y);
    finish(s, 2);
}

static void sample_model(sample *s, const char *backbone, int64_t output_stride)
{
    atr_model_config config = atr_model_config_default();

    memset(s, 0, sizeof *s);
    strcpy(config.backbone, backbone);
    config.output_stride = output_stride;
    must_be_ok(atr_model_build(&config, &s->graph));
    finish(s, config.classes);
}

static void sample_free(sample *s)
{
    atr_params_destroy(s->params);
    atr_graph_destroy(s->graph);
}

static AtrOnnx__ModelProto *encode(const sample *s, atr_onnx_shape shape)
{
    void *bytes = NULL;
    size_t size = 0;

    must_be_ok(atr_onnx_encode(&s->info, s->graph, s->params, &shape, "9.9", &bytes, &size));
    AtrOnnx__ModelProto *const model = atr_onnx__model_proto__unpack(NULL, size, bytes);
    atr_free(bytes);
    assert_non_null(model);
    return model;
}

static void release(AtrOnnx__ModelProto *model)
{
    atr_onnx__model_proto__free_unpacked(model, NULL);
}

/* "Conv(x,w)->y" */
static char *node_text(const AtrOnnx__NodeProto *node, char *text, size_t room)
{
    size_t used = (size_t)snprintf(text, room, "%s(", node->op_type);

    for (size_t i = 0; i < node->n_input; i++)
        used += (size_t)snprintf(text + used, room - used, "%s%s", i > 0 ? "," : "", node->input[i]);
    assert_int_equal(node->n_output, 1);
    snprintf(text + used, room - used, ")->%s", node->output[0]);
    return text;
}

static const AtrOnnx__NodeProto *find_node(const AtrOnnx__ModelProto *model, const char *output)
{
    for (size_t i = 0; i < model->graph->n_node; i++)
        if (strcmp(model->graph->node[i]->output[0], output) == 0)
            return model->graph->node[i];
    fail_msg("no node makes %s", output);
    return NULL;
}

static const AtrOnnx__TensorProto *find_constant(const AtrOnnx__ModelProto *model, const char *name)
{
    for (size_t i = 0; i < model->graph->n_initializer; i++)
        if (strcmp(model->graph->initializer[i]->name, name) == 0)
            return model->graph->initializer[i];
    return NULL;
}

static const AtrOnnx__AttributeProto *find_attribute(const AtrOnnx__NodeProto *node, const char *name)
{
    for (size_t i = 0; i < node->n_attribute; i++)
        if (strcmp(node->attribute[i]->name, name) == 0)
            return node->attribute[i];
    fail_msg("%s has no attribute %s", node->name, name);
    return NULL;
}

static void expect_nodes(const AtrOnnx__ModelProto *model, const char *const *expected, size_t count)
{
    char text[512];

    for (size_t i = 0; i < count && i < model->graph->n_node; i++)
        assert_string_equal(node_text(model->graph->node[i], text, sizeof text), expected[i]);
    assert_int_equal(model->graph->n_node, count);
}

static void each_operation_has_its_counterpart(void **state)
{
    static const char *const expected[] = {
        "Conv(images,stem.weight)->stem",
        "BatchNormalization(stem,norm.weight,norm.bias,norm.running_mean,norm.running_var)->norm",
        "Clip(norm,relu6.least,relu6.most)->clip",
        "Conv(clip,depthwise.weight)->depthwise",
        "Clip(depthwise,relu6.least,relu6.most)->clip2",
        "Add(clip,clip2)->sum",
        "GlobalAveragePool(sum)->pool",
        "Conv(pool,pooled.weight,pooled.bias)->pooled",
        "Relu(pooled)->relu",
        "Shape(sum)->spread.sizes.hw",
        "Concat(spread.sizes.nc,spread.sizes.hw)->spread.sizes",
        "Expand(relu,spread.sizes)->spread",
        "Concat(sum,spread)->join",
        "Conv(join,half.weight,half.bias)->half",
        "Shape(half)->enlarge.sizes.nc",
        "Shape(clip)->enlarge.sizes.hw",
        "Concat(enlarge.sizes.nc,enlarge.sizes.hw)->enlarge.sizes",
        "Resize(half,,,enlarge.sizes)->enlarge",
        "Conv(enlarge,cls_conv.weight,cls_conv.bias)->cls_conv", /* no dropout between */
        "Shape(cls_conv)->logits.sizes.nc",
        "Shape(images)->logits.sizes.hw",
        "Concat(logits.sizes.nc,logits.sizes.hw)->logits.sizes",
        "Resize(cls_conv,,,logits.sizes)->logits",
    };
    sample s;

    (void)state;
    sample_small(&s);
    AtrOnnx__ModelProto *const model = encode(&s, (atr_onnx_shape){0});
    expect_nodes(model, expected, sizeof expected / sizeof expected[0]);
    release(model);
    sample_free(&s);
}

static void expect_ints(const AtrOnnx__NodeProto *node, const char *name, int64_t each, size_t count)
{
    const AtrOnnx__AttributeProto *const attribute = find_attribute(node, name);

    assert_int_equal(attribute->type, ATR_ONNX__ATTRIBUTE_PROTO__ATTRIBUTE_TYPE__INTS);
    assert_int_equal(attribute->n_ints, count);
    for (size_t i = 0; i < count; i++)
        assert_int_equal(attribute->ints[i], each);
}

static void expect_text(const AtrOnnx__NodeProto *node, const char *name, const char *value)
{
    const AtrOnnx__AttributeProto *const attribute = find_attribute(node, name);

    assert_int_equal(attribute->type, ATR_ONNX__ATTRIBUTE_PROTO__ATTRIBUTE_TYPE__STRING);
    assert_int_equal(attribute->s.len, strlen(value));
    assert_memory_equal(attribute->s.data, value, strlen(value));
}

static int64_t int_of(const AtrOnnx__NodeProto *node, const char *name)
{
    const AtrOnnx__AttributeProto *const attribute = find_attribute(node, name);

    assert_int_equal(attribute->type, ATR_ONNX__ATTRIBUTE_PROTO__ATTRIBUTE_TYPE__INT);
    assert_true(attribute->has_i);
    return attribute->i;
}

static void attributes_are_those_of_the_graph(void **state)
{
    sample s;

    (void)state;
    sample_small(&s);
    AtrOnnx__ModelProto *const model = encode(&s, (atr_onnx_shape){0});
    const AtrOnnx__NodeProto *const stem = find_node(model, "stem"), *const dw =
                                                                         find_node(model, "depthwise");
    expect_ints(stem, "kernel_shape", 3, 2);
    expect_ints(stem, "strides", 2, 2);
    expect_ints(stem, "pads", 1, 4);
    expect_ints(stem, "dilations", 1, 2);
    assert_int_equal(int_of(stem, "group"), 1);
    expect_ints(dw, "strides", 1, 2);
    expect_ints(dw, "pads", 2, 4);
    expect_ints(dw, "dilations", 2, 2);
    assert_int_equal(int_of(dw, "group"), 4);
    const AtrOnnx__AttributeProto *const eps = find_attribute(find_node(model, "norm"), "epsilon");
    assert_int_equal(eps->type, ATR_ONNX__ATTRIBUTE_PROTO__ATTRIBUTE_TYPE__FLOAT);
    assert_true(eps->f == 1e-5f);
    expect_text(find_node(model, "enlarge"), "mode", "linear");
    expect_text(find_node(model, "logits"), "coordinate_transformation_mode", "align_corners");
    assert_int_equal(int_of(find_node(model, "join"), "axis"), 1);
    assert_int_equal(int_of(find_node(model, "logits.sizes"), "axis"), 0);
    assert_int_equal(int_of(find_node(model, "logits.sizes.nc"), "start"), 0);
    assert_int_equal(int_of(find_node(model, "logits.sizes.nc"), "end"), 2);
    assert_int_equal(int_of(find_node(model, "logits.sizes.hw"), "start"), 2);
    assert_int_equal(int_of(find_node(model, "logits.sizes.hw"), "end"), 4);
    release(model);
    sample_free(&s);
}

static void expect_float(const AtrOnnx__ModelProto *model, const char *name, float value)
{
    const AtrOnnx__TensorProto *const constant = find_constant(model, name);

    assert_non_null(constant);
    assert_int_equal(constant->n_dims, 0);
    assert_int_equal(constant->data_type, ATR_ONNX__TENSOR_PROTO__DATA_TYPE__FLOAT);
    assert_int_equal(constant->raw_data.len, sizeof value);
    assert_memory_equal(constant->raw_data.data, &value, sizeof value);
}

static void expect_numbers(const AtrOnnx__ModelProto *model, const char *name, const int64_t *values,
                           size_t count)
{
    const AtrOnnx__TensorProto *const constant = find_constant(model, name);

    if (constant == NULL)
        fail_msg("no constant is called %s", name);
    assert_int_equal(constant->n_dims, 1);
    assert_int_equal(constant->dims[0], count);
    assert_int_equal(constant->data_type, ATR_ONNX__TENSOR_PROTO__DATA_TYPE__INT64);
    assert_int_equal(constant->raw_data.len, count * sizeof *values);
    assert_memory_equal(constant->raw_data.data, values, count * sizeof *values);
}

static void expect_dims(const AtrOnnx__ValueInfoProto *value, const char *name, const int64_t extents[4],
                        const char *const names[4])
{
    const AtrOnnx__TypeProto__Tensor *const tensor = value->type->tensor_type;

    assert_string_equal(value->name, name);
    assert_int_equal(value->type->value_case, ATR_ONNX__TYPE_PROTO__VALUE_TENSOR_TYPE);
    assert_int_equal(tensor->elem_type, ATR_ONNX__TENSOR_PROTO__DATA_TYPE__FLOAT);
    assert_int_equal(tensor->shape->n_dim, 4);
    for (int i = 0; i < 4; i++) {
        const AtrOnnx__TensorShapeProto__Dimension *const dim = tensor->shape->dim[i];
        if (extents[i] > 0) {
            assert_int_equal(dim->value_case, ATR_ONNX__TENSOR_SHAPE_PROTO__DIMENSION__VALUE_DIM_VALUE);
            assert_int_equal(dim->dim_value, extents[i]);
        } else {
            assert_int_equal(dim->value_case, ATR_ONNX__TENSOR_SHAPE_PROTO__DIMENSION__VALUE_DIM_PARAM);
            assert_string_equal(dim->dim_param, names[i]);
        }
    }
}

static void expect_ends(const AtrOnnx__ModelProto *model, int64_t n, int64_t h, int64_t w)
{
    static const char *const names[4] = {"batch", "-", "height", "width"};

    assert_int_equal(model->graph->n_input, 1);
    assert_int_equal(model->graph->n_output, 1);
    expect_dims(model->graph->input[0], "images", (const int64_t[]){n, 3, h, w}, names);
    expect_dims(model->graph->output[0], "logits", (const int64_t[]){n, 2, h, w}, names);
}

static void count_ops(const AtrOnnx__ModelProto *model, const char *op, size_t expected)
{
    size_t count = 0;

    for (size_t i = 0; i < model->graph->n_node; i++)
        count += strcmp(model->graph->node[i]->op_type, op) == 0;
    if (count != expected)
        fail_msg("%zu nodes of %s, expected %zu", count, op, expected);
}

static void shapes_are_fixed_as_far_as_they_are_told(void **state)
{
    sample s;

    (void)state;
    sample_small(&s);
    AtrOnnx__ModelProto *model = encode(&s, (atr_onnx_shape){0});
    expect_ends(model, 0, 0, 0);
    expect_float(model, "relu6.least", 0);
    expect_float(model, "relu6.most", 6);
    expect_numbers(model, "spread.sizes.nc", (const int64_t[]){1, 1}, 2);
    release(model);

    model = encode(&s, (atr_onnx_shape){2, 21, 34});
    expect_ends(model, 2, 21, 34);
    count_ops(model, "Shape", 0);
    expect_numbers(model, "spread.sizes", (const int64_t[]){1, 1, 11, 17}, 4);
    expect_numbers(model, "enlarge.sizes", (const int64_t[]){2, 4, 11, 17}, 4);
    expect_numbers(model, "logits.sizes", (const int64_t[]){2, 2, 21, 34}, 4);
    release(model);

    model = encode(&s, (atr_onnx_shape){0, 21, 34});
    expect_ends(model, 0, 21, 34);
    count_ops(model, "Shape", 2);
    expect_numbers(model, "spread.sizes", (const int64_t[]){1, 1, 11, 17}, 4);
    expect_numbers(model, "logits.sizes.hw", (const int64_t[]){21, 34}, 2);
    release(model);

    model = encode(&s, (atr_onnx_shape){5, 0, 0});
    expect_ends(model, 5, 0, 0);
    count_ops(model, "Shape", 3);
    expect_numbers(model, "logits.sizes.nc", (const int64_t[]){5, 2}, 2);
    release(model);
    sample_free(&s);
}

static void the_description_goes_along(void **state)
{
    sample s;
    atr_model_meta meta;

    (void)state;
    sample_small(&s);
    must_be_ok(atr_model_meta_make(&s.info, &meta));
    AtrOnnx__ModelProto *const model = encode(&s, (atr_onnx_shape){0});
    assert_int_equal(model->ir_version, 8);
    assert_int_equal(model->n_opset_import, 1);
    assert_string_equal(model->opset_import[0]->domain, "");
    assert_int_equal(model->opset_import[0]->version, 17);
    assert_string_equal(model->producer_name, "atrous");
    assert_string_equal(model->producer_version, "9.9");
    assert_int_equal(model->n_metadata_props, meta.count);
    for (int i = 0; i < meta.count; i++) {
        assert_string_equal(model->metadata_props[i]->key, meta.pairs[i].key);
        assert_string_equal(model->metadata_props[i]->value, meta.pairs[i].value);
    }
    atr_model_meta_free(&meta);
    release(model);
    sample_free(&s);
}

/* Every parameter but the counters is there once, bit by bit. */
static void expect_parameters(const AtrOnnx__ModelProto *model, const sample *s)
{
    for (int64_t i = 0; i < atr_params_count(s->params); i++) {
        const atr_param_spec *const spec = atr_params_spec(s->params, i);
        const atr_tensor value = atr_params_value(s->params, i);
        const AtrOnnx__TensorProto *const constant = find_constant(model, spec->name);
        if (spec->kind == ATR_PARAM_TRACKED) {
            assert_null(constant);
            continue;
        }
        if (constant == NULL)
            fail_msg("%s is missing", spec->name);
        assert_int_equal(constant->data_type, ATR_ONNX__TENSOR_PROTO__DATA_TYPE__FLOAT);
        assert_int_equal(constant->n_dims, spec->rank);
        for (int d = 0; d < spec->rank; d++)
            assert_int_equal(constant->dims[d], spec->dims[d]);
        assert_int_equal(constant->raw_data.len, (size_t)atr_tensor_count(&value) * sizeof(float));
        assert_memory_equal(constant->raw_data.data, value.data, constant->raw_data.len);
    }
}

/* Each value is made once, before it is read, and what is made is read. */
static void expect_sound_graph(const AtrOnnx__GraphProto *graph)
{
    atr_names *names = NULL;
    bool *const read = calloc(graph->n_initializer + graph->n_node + 1, sizeof *read);
    int64_t count = 0;

    assert_non_null(read);
    must_be_ok(atr_names_create(&names));
    must_be_ok(atr_names_add(names, "images", 6, count++));
    for (size_t i = 0; i < graph->n_initializer; i++)
        must_be_ok(
            atr_names_add(names, graph->initializer[i]->name, strlen(graph->initializer[i]->name), count++));
    for (size_t i = 0; i < graph->n_node; i++) {
        const AtrOnnx__NodeProto *const node = graph->node[i];
        for (size_t k = 0; k < node->n_input; k++) {
            const int64_t at = atr_names_find(names, node->input[k], strlen(node->input[k]));
            if (node->input[k][0] == '\0')
                continue;
            if (at < 0)
                fail_msg("%s reads %s, which is not there yet", node->name, node->input[k]);
            read[at] = true;
        }
        if (atr_names_find(names, node->output[0], strlen(node->output[0])) >= 0)
            fail_msg("%s is made twice", node->output[0]);
        must_be_ok(atr_names_add(names, node->output[0], strlen(node->output[0]), count++));
    }
    for (int64_t i = 0; i < count - 1; i++)
        if (!read[i])
            fail_msg("value %lld is read by nobody", (long long)i);
    assert_int_equal(atr_names_find(names, "logits", 6), count - 1);
    atr_names_destroy(names);
    free(read);
}

static size_t nodes_of(const sample *s, atr_op op)
{
    size_t count = 0;

    for (int i = 0; i < atr_graph_count(s->graph); i++)
        count += atr_graph_node(s->graph, i)->op == op;
    return count;
}

static void expect_complete(const char *backbone, int64_t output_stride)
{
    sample s;

    sample_model(&s, backbone, output_stride);
    AtrOnnx__ModelProto *const model = encode(&s, (atr_onnx_shape){0});
    expect_parameters(model, &s);
    expect_sound_graph(model->graph);
    count_ops(model, "Conv", nodes_of(&s, ATR_OP_CONV));
    count_ops(model, "BatchNormalization", nodes_of(&s, ATR_OP_NORM));
    count_ops(model, "Add", nodes_of(&s, ATR_OP_ADD));
    count_ops(model, "GlobalAveragePool", 1);
    count_ops(model, "Expand", 1);
    count_ops(model, "Resize", 2);
    count_ops(model, "Dropout", 0);
    assert_true(nodes_of(&s, ATR_OP_DROPOUT) > 0);
    release(model);
    sample_free(&s);
}

static void whole_networks_are_complete(void **state)
{
    const atr_backbone *backbone;

    (void)state;
    for (int i = 0; (backbone = atr_backbone_at(i)) != NULL; i++) {
        expect_complete(backbone->name, 8);
        expect_complete(backbone->name, 16);
    }
}

static void expect_refusal(const sample *s, atr_onnx_shape shape, atr_status status, const char *says)
{
    void *bytes = NULL;
    size_t size = 0;

    assert_int_equal(atr_onnx_encode(&s->info, s->graph, s->params, &shape, "1", &bytes, &size), status);
    if (strstr(atr_status_message(), says) == NULL)
        fail_msg("'%s' does not say '%s'", atr_status_message(), says);
    assert_null(bytes);
}

static void what_cannot_be_is_a_message(void **state)
{
    sample s;
    int y = 0;

    (void)state;
    sample_small(&s);
    expect_refusal(&s, (atr_onnx_shape){-1, 0, 0}, ATR_ERR_USAGE, "-1");
    expect_refusal(&s, (atr_onnx_shape){1, 8, 0}, ATR_ERR_USAGE, "8x0");
    /* An operation that only plans make; nobody else could put one into a graph. */
    atr_node *const sum = (atr_node *)atr_graph_node(s.graph, 6);
    const atr_op kept = sum->op;
    sum->op = ATR_OP_CONV_RESIZED;
    expect_refusal(&s, (atr_onnx_shape){0}, ATR_ERR_UNSUPPORTED, "sum: operation");
    sum->op = kept;
    /* A convolution without padding eats small pictures up. */
    must_be_ok(atr_graph_conv(s.graph, "eats", 0, (atr_conv_spec){2, 5, 1, 0, 1, 1, false}, &y));
    expect_refusal(&s, (atr_onnx_shape){0}, ATR_ERR_SHAPE, "parameters");
    atr_params_destroy(s.params);
    finish(&s, 2);
    expect_refusal(&s, (atr_onnx_shape){1, 4, 9}, ATR_ERR_SHAPE, "eats");
    atr_graph_set_tap(s.graph, ATR_TAP_LOGITS, -1);
    expect_refusal(&s, (atr_onnx_shape){0}, ATR_ERR_USAGE, "class scores");
    sample_free(&s);
}

static void two_nodes_of_one_name_stay_apart(void **state)
{
    sample s;
    int y = 0;

    (void)state;
    sample_small(&s);
    y = atr_graph_tap(s.graph, ATR_TAP_LOGITS);
    must_be_ok(atr_graph_act(s.graph, "clip", y, ATR_ACT_RELU, &y));
    must_be_ok(atr_graph_act(s.graph, "logits", y, ATR_ACT_RELU, &y));
    atr_graph_set_tap(s.graph, ATR_TAP_LOGITS, y);
    AtrOnnx__ModelProto *const model = encode(&s, (atr_onnx_shape){0});
    expect_sound_graph(model->graph);
    release(model);
    sample_free(&s);
}

typedef struct target {
    const sample *s;
    const char *path;
} target;

static atr_status write_target(void *user)
{
    const target *const t = user;

    return atr_onnx_write(t->path, &t->s->info, t->s->graph, t->s->params, &(atr_onnx_shape){0}, "1");
}

static void full_disk_leaves_no_file(void **state)
{
    char *const folder = scratch_create();
    sample s;
    int64_t size = 0;

    (void)state;
    sample_small(&s);
    target t = {&s, scratch_text("%s/m.onnx", folder)};
    for (size_t limit = 0; limit < 6000; limit += 1000) {
        assert_true(full_disk_is_a_message(limit, write_target, &t));
        assert_false(atr_path_exists(t.path));
        assert_false(atr_path_exists(scratch_text("%s.partial", t.path)));
    }
    must_be_ok(write_target(&t));
    must_be_ok(atr_path_size(t.path, &size));
    assert_true(size > 6000);
    t.path = scratch_text("%s/none/m.onnx", folder);
    assert_int_not_equal(write_target(&t), ATR_OK);
    assert_non_null(strstr(atr_status_message(), "none/m.onnx"));
    sample_free(&s);
    scratch_remove(folder);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(each_operation_has_its_counterpart),
        cmocka_unit_test(attributes_are_those_of_the_graph),
        cmocka_unit_test(shapes_are_fixed_as_far_as_they_are_told),
        cmocka_unit_test(the_description_goes_along),
        cmocka_unit_test(whole_networks_are_complete),
        cmocka_unit_test(what_cannot_be_is_a_message),
        cmocka_unit_test(two_nodes_of_one_name_stay_apart),
        cmocka_unit_test(full_disk_leaves_no_file),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
