"""The number format in which a device multiplies fastest, found by trying."""

from __future__ import annotations

import functools
import time
from collections.abc import Callable, Sequence

import torch
import torch.nn.functional as F  # noqa: N812

from trainables.pretrained.network import made, own_side

DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}
NAMES = {dtype: name for name, dtype in DTYPES.items()}
GAIN = 1.2
"""A shorter format must be this much faster to be chosen; processors without it emulate it and are
slower.
"""
LONG = 1.0
"""Seconds of a step that need not be looked at twice."""
BFLOAT16_FROM, FLOAT16_FROM = (8, 0), (7, 0)
"""Compute capability from which a GPU multiplies so in its tensor cores (NVIDIA, CUDA C++
Programming Guide): Ampere and later, Volta and Turing.
"""


def chosen_dtype(name: str, device: str) -> torch.dtype:
    """What ``training.precision`` means on a device: the format named, or for ``auto`` the fastest
    there.
    """
    return measured_dtype(device) if name == "auto" else DTYPES[name]


def candidates(device: str) -> Sequence[torch.dtype]:
    """The shorter formats worth trying on a device."""
    if torch.device(device).type == "cpu":
        return (torch.bfloat16,)
    capability = torch.cuda.get_device_capability(torch.device(device))
    if capability >= BFLOAT16_FROM:
        return (torch.bfloat16,)
    return (torch.float16,) if capability >= FLOAT16_FROM else ()


def device_name(device: torch.device) -> str:
    """The name of a GPU; empty for a CPU."""
    return torch.cuda.get_device_name(device) if device.type == "cuda" else ""


@functools.cache
def measured_dtype(device: str, architectures: tuple[str, ...] = ()) -> torch.dtype:
    """float32, or a shorter format that runs a convolution forward and backward sooner; measured
    once a process (about 0.1 s).

    Args:
        architectures: networks of timm's that are to be trained, each of which is run in place of a
            convolution (a few seconds): on cores some take twice as long in the format in which
            others take half.

    On a CPU it is processor time that is compared: on a busy machine the clock would choose by
    chance, and trials differ. On a GPU the convolution is so large that starting it costs nothing
    beside it.
    """
    for dtype in candidates(device):
        times = {
            one: min(_seconds(torch.device(device), one) for _ in range(3))
            if not architectures
            else sum(_seconds_of(name, torch.device(device), one) for name in architectures)
            for one in (torch.float32, dtype)
        }
        if times[dtype] * GAIN < times[torch.float32]:
            return dtype
    return torch.float32


def _seconds(device: torch.device, dtype: torch.dtype) -> float:
    shape, channels = ((32, 64, 16, 16), 64) if device.type == "cpu" else ((256, 256, 32, 32), 256)
    images = torch.ones(shape, device=device, requires_grad=True).to(
        memory_format=torch.channels_last
    )
    weight = torch.full((channels, channels, 3, 3), 0.01, device=device, requires_grad=True)

    def step() -> None:
        with torch.autocast(device.type, dtype, enabled=dtype is not torch.float32):
            F.conv2d(images, weight, padding=1).sum().backward()  # type: ignore[no-untyped-call]

    return _timed(step, device, 3)


def _seconds_of(architecture: str, device: torch.device, dtype: torch.dtype) -> float:
    """Of one step of a network, at the side of its own images."""
    net = made(architecture).to(device, memory_format=torch.channels_last).train()  # type: ignore[call-overload]
    side, count = own_side(net), 4 if device.type == "cpu" else 32
    images = torch.rand(count, 3, side, side, device=device).to(memory_format=torch.channels_last)

    def step() -> None:
        with torch.autocast(device.type, dtype, enabled=dtype is not torch.float32):
            scores = net(images)
        scores.float().square().sum().backward()

    seconds = _timed(step, device, 1)
    return seconds if seconds > LONG else min(seconds, _timed(step, device, 1))


def _timed(step: Callable[[], None], device: torch.device, times: int) -> float:
    step()  # prepares kernels
    _wait(device)
    clock = time.process_time if device.type == "cpu" else time.perf_counter
    started = clock()
    for _ in range(times):
        step()
    _wait(device)
    return clock() - started


def _wait(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)
