#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "io/onnx_impl.h"

enum { FIRST_ROOM = 64, ATTRIBUTES_MAX = 8 };

/* A node with its lists in one block. */
typedef struct node_block {
    AtrOnnx__NodeProto node;
    char *inputs[ATR_MAX_INPUTS], *output;
    AtrOnnx__AttributeProto *attributes[ATTRIBUTES_MAX];
} node_block;

typedef struct value_block {
    AtrOnnx__ValueInfoProto value;
    AtrOnnx__TypeProto type;
    AtrOnnx__TypeProto__Tensor tensor;
    AtrOnnx__TensorShapeProto shape;
    AtrOnnx__TensorShapeProto__Dimension dims[4], *dim_list[4];
} value_block;

/* Room for one more pointer in an array of `count`, whose room is a power of two. */
static atr_status room_for_one(size_t count, void ***array)
{
    if (count == 0)
        return atr_grow(0, FIRST_ROOM, sizeof **array, (void **)array);
    if (count < FIRST_ROOM || (count & (count - 1)) != 0)
        return ATR_OK;
    return atr_grow((int64_t)count, 2 * (int64_t)count, sizeof **array, (void **)array);
}

/* A zeroed block that lives as long as the builder. */
static atr_status take(atr_onnx_builder *builder, size_t bytes, void **out)
{
    atr_status status = ATR_OK;
    void *block = NULL;

    ATR_TRY(atr_alloc((int64_t)bytes, 1, &block));
    ATR_TRY(room_for_one(builder->block_count, &builder->blocks));
    builder->blocks[builder->block_count++] = block;
    *out = block;
    block = NULL;

done:
    atr_free(block);
    return status;
}

atr_status atr_onnx_builder_open(atr_onnx_builder *builder)
{
    atr_status status = ATR_OK;
    AtrOnnx__OperatorSetIdProto *opset = NULL;

    *builder = (atr_onnx_builder){0};
    atr_onnx__model_proto__init(&builder->model);
    atr_onnx__graph_proto__init(&builder->graph);
    ATR_TRY(atr_names_create(&builder->values));
    builder->model.has_ir_version = true;
    builder->model.ir_version = ATR_ONNX_IR_VERSION;
    builder->model.graph = &builder->graph;
    ATR_TRY(take(builder, sizeof *opset, (void **)&opset));
    atr_onnx__operator_set_id_proto__init(opset);
    opset->domain = (char *)"";
    opset->has_version = true;
    opset->version = ATR_ONNX_OPSET;
    ATR_TRY(take(builder, sizeof opset, (void **)&builder->model.opset_import));
    builder->model.opset_import[builder->model.n_opset_import++] = opset;

done:
    return status;
}

void atr_onnx_builder_close(atr_onnx_builder *builder)
{
    for (size_t i = 0; i < builder->block_count; i++)
        atr_free(builder->blocks[i]);
    atr_free(builder->blocks);
    atr_free(builder->graph.node);
    atr_free(builder->graph.initializer);
    atr_free(builder->graph.input);
    atr_free(builder->graph.output);
    atr_free(builder->model.metadata_props);
    atr_names_destroy(builder->values);
    *builder = (atr_onnx_builder){0};
}

atr_status atr_onnx_text(atr_onnx_builder *builder, char **out, const char *format, ...)
{
    char text[4 * ATR_NAME_BYTES];
    va_list values;

    va_start(values, format);
    const int length = vsnprintf(text, sizeof text, format, values);
    va_end(values);
    if (length < 0 || (size_t)length >= sizeof text)
        return atr_fail(ATR_ERR_INTERNAL, "a name in the ONNX file is longer than %zu bytes",
                        sizeof text - 1);
    return atr_onnx_copy(builder, text, (size_t)length + 1, (void **)out);
}

atr_status atr_onnx_copy(atr_onnx_builder *builder, const void *from, size_t bytes, void **out)
{
    const atr_status status = take(builder, bytes, out);

    if (status == ATR_OK)
        memcpy(*out, from, bytes);
    return status;
}

atr_status atr_onnx_name(atr_onnx_builder *builder, const char *wanted, char **out)
{
    atr_status status = ATR_OK;
    char *name = NULL;

    ATR_TRY(atr_onnx_text(builder, &name, "%s", wanted));
    for (int n = 2; name[0] == '\0' || atr_names_find(builder->values, name, strlen(name)) >= 0; n++)
        ATR_TRY(atr_onnx_text(builder, &name, "%s#%d", wanted, n));
    ATR_TRY(atr_names_add(builder->values, name, strlen(name), 0));
    *out = name;

done:
    return status;
}

