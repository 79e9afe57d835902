"""Stage functions that fail, die or count how often they run, for tests; workers import them by
name.
"""

from __future__ import annotations

import os
import signal
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt


def counted(*inputs: Any, place: str, value: int = 0) -> npt.NDArray[np.int64]:
    """``value``, leaving a file for every run."""
    Path(place).mkdir(exist_ok=True)
    (Path(place) / f"{value}-{os.getpid()}-{os.urandom(4).hex()}").touch()
    return np.array([value, *(int(np.sum(i)) for i in inputs)])


def failing(place: str) -> None:
    """Fails always, for a reason that lies in the data."""
    counted(place=place)
    raise ValueError("word 7 is missing")


def dying_once(place: str) -> npt.NDArray[np.int64]:
    """Kills its own process the first time it runs."""
    mark = Path(place) / "died"
    if not mark.exists():
        mark.touch()
        os.kill(os.getpid(), signal.SIGKILL)
    return np.array([42])


def out_of_memory_once(place: str) -> npt.NDArray[np.int64]:
    """Fails the first time for a reason that passes."""
    mark = Path(place) / "failed"
    if not mark.exists():
        mark.touch()
        raise MemoryError("for now")
    return np.array([43])


def tripled(rows: npt.NDArray[np.int64], *, start: int = 0) -> npt.NDArray[np.int64]:
    """Maps over rows."""
    return rows * 3 + 0 * start


def tripled_and_counted(
    rows: npt.NDArray[np.int64], *, place: str, start: int = 0
) -> npt.NDArray[np.int64]:
    """Maps over rows, leaving a file for every run of them."""
    counted(place=place, value=start)
    return rows * 3


def row_numbers(rows: npt.NDArray[np.int64], *, start: int = 0) -> npt.NDArray[np.int64]:
    """The index of each row, as the stage is told it."""
    return np.arange(start, start + len(rows))


def numbers(count: int) -> npt.NDArray[np.int64]:
    return np.arange(count)


def placed(
    rows: npt.NDArray[np.int64], *, start: int, device: str = "cpu"
) -> npt.NDArray[np.int64]:
    """(n, 2): which process computes each row, and how many GPUs it has been given."""
    import ray

    gpus = ray.get_runtime_context().get_accelerator_ids()["GPU"]
    return np.tile(np.array([os.getpid(), len(gpus)]), (len(rows), 1))


def marked(rows: npt.NDArray[np.int64], *, place: str, start: int = 0) -> npt.NDArray[np.int64]:
    """Says that it has run."""
    Path(place).touch()
    return rows


def waiting(rows: npt.NDArray[np.int64], *, place: str, start: int = 0) -> npt.NDArray[np.int64]:
    """Holds its core until another stage has said so, which must not take for ever."""
    import time

    end = time.monotonic() + 60
    while not Path(place).exists():
        if time.monotonic() > end:
            raise TimeoutError("the other stage did not run")
        time.sleep(0.02)
    return rows
