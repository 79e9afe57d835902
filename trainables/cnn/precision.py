"""The number format in which a device multiplies fastest, found by trying."""

from __future__ import annotations

import functools
import time

import torch
import torch.nn.functional as F  # noqa: N812

GAIN = 1.2
"""bfloat16 must be this much faster to be chosen; processors without it emulate it and are
slower.
"""


@functools.cache
def measured_dtype(device: str) -> torch.dtype:
    """bfloat16 or float32, whichever runs a convolution forward and backward sooner; measured once
    a process (about 0.1 s).

    On a CPU it is processor time that is compared: on a busy machine the clock would choose by
    chance, and trials differ.
    """
    times = {
        dtype: min(_seconds(torch.device(device), dtype) for _ in range(3))
        for dtype in (torch.float32, torch.bfloat16)
    }
    return torch.bfloat16 if times[torch.bfloat16] * GAIN < times[torch.float32] else torch.float32


def _seconds(device: torch.device, dtype: torch.dtype) -> float:
    images = torch.ones(32, 64, 16, 16, device=device, requires_grad=True).to(
        memory_format=torch.channels_last
    )
    weight = torch.full((64, 64, 3, 3), 0.01, device=device, requires_grad=True)
    with torch.autocast(device.type, dtype, enabled=dtype is not torch.float32):
        F.conv2d(images, weight, padding=1).sum().backward()  # type: ignore[no-untyped-call]  # prepares kernels
        _wait(device)
        clock = time.process_time if device.type == "cpu" else time.perf_counter
        started = clock()
        for _ in range(3):
            F.conv2d(images, weight, padding=1).sum().backward()  # type: ignore[no-untyped-call]
        _wait(device)
    return clock() - started


def _wait(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)
