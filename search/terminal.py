<<<<<<< HEAD
"""A terminal that goes away while a search runs: the search goes on without it."""

from __future__ import annotations

import errno
import io
import signal
import sys
from typing import TextIO

GONE = (errno.EIO, errno.EPIPE)
"""What a write says when nobody reads any more: a closed terminal, a closed pipe."""


class _Lasting(io.FileIO):
    """Where output goes; once nobody reads it, nowhere."""

    def write(self, data: object) -> int:
        try:
            return super().write(data)  # type: ignore[arg-type]
        except OSError as error:
            if error.errno not in GONE:
                raise
            return memoryview(data).nbytes  # type: ignore[arg-type]


def outlive_terminal() -> None:
    """From now on neither a closed terminal nor a closed pipe ends this program, or those that it starts: Ray's among them."""
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    sys.stdout, sys.stderr = _lasting(sys.stdout), _lasting(sys.stderr)


def _lasting(stream: TextIO) -> TextIO:
    try:
        number = stream.fileno()
    except (OSError, ValueError):
        return stream  # somebody collects it in memory
    stream.flush()
    raw = _Lasting(number, "w", closefd=False)
    return io.TextIOWrapper(io.BufferedWriter(raw), stream.encoding, stream.errors, line_buffering=raw.isatty() or stream is sys.stderr)
=======
"""What leaves for a terminal: names of files and classes, and what a server answers, may hold characters that a terminal obeys.

Everything that is printed goes through one of two places: the streams that ``main`` puts before standard output and
standard error, and ``SearchConsole`` for what rich draws. JSON means the same before and after.
"""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Iterator
from typing import Any, TextIO

from rich.console import Console
from rich.text import Text

from spaces.errors import printable


class Shown:
    """A text stream that shows what is written to it and lets a terminal obey none of it.

    Attributes:
        rich_proxied_file: the stream itself: rich looks for this name, and writes there what it has drawn.
    """

    def __init__(self, stream: TextIO) -> None:
        self.rich_proxied_file = stream

    def write(self, text: str) -> int:
        """As a stream's; what its encoding lacks is written out too."""
        stream, fit = self.rich_proxied_file, printable(text)
        try:
            stream.write(fit)
        except UnicodeEncodeError as error:
            stream.write(fit.encode(error.encoding, "backslashreplace").decode(error.encoding))
        return len(text)

    def writelines(self, lines: Any) -> None:
        for line in lines:
            self.write(line)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.rich_proxied_file, name)


@contextlib.contextmanager
def shown_streams() -> Iterator[None]:
    """Put ``Shown`` before standard output and standard error."""
    out, err = sys.stdout, sys.stderr
    shown_out, shown_err = Shown(out), Shown(err)
    sys.stdout, sys.stderr = shown_out, shown_err
    try:
        yield
    finally:
        if sys.stdout is shown_out:
            sys.stdout = out
        if sys.stderr is shown_err:
            sys.stderr = err


class SearchConsole(Console):
    """rich's console for text that is nobody's markup, whose reader may go away: rich's own would end the program then."""

    def on_broken_pipe(self) -> None:
        self.quiet = True

    def render_str(self, text: str, **options: Any) -> Text:
        """Text from outside is text: no markup, no emoji of ``:name:``, nothing that a terminal obeys."""
        return super().render_str(printable(text), **{**options, "markup": False, "emoji": False})
>>>>>>> c39cf98 (MLflow and databases: addresses are made absolute and looked at first, a locked database is waited for, what is waited for is said; text is fit for a terminal, a refused file is named)
