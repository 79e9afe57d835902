"""A plug-in whose trials answer from recorded tables, and cost what was recorded.

Its spaces have the parameters of ours. A training gives the accuracy of one epoch after the other;
a trial of a bag of SIFT or an embedding costs the stages that no trial of the run had before it.
Nothing sleeps: a trial says what it cost.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from benchmarks.search.grids import GRIDS
from benchmarks.search.tables import Table, table
from spaces import get_space
from spaces.space import Space
from trainables.contract.assignment import Assignment
from trainables.contract.learner import Learner, Trial
from trainables.io.checkpoint import steps_done, write_manifest

METRICS = ("val_accuracy", "seconds")


def replayed(name: str) -> str:
    """The name of the space whose trials are replayed."""
    return f"replayed-{name}"


class Training(Trial):
    """A training of the table, an epoch a step."""

    def __init__(self, assignment: Assignment) -> None:
        found = _table(assignment)
        self._row, self._epoch = found.row(assignment.config), 0

    def step(self) -> dict[str, Any]:
        at, self._epoch = self._epoch, self._epoch + 1
        return {
            "val_accuracy": self._row.accuracy[at],
            "seconds": self._row.seconds[at],
            "step": at,
            "done": self._epoch == len(self._row.accuracy),
        }

    def save(self, folder: Path) -> None:
        write_manifest(folder, self._epoch)

    def load(self, folder: Path) -> None:
        self._epoch = steps_done(folder) or 0


class Staged(Trial):
    """A trial of the table that pays for the stages that nobody paid for before."""

    def __init__(self, assignment: Assignment) -> None:
        self._table = _table(assignment)
        self._row = self._table.row(assignment.config)
        self._paid = Path(assignment.folder).parent / "paid.json"  # one worker writes it

    def step(self) -> dict[str, Any]:
        paid = set(json.loads(self._paid.read_text())) if self._paid.exists() else set()
        seconds = sum(self._table.cost(self._row, paid))
        self._paid.write_text(json.dumps(sorted(paid)))
        return {"val_accuracy": self._row.accuracy[0], "seconds": seconds, "done": True}


def _table(assignment: Assignment) -> Table:
    return table(assignment.space.removeprefix("replayed-"))


def register(add: Any) -> None:
    """Add the three spaces."""
    for name, grid in GRIDS.items():
        epochs = not grid.chain
        space = Space(
            replayed(name),
            f"recorded trials of {name}",
            get_space(name).parameters,
            reports="epoch" if epochs else "nothing",
            metrics=METRICS,
            needs_images=False,
            pruner=get_space(name).pruner,
        )
        add(Learner(space, Training if epochs else Staged))
