"""Prediction: atrous and the peers in turn, each in a process of its own."""
import importlib.util
import json
import os
import sys
import time
from collections import defaultdict

import common
from common import call, say

# Ratio of minima, atrous to the best peer of the same precision.
AIMS = {"mobilenetv2": {"f32": 0.55, "bf16": 0.6, "int8": 0.6}, "xception": {"f32": 0.8, "bf16": 0.45, "int8": 0.6}}
RSS_AIM, START_AIM = 0.5, 0.5
# JPEG to label map: against the reference's way (PyTorch, eager, f32), and the same way with OpenVINO's bf16 inside.
JPEG_AIMS = {("torch", "f32"): 0.12, ("openvino", "bf16"): 0.5}
MOST_DISTANCE = {"f32": 1e-3, "bf16": 5e-2, "int8": 0.5}  # of logits, relative L2; beyond it is another network
PLAIN = ["torch", "torch-channels-last", "torch-compiled", "openvino", "onnxruntime"]


def rows(args, machine):
    wanted = [(name, "f32") for name in PLAIN]
    if machine.bf16:
        wanted += [(name, "bf16") for name in ("torch-channels-last", "torch-compiled", "openvino")]
    wanted += [("openvino", "int8"), ("onnxruntime", "int8")]
    own = [("atrous", "f32")] + ([("atrous", "bf16")] if machine.bf16 else []) + ([("atrous", "int8")] if args.data else [])
    for name in sorted({n for n, _ in wanted if n in args.engines.split(",")}):
        if importlib.util.find_spec(name.split("-")[0]) is None:
            say(f"{name} is not installed: left out")
            wanted = [row for row in wanted if row[0] != name]
    return own + [row for row in wanted if row[0] in args.engines.split(",")]


class Bench:
    """What was measured of one engine, over the rounds."""

    def __init__(self, repeats):
        self.times = defaultdict(list)  # ms of "scores", "labels" and each JPEG
        self.folders = {}               # of each JPEG: s of one picture, of `repeats` more
        self.first_mask, self.rss, self.version, self.repeats = [], [], "", repeats

    def add(self, result):
        self.times["scores"] += result["scores_ms"]
        self.times["labels"] += result["labels_ms"]
        for path, times in result.get("jpeg_ms", {}).items():
            self.times[path] += times
        for path, (one, many) in result.get("folders_s", {}).items():
            self.folders.setdefault(path, ([], []))[0].append(one)
            self.folders[path][1].append(many)
        self.first_mask.append(result["first_mask_s"])
        self.rss.append(result["peak_rss_mib"])
        self.version = result.get("version", "")

    def best(self, what):
        """The least of a figure. Of a JPEG, for atrous: what a further picture of a folder costs, without starting and planning."""
        if what in self.folders:
            one, many = self.folders[what]
            return 1e3 * (min(many) - min(one)) / self.repeats
        return min(self.first_mask) if what == "first mask" else min(self.rss) if what == "RSS" else min(self.times[what])


