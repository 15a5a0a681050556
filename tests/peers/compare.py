"""atrous and other engines on the same network, in turn; writes the table of docs/performance.md.

Each round starts every engine once, so that a change of the machine's mood meets all of them. Figures are minima over all rounds.
"""
import argparse
import datetime
import importlib.util
import json
import os
import platform
import subprocess
import sys
import tempfile

HERE = os.path.dirname(os.path.abspath(__file__))
ROOT = os.path.dirname(os.path.dirname(HERE))
BEGIN, END = "<!-- peers: begin -->", "<!-- peers: end -->"


def call(*command):
    return subprocess.run([str(c) for c in command], check=True, capture_output=True, text=True).stdout


def cpu():
    with open("/proc/cpuinfo") as lines:
        facts = dict(line.split(":", 1) for line in lines.read().split("\n\n")[0].split("\n") if ":" in line)
    facts = {key.strip(): value.strip() for key, value in facts.items()}
    return facts.get("model name", platform.machine()), facts.get("flags", "").split()


def peers(flags, wanted):
    rows = [("torch", "f32"), ("torch-channels-last", "f32"), ("openvino", "f32"), ("onnxruntime", "f32")]
    if "avx512_bf16" in flags or "amx_bf16" in flags:
        rows += [("torch-channels-last", "bf16"), ("openvino", "bf16")]
    for row in rows:
        if row[0] in wanted and importlib.util.find_spec(row[0].split("-")[0]) is None:
            print(f"{row[0]} is not installed: left out", file=sys.stderr)
    return [row for row in rows if row[0] in wanted and importlib.util.find_spec(row[0].split("-")[0]) is not None]


class Bench:
    """What was measured of one engine, over the rounds."""

    def __init__(self):
        self.ms, self.cold, self.rss, self.jpeg, self.version = [], [], [], {}, ""
        self.folders = {}  # picture -> (seconds of folders with one, seconds of folders with `more` further ones)

    def add(self, result):
        self.ms += result["ms"]
        self.cold.append(result["cold_start_s"])
        self.rss.append(result["peak_rss_mib"])
        self.version = result.get("version", "")
        for path, times in result.get("jpeg_ms", {}).items():
            self.jpeg.setdefault(path, []).extend(times)
        for path, (few, many, more) in result.get("folders_s", {}).items():
            pair = self.folders.setdefault(path, ([], []))
            pair[0].append(few)
            pair[1].append(many)
            # The difference of two minima: the least difference of a round would reward a busy moment in the short run.
            self.jpeg[path] = [1e3 * (min(pair[1]) - min(pair[0])) / more]


def copies(folder, picture, count):
    """`count` names of one picture in a folder of their own."""
    place = os.path.join(folder, f"{os.path.basename(picture)}-{count}")
    if not os.path.isdir(place):
        os.mkdir(place)
        for i in range(count):
            os.symlink(os.path.abspath(picture), os.path.join(place, f"{i:03}.jpg"))
    return place


def run_atrous(args, model, backbone, folder):
    base = [args.atrous, "bench", "inference", "--json", "--backbone", backbone, "--threads", args.threads, "--size",
            f"{args.size}x{args.size}", "-n", args.repeats]
    found = json.loads(call(*base))
    folders = {}
    for path in args.jpeg:  # what further pictures cost, so without starting and planning
        few, many = copies(folder, path, 1), copies(folder, path, 1 + args.repeats)
        seconds = [json.loads(call(args.atrous, "predict", model, place, "--json", "--streams", 1, "--threads",
                                   args.threads, "--size", f"{args.size}x{args.size}"))["seconds"]
                   for place in (few, many)]
        folders[path] = (seconds[0], seconds[1], args.repeats)
    return found, {"ms": [found["min_ms"]], "cold_start_s": found["cold_start_s"], "peak_rss_mib": found["peak_rss_mib"],
                   "folders_s": folders}


