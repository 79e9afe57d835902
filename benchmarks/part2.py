"""Training speed of the CNN part, beside what it is to be measured by; in one run, on the device
that is there.

    python benchmarks/part2.py [--device cpu|cuda] [--repeats 5] [--models fastnet,resnet18]
    [--json]

For each network, with flip, crop, rotation and EMA on, training images per second of

- ours: ``trainables.cnn.training.CnnRun``;
- plain: a loop as tutorials write it (torchvision transforms on PIL images, a ``DataLoader`` with
  two workers, float32, channels first, EMA by a loop over parameters);
- floor: the bare step, same network, optimiser, dtype and batches, on ready random tensors.

The three take turns, so that a machine that slows down slows all three. Figures are medians of
the repeats, each over at least ``--images`` images, with the smallest and largest beside them.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import time
from collections.abc import Callable
from copy import deepcopy
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F  # noqa: N812
from PIL import Image
from torchvision import transforms

from spaces.ours.cnn import CnnConfig
from trainables.cnn.data import CnnData
from trainables.cnn.models import build
from trainables.cnn.steps.optimizer import make_optimizer
from trainables.cnn.training import CnnRun

FEATURES = ("avx2", "avx512f", "avx512_bf16", "amx_bf16", "avx512_vnni")
RECIPE = {"flip": 0.5, "crop": 4, "rotation": 15.0, "ema": 0.99, "batch_size": 128}


def machine(device: str) -> str:
    """Processor, the features that decide its speed, and the GPU where there is one."""
    lines = Path("/proc/cpuinfo").read_text().splitlines() if Path("/proc/cpuinfo").exists() else []
    facts = {
        name.strip(): value.strip() for name, _, value in (line.partition(":") for line in lines)
    }
    found = [feature for feature in FEATURES if feature in facts.get("flags", "").split()]
    gpu = f", {torch.cuda.get_device_name()}" if device == "cuda" else ""
    cores = len(os.sched_getaffinity(0))
    return (
        f"{cores} cores, {facts.get('model name', platform.machine())} ({', '.join(found)}), "
        f"torch {torch.__version__}{gpu}"
    )


def settle(device: str) -> None:
    if device == "cuda":
        torch.cuda.synchronize()


def ours(
    config: CnnConfig, count: int, device: str, threads: int
) -> tuple[Callable[[], float], torch.dtype]:
    """(a function that trains an epoch of ``count`` images and gives images per second, the dtype
    it chose).
    """
    generator = np.random.default_rng(0)
    images, labels = (
        generator.integers(0, 256, (count, 3, 32, 32), dtype=np.uint8),
        generator.integers(0, 10, count),
    )
    run = CnnRun(
        config,
        CnnData(images, labels),
        classes=10,
        epochs=1000,
        seed=0,
        device=device,
        threads=threads,
    )
    return lambda: count / run.step()["seconds"], run.dtype


def plain(config: CnnConfig, count: int, device: str, threads: int) -> Callable[[], float]:
    """The same training as a tutorial writes it."""
    generator = np.random.default_rng(0)
    pictures = [
        Image.fromarray(image)
        for image in generator.integers(0, 256, (count, 32, 32, 3), dtype=np.uint8)
    ]
    labels = generator.integers(0, 10, count).tolist()
    change = transforms.Compose(
        [
            transforms.RandomHorizontalFlip(),
            transforms.RandomCrop(32, padding=config.crop),
            transforms.RandomRotation(config.rotation),
            transforms.ToTensor(),
            transforms.Normalize((0.5, 0.5, 0.5), (0.25, 0.25, 0.25)),
        ]
    )

    class Pictures(torch.utils.data.Dataset):  # type: ignore[type-arg]
        def __len__(self) -> int:
            return count

        def __getitem__(self, index: int) -> tuple[torch.Tensor, int]:
            return change(pictures[index]), labels[index]

    loader = torch.utils.data.DataLoader(
        Pictures(), batch_size=config.batch_size, shuffle=True, num_workers=2, drop_last=True
    )
    net = build(config.model, 10, 32, config.tweaks()).to(device)
    average = deepcopy(net)
    optimizer = torch.optim.SGD(
        net.parameters(), lr=0.01, momentum=config.momentum, weight_decay=5e-4, nesterov=True
    )
    loss_of = torch.nn.CrossEntropyLoss(label_smoothing=config.label_smoothing)

    def epoch() -> float:
        torch.set_num_threads(threads)
        started, seen = time.perf_counter(), 0
        net.train()
        for images, classes in loader:
            images, classes = images.to(device), classes.to(device)
            optimizer.zero_grad()
            loss = loss_of(net(images), classes)
            loss.backward()
            optimizer.step()
            with torch.no_grad():
                for old, new in zip(average.parameters(), net.parameters(), strict=True):
                    old.mul_(config.ema).add_(new, alpha=1 - config.ema)
            seen += len(images)
        settle(device)
        return seen / (time.perf_counter() - started)

    return epoch


def floor(
    config: CnnConfig, count: int, device: str, threads: int, dtype: torch.dtype
) -> Callable[[], float]:
    """Forward, backward and optimiser on one ready batch, over and over."""
    net = build(config.model, 10, 32, config.tweaks()).to(device, memory_format=torch.channels_last)
    optimizer = make_optimizer(net, config)
    images = torch.randn(config.batch_size, 3, 32, 32, device=device).contiguous(
        memory_format=torch.channels_last
    )
    classes = torch.randint(0, 10, (config.batch_size,), device=device)
    steps = max(1, count // config.batch_size)

    def epoch() -> float:
        torch.set_num_threads(threads)
        net.train()
        started = time.perf_counter()
        for _ in range(steps):
            with torch.autocast(
                torch.device(device).type, dtype, enabled=dtype is not torch.float32
            ):
                scores = net(images)
            optimizer.zero_grad(set_to_none=True)
            F.cross_entropy(
                scores.float(), classes, label_smoothing=config.label_smoothing
            ).backward()
            optimizer.step()
        settle(device)
        return steps * config.batch_size / (time.perf_counter() - started)

    return epoch


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--threads", default=len(os.sched_getaffinity(0)), type=int)
    parser.add_argument("--models", default="fastnet,resnet18")
    parser.add_argument("--repeats", default=5, type=int)
    parser.add_argument(
        "--images",
        type=int,
        help="a repeat; by default 1,280 (fastnet) or 256 on a CPU, 12,800 on a GPU",
    )
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    device, results = options.device, {}
    for model in options.models.split(","):
        config = CnnConfig(model=model, **RECIPE)
        count = options.images or (
            12_800 if device == "cuda" else 1280 if model == "fastnet" else 256
        )
        step, dtype = ours(config, count, device, options.threads)
        contestants = {
            "ours": step,
            "floor": floor(config, count, device, options.threads, dtype),
            "plain": plain(config, count, device, options.threads),
        }
        for run in contestants.values():
            run()  # the first epoch prepares kernels
        speeds: dict[str, list[float]] = {name: [] for name in contestants}
        for _ in range(options.repeats):
            for name, run in contestants.items():
                speeds[name].append(run())
        middle = {name: statistics.median(values) for name, values in speeds.items()}
        results[model] = {
            "dtype": str(dtype).removeprefix("torch."),
            "parameters": sum(
                p.numel() for p in build(model, 10, 32, config.tweaks()).parameters()
            ),
            "images_per_second": {
                name: {
                    "median": middle[name],
                    "min": min(v),
                    "max": max(v),
                    "n": len(v),
                    "images": count,
                }
                for name, v in speeds.items()
            },
            "ours_by_plain": middle["ours"] / middle["plain"],
            "ours_by_floor": middle["ours"] / middle["floor"],
        }
    if options.json:
        print(
            json.dumps(
                {
                    "machine": machine(device),
                    "device": device,
                    "threads": options.threads,
                    "models": results,
                }
            )
        )
        return
    print(f"{machine(device)}; device {device}, {options.threads} threads")
    for model, found in results.items():
        print(
            f"{model}: {found['parameters']:,} parameters, {found['dtype']}, batches of "
            f"{RECIPE['batch_size']}"
        )
        for name, speed in found["images_per_second"].items():
            print(
                f"  {name:6} {speed['median']:9.1f} images/s  ({speed['min']:.1f} to "
                f"{speed['max']:.1f}, "
                f"n = {speed['n']} of {speed['images']} images)"
            )
        print(
            f"  ours / plain {found['ours_by_plain']:.2f}, ours / floor "
            f"{found['ours_by_floor']:.3f}"
        )


if __name__ == "__main__":
    main()
