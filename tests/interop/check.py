#!/usr/bin/env python3
"""Compares what `atrous export` writes with PyTorch and ONNX Runtime. README.md beside this file says how to run it.

Each network is imported, exported, and run by all programs that are there on the same made-up pictures. Prints one line per
comparison and ends with 1 if one of them is off.
"""
import argparse
import json
import os
import subprocess
import sys
import tempfile

import h5py
import numpy as np
import onnx
import onnxruntime
import safetensors
import safetensors.torch
import torch
from PIL import Image

TOLERANCE = 1e-4  # relative L2 of logits
SIZES = [(97, 129), (160, 112)]  # height, width
STRIDES = [16, 8]
# Golden cases that give the weights. Xception's is one of the well-conditioned: with half of all ReLU inputs below zero, float32
# programs differ by more than the tolerance through rounding alone (the golden data's README, section 4).
CASES = {"mobilenetv2": "mobilenet_os16_k21_97x129", "xception": "xception_os16_k5_65x81_tight"}
NAMES = {"mobilenetv2": "mobilenet", "xception": "xception"}  # what the reference calls them
MASK = (1 << 64) - 1


class Report:
    def __init__(self):
        self.failed = 0

    def line(self, good, text):
        self.failed += not good
        print(f"{'ok    ' if good else 'FAILED'} {text}", flush=True)

    def logits(self, what, got, want):
        off = float(np.linalg.norm(got.astype(np.float64) - want) / np.linalg.norm(want.astype(np.float64)))
        self.line(got.shape == want.shape and off <= TOLERANCE, f"{what}: relative L2 {off:.2e}")


