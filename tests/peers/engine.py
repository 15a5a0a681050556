"""One peer in a process of its own: loads an exported ONNX file, times it, and prints one JSON object.

Work that is timed: a float tensor to logits at the input's size, and (with --jpeg) a JPEG file to a label map of its own size.
"""
import argparse
import json
import os
import resource
import time

START = time.perf_counter()


def load_torch(path, threads, precision, channels_last):
    """The graph's nodes one by one as PyTorch's functions: what eager mode does with a module of the same layers."""
    import onnx
    import torch
    from onnx import numpy_helper
    from torch.nn import functional as F

    torch.set_num_threads(threads)
    graph = onnx.load(path).graph
    layout = torch.channels_last if channels_last else torch.contiguous_format
    fixed = {}
    for tensor in graph.initializer:
        value = torch.from_numpy(numpy_helper.to_array(tensor).copy())
        fixed[tensor.name] = value.contiguous(memory_format=layout) if value.dim() == 4 else value
    for node in graph.node:
        if node.op_type == "Constant":
            fixed[node.output[0]] = torch.from_numpy(numpy_helper.to_array(node.attribute[0].t).copy())

    def attributes(node):
        return {a.name: onnx.helper.get_attribute_value(a) for a in node.attribute}

    def step(node):
        kind, a = node.op_type, attributes(node)
        if kind == "Conv":
            pads, stride, dilation = a.get("pads", [0, 0, 0, 0]), a.get("strides", [1, 1]), a.get("dilations", [1, 1])
            assert pads[:2] == pads[2:], node.name
            return lambda x, w, b=None: F.conv2d(x, w, b, stride, pads[:2], dilation, a.get("group", 1))
        if kind == "BatchNormalization":
            return lambda x, w, b, m, v: F.batch_norm(x, m, v, w, b, False, 0.0, a.get("epsilon", 1e-5))
        if kind == "Resize":
            corners = a["coordinate_transformation_mode"] == b"align_corners"
            return lambda x, *sizes: F.interpolate(x, size=[int(n) for n in sizes[-1][2:]], mode="bilinear", align_corners=corners)
        if kind == "Clip":
            return lambda x, low, high: F.hardtanh(x, float(low), float(high))
        if kind == "Expand":
            return lambda x, size: x.expand(torch.broadcast_shapes(x.shape, [int(n) for n in size]))
        if kind == "Concat":
            return lambda *x: torch.cat(x, a["axis"])
        simple = {"Relu": F.relu, "Add": torch.add, "GlobalAveragePool": lambda x: F.adaptive_avg_pool2d(x, 1)}
        if kind in simple:
            return simple[kind]
        raise SystemExit(f"engine.py knows no {kind}")

    steps = [(step(n), [i for i in n.input if i], n.output[0]) for n in graph.node if n.op_type != "Constant"]

    def run(x):
        values = dict(fixed)
        values[graph.input[0].name] = torch.from_numpy(x).contiguous(memory_format=layout)
        with torch.inference_mode(), torch.autocast("cpu", torch.bfloat16, enabled=precision == "bf16"):
            for function, inputs, output in steps:
                values[output] = function(*(values[i] for i in inputs))
        return values[graph.output[0].name].float().numpy()

    return run, torch.__version__


def load_openvino(path, threads, precision, _):
    import openvino as ov

    core = ov.Core()
    model = core.compile_model(path, "CPU", {"INFERENCE_NUM_THREADS": threads, "INFERENCE_PRECISION_HINT": precision,
                                             "PERFORMANCE_HINT": "LATENCY"})
    request = model.create_infer_request()
    return lambda x: request.infer([x])[model.output(0)], ov.__version__.split("-")[0]


def load_onnxruntime(path, threads, precision, _):
    import onnxruntime as ort

    assert precision == "f32"
    options = ort.SessionOptions()
    options.intra_op_num_threads = threads
    session = ort.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    name = session.get_inputs()[0].name
    return lambda x: session.run(None, {name: x})[0], ort.__version__


ENGINES = {"torch": (load_torch, False), "torch-channels-last": (load_torch, True),
           "openvino": (load_openvino, None), "onnxruntime": (load_onnxruntime, None)}