atr_status atr_onnx_node(atr_onnx_builder *builder, const char *op, const char *const *inputs, int count,
                         char *output, AtrOnnx__NodeProto **out)
{
    atr_status status = ATR_OK;
    node_block *block = NULL;

    ATR_TRY(take(builder, sizeof *block, (void **)&block));
    AtrOnnx__NodeProto *const node = &block->node;
    atr_onnx__node_proto__init(node);
    node->op_type = (char *)op;
    node->name = output;
    for (int i = 0; i < count; i++)
        block->inputs[i] = (char *)inputs[i];
    block->output = output;
    node->input = block->inputs;
    node->n_input = (size_t)count;
    node->output = &block->output;
    node->n_output = 1;
    node->attribute = block->attributes;
    ATR_TRY(room_for_one(builder->graph.n_node, (void ***)&builder->graph.node));
    builder->graph.node[builder->graph.n_node++] = node;
    if (out != NULL)
        *out = node;

done:
    return status;
}

static atr_status add_attribute(atr_onnx_builder *builder, AtrOnnx__NodeProto *node, const char *name,
                                AtrOnnx__AttributeProto__AttributeType type, AtrOnnx__AttributeProto **out)
{
    atr_status status = ATR_OK;

    if (node->n_attribute == ATTRIBUTES_MAX)
        return atr_fail(ATR_ERR_INTERNAL, "%s has more than %d attributes", node->op_type, ATTRIBUTES_MAX);
    ATR_TRY(take(builder, sizeof **out, (void **)out));
    atr_onnx__attribute_proto__init(*out);
    (*out)->name = (char *)name;
    (*out)->has_type = true;
    (*out)->type = type;
    node->attribute[node->n_attribute++] = *out;

done:
    return status;
}

atr_status atr_onnx_set_int(atr_onnx_builder *builder, AtrOnnx__NodeProto *node, const char *name,
                            int64_t value)
{
    AtrOnnx__AttributeProto *attribute = NULL;
    const atr_status status =
        add_attribute(builder, node, name, ATR_ONNX__ATTRIBUTE_PROTO__ATTRIBUTE_TYPE__INT, &attribute);

    if (status == ATR_OK) {
        attribute->has_i = true;
        attribute->i = value;
    }
    return status;
}

atr_status atr_onnx_set_ints(atr_onnx_builder *builder, AtrOnnx__NodeProto *node, const char *name,
                             const int64_t *values, int count)
{
    atr_status status = ATR_OK;
    AtrOnnx__AttributeProto *attribute = NULL;

    ATR_TRY(add_attribute(builder, node, name, ATR_ONNX__ATTRIBUTE_PROTO__ATTRIBUTE_TYPE__INTS, &attribute));
    ATR_TRY(atr_onnx_copy(builder, values, (size_t)count * sizeof *values, (void **)&attribute->ints));
    attribute->n_ints = (size_t)count;

done:
    return status;
}

atr_status atr_onnx_set_float(atr_onnx_builder *builder, AtrOnnx__NodeProto *node, const char *name,
                              float value)
{
    AtrOnnx__AttributeProto *attribute = NULL;
    const atr_status status =
        add_attribute(builder, node, name, ATR_ONNX__ATTRIBUTE_PROTO__ATTRIBUTE_TYPE__FLOAT, &attribute);

    if (status == ATR_OK) {
        attribute->has_f = true;
        attribute->f = value;
    }
    return status;
}

atr_status atr_onnx_set_text(atr_onnx_builder *builder, AtrOnnx__NodeProto *node, const char *name,
                             const char *value)
{
    AtrOnnx__AttributeProto *attribute = NULL;
    const atr_status status =
        add_attribute(builder, node, name, ATR_ONNX__ATTRIBUTE_PROTO__ATTRIBUTE_TYPE__STRING, &attribute);

    if (status == ATR_OK) {
        attribute->has_s = true;
        attribute->s = (ProtobufCBinaryData){strlen(value), (uint8_t *)value};
    }
    return status;
}

atr_status atr_onnx_constant(atr_onnx_builder *builder, const char *name, const atr_tensor *tensor)
{
    atr_status status = ATR_OK;
    AtrOnnx__TensorProto *constant = NULL;

    if (tensor->type != ATR_F32 && tensor->type != ATR_I64)
        return atr_fail(ATR_ERR_UNSUPPORTED, "%s: a constant of %s in an ONNX file", name,
                        atr_dtype_name(tensor->type));
    ATR_TRY(take(builder, sizeof *constant, (void **)&constant));
    atr_onnx__tensor_proto__init(constant);
    constant->name = (char *)name;
    constant->has_data_type = true;
    constant->data_type = tensor->type == ATR_F32 ? ATR_ONNX__TENSOR_PROTO__DATA_TYPE__FLOAT
                                                  : ATR_ONNX__TENSOR_PROTO__DATA_TYPE__INT64;
    if (tensor->rank > 0) {
        ATR_TRY(atr_onnx_copy(builder, tensor->dims, (size_t)tensor->rank * sizeof *constant->dims,
                              (void **)&constant->dims));
        constant->n_dims = (size_t)tensor->rank;
    }
    constant->has_raw_data = true;
    constant->raw_data =
        (ProtobufCBinaryData){(size_t)atr_tensor_count(tensor) * atr_dtype_bytes(tensor->type), tensor->data};
    ATR_TRY(room_for_one(builder->graph.n_initializer, (void ***)&builder->graph.initializer));
    builder->graph.initializer[builder->graph.n_initializer++] = constant;

done:
    return status;
}

