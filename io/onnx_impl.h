#ifndef ATR_IO_ONNX_IMPL_H
#define ATR_IO_ONNX_IMPL_H

#include <onnx.pb-c.h>

#include "io/names.h"
#include "io/onnx.h"

/* Builds an ONNX model in memory, as the structures that protobuf-c writes: nodes, constants, inputs, outputs, metadata.
 * Texts and data that are passed in are borrowed until the model is packed. */

typedef struct atr_onnx_builder {
    AtrOnnx__ModelProto model;
    AtrOnnx__GraphProto graph;
    atr_names *values; /* names that are taken */
    void **blocks;     /* [block_count], owned: the messages */
    size_t block_count;
} atr_onnx_builder;

/* Fills in a zeroed one; destroy it after a failure too. */
atr_status atr_onnx_builder_open(atr_onnx_builder *builder);
void atr_onnx_builder_close(atr_onnx_builder *builder);

/* printf into a text that the builder owns. */
atr_status atr_onnx_text(atr_onnx_builder *builder, char **out, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

/* A copy of `bytes` bytes that the builder owns. */
atr_status atr_onnx_copy(atr_onnx_builder *builder, const void *from, size_t bytes, void **out);

/* Reserves a name for a value: `wanted`, or, where that is taken or empty, one made of it. Owned by the builder. */
atr_status atr_onnx_name(atr_onnx_builder *builder, const char *wanted, char **out);

/* Appends a node with up to ATR_MAX_INPUTS inputs and one output, which is also its name. */
atr_status atr_onnx_node(atr_onnx_builder *builder, const char *op, const char *const *inputs, int count,
                         char *output, AtrOnnx__NodeProto **out);
/* Attributes of a node, up to 8. */
atr_status atr_onnx_set_int(atr_onnx_builder *builder, AtrOnnx__NodeProto *node, const char *name,
                            int64_t value);
atr_status atr_onnx_set_ints(atr_onnx_builder *builder, AtrOnnx__NodeProto *node, const char *name,
                             const int64_t *values, int count);
atr_status atr_onnx_set_float(atr_onnx_builder *builder, AtrOnnx__NodeProto *node, const char *name,
                              float value);
atr_status atr_onnx_set_text(atr_onnx_builder *builder, AtrOnnx__NodeProto *node, const char *name,
                             const char *value);

/* A constant. ATR_ERR_UNSUPPORTED for types other than f32 and i64. */
atr_status atr_onnx_constant(atr_onnx_builder *builder, const char *name, const atr_tensor *tensor);

/* An input or output [4] f32; an extent of 0 is any, called `names[i]`. */
atr_status atr_onnx_input(atr_onnx_builder *builder, const char *name, const int64_t extents[4],
                          const char *const names[4]);
atr_status atr_onnx_output(atr_onnx_builder *builder, const char *name, const int64_t extents[4],
                           const char *const names[4]);

atr_status atr_onnx_metadata(atr_onnx_builder *builder, const char *key, const char *value);

/* The whole model as bytes (atr_free). */
atr_status atr_onnx_pack(const atr_onnx_builder *builder, void **bytes, size_t *size);

#endif
