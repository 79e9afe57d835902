"""Signals that ask the program to stop."""

from __future__ import annotations

import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any

from search.screen import keeper

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
    begun = 0.0
    """When the program began; 0 where it is not ours."""

    def __init__(self, say: Callable[[str], None] = lambda name: None) -> None:
        self.asked: list[str] = []
        self.at_once = True
        self.never = False
        self._say = say
        self._since = StopSignals.begun or time.monotonic()

    def listen(self, *numbers: signal.Signals) -> None:
        """Take signals over; not outside of the main thread, where whoever runs us handles them."""
        for number in numbers or (signal.SIGINT, signal.SIGTERM):
            with suppress(ValueError):
                signal.signal(number, self._catch)

    def make(self) -> None:
        """From here on something is made, and is left in order by whoever is asked to stop.

        Raises:
            KeyboardInterrupt: if a signal has interrupted before, and what it raised was dropped on
                the way: some code that is not ours catches everything.
        """
        self.at_once, self.never = False, True
        if StopSignals.interrupted > self._since:
            raise KeyboardInterrupt

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


@contextmanager
def ended_in_time(patience: float = AGAIN_AFTER) -> Iterator[Callable[[], None]]:
    """A signal of the block ends the program within ``patience`` seconds, whatever it is in the
    midst of, and all that it has started: as a kill would, where it does not end by itself.

    Gives what ends this before the block ends. After an interruption it holds on until the program
    has ended. Does nothing outside of the main thread.
    """
    if threading.current_thread() is not threading.main_thread():
        yield lambda: None
        return
    import subprocess

    read, write = os.pipe()
    os.set_blocking(write, False)
    # in a session of its own, which a terminal's Ctrl-C does not reach
    process = subprocess.Popen(
        [sys.executable, "-I", keeper.__file__, str(os.getpid()), str(patience)],
        stdin=read, start_new_session=True,
    )  # fmt: skip
    os.close(read)
    before = signal.set_wakeup_fd(write, warn_on_full_buffer=False)
    open_ = [write]

    def ended() -> None:
        if open_:
            signal.set_wakeup_fd(before)
            os.close(open_.pop())
            process.wait()

    try:
        yield ended
    except KeyboardInterrupt:
        KEPT.append(process)
        raise
    except BaseException:
        ended()
        raise
    ended()


KEPT: list[Any] = []
"""What ends this program, should it not end after an interruption."""


@contextmanager
def never_dropped() -> Iterator[None]:
    """An interruption that Python drops comes again: it drops what is raised inside of a callback,
    such as the one that clears up after each import.
    """
    before = sys.unraisablehook

    def dropped(what: Any) -> None:
        if not isinstance(what.exc_value, KeyboardInterrupt):
            before(what)
            return
        StopSignals.interrupted = -AGAIN_AFTER
        again = threading.Timer(0.02, os.kill, (os.getpid(), signal.SIGINT))
        again.daemon = True
        again.start()

    sys.unraisablehook = dropped
    try:
        yield
    finally:
        sys.unraisablehook = before
