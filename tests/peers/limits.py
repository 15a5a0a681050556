"""What the machine can do, as the peers reach it: prints one JSON object.

`gflop_per_s` by precision: the best engine on one convolution that every engine is good at (256 to 256 channels, 3x3, 128x128).
`copy_gb_per_s`: a copy by all threads, bytes read and written.
"""
import argparse
import json
import os
import tempfile
from concurrent.futures import ThreadPoolExecutor

import engine
import numpy as np
import onnx
import quantize
from onnx import TensorProto, helper, numpy_helper

CHANNELS, SIZE = 256, 128


def convolution(path):
    random = np.random.default_rng(1)
    weights = random.standard_normal((CHANNELS, CHANNELS, 3, 3)).astype(np.float32)
    shape = [1, CHANNELS, SIZE, SIZE]
    graph = helper.make_graph([helper.make_node("Conv", ["images", "w"], ["y"], pads=[1, 1, 1, 1])], "one",
                              [helper.make_tensor_value_info("images", TensorProto.FLOAT, shape)],
                              [helper.make_tensor_value_info("y", TensorProto.FLOAT, shape)],
                              [numpy_helper.from_array(weights, "w")])
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), path)
    return random.random(shape, np.float32)


def best(args, path, precision, engines):
    """GFLOP/s of the fastest of the engines."""
    chosen = argparse.Namespace(model=path, labels_model=None, precision=precision, threads=args.threads)
    ms = min(min(engine.timed(8, lambda run=load(chosen, False)[0]: run(args.x))) for load in engines)
    return 2 * CHANNELS * CHANNELS * 9 * SIZE * SIZE / ms / 1e6


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--threads", type=int, default=os.cpu_count())
    parser.add_argument("--bf16", action="store_true", help="the processor has it")
    parser.add_argument("--reduce-range", action="store_true", help="see quantize.py")
    args = parser.parse_args()
    openvino, onnxruntime = engine.ENGINES["openvino"], engine.ENGINES["onnxruntime"]
    with tempfile.TemporaryDirectory() as folder:
        path, small = os.path.join(folder, "f32.onnx"), os.path.join(folder, "int8.onnx")
        args.x = convolution(path)
        quantize.quantize(path, small, [args.x], args.reduce_range)
        rates = {"f32": best(args, path, "f32", [openvino, onnxruntime]), "int8": best(args, small, "int8", [openvino, onnxruntime])}
        if args.bf16:
            rates["bf16"] = best(args, path, "bf16", [openvino])
    a, b = np.ones((args.threads, 1 << 25), np.float32), np.zeros((args.threads, 1 << 25), np.float32)
    with ThreadPoolExecutor(args.threads) as pool:
        copy = min(engine.timed(8, lambda: list(pool.map(lambda i: np.copyto(b[i], a[i]), range(args.threads)))))
    print(json.dumps({"gflop_per_s": rates, "copy_gb_per_s": 2 * a.nbytes / copy / 1e6}))


if __name__ == "__main__":
    main()
