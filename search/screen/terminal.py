"""A terminal that goes away while a search runs: the search goes on without it."""

from __future__ import annotations

import errno
import io
import signal
import sys
from typing import TextIO

from search.screen.shown_text import Shown

GONE = (errno.EIO, errno.EPIPE)
"""What a write says when nobody reads any more: a closed terminal, a closed pipe."""
FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
"""What it says when progress goes into a file, and its disk is full."""


class _Lasting(io.FileIO):
    """Where output goes; when that is gone, nowhere."""

    dropped: tuple[int, ...] = GONE

    def write(self, data: object) -> int:
        try:
            return super().write(data)  # type: ignore[arg-type]
        except OSError as error:
            if error.errno not in self.dropped:
                raise
            return memoryview(data).nbytes  # type: ignore[arg-type]


def outlive_terminal() -> None:
    """From now on neither a closed terminal nor a closed pipe ends this program, or those that it
    starts: Ray's among them.
    """
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    for name in ("stdout", "stderr"):
        stream = getattr(sys, name)
        if isinstance(stream, Shown):
            stream.rich_proxied_file = _lasting(stream.rich_proxied_file, name == "stderr")
        else:
            setattr(sys, name, _lasting(stream, name == "stderr"))


def _lasting(stream: TextIO, told: bool) -> TextIO:
    """A stream to the same place. What is only told (standard error) may be lost on a full disk
    too, a result (standard output) may not.
    """
    try:
        number = stream.fileno()
    except (OSError, ValueError):
        return stream  # somebody collects it in memory
    stream.flush()
    raw = _Lasting(number, "w", closefd=False)
    raw.dropped = GONE + FULL if told else GONE
    return io.TextIOWrapper(
        io.BufferedWriter(raw), stream.encoding, stream.errors, line_buffering=raw.isatty() or told
    )
