"""PyTorch training in a process of its own: one variant, one batch; times steps and prints one JSON object.

The step is that of `atrous bench train`: forward, cross-entropy at the input's size, backward, SGD with Nesterov's momentum and weight decay, rate 0,
on the same made-up pictures. The loss without dropout is told, too: a function of weights and pictures, so that both programs do the same work.
"""
import argparse
import json
import os
import resource
import time


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("variant", choices=["eager", "tuned", "compiled"], help="tuned, compiled: with the fused optimiser")
    parser.add_argument("--model", required=True, help="ONNX file")
    parser.add_argument("--precision", default="f32", choices=["f32", "bf16"])
    parser.add_argument("--batch", type=int, default=2)
    parser.add_argument("--size", type=int, default=512)
    parser.add_argument("--classes", type=int, required=True)
    parser.add_argument("--threads", type=int, default=os.cpu_count())
    parser.add_argument("--repeats", type=int, default=2)
    args = parser.parse_args()
    import network
    import pictures
    import torch
    from torch.nn import functional as F

    torch.set_num_threads(args.threads)
    torch.manual_seed(1)
    images = torch.from_numpy(pictures.images(args.batch, args.size)).contiguous(memory_format=torch.channels_last)
    labels = torch.from_numpy(pictures.labels(args.batch, args.size, args.classes)).long()
    lowered = lambda: torch.autocast("cpu", torch.bfloat16, enabled=args.precision == "bf16")  # noqa: E731
    with torch.no_grad(), lowered():
        plain = network.build(args.model, True).to(memory_format=torch.channels_last)
        out = {"version": torch.__version__, "loss": F.cross_entropy(plain(images).float(), labels, ignore_index=255).item()}
        del plain

    net = network.build(args.model, True, (0.5, 0.1)).to(memory_format=torch.channels_last)
    optimiser = torch.optim.SGD(net.parameters(), lr=0.0, momentum=0.9, weight_decay=1e-4, nesterov=True,
                                fused=True if args.variant != "eager" else None)
    run = torch.compile(net, dynamic=False) if args.variant == "compiled" else net

    def step():
        optimiser.zero_grad(set_to_none=True)
        with lowered():
            scores = run(images)
        loss = F.cross_entropy(scores.float(), labels, ignore_index=255)
        loss.backward()
        optimiser.step()
        return loss.item()

    begin = time.perf_counter()
    step()
    out["first_step_s"] = time.perf_counter() - begin
    out["step_ms"] = []
    for _ in range(args.repeats):
        begin = time.perf_counter()
        step()
        out["step_ms"].append(1e3 * (time.perf_counter() - begin))
    out["peak_rss_mib"] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(json.dumps(out))


if __name__ == "__main__":
    main()
