"""Signals that ask the program to stop."""

from __future__ import annotations

import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any

AGAIN_AFTER = 10.0
"""Seconds after an interruption in which further signals change nothing: what is put in order then
must not be interrupted too.
"""


class StopSignals:
    """Who asked to stop.

    Args:
        say: told the name of a signal that asked and did not interrupt.

    Attributes:
        asked: the name of the first signal; empty until there is one.
        at_once: whether even the first signal interrupts, as nothing would be lost by it.
        never: whether not even a second one does, for a moment in which something is made.
    """

    interrupted = -AGAIN_AFTER
    """When a signal last interrupted, whoever listened."""

    def __init__(self, say: Callable[[str], None] = lambda name: None) -> None:
        self.asked: list[str] = []
        self.at_once = True
        self.never = False
        self._say = say

    def listen(self, *numbers: signal.Signals) -> None:
        """Take signals over; not outside of the main thread, where whoever runs us handles them."""
        for number in numbers or (signal.SIGINT, signal.SIGTERM):
            with suppress(ValueError):
                signal.signal(number, self._catch)

    def _catch(self, number: int, frame: Any) -> None:
        if time.monotonic() - StopSignals.interrupted < AGAIN_AFTER:
            return
        if self.asked and self.never:
            return
        if self.at_once or self.asked:
            StopSignals.interrupted = time.monotonic()
            raise KeyboardInterrupt
        self.asked.append(signal.Signals(number).name)
        # In a thread: this one may be in the midst of printing, which cannot be begun again inside
        # of itself.
        threading.Thread(target=self._say, args=(self.asked[0],), name="visiontune-signal").start()


@contextmanager
def stop_signals(say: Callable[[str], None]) -> Iterator[StopSignals]:
    """Collect requests to stop for the time of the block; a second one interrupts."""
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    signals = StopSignals(say)
    signals.listen()
    try:
        yield signals
    finally:
        with suppress(ValueError):
            for number, handler in before.items():
                signal.signal(number, handler)


@contextmanager
def interruptible() -> Iterator[None]:
    """Let the first signal end the block at once, with ``KeyboardInterrupt``: nothing is lost by it
    there.
    """
    with stop_signals(lambda name: None):
        yield
