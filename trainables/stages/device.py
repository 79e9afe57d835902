"""Whether there is a CUDA device, asked without loading torch where there is none."""

from __future__ import annotations

import functools
import os
from pathlib import Path

# cuBLAS reads it at the first of its calls in a process, and is deterministic only with it
os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")

DRIVERS = (Path("/dev/nvidiactl"), Path("/dev/dxg"))
"""What a CUDA driver shows on Linux and on Windows' Linux. torch takes seconds to load, so it is
asked only then.
"""


@functools.cache
def accelerator() -> str:
    """``cuda`` where this process can use such a device, else ``cpu``."""
    if not any(driver.exists() for driver in DRIVERS):
        return "cpu"
    import torch

    return "cuda" if torch.cuda.is_available() else "cpu"
