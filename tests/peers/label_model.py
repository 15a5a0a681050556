"""An ONNX file that ends in the class of each pixel, u8 [N,H,W], in place of scores."""
import sys

import onnx
from onnx import TensorProto, helper


def main(source, target):
    model = onnx.load(source)
    graph, scores = model.graph, model.graph.output[0]
    shape = [d.dim_value or d.dim_param for d in scores.type.tensor_type.shape.dim]
    graph.node.append(helper.make_node("ArgMax", [scores.name], ["best"], axis=1, keepdims=0))
    graph.node.append(helper.make_node("Cast", ["best"], ["labels"], to=TensorProto.UINT8))
    del graph.output[:]
    graph.output.append(helper.make_tensor_value_info("labels", TensorProto.UINT8, [shape[0], *shape[2:]]))
    onnx.save(model, target)


if __name__ == "__main__":
    main(*sys.argv[1:])
