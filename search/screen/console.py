"""The console that a search draws on."""

from __future__ import annotations

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
