"""Signals that ask a search to stop."""

from __future__ import annotations

import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any


@contextmanager
def stop_signals(say: Callable[[str], None]) -> Iterator[list[str]]:
    """Collect requests to stop by name for the time of the block; a second one interrupts at once.

    A closed terminal (SIGHUP) is one too, unless nohup has it ignored.
    """
    caught: list[str] = []
    numbers = [signal.SIGINT, signal.SIGTERM]
    if signal.getsignal(signal.SIGHUP) is not signal.SIG_IGN:
        numbers.append(signal.SIGHUP)

    def catch(number: int, frame: Any) -> None:
        if caught:
            raise KeyboardInterrupt
        caught.append(signal.Signals(number).name)
        say(caught[0])

    try:
        before = {number: signal.signal(number, catch) for number in numbers}
    except ValueError:  # not the main thread: whoever runs us there handles signals
        yield caught
        return
    try:
        yield caught
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
