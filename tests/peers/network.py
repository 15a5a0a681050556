"""An exported ONNX file as a PyTorch module: one call of PyTorch's own functions for each node, as a module of the same layers makes them.

Traced form (torch.fx), so that the eager rows run plain generated Python and the compiled rows see one graph. Training: parameters want gradients,
batch norms use the batch's statistics, and dropout stands where the reference has it, before the convolutions named in DROPOUT.
"""
import onnx
import torch
from onnx import helper, numpy_helper
from torch import fx
from torch.nn import functional as F

DROPOUT = {"cat_conv.4.weight": 0, "cls_conv.weight": 1}  # input of which convolution: which of the two rates


class _Reader:
    def __init__(self, model, training, dropout):
        self.training, self.dropout = training, dropout
        self.graph, self.root = fx.Graph(), torch.nn.Module()
        self.values = {}     # ONNX name -> fx node
        self.constants = {}  # ONNX name -> numpy array of shape arguments and bounds
        self.tensors = {}    # ONNX name -> numpy array of parameters and buffers
        for tensor in model.graph.initializer:
            self.tensors[tensor.name] = numpy_helper.to_array(tensor)
        images = model.graph.input[0].name
        self.values[images] = self.graph.placeholder("images")
        for node in model.graph.node:
            if node.op_type == "Constant":
                self.constants[node.output[0]] = numpy_helper.to_array(node.attribute[0].t)
            else:
                self.values[node.output[0]] = self.call(node)
        self.graph.output(self.values[model.graph.output[0].name])

    def numbers(self, name):
        array = self.constants[name] if name in self.constants else self.tensors[name]
        return [x.item() for x in array.reshape(-1)]

    def fixed(self, name, buffer=False):
        """A parameter, or a buffer, of the module."""
        if not name:
            return None
        attribute = name.replace(".", "_")
        if not hasattr(self.root, attribute):
            value = torch.from_numpy(self.tensors[name].copy())
            if buffer:
                self.root.register_buffer(attribute, value)
            else:
                self.root.register_parameter(attribute, torch.nn.Parameter(value, requires_grad=self.training))
        return self.graph.get_attr(attribute)

    def convolution(self, node, a):
        pads = a.get("pads", [0, 0, 0, 0])
        assert pads[:2] == pads[2:], node.name
        x, names = self.values[node.input[0]], [*node.input[1:], ""][:2]
        if names[0] in DROPOUT and self.training and self.dropout[DROPOUT[names[0]]] > 0:
            x = self.graph.call_function(F.dropout, (x, self.dropout[DROPOUT[names[0]]], True))
        return self.graph.call_function(F.conv2d, (x, self.fixed(names[0]), self.fixed(names[1]), tuple(a.get("strides", [1, 1])),
                                                   tuple(pads[:2]), tuple(a.get("dilations", [1, 1])), a.get("group", 1)))

    def call(self, node):
        kind, call = node.op_type, self.graph.call_function
        a = {x.name: helper.get_attribute_value(x) for x in node.attribute}
        x = [self.values.get(name) for name in node.input]
        if kind == "Conv":
            return self.convolution(node, a)
        if kind == "BatchNormalization":
            weight, bias, mean, var = node.input[1:]
            return call(F.batch_norm, (x[0], self.fixed(mean, True), self.fixed(var, True), self.fixed(weight), self.fixed(bias),
                                       self.training, 0.1, a.get("epsilon", 1e-5)))
        if kind == "Resize":
            return call(F.interpolate, (x[0], tuple(self.numbers(node.input[3])[2:]), None, "bilinear",
                                        a["coordinate_transformation_mode"] == b"align_corners"))
        if kind == "Clip":
            return call(F.hardtanh, (x[0], *(self.numbers(name)[0] for name in node.input[1:])))
        if kind == "Expand":
            return self.graph.call_method("expand", (x[0], -1, -1, *self.numbers(node.input[1])[2:]))
        if kind == "Concat":
            return call(torch.cat, (x, a["axis"]))
        if kind == "Relu":
            return call(F.relu, (x[0],))
        if kind == "Add":
            return call(torch.add, tuple(x))
        if kind == "GlobalAveragePool":
            return call(F.adaptive_avg_pool2d, (x[0], 1))
        raise SystemExit(f"network.py knows no {kind}")


def build(path, training=False, dropout=(0.0, 0.0)):
    """A torch.fx.GraphModule: images [N,3,H,W] to logits [N,K,H,W], for the picture size that the file was exported for."""
    reader = _Reader(onnx.load(path), training, dropout)
    return fx.GraphModule(reader.root, reader.graph).train(training)
