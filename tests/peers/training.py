"""Training steps: `atrous bench train` and PyTorch in turn, each in a process of its own."""
import glob
import json
import os
from collections import defaultdict

import common
from common import call, say

# Ratio of minima of a step, atrous to the best peer of the same precision; peak RSS at batch 4 (of what is measured: the largest batch).
AIMS = {"mobilenetv2": {"f32": 0.5, "bf16": 0.25}, "xception": {"f32": 0.6, "bf16": 0.3}}
RSS_AIM = 0.4
BATCHES = {"mobilenetv2": [2, 4], "xception": [2]}
MOST_LOSS_DISTANCE = {"f32": 1e-4, "bf16": 2e-2}  # relative
VARIANTS = {"eager": "PyTorch, channels last", "tuned": "the same, fused optimiser, {allocator}",
            "compiled": "the same, compiled by inductor"}


def tuned_allocator():
    """A name and the environment: jemalloc or tcmalloc where one is installed, else glibc's own with settings that keep memory."""
    for name, settings in (("jemalloc", {"MALLOC_CONF": "oversize_threshold:1,background_thread:true,metadata_thp:auto,dirty_decay_ms:-1,muzzy_decay_ms:-1"}),
                           ("tcmalloc", {})):
        found = sorted(glob.glob(f"/usr/lib/*/lib{name}.so.*") + glob.glob(f"/usr/lib/*/lib{name}_minimal.so.*"))
        if found:
            return name, {**settings, "LD_PRELOAD": found[0]}
    return "glibc's allocator told to keep memory", {"MALLOC_TOP_PAD_": str(256 << 20), "MALLOC_MMAP_THRESHOLD_": str(4 << 30),
                                                     "MALLOC_TRIM_THRESHOLD_": str(16 << 30)}


def run_atrous(args, model, precision, batch):
    base = [args.atrous, "bench", "train", "--json", "--model", model, "--precision", precision, "--threads", args.threads, "--size", f"{args.size}x{args.size}", "-b", batch]
    found = json.loads(call(*base, "-n", args.train_repeats, "--warmup", 1))
    return {"step_ms": [found["min_ms"]], "peak_rss_mib": found["peak_rss_mib"], "gflop": found["gflop"]}


def loss_of_atrous(args, model, batch):
    return json.loads(call(args.atrous, "bench", "train", "--json", "--model", model, "--threads", args.threads, "--size",
                           f"{args.size}x{args.size}", "-b", batch, "-n", 1, "--warmup", 0, "--no-dropout"))["loss"]


def run_torch(args, onnx, folder, classes, variant, precision, batch):
    settings = {} if variant == "eager" else tuned_allocator()[1]
    env = {**os.environ, "TORCHINDUCTOR_CACHE_DIR": os.path.join(folder, "inductor"), **settings}
    return common.script("train_engine.py", variant, "--model", onnx, "--precision", precision, "--batch", batch, "--size", args.size, "--classes",
                         classes, "--threads", args.threads, "--repeats", args.train_repeats, env=env, limit=args.peer_limit)


def measure(args, model, backbone, classes, machine, folder):
    """By batch and row: results of all rounds; and the losses."""
    onnx = os.path.join(folder, "train.onnx")
    call(args.atrous, "export", model, "-o", onnx, "--batch", 1, "--size", f"{args.size}x{args.size}")
    rows = [("atrous", p) for p in ("f32", "bf16") if p == "f32" or machine.bf16]
    rows += [(v, p) for p in ("f32", "bf16") if p == "f32" or machine.bf16 for v in VARIANTS]
    found, losses = defaultdict(list), {}
    for batch in BATCHES.get(backbone, [2]):
        losses[batch] = loss_of_atrous(args, model, batch)
        for turn in range(args.train_rounds):
            for row in list(rows):
                try:
                    result = run_atrous(args, model, row[1], batch) if row[0] == "atrous" else run_torch(args, onnx, folder, classes, *row, batch)
                except common.Failed as failure:
                    if row[0] == "atrous":
                        raise
                    say(f"{row[0]} {row[1]} is left out: {failure}")
                    rows.remove(row)
                    continue
                found[batch, row].append(result)
                say(f"training, batch {batch}, round {turn + 1}: {row[0]} {row[1]}: {min(result['step_ms']):.0f} ms, {result['peak_rss_mib']:.0f} MiB")
                apart = abs(result.get("loss", losses[batch]) / losses[batch] - 1)
                if not apart <= MOST_LOSS_DISTANCE[row[1]]:
                    raise SystemExit(f"the loss of {row} is {result['loss']:.6f}, ours is {losses[batch]:.6f}: not the same work")
    return found, losses


def best(results, what):
    return min(min(r["step_ms"]) for r in results) if what == "step" else min(r["peak_rss_mib"] for r in results)


def ratios(backbone, found):
    largest, body = max(batch for batch, _ in found), []
    for (batch, own), results in found.items():
        if own[0] != "atrous":
            continue
        rivals = {row: r for (b, row), r in found.items() if b == batch and row[0] != "atrous" and row[1] == own[1]}
        for what, aim in () if not rivals else (("step", AIMS.get(backbone, {}).get(own[1])), ("RSS", RSS_AIM if batch == largest else None)):
            rival = min(rivals, key=lambda row: best(rivals[row], what))
            ratio = best(results, what) / best(rivals[rival], what)
            body.append([what, str(batch), own[1], " ".join(rival), f"{ratio:.2f}", f"{aim:.2f}" if aim else "-",
                         "-" if not aim else "yes" if ratio <= aim else "no"])
    return common.rows_of(["figure", "batch", "precision", "against", "ratio", "aim", "reached"], body)


def table(args, backbone, machine, limits, measured):
    found, losses = measured
    allocator, body = tuned_allocator()[0], []
    for (batch, row), results in found.items():
        gflop = found[batch, ("atrous", "f32")][0]["gflop"]
        ms = best(results, "step")
        name = "atrous" if row[0] == "atrous" else VARIANTS[row[0]].format(allocator=allocator)
        loss = results[0].get("loss", losses[batch])
        body.append([str(batch), name, row[1], f"{ms:.0f}", f"{ms / batch:.0f}", f"{1e3 * gflop / ms:.0f}",
                     f"{1e5 * gflop / ms / limits['gflop_per_s'][row[1]]:.0f} %", f"{best(results, 'RSS'):.0f}", f"{loss:.6f}"])
    version = next((r[0]["version"] for (_, row), r in found.items() if row[0] != "atrous"), "did not run")
    text = [f"**Training, {backbone}**, {args.size}x{args.size}, {args.classes} classes: forward, cross-entropy, backward, SGD;",
            f"{common.stamp(args, machine)};", f"PyTorch {version}; minima of {args.train_rounds} rounds of {args.train_repeats} steps in turn. "
            "GFLOP/s count three forward passes. The loss is that of", "the same weights and pictures without dropout.", ""]
    heads = ["batch", "engine", "precision", "step, ms", "a picture, ms", "GFLOP/s", "of limit", "peak RSS, MiB", "loss"]
    return "\n".join([*text, *common.rows_of(heads, body), "", "atrous to the best peer:", "", *ratios(backbone, found)])
