"""What a further thread brings: `atrous bench` on one thread, two, four …, in turn, beside what the machine's limits gain."""
import json

import common
from common import call, say


def counts(most):
    numbers, n = [], 1
    while n < most:
        numbers.append(n)
        n *= 2
    return [*numbers, most]


def bench(args, model, threads, work):
    return json.loads(call(args.atrous, "bench", work, "--json", "--profile", "--model", model, "--threads", threads, "--size",
                           f"{args.size}x{args.size}", "-n", args.repeats if work == "inference" else args.train_repeats, "--warmup", 1))


def measure(args, model):
    found = {}
    for turn in range(args.rounds):
        for work in ("inference", "train"):
            for threads in counts(args.threads):
                result = bench(args, model, threads, work)
                found.setdefault((work, threads), []).append(result)
                say(f"scaling, round {turn + 1}: {work} on {threads}: {result['min_ms']:.1f} ms")
    return found


def table(args, backbone, machine, found):
    body = []
    for (work, threads), results in found.items():
        first, fastest = min(r["min_ms"] for r in found[work, 1]), min(r["min_ms"] for r in results)
        flops, copy = (max(r["limits"][name] for r in results) for name in ("gflop_per_s", "gb_per_s"))
        alone = max(r["limits"]["gflop_per_s"] for r in found[work, 1])
        rate = 1e3 * results[0]["gflop"] / fastest
        body.append([work, str(threads), f"{fastest:.1f}", f"{first / fastest:.2f}", f"{rate:.0f}", f"{flops:.0f}", f"{flops / alone:.2f}", f"{copy:.1f}"])
    text = [f"**Threads, {backbone}**, {args.size}x{args.size}, f32, prediction of 1 picture, training of 2; {common.stamp(args, machine)};",
            f"minima of {args.rounds} rounds in turn. The limits are those of `atrous bench --profile` on as many threads.", ""]
    heads = ["work", "threads", "ms", "gain", "GFLOP/s", "limit, GFLOP/s", "the limit's gain", "copy, GB/s"]
    return "\n".join([*text, *common.rows_of(heads, body)])
