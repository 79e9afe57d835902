"""The steps of trials that still run, as they come: what lets their curves be watched."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from analysis.run.directory import RunDirectory


@dataclass(frozen=True)
class NewSteps:
    """Rows of a running trial's steps.jsonl that were not there before; ``began`` in Unix
    seconds, ``first`` where they are all that there are.
    """

    space: str
    number: int
    began: float
    rows: list[dict[str, Any]]
    first: bool


class LiveSteps:
    """Reads on in the steps of every trial of a run that has no record yet.

    Args:
        run: its directory.
    """

    def __init__(self, run: RunDirectory) -> None:
        self._run = run
        self._read: dict[tuple[str, int], int] = {}
        self._over: set[tuple[str, int]] = set()

    def new(self) -> Iterator[NewSteps]:
        """What has come since it was last noted as told."""
        for path in sorted((self._run.path / "trials").glob("*/*/steps.jsonl")):
            key = path.parent.parent.name, int(path.parent.name)
            if key in self._over:
                continue
            if (path.parent / "result.json").is_file():
                self._over.add(key)
                continue
            rows = self._run.steps(*key)
            if news := rows[self._read.get(key, 0) :]:
                began = rows[0]["time"] - rows[0]["seconds"]
                yield NewSteps(*key, began, news, first=key not in self._read)
                self._read[key] = len(rows)
