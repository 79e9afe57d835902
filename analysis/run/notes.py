"""What a command has to say beside its result: files that could not be used, a line each, once."""

from __future__ import annotations

from spaces.errors import shortened

_notes: dict[str, None] = {}


def note(line: str) -> None:
    """Keep a line for the end of the command, or for the driver to say; what was said already is
    not said again.
    """
    _notes.setdefault(shortened(" ".join(line.split())))


def taken() -> list[str]:
    """What was noted since this was last asked."""
    lines = list(_notes)
    _notes.clear()
    return lines
