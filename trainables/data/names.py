"""Names of folders and arrays: which part of a dataset they stand for, and names that only look the
same.
"""

from __future__ import annotations

import functools
import os
import unicodedata
from collections.abc import Iterable
from pathlib import Path

PARTS = {
    "train": ("train", "training"),
    "val": ("val", "valid", "validation", "dev"),
    "test": ("test", "testing"),
}
"""Part of a dataset to the names under which it is found, in any case."""
JUNK = {
    "thumbs.db",
    "desktop.ini",
    "icon\r",
    "__macosx",
    "@eadir",
    "lost+found",
    "$recycle.bin",
    "system volume information",
}
"""What desktops and file systems leave behind, beside hidden files; in any case."""


def part_of(name: str) -> str | None:
    """The part that a name stands for, if it does for any."""
    plain = name.strip().casefold()
    return next((part for part, names in PARTS.items() if plain in names), None)


def passed_over(name: str) -> bool:
    """Whether a file or folder is hidden, or left behind by a system: no user put it there."""
    return name.startswith(".") or name.casefold() in JUNK


def parts_in_words() -> str:
    """The names that are understood, for messages."""
    return ", ".join(
        names[0] if len(names) == 1 else f"{names[0]} (or {', '.join(names[1:])})"
        for names in PARTS.values()
    )


@functools.lru_cache(maxsize=100_000)
def looks(name: str) -> str:
    """``name`` as it looks: composed accents, plain spaces inside alone, no invisible
    characters.
    """
    composed = unicodedata.normalize("NFC", name)
    return " ".join(
        "".join(
            c for c in composed if unicodedata.category(c) not in ("Cf", "Cc") or c.isspace()
        ).split()
    )


def lookalike(name: str, others: Iterable[str]) -> str:
    """What to say of ``name`` if one of the ``others`` differs in nothing that is seen, or in case
    alone; else nothing.
    """
    seen = looks(name)
    for other in others:
        if other == name or looks(other).casefold() != seen.casefold():
            continue
        return (
            _unseen(name, other)
            if looks(other) == seen
            else f"{name!r} and {other!r} differ in upper and lower case alone"
        )
    return ""


def twins(names: Iterable[str]) -> list[str]:
    """What to say of names that differ from an earlier one in nothing that is seen, a line each."""
    first: dict[str, str] = {}
    return [
        _unseen(first[looks(name)], name)
        for name in names
        if first.setdefault(looks(name), name) != name
    ]


def _unseen(one: str, other: str) -> str:
    same = unicodedata.normalize("NFC", one) == unicodedata.normalize("NFC", other)
    return (
        f"{one!a} and {other!a} look the same and differ in "
        f"{'how accents are stored' if same else 'what is not seen'}"
    )


def on_disk(path: Path | str) -> str:
    """A path as text that can be printed and encoded: bytes that are no UTF-8 as ``\\xNN``."""
    return os.fsencode(path).decode("utf-8", "backslashreplace")


def check_utf8(what: str, path: Path | str) -> str:
    """Why a path cannot be written down, if it cannot; else nothing."""
    try:
        str(path).encode()
    except UnicodeEncodeError:
        return f"{what} {on_disk(path)} is not UTF-8; rename it"
    return ""
