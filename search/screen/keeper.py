"""Ends a program that was asked to stop and does not: a process beside it, for Ray starts in calls
that let neither a signal's handler nor another thread of Python's run, for minutes if need be.

``search.screen.signals`` starts it as a script, with the numbers of the program's signals on its
standard input.
"""

from __future__ import annotations

import contextlib
import os
import select
import signal
import sys
import time
from typing import Any

ASKING = {signal.SIGINT, signal.SIGTERM}


def keep(parent: int, patience: float) -> None:
    """Until nobody can write to standard input any more: the program has ended, or needs no keeper.
    It has ``patience`` seconds for that once a signal has asked.
    """
    asked = 0.0
    while True:
        left = asked + patience - time.monotonic() if asked else None
        if left is not None and left <= 0:
            break
        if not select.select([0], [], [], left)[0]:
            continue
        numbers = os.read(0, 512)
        if not numbers:
            return
        if not asked and ASKING & set(numbers):
            asked = time.monotonic()
    if os.getppid() == parent:
        end(parent)
        print("visiontune: interrupted", file=sys.stderr)


def end(parent: int) -> None:
    """Kill a process with all that it has started; stopped first, or they would start more."""
    import psutil

    def each(act: str, process: Any) -> None:
        with contextlib.suppress(psutil.NoSuchProcess):
            getattr(process, act)()

    driver = psutil.Process(parent)
    stopped = [driver]
    each("suspend", driver)
    while new := set(driver.children(recursive=True)) - {*stopped, psutil.Process()}:
        for process in new:
            each("suspend", process)
        stopped.extend(new)
    for process in reversed(stopped):
        each("kill", process)


if __name__ == "__main__":
    keep(int(sys.argv[1]), float(sys.argv[2]))
