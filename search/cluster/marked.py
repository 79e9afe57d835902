"""The processes of a Ray of our own, told from all others that the same Python has started: a
notebook has its own, begun before a search and while it runs.
"""

from __future__ import annotations

import contextlib
import time
import uuid
from collections.abc import Callable
from typing import Any

VARIABLE = "VISIONTUNE_RAY"
"""In the environment of Ray's first processes, and so of those that they start."""
MOMENT = 5.0
"""Seconds that a killed process has to be gone, as a busy machine takes its time over it."""


class Marked:
    """Those that were given ``mark``, and whatever they have started.

    Attributes:
        mark: variable and value.
    """

    def __init__(self) -> None:
        self.mark = {VARIABLE: uuid.uuid4().hex}

    def there(self) -> set[Any]:
        """Those that live now."""
        import psutil

        found: set[Any] = set()
        for process in psutil.Process().children(recursive=True):
            with contextlib.suppress(psutil.Error):
                if self.mark.items() <= process.environ().items():
                    found |= {process, *process.children(recursive=True)}
        return found

    def end(self, first: Callable[[], object] = lambda: None) -> None:
        """End all of them, after Ray's own end, ``first``: by itself some live on for seconds, or
        for ever where it was interrupted while it started.
        """
        import psutil

        started = self.there()
        first()
        started |= self.there()  # one may have been about to begin
        for process in started:
            with contextlib.suppress(psutil.NoSuchProcess):
                process.kill()
        end = time.monotonic() + MOMENT
        while any(map(lives, started)) and time.monotonic() < end:
            time.sleep(0.01)


def lives(process: Any) -> Any:
    """Whether a process runs still, dead ones that nobody asked for left out."""
    import psutil

    with contextlib.suppress(psutil.NoSuchProcess):
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    return False
