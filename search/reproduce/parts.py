"""Work that is done once: parts of a long command, each kept in a file of its own when it is
done.
"""

from __future__ import annotations

import hashlib
import json
import shutil
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from search.screen.progress import clock
from trainables.io.files import read_json, write_whole

Printer = Callable[[str], None]
"""Told one line at a time how far the work is."""


class KeptParts:
    """The parts of one command, in ``folder``/NAME.json: typed again, it goes on with what is not
    there yet.

    Args:
        say: told before and after each.

    Attributes:
        total: how many parts there will be, to be said beside each.
    """

    def __init__(self, folder: Path, say: Printer) -> None:
        self._folder, self._say = folder, say
        self._made: dict[str, dict[str, Any]] = {}
        self._began = time.monotonic()
        self.total = 0

    @property
    def seconds(self) -> float:
        """That the parts asked for so far took, whenever each was made."""
        return float(sum(part["seconds"] for part in self._made.values()))

    def part(
        self, name: str, label: str, what: dict[str, Any], make: Callable[[Path], dict[str, Any]]
    ) -> dict[str, Any]:
        """The result of a part, made unless it is there; whoever asks again gets it without a word.

        Args:
            what: everything that decides the result; a part made from anything else is made again.
            make: given a folder for what it may keep until it is done, makes a JSON-able result.

        Returns:
            The result, with the ``seconds`` that it took.
        """
        if name not in self._made:
            self._made[name] = self._part(
                name, f"{len(self._made) + 1}/{self.total} {label}", what, make
            )
        return self._made[name]

    def _part(
        self, name: str, at: str, what: dict[str, Any], make: Callable[[Path], dict[str, Any]]
    ) -> dict[str, Any]:
        key = hashlib.sha256(json.dumps(what, sort_keys=True).encode()).hexdigest()
        path, scratch = self._folder / f"{name}.json", self._folder / name / key[:12]
        found = self._read(path, key)
        if found is not None:
            self._say(f"{at}: done before")
            return found
        self._say(at)
        for old in (self._folder / name).glob("*"):
            if old != scratch:
                shutil.rmtree(old, ignore_errors=True)
        began = time.monotonic()
        result = make(scratch)
        seconds = time.monotonic() - began
        write_whole(
            path,
            json.dumps(
                {"key": key, "result": {**result, "seconds": round(seconds, 1)}}, ensure_ascii=False
            ),
        )
        shutil.rmtree(self._folder / name, ignore_errors=True)
        self._say(f"{at}: {clock(seconds)}, {clock(time.monotonic() - self._began)} in all")
        return {**result, "seconds": round(seconds, 1)}

    @staticmethod
    def _read(path: Path, key: str) -> dict[str, Any] | None:
        try:
            kept = read_json(path)
            return dict(kept["result"]) if kept["key"] == key else None
        except (OSError, ValueError, KeyError, TypeError):
            return None  # not there, or damaged: made again