def formula(name, seed, count, scale, offset):
    """Values of the golden data's formula (its README, section 1)."""
    key = 0xCBF29CE484222325
    for byte in name.encode():
        key = ((key ^ byte) * 0x100000001B3) & MASK
    with np.errstate(over="ignore"):
        x = np.arange(count, dtype=np.uint64) * np.uint64(0x9E3779B97F4A7C15) + np.uint64(key ^ seed)
        x = (x ^ (x >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        x = (x ^ (x >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        x ^= x >> np.uint64(31)
    unit = (x >> np.uint64(40)).astype(np.float64) * 2.0**-24
    return (offset + scale * (2 * unit - 1)).astype(np.float32)


def golden(shared, backbone):
    """Seed, classes and list of tensors (name, shape, dtype, kind, scale, offset) of a golden case."""
    with h5py.File(os.path.join(shared, "parity", "parity.h5")) as file:
        group = file[CASES[backbone]]
        keys = json.loads(group["keys_json"][()].decode().rstrip("\0"))
        return int(group.attrs["seed"]), int(group.attrs["num_classes"]), keys


def make_weights(shared, backbone, folder, reference):
    """A .pth file of the backbone's golden weights, with running statistics of a real batch where the reference is there."""
    ready = os.path.join(shared, "parity", f"{backbone}_os16_k21.pth")
    if os.path.exists(ready):
        return ready
    seed, classes, keys = golden(shared, backbone)
    state = {}
    for key in keys:
        if key["dtype"] == "int64":
            state[key["name"]] = torch.zeros(key["shape"], dtype=torch.int64)
        else:
            count = int(np.prod(key["shape"]))
            values = formula(key["name"], seed, count, key["scale"], key["offset"])
            state[key["name"]] = torch.from_numpy(values.reshape(key["shape"]))
    if reference is not None:
        model = reference(classes, NAMES[backbone], pretrained=False, downsample_factor=16)
        model.load_state_dict(state, strict=True)
        for module in model.modules():
            if isinstance(module, torch.nn.BatchNorm2d):
                module.momentum = 1.0
            if isinstance(module, torch.nn.Dropout):
                module.p = 0.0
        model.train()
        with torch.no_grad():
            model(torch.from_numpy(pictures(2, 97, 129).astype(np.float32) / 255).permute(0, 3, 1, 2))
        state = model.state_dict()
    path = os.path.join(folder, f"{backbone}.pth")
    torch.save(state, path)
    return path


def pictures(count, height, width):
    """[N,H,W,3] u8: blocks and noise."""
    rng = np.random.default_rng(height * 1000 + width)
    blocks = rng.integers(0, 256, (count, height // 8 + 1, width // 8 + 1, 3)).repeat(8, 1).repeat(8, 2)
    noise = rng.integers(-32, 33, (count, height, width, 3))
    return np.clip(blocks[:, :height, :width] + noise, 0, 255).astype(np.uint8)


def run(*command):
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode != 0:
        sys.exit(f"{' '.join(command)}\nended with {done.returncode}:\n{done.stderr}")
    return done.stdout


def own_logits(atrous, model, images, folder):
    """[N,K,H,W] by `atrous predict`, each picture at its own size."""
    for i, image in enumerate(images):
        Image.fromarray(image).save(os.path.join(folder, f"picture{i}.png"))
    files = [os.path.join(folder, f"picture{i}.png") for i in range(len(images))]
    out = os.path.join(folder, "out")
    run(atrous, "predict", model, *files, "-o", out, "--fit", "none", "--logits")
    return np.stack([np.load(os.path.join(out, f"picture{i}.logits.npy")) for i in range(len(images))])


def check_safetensors(report, label, path, pth, shared, backbone):
    """Names, shapes, types and bits of the exported tensors against the file that was imported."""
    _, classes, keys = golden(shared, backbone)
    loaded = safetensors.torch.load_file(path)
    source = torch.load(pth, map_location="cpu", weights_only=True)
    want = {key["name"]: (tuple(key["shape"]), key["dtype"]) for key in keys}
    got = {name: (tuple(t.shape), str(t.dtype).replace("torch.", "")) for name, t in loaded.items()}
    report.line(want == got, f"{label}: {len(got)} tensors have the state_dict's names, shapes and types")
    report.line(all(torch.equal(loaded[name], source[name]) for name in want), f"{label}: values equal those imported")
    with safetensors.safe_open(path, "pt") as file:
        meta = file.metadata()
    report.line(meta["format"] == "pt" and meta["backbone"] == backbone and len(json.loads(meta["class_names"])) == classes,
                f"{label}: metadata")
    return loaded


def check_onnx_file(report, label, path, backbone, stride):
    model = onnx.load(path)
    onnx.checker.check_model(model, full_check=True)
    meta = {pair.key: pair.value for pair in model.metadata_props}
    report.line(meta["backbone"] == backbone and int(meta["output_stride"]) == stride and meta["fit"] == "letterbox",
                f"{label}: onnx.checker, opset {model.opset_import[0].version}, IR {model.ir_version}, "
                f"{len(model.graph.node)} nodes")


def session_of(path):
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 1 if os.environ.get("ORT_VERBOSE") else 3
    return onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])


def prepare(path, images):
    """What docs/commands.md tells users of the ONNX file to do: [N,H,W,C] u8 -> [N,C,H,W] f32."""
    meta = session_of(path).get_modelmeta().custom_metadata_map
    scale, offset = (np.array(json.loads(meta[key]), np.float32) for key in ("scale", "offset"))
    return np.ascontiguousarray((images.astype(np.float32) * scale + offset).transpose(0, 3, 1, 2))


def check_network(report, args, backbone, stride, pth, folder, reference):
    label = f"{backbone} os{stride}"
    model, st, dynamic = (os.path.join(folder, f"{backbone}{stride}{suffix}") for suffix in (".h5", ".safetensors", ".onnx"))
    run(args.atrous, "import", pth, "-o", model, "--output-stride", str(stride))
    run(args.atrous, "export", model, "-o", st)
    run(args.atrous, "export", model, "-o", dynamic)
    state = check_safetensors(report, f"{label} safetensors", st, pth, args.shared, backbone)
    check_onnx_file(report, f"{label} onnx", dynamic, backbone, stride)
    torch_model = None
    if reference is not None:
        classes = golden(args.shared, backbone)[1]
        torch_model = reference(classes, NAMES[backbone], pretrained=False, downsample_factor=stride)
        torch_model.load_state_dict(state, strict=True)
        torch_model.eval()
        report.line(True, f"{label} safetensors: PyTorch loads it with strict=True")
    session = session_of(dynamic)
    for height, width in SIZES:
        images = pictures(2, height, width)
        inputs = prepare(dynamic, images)
        own = own_logits(args.atrous, model, images, folder)
        for batch in (1, 2):
            what = f"{label} {batch}x{height}x{width}"
            got = session.run(["logits"], {"images": inputs[:batch]})[0]
            report.logits(f"{what}: ONNX Runtime, atrous", got, own[:batch])
            if torch_model is not None:
                with torch.no_grad():
                    want = torch_model(torch.from_numpy(inputs[:batch])).numpy()
                report.logits(f"{what}: ONNX Runtime, PyTorch", got, want)
                report.logits(f"{what}: atrous, PyTorch", own[:batch], want)
        for name, batch, size in (("fixed", "2", f"{height}x{width}"), ("fixed size", "dynamic", f"{height}x{width}"),
                                  ("fixed batch", "2", "dynamic")):
            path = os.path.join(folder, "fixed.onnx")
            run(args.atrous, "export", model, "-o", path, "--batch", batch, "--size", size, "--force")
            onnx.checker.check_model(path, full_check=True)
            got = session_of(path).run(["logits"], {"images": inputs})[0]
            report.logits(f"{label} 2x{height}x{width}: ONNX Runtime, {name} shape, atrous", got, own)


def main():
    here = os.path.dirname(os.path.abspath(__file__))
    root = os.path.dirname(os.path.dirname(here))
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--atrous", default=os.path.join(root, "build", "release", "apps", "atrous"), help="the program")
    parser.add_argument("--shared", default=os.environ.get("ATR_SHARED", os.path.join(os.path.dirname(root), "shared")),
                        help="folder with parity/ (default: $ATR_SHARED, ../shared)")
    parser.add_argument("--reference", help="checkout of the PyTorch reference; adds its own code to the comparison")
    parser.add_argument("--backbones", default="mobilenetv2,xception", help="comma separated")
    args = parser.parse_args()
    reference = None
    if args.reference:
        sys.path.insert(0, args.reference)
        from nets.deeplabv3_plus import DeepLab as reference
    torch.set_num_threads(2)
    report = Report()
    print(f"PyTorch {torch.__version__}, onnx {onnx.__version__}, ONNX Runtime {onnxruntime.__version__}, "
          f"safetensors {safetensors.__version__}, {run(args.atrous, '--version').strip()}")
    with tempfile.TemporaryDirectory() as folder:
        for backbone in args.backbones.split(","):
            pth = make_weights(args.shared, backbone, folder, reference)
            for stride in STRIDES:
                check_network(report, args, backbone, stride, pth, folder, reference)
    print("all agree" if report.failed == 0 else f"{report.failed} comparisons failed")
    return report.failed > 0


if __name__ == "__main__":
    sys.exit(main())