static atr_status make_value(atr_onnx_builder *builder, const char *name, const int64_t extents[4],
                             const char *const names[4], AtrOnnx__ValueInfoProto **out)
{
    atr_status status = ATR_OK;
    value_block *block = NULL;

    ATR_TRY(take(builder, sizeof *block, (void **)&block));
    atr_onnx__value_info_proto__init(&block->value);
    atr_onnx__type_proto__init(&block->type);
    atr_onnx__type_proto__tensor__init(&block->tensor);
    atr_onnx__tensor_shape_proto__init(&block->shape);
    block->value.name = (char *)name;
    block->value.type = &block->type;
    block->type.value_case = ATR_ONNX__TYPE_PROTO__VALUE_TENSOR_TYPE;
    block->type.tensor_type = &block->tensor;
    block->tensor.has_elem_type = true;
    block->tensor.elem_type = ATR_ONNX__TENSOR_PROTO__DATA_TYPE__FLOAT;
    block->tensor.shape = &block->shape;
    block->shape.dim = block->dim_list;
    block->shape.n_dim = 4;
    for (int i = 0; i < 4; i++) {
        AtrOnnx__TensorShapeProto__Dimension *const dim = &block->dims[i];
        atr_onnx__tensor_shape_proto__dimension__init(dim);
        block->dim_list[i] = dim;
        if (extents[i] > 0) {
            dim->value_case = ATR_ONNX__TENSOR_SHAPE_PROTO__DIMENSION__VALUE_DIM_VALUE;
            dim->dim_value = extents[i];
        } else {
            dim->value_case = ATR_ONNX__TENSOR_SHAPE_PROTO__DIMENSION__VALUE_DIM_PARAM;
            dim->dim_param = (char *)names[i];
        }
    }
    *out = &block->value;

done:
    return status;
}

atr_status atr_onnx_input(atr_onnx_builder *builder, const char *name, const int64_t extents[4],
                          const char *const names[4])
{
    atr_status status = ATR_OK;
    AtrOnnx__ValueInfoProto *value = NULL;

    ATR_TRY(make_value(builder, name, extents, names, &value));
    ATR_TRY(room_for_one(builder->graph.n_input, (void ***)&builder->graph.input));
    builder->graph.input[builder->graph.n_input++] = value;

done:
    return status;
}

atr_status atr_onnx_output(atr_onnx_builder *builder, const char *name, const int64_t extents[4],
                           const char *const names[4])
{
    atr_status status = ATR_OK;
    AtrOnnx__ValueInfoProto *value = NULL;

    ATR_TRY(make_value(builder, name, extents, names, &value));
    ATR_TRY(room_for_one(builder->graph.n_output, (void ***)&builder->graph.output));
    builder->graph.output[builder->graph.n_output++] = value;

done:
    return status;
}

atr_status atr_onnx_metadata(atr_onnx_builder *builder, const char *key, const char *value)
{
    atr_status status = ATR_OK;
    AtrOnnx__StringStringEntryProto *pair = NULL;

    ATR_TRY(take(builder, sizeof *pair, (void **)&pair));
    atr_onnx__string_string_entry_proto__init(pair);
    pair->key = (char *)key;
    pair->value = (char *)value;
    ATR_TRY(room_for_one(builder->model.n_metadata_props, (void ***)&builder->model.metadata_props));
    builder->model.metadata_props[builder->model.n_metadata_props++] = pair;

done:
    return status;
}

atr_status atr_onnx_pack(const atr_onnx_builder *builder, void **bytes, size_t *size)
{
    const size_t length = atr_onnx__model_proto__get_packed_size(&builder->model);
    uint8_t *block = NULL;

    *bytes = NULL;
    *size = 0;
    if (length > ATR_ONNX_BYTES_MAX)
        return atr_fail(ATR_ERR_UNSUPPORTED, "the network takes %zu bytes as ONNX, which ends at %d", length,
                        ATR_ONNX_BYTES_MAX);
    const atr_status status = ATR_NEW((int64_t)length, &block);
    if (status == ATR_OK) {
        *size = atr_onnx__model_proto__pack(&builder->model, block);
        *bytes = block;
    }
    return status;
}
