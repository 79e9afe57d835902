"""What leaves for a terminal: names of files and classes, and what a server answers, may hold
characters that a terminal obeys.

Everything that is printed goes through one of two places: the streams that ``main`` puts before
standard output and standard error, and ``search.screen.console`` for what rich draws. JSON means
the same before and after.
"""

from __future__ import annotations

import sys
from typing import Any, TextIO

from spaces.errors import printable


class Shown:
    """A text stream that shows what is written to it and lets a terminal obey none of it.

    Attributes:
        rich_proxied_file: the stream itself: rich looks for this name, and writes there what it has
            drawn.
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


def show_text() -> None:
    """Put ``Shown`` before standard output and standard error."""
    if not isinstance(sys.stdout, Shown):
        sys.stdout = Shown(sys.stdout)
    if not isinstance(sys.stderr, Shown):
        sys.stderr = Shown(sys.stderr)