class Files:
    """Everything that the engines read, made once in a folder."""

    def __init__(self, args, model, machine, folder):
        size = f"{args.size}x{args.size}"
        self.folder, self.model = folder, {p: model for p in ("f32", "bf16")}
        self.png, self.npy = self.made_up_picture(args.size)
        self.first = args.jpeg[0] if args.jpeg else self.png
        self.onnx = {"f32": os.path.join(folder, "model.onnx"), "int8": os.path.join(folder, "int8.onnx")}
        call(args.atrous, "export", model, "-o", self.onnx["f32"], "--batch", 1, "--size", size)
        pictures = [x for place in args.calibrate or args.jpeg or [self.png] for x in ("--pictures", place)]
        call(sys.executable, os.path.join(common.HERE, "quantize.py"), self.onnx["f32"], self.onnx["int8"], "--size", args.size,
                    *pictures, *([] if machine.vnni else ["--reduce-range"]))
        self.onnx["bf16"] = self.onnx["f32"]
        self.labels = {p: path.replace(".onnx", "-labels.onnx") for p, path in self.onnx.items()}
        for p in ("f32", "int8"):
            call(sys.executable, os.path.join(common.HERE, "label_model.py"), self.onnx[p], self.labels[p])
        if args.data:
            self.model["int8"] = os.path.join(folder, "int8.h5")
            call(args.atrous, "quantize", model, args.data, "-o", self.model["int8"], "--pictures", 8, "--probes", 1)
        call(args.atrous, "predict", model, self.png, "-o", os.path.join(folder, "out"), "--logits", "--fit", "none", "--threads", args.threads)

    def made_up_picture(self, size):
        """A picture of noise in soft blocks as PNG, and the same as f32 tensor."""
        import numpy as np
        from PIL import Image

        coarse = np.random.default_rng(5).integers(0, 256, (size // 16, size // 16, 3), np.uint8)
        picture = Image.fromarray(coarse).resize((size, size), Image.BICUBIC)
        png, npy = os.path.join(self.folder, "input.png"), os.path.join(self.folder, "input.npy")
        picture.save(png)
        np.save(npy, np.ascontiguousarray(np.asarray(picture, np.float32).transpose(2, 0, 1)[None] / 255))
        return png, npy

    def copies(self, picture, count):
        """`count` names of one picture in a folder of their own."""
        place = os.path.join(self.folder, f"{os.path.basename(picture)}-{count}")
        if not os.path.isdir(place):
            os.mkdir(place)
            for i in range(count):
                os.symlink(os.path.abspath(picture), os.path.join(place, f"{i:03}{os.path.splitext(picture)[1]}"))
        return place


def run_atrous(args, files, precision):
    size = f"{args.size}x{args.size}"
    base = [args.atrous, "bench", "inference", "--json", "--model", files.model[precision], "--precision", precision, "--threads", args.threads, "--size", size,
            "-n", args.repeats]
    scores, labels = json.loads(call(*base)), json.loads(call(*base, "--labels"))
    predict = [args.atrous, "predict", files.model[precision], "--precision", precision, "--streams", 1, "--threads", args.threads, "--size", size]
    seconds, rss = common.watched(*predict, files.first, "-o", os.path.join(files.folder, "first"))
    folders = {path: [json.loads(call(*predict, files.copies(path, count), "--json"))["seconds"] for count in (1, 1 + args.repeats)]
               for path in args.jpeg}
    return scores, {"scores_ms": [scores["min_ms"]], "labels_ms": [labels["min_ms"]], "first_mask_s": seconds,
                    "peak_rss_mib": max(rss, scores["peak_rss_mib"]), "folders_s": folders}


def run_peer(args, files, name, precision):
    outputs = {what: os.path.join(files.folder, f"{name}-{precision}-{what}.npy") for what in ("logits", "labels")}
    command = [name, "--precision", precision, "--model", files.onnx[precision], "--labels-model", files.labels[precision], "--threads",
               args.threads, "--repeats", args.repeats, "--input", files.npy, "--logits", outputs["logits"], "--labels", outputs["labels"],
               "--first", files.first, *(x for path in args.jpeg for x in ("--jpeg", path))]
    caches = {**os.environ, "TORCHINDUCTOR_CACHE_DIR": os.path.join(files.folder, "inductor")}
    return common.script("engine.py", *command, "--born", time.time(), env=caches, limit=args.peer_limit)


def differences(files, name, precision):
    """Relative L2 distance of logits, and the share of pixels with another label."""
    import numpy as np

    ours, theirs = (np.load(path).astype(np.float64)[..., :, :] for path in (os.path.join(files.folder, "out", "input.logits.npy"),
                                                                            os.path.join(files.folder, f"{name}-{precision}-logits.npy")))
    labels = np.load(os.path.join(files.folder, f"{name}-{precision}-labels.npy"))
    ours = ours.reshape(theirs.shape)
    return (float(np.linalg.norm(ours - theirs) / np.linalg.norm(ours)),
            float(np.mean(ours.argmax(1).reshape(-1) != labels.reshape(-1))))


def measure(args, model, machine, folder):
    files = Files(args, model, machine, folder)
    found = {row: Bench(args.repeats) for row in rows(args, machine)}
    apart, facts = {}, {}
    for turn in range(args.rounds):
        for row, bench in list(found.items()):
            if row[0] == "atrous":
                facts, result = run_atrous(args, files, row[1])
            else:
                try:
                    result = run_peer(args, files, *row)
                except common.Failed as failure:
                    say(f"{row[0]} {row[1]} is left out: {failure}")
                    del found[row]
                    continue
                apart[row] = differences(files, *row)
            bench.add(result)
            say(f"round {turn + 1}: {row[0]} {row[1]}: {min(result['scores_ms']):.1f} ms, labels {min(result['labels_ms']):.1f} ms")
    bad = [row for row, (distance, _) in apart.items() if distance > MOST_DISTANCE[row[1]]]
    if bad:
        raise SystemExit(f"logits differ from ours: {', '.join(f'{r[0]} {r[1]} by {apart[r][0]:.2g}' for r in bad)}")
    return found, apart, facts


def figures(args, found, apart, gflop, limits):
    heads = ["engine", "precision", "scores, ms", "labels, ms", "GFLOP/s", "of limit", "start to first mask, s", "peak RSS, MiB",
             "distance of scores", "other labels", *(f"{os.path.basename(p)} to labels, ms" for p in args.jpeg)]
    body = []
    for row, b in found.items():
        rate = 1e3 * gflop / b.best("scores")
        body.append([f"{row[0]} {b.version}".strip(), row[1], f"{b.best('scores'):.1f}", f"{b.best('labels'):.1f}", f"{rate:.0f}",
                     f"{100 * rate / limits['gflop_per_s'][row[1]]:.0f} %", f"{b.best('first mask'):.2f}", f"{b.best('RSS'):.0f}",
                     *((f"{apart[row][0]:.1e}", f"{100 * apart[row][1]:.2f} %") if row in apart else ("-", "-")),
                     *(f"{b.best(path):.1f}" for path in args.jpeg)])
    return common.rows_of(heads, body)


def ratios(args, backbone, found):
    """Each figure of atrous to the best peer's of its precision."""
    body = []
    for own in [row for row in found if row[0] == "atrous"]:
        rivals = [row for row in found if row[0] != "atrous" and row[1] == own[1]]
        aim = AIMS.get(backbone, {}).get(own[1])
        for what, most in [("scores", aim), ("labels", aim), ("first mask", START_AIM), ("RSS", RSS_AIM)]:
            if rivals:
                best = min(rivals, key=lambda row: found[row].best(what))
                body.append((what, own, best, most))
    for path in args.jpeg:
        body += [(path, row, rival, aim) for rival, aim in JPEG_AIMS.items() if rival in found
                 for row in found if row[0] == "atrous" and row[1] == rival[1]]
    lines = []
    for what, own, best, most in body:
        ratio = found[own].best(what) / found[best].best(what)
        lines.append([os.path.basename(what), own[1], " ".join(best), f"{ratio:.2f}", f"{most:.2f}" if most else "-",
                      "yes" if most and ratio <= most else "no" if most else "-"])
    return common.rows_of(["figure", "precision", "against", "ratio", "aim", "reached"], lines)


def table(args, backbone, machine, limits, measured):
    found, apart, facts = measured
    rates = ", ".join(f"{rate:.0f} GFLOP/s in {p}" for p, rate in limits["gflop_per_s"].items())
    text = [f"**Prediction, {backbone}**, batch 1, {args.size}x{args.size}, {facts['classes']} classes, {facts['gflop']:.1f} GFLOP;",
            f"{common.stamp(args, machine)};", f"minima of {args.rounds} rounds of {args.repeats} in turn. Limits in the same run: {rates}",
            f"(convolution 256 to 256, 3x3, 128x128, of the peers' best), {limits['copy_gb_per_s']:.1f} GB/s (copy, read and written).", ""]
    return "\n".join([*text, *figures(args, found, apart, facts["gflop"], limits), "", "atrous to the best peer:", "",
                      *ratios(args, backbone, found)])
