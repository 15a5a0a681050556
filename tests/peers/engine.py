"""One peer that predicts, in a process of its own: loads an exported ONNX file, times it, and prints one JSON object.

Work that is timed: the process's start to the label map of one picture; a float tensor to logits, and to labels, at the input's size; and (with
--jpeg) a JPEG file to a label map of its own size.
"""
import argparse
import json
import os
import resource
import time


def load_torch(args, labels, channels_last, compiled):
    """Eager or compiled by inductor with weights frozen into the code, f32 or bf16 by autocast."""
    import network
    import torch

    class Labels(torch.nn.Module):
        def __init__(self, scores):
            super().__init__()
            self.scores = scores

        def forward(self, x):
            return self.scores(x).argmax(1).to(torch.uint8)

    torch.set_num_threads(args.threads)
    layout = torch.channels_last if channels_last else torch.contiguous_format
    net = network.build(args.model).to(memory_format=layout)
    net = Labels(net).eval() if labels else net
    if compiled:
        import torch._inductor.config as inductor

        inductor.freezing = True
        net = torch.compile(net, dynamic=False)

    def run(x):
        with torch.no_grad(), torch.autocast("cpu", torch.bfloat16, enabled=args.precision == "bf16"):
            out = net(torch.from_numpy(x).contiguous(memory_format=layout))
        return out.numpy() if labels else out.float().numpy()

    return run, torch.__version__


def onnx_file(args, labels):
    return args.labels_model if labels else args.model


def load_openvino(args, labels):
    """int8: a quantized file, what it leaves in floating point in the best precision that the processor has."""
    import openvino as ov

    hint = {"INFERENCE_PRECISION_HINT": args.precision} if args.precision != "int8" else {}
    model = ov.Core().compile_model(onnx_file(args, labels), "CPU",
                                    {"INFERENCE_NUM_THREADS": args.threads, "PERFORMANCE_HINT": "LATENCY", **hint})
    request = model.create_infer_request()
    return lambda x: request.infer([x])[model.output(0)], ov.__version__.split("-")[0]


def load_onnxruntime(args, labels):
    import onnxruntime as ort

    assert args.precision in ("f32", "int8")
    options = ort.SessionOptions()
    options.intra_op_num_threads = args.threads
    session = ort.InferenceSession(onnx_file(args, labels), options, providers=["CPUExecutionProvider"])
    name = session.get_inputs()[0].name
    return lambda x: session.run(None, {name: x})[0], ort.__version__


ENGINES = {"torch": lambda args, labels: load_torch(args, labels, False, False),
           "torch-channels-last": lambda args, labels: load_torch(args, labels, True, False),
           "torch-compiled": lambda args, labels: load_torch(args, labels, True, True),
           "openvino": load_openvino, "onnxruntime": load_onnxruntime}


def label_map(run, path, height, width):
    """A JPEG to class ids at its own size, as the reference goes: fitted with its aspect kept, scores to shares, cut out, enlarged, the best class."""
    import cv2
    import numpy as np
    from PIL import Image

    picture = Image.open(path).convert("RGB")
    scale = min(width / picture.width, height / picture.height)
    inner = (int(picture.width * scale), int(picture.height * scale))
    x, y = (width - inner[0]) // 2, (height - inner[1]) // 2
    canvas = Image.new("RGB", (width, height), (128, 128, 128))
    canvas.paste(picture.resize(inner, Image.BICUBIC), (x, y))
    pixels = np.asarray(canvas, np.float32).transpose(2, 0, 1)[None] / 255
    logits = run(np.ascontiguousarray(pixels))[0].transpose(1, 2, 0)
    shares = np.exp(logits - logits.max(-1, keepdims=True))
    shares /= shares.sum(-1, keepdims=True)
    inside = np.ascontiguousarray(shares[y:y + inner[1], x:x + inner[0]])
    return cv2.resize(inside, picture.size, interpolation=cv2.INTER_LINEAR).argmax(-1).astype(np.uint8)


def timed(repeats, call):
    call()
    times = []
    for _ in range(repeats):
        begin = time.perf_counter()
        call()
        times.append(1e3 * (time.perf_counter() - begin))
    return times


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("engine", choices=ENGINES)
    parser.add_argument("--model", required=True, help="ONNX file to logits")
    parser.add_argument("--labels-model", required=True, help="ONNX file to class ids")
    parser.add_argument("--precision", default="f32")
    parser.add_argument("--threads", type=int, default=os.cpu_count())
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--input", required=True, help=".npy, f32 [1,3,H,W]")
    parser.add_argument("--logits", required=True, help=".npy to write")
    parser.add_argument("--labels", required=True, help=".npy to write")
    parser.add_argument("--first", required=True, help="picture of the first label map")
    parser.add_argument("--born", type=float, required=True, help="time.time() when this process was started")
    parser.add_argument("--jpeg", action="append", default=[])
    args = parser.parse_args()
    import numpy as np

    x = np.load(args.input)
    run, version = ENGINES[args.engine](args, False)
    label_map(run, args.first, *x.shape[2:])
    out = {"version": version, "first_mask_s": time.time() - args.born}
    np.save(args.logits, run(x))
    out["scores_ms"] = timed(args.repeats, lambda: run(x))
    out["peak_rss_mib"] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    out["jpeg_ms"] = {path: timed(args.repeats, lambda: label_map(run, path, *x.shape[2:])) for path in args.jpeg}
    run = ENGINES[args.engine](args, True)[0]
    np.save(args.labels, run(x))
    out["labels_ms"] = timed(args.repeats, lambda: run(x))
    print(json.dumps(out))


if __name__ == "__main__":
    main()
