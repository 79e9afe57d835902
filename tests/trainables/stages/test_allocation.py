"""Memory that networks free and ask for again."""

from __future__ import annotations

import os
import platform
import subprocess
import sys

import pytest

FAULTS = """
import resource, sys
import numpy as np
from trainables.stages.allocation import kept_memory

def faults():
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    for _ in range(10):
        np.empty(100 << 20, np.uint8).fill(1)
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before

def resident():
    return int(open("/proc/self/statm").read().split()[1]) * resource.getpagesize() >> 20

began = faults()
with kept_memory():
    kept = faults()
    while __import__("time").process_time() < float(sys.argv[1]):
        pass
print(began, kept, resident())
"""


def _counted(seconds: float, **environment: str) -> tuple[int, ...]:
    own = {**os.environ, "NUMPY_MADVISE_HUGEPAGE": "0"} | environment  # a page is a page
    done = subprocess.run(
        [sys.executable, "-c", FAULTS, str(seconds)], capture_output=True, text=True, check=True,
        env=own,
    )  # fmt: skip
    return tuple(map(int, done.stdout.split()))


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="another C library decides itself")
def test_large_blocks_are_asked_for_once() -> None:
    """A network's batches would otherwise cost as much in fresh pages as in arithmetic; afterwards
    an idle process must not sit on them.
    """
    began, kept, resident = _counted(3.0)
    assert kept < began / 5
    assert resident < 200
    untouched, as_given, _ = _counted(0.0, MALLOC_TRIM_THRESHOLD_="131072")
    assert as_given > untouched / 2, "whoever starts a process may say otherwise"
