"""The console that a search draws on."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from rich.console import Console
from rich.text import Text

from spaces.errors import printable


class SearchConsole(Console):
    """rich's console for text that is nobody's markup, whose reader may go away: rich's own would
    end the program then.
    """

    def on_broken_pipe(self) -> None:
        self.quiet = True

    def render_str(self, text: str, **options: Any) -> Text:
        """Text from outside is text: no markup, no emoji of ``:name:``, nothing that a terminal
        obeys.
        """
        return super().render_str(printable(text), **{**options, "markup": False, "emoji": False})


@contextmanager
def progress_bar() -> Iterator[Callable[[int, int], None]]:
    """A bar of images on standard error, where that is a terminal; it is told how many are done,
    and of how many.
    """
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TimeRemainingColumn

    console = SearchConsole(stderr=True)
    columns = ("images", BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(
        *columns, console=console, transient=True, disable=not console.is_terminal
    ) as progress:
        task = progress.add_task("images", total=None)
        yield lambda done, of: progress.update(task, completed=done, total=of)