def make_inputs(args, folder):
    """A picture of noise in soft blocks as PNG, and the same as f32 tensor."""
    import numpy as np
    from PIL import Image

    coarse = np.random.default_rng(5).integers(0, 256, (args.size // 16, args.size // 16, 3), np.uint8)
    picture = Image.fromarray(coarse).resize((args.size, args.size), Image.BICUBIC)
    png, npy = os.path.join(folder, "input.png"), os.path.join(folder, "input.npy")
    picture.save(png)
    np.save(npy, np.ascontiguousarray(np.asarray(picture, np.float32).transpose(2, 0, 1)[None] / 255))
    return png, npy


def distance(ours, theirs):
    import numpy as np

    a, b = np.load(ours).astype(np.float64).ravel(), np.load(theirs).astype(np.float64).ravel()
    return float(np.linalg.norm(a - b) / np.linalg.norm(a))


def measure(args, folder):
    name, flags = cpu()
    png, npy = make_inputs(args, folder)
    onnx = os.path.join(folder, "model.onnx")
    size = f"{args.size}x{args.size}"
    call(args.atrous, "export", args.model, "-o", onnx, "--batch", 1, "--size", size)
    call(args.atrous, "predict", args.model, png, "-o", os.path.join(folder, "out"), "--logits", "--fit", "none", "--threads", args.threads)
    backbone = json.loads(call(args.atrous, "info", args.model, "--json"))["backbone"]
    limits = json.loads(call(sys.executable, os.path.join(HERE, "engine.py"), "limits", "--threads", args.threads))
    rows = {("atrous", "f32"): Bench(), **{row: Bench() for row in peers(flags, args.engines.split(","))}}
    distances, facts = {}, {}
    for turn in range(args.rounds):
        for row, bench in rows.items():
            if row[0] == "atrous":
                facts, result = run_atrous(args, args.model, backbone, folder)
            else:
                logits = os.path.join(folder, f"{row[0]}-{row[1]}.npy")
                command = [sys.executable, os.path.join(HERE, "engine.py"), row[0], "--precision", row[1], "--model", onnx,
                           "--threads", args.threads, "--repeats", args.repeats, "--input", npy, "--logits", logits]
                for path in args.jpeg:
                    command += ["--jpeg", path]
                result = json.loads(call(*command))
                distances[row] = distance(os.path.join(folder, "out", "input.logits.npy"), logits)
            bench.add(result)
            print(f"round {turn + 1}: {row[0]} {row[1]}: {min(result['ms']):.1f} ms", file=sys.stderr)
    bad = [row for row, d in distances.items() if d > (1e-3 if row[1] == "f32" else 5e-2)]
    if bad:
        raise SystemExit(f"logits differ from ours: {', '.join(f'{r[0]} {r[1]} by {distances[r]:.2g}' for r in bad)}")
    return name, flags, backbone, limits, rows, distances, facts


def table(args, measured):
    name, flags, backbone, limits, rows, distances, facts = measured
    special = [f for f in ("avx2", "avx512f", "avx512_bf16", "avx512_vnni", "amx_bf16", "amx_int8") if f in flags]
    gflop = facts["gflop"]
    version = call(args.atrous, "--version").strip()
    text = [f"Prediction, {backbone}, batch 1, {args.size}x{args.size}, {facts['classes']} classes, {gflop:.1f} GFLOP; {name}",
            f"({', '.join(special)}), {args.threads} threads, load {os.getloadavg()[0]:.1f}; {version};",
            f"{datetime.date.today()}; minima of {args.rounds} rounds in turn. This machine's limits as measured then: "
            f"{limits['gflop_per_s']:.0f} GFLOP/s in",
            f"f32 (convolution 256 to 256, 3x3, 128x128, of the peers' best), {limits['copy_gb_per_s']:.1f} GB/s (copy, read and written).", ""]
    pictures = [os.path.basename(p) for p in args.jpeg]
    text.append("| engine | precision | logits, ms | GFLOP/s | share of limit | start to first result, s | peak RSS, MiB | distance of logits |"
                + "".join(f" {p} to labels, ms |" for p in pictures))
    text.append("|---|---|---|---|---|---|---|---|" + "---|" * len(pictures))
    for row, b in rows.items():
        ms = min(b.ms)
        share = f"{100 * gflop / ms * 1e3 / limits['gflop_per_s']:.0f} %" if row[1] == "f32" else "-"
        text.append(f"| {row[0]} {b.version} | {row[1]} | {ms:.1f} | {gflop / ms * 1e3:.0f} | {share} | {min(b.cold):.2f} | {max(b.rss):.0f} | "
                    + (f"{distances[row]:.1e} |" if row in distances else "- |")
                    + "".join(f" {min(b.jpeg[p]):.1f} |" for p in args.jpeg))
    return "\n".join(text)


def write(path, text):
    """Between the marks of the page."""
    with open(path) as page:
        old = page.read()
    head, rest = old.split(BEGIN)
    with open(path, "w") as page:
        page.write(head + BEGIN + "\n" + text + "\n" + END + rest.split(END)[1])


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("model", help="MODEL.h5")
    parser.add_argument("--atrous", default=os.path.join(ROOT, "build/release/apps/atrous"))
    parser.add_argument("--size", type=int, default=512)
    parser.add_argument("--threads", type=int, default=len(os.sched_getaffinity(0)))
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--repeats", type=int, default=5, help="runs in each round")
    parser.add_argument("--jpeg", action="append", default=[], help="picture for the way from file to label map; may be repeated")
    parser.add_argument("--engines", default="torch,torch-channels-last,openvino,onnxruntime")
    parser.add_argument("--write", action="store_true", help="put the table into docs/performance.md")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        text = table(args, measure(args, folder))
    print(text)
    if args.write:
        write(os.path.join(ROOT, "docs/performance.md"), text)


if __name__ == "__main__":
    main()
