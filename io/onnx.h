#ifndef ATR_IO_ONNX_H
#define ATR_IO_ONNX_H

#include "core/graph.h"
#include "io/checkpoint.h"

/* Writes a network as ONNX, for runtimes that know nothing of atrous.
 *
 * Input "images" [N,C,H,W] f32: what the preprocessing of `info` makes of a picture. Output "logits" [N,K,H,W] f32: class scores
 * before softmax, enlarged to the input's size. The operations are those of inference; dropout is left out. Batch norms stay
 * batch norms: so every tensor of the file is one of the checkpoint, bit by bit under the same name, and runtimes fold them
 * into the convolutions themselves. The description goes along as metadata_props (io/model_meta.h). */

enum {
    ATR_ONNX_OPSET = 17,           /* version of the operators */
    ATR_ONNX_IR_VERSION = 8,       /* of the file's form: the one that came with this opset */
    ATR_ONNX_BYTES_MAX = INT32_MAX /* protobuf messages are no longer */
};

/* Extents of input and output; 0: any, told at run time. Height and width are both 0 or both not. */
typedef struct atr_onnx_shape {
    int64_t batch, height, width;
} atr_onnx_shape;

/* Makes the file in memory; `*bytes` is owned by the caller (atr_free). `graph` is a model's (with ATR_TAP_LOGITS), `params` its
 * parameters on the host. `program_version` is noted as the producer's. The same content gives the same bytes.
 * ATR_ERR_USAGE, ATR_ERR_SHAPE: graph, parameters and shape do not fit each other; ATR_ERR_UNSUPPORTED: an operation that
 * ONNX has no counterpart for, or over ATR_ONNX_BYTES_MAX. */
atr_status atr_onnx_encode(const atr_model_info *info, const atr_graph *graph, const atr_params *params,
                           const atr_onnx_shape *shape, const char *program_version, void **bytes,
                           size_t *size);

/* The same into a file, through a partial one, synced and renamed. ATR_ERR_IO. */
atr_status atr_onnx_write(const char *path, const atr_model_info *info, const atr_graph *graph,
                          const atr_params *params, const atr_onnx_shape *shape, const char *program_version);

#endif
