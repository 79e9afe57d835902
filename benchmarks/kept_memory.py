"""How much sooner networks compute on cores where the process keeps the memory that it frees.

    python -m benchmarks.kept_memory [--rounds 3]

Each in a process of its own, with and without (``trainables.stages.allocation``), in turns: the
features of 64 images of 288 pixels on one core, and a training step of 32 images of 224 pixels on
all of them, with efficientnet-lite0 and random weights. Prints one JSON object a round, with the
seconds of both, how many times as fast it is with, and the largest memory.
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
import time

PARTS = ("features", "training")


def measured(part: str, keep: bool) -> dict[str, float]:
    """Seconds, processor time of the system alone, and MiB, of this process."""
    import timm
    import torch

    from trainables.stages.allocation import keep_memory

    if keep:
        keep_memory()
    net = timm.create_model("efficientnet_lite0", num_classes=15)
    net = net.to(memory_format=torch.channels_last)
    side, count = (288, 16) if part == "features" else (224, 32)
    images = torch.rand(count, 3, side, side).contiguous(memory_format=torch.channels_last)
    if part == "features":
        torch.set_num_threads(1)
        net.eval()

    def step() -> None:
        if part == "features":
            with torch.inference_mode():
                net(images)
        else:
            net(images).square().sum().backward()

    step()
    before, began = resource.getrusage(resource.RUSAGE_SELF), time.monotonic()
    for _ in range(4):
        step()
    after = resource.getrusage(resource.RUSAGE_SELF)
    return {
        "seconds": round(time.monotonic() - began, 2),
        "system_seconds": round(after.ru_stime - before.ru_stime, 2),
        "mib": after.ru_maxrss >> 10,
    }


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rounds", default=3, type=int)
    parser.add_argument("--one", nargs=2, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.one:
        print(json.dumps(measured(options.one[0], options.one[1] == "keep")))
        return
    command = [sys.executable, "-m", "benchmarks.kept_memory", "--one"]
    for _ in range(options.rounds):
        line = {}
        for part in PARTS:
            without, kept = (
                json.loads(subprocess.check_output([*command, part, how]))
                for how in ("free", "keep")
            )
            ratio = round(without["seconds"] / kept["seconds"], 2)
            line[part] = {"without": without, "kept": kept, "times_as_fast": ratio}
        print(json.dumps(line), flush=True)


if __name__ == "__main__":
    main()