def label_map(run, path, height, width):
    """A JPEG to class ids at its own size: fitted with its aspect kept, scores to shares, cut out, enlarged, the best class."""
    import numpy as np
    from PIL import Image

    picture = Image.open(path).convert("RGB")
    scale = min(width / picture.width, height / picture.height)
    inner = (int(picture.width * scale), int(picture.height * scale))
    x, y = (width - inner[0]) // 2, (height - inner[1]) // 2
    canvas = Image.new("RGB", (width, height), (128, 128, 128))
    canvas.paste(picture.resize(inner, Image.BICUBIC), (x, y))
    pixels = np.asarray(canvas, np.float32).transpose(2, 0, 1)[None] / 255
    logits = run(np.ascontiguousarray(pixels))[0][:, y:y + inner[1], x:x + inner[0]]
    shares = np.exp(logits - logits.max(0))
    shares /= shares.sum(0)
    best, ids = None, np.zeros((picture.height, picture.width), np.uint8)
    for k, share in enumerate(shares):
        large = np.asarray(Image.fromarray(share).resize(picture.size, Image.BILINEAR))
        better = large > best if best is not None else np.ones_like(large, bool)
        best = large.copy() if best is None else np.maximum(best, large)
        ids[better] = k
    return ids


def timed(repeats, call):
    call()
    times = []
    for _ in range(repeats):
        begin = time.perf_counter()
        call()
        times.append(1e3 * (time.perf_counter() - begin))
    return times


def convolution(folder):
    """An ONNX file with one convolution that every engine is good at: 256 to 256 channels, 3x3, 128x128."""
    import numpy as np
    import onnx
    from onnx import TensorProto, helper, numpy_helper

    weights = numpy_helper.from_array(np.ones((256, 256, 3, 3), np.float32), "w")
    shape = [1, 256, 128, 128]
    graph = helper.make_graph([helper.make_node("Conv", ["x", "w"], ["y"], pads=[1, 1, 1, 1])], "one",
                              [helper.make_tensor_value_info("x", TensorProto.FLOAT, shape)],
                              [helper.make_tensor_value_info("y", TensorProto.FLOAT, shape)], [weights])
    path = os.path.join(folder, "convolution.onnx")
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), path)
    return path, np.ones(shape, np.float32)


def limits(threads):
    """GFLOP/s of the best convolution of the peers, and GB/s of a copy by all threads: bytes read and written."""
    import tempfile
    from concurrent.futures import ThreadPoolExecutor

    import numpy as np

    with tempfile.TemporaryDirectory() as folder:
        path, x = convolution(folder)
        ms = min(min(timed(8, lambda run=load(path, threads, "f32", None)[0]: run(x)))
                 for load in (load_openvino, load_onnxruntime))
    a, b = np.ones((threads, 1 << 25), np.float32), np.zeros((threads, 1 << 25), np.float32)
    with ThreadPoolExecutor(threads) as pool:
        copy = min(timed(8, lambda: list(pool.map(lambda i: np.copyto(b[i], a[i]), range(threads)))))
    return {"gflop_per_s": 2 * 256 * 256 * 9 * 128 * 128 / ms / 1e6, "copy_gb_per_s": 2 * a.nbytes / copy / 1e6}


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("engine", choices=[*ENGINES, "limits"])
    parser.add_argument("--model")
    parser.add_argument("--precision", default="f32")
    parser.add_argument("--threads", type=int, default=os.cpu_count())
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--input", help=".npy, f32 [1,3,H,W]")
    parser.add_argument("--logits", help=".npy to write")
    parser.add_argument("--jpeg", action="append", default=[])
    args = parser.parse_args()
    if args.engine == "limits":
        print(json.dumps(limits(args.threads)))
        return
    import numpy as np

    load, layout = ENGINES[args.engine]
    x = np.load(args.input)
    run, version = load(args.model, args.threads, args.precision, layout)
    logits = run(x)
    out = {"version": version, "cold_start_s": time.perf_counter() - START}
    if args.logits:
        np.save(args.logits, logits)
    out["ms"] = timed(args.repeats, lambda: run(x))
    out["peak_rss_mib"] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    out["jpeg_ms"] = {path: timed(args.repeats, lambda: label_map(run, path, *x.shape[2:])) for path in args.jpeg}
    print(json.dumps(out))


if __name__ == "__main__":
    main()
