"""atrous and other engines on the same network, in turn; writes the tables of docs/performance.md.

Each round starts every engine once, so that a change of the machine's mood meets all of them. Figures are minima over all rounds.
A quick look: --rounds 1 --repeats 1 --train-rounds 1 --train-repeats 1 --size 256.
"""
import argparse
import json
import os
import tempfile

import common
import prediction
import scaling
import training


def options():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("models", nargs="+", metavar="MODEL", help="MODEL.h5, one of each backbone")
    parser.add_argument("--work", default="prediction,training,scaling", help="which of prediction, training, scaling")
    parser.add_argument("--atrous", default=os.path.join(common.ROOT, "build/release/apps/atrous"))
    parser.add_argument("--size", type=int, default=512)
    parser.add_argument("--threads", type=int, default=len(os.sched_getaffinity(0)))
    parser.add_argument("--rounds", type=int, default=3, help="of prediction and scaling")
    parser.add_argument("--repeats", type=int, default=5, help="runs in each round")
    parser.add_argument("--train-rounds", type=int, default=2)
    parser.add_argument("--train-repeats", type=int, default=2, help="steps in each round")
    parser.add_argument("--jpeg", action="append", default=[], help="picture for the way from file to label map; may be repeated")
    parser.add_argument("--calibrate", action="append", default=[], help="picture or folder that the peers' int8 networks are calibrated on")
    parser.add_argument("--data", help="DATA.h5 that our int8 network is calibrated on; without it int8 is measured of the others alone")
    parser.add_argument("--engines", default=",".join(prediction.PLAIN), help="of prediction")
    parser.add_argument("--peer-limit", type=int, default=900, help="seconds after which one run of a peer is given up")
    parser.add_argument("--write", action="store_true", help="put the tables into docs/performance.md")
    return parser.parse_args()


def tables(args, model, machine, limits, folder):
    facts = json.loads(common.call(args.atrous, "info", model, "--json"))
    backbone, args.classes = facts["backbone"], facts["classes"]
    work = args.work.split(",")
    if "prediction" in work:
        yield f"prediction {backbone}", prediction.table(args, backbone, machine, limits, prediction.measure(args, model, machine, folder))
    if "training" in work:
        measured = training.measure(args, model, backbone, args.classes, machine, folder)
        yield f"training {backbone}", training.table(args, backbone, machine, limits, measured)
    if "scaling" in work:
        yield f"scaling {backbone}", scaling.table(args, backbone, machine, scaling.measure(args, model))


def main():
    args = options()
    machine = common.Machine(args.threads)
    limits = common.script("limits.py", "--threads", args.threads, *(["--bf16"] if machine.bf16 else []), *([] if machine.vnni else ["--reduce-range"]))
    for model in args.models:
        with tempfile.TemporaryDirectory() as folder:
            for name, text in tables(args, model, machine, limits, folder):
                print(text + "\n", flush=True)
                if args.write:
                    common.write_section(name, text)


if __name__ == "__main__":
    main()
