"""The schedule of a trial of a population: which of its epochs were trained with which values."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from analysis.ranking.leaderboard import readable
from analysis.run.directory import RunDirectory, RunError
from analysis.run.notes import note
from analysis.run.records import TrialRecord
from spaces.domain import Value
from spaces.errors import UserError


@dataclass(frozen=True)
class Stretch:
    """Epochs that were trained with the same values, by one trial.

    Attributes:
        record: of the trial.
        first, until: its first epoch, counted from 1, and its last.
        changed: of each parameter that was another before: what it was, and what it became.
    """

    record: TrialRecord
    first: int
    until: int
    changed: Mapping[str, tuple[Value, Value]]

    def __str__(self) -> str:
        values = ", ".join(
            f"{name} {readable(was)} → {readable(now)}" for name, (was, now) in self.changed.items()
        )
        said = f": {values}" if values else "" if self.first == 1 else ": as before"
        return f"epochs {self.first} to {self.until}, {self.record.key}{said}"

    def row(self) -> dict[str, Any]:
        """As JSON."""
        facts = {"trial": self.record.key, "first": self.first, "until": self.until}
        return {**facts, "changed": {name: list(pair) for name, pair in self.changed.items()}}


def changing(way: Sequence[Stretch]) -> list[str]:
    """The parameters that changed anywhere on the way."""
    return list(dict.fromkeys(name for one in way for name in one.changed))


def schedule(run: RunDirectory, space: str, number: int) -> tuple[Stretch, ...]:
    """How a finished trial came about, from its first epoch on: itself alone, or the trials that it
    went on from before it.

    Raises:
        RunError: if one of them has no record that can be believed.
    """
    records: list[TrialRecord] = []
    following: int | None = number
    while following is not None:
        record = run.record(space, following)
        if record is None or any(one.number == following for one in records):
            raise RunError(
                f"trial {space}/{following}, from which {space}/{number} went on, has no record; "
                "visiontune resume runs it again"
            )
        records.insert(0, record)
        following = record.parent
    return tuple(_stretches(records))


def _stretches(records: Sequence[TrialRecord]) -> list[Stretch]:
    found: list[Stretch] = []
    for record in records:
        before = found[-1].record.config if found else record.config
        changed = {
            name: (before[name], value)
            for name, value in record.config.items()
            if before.get(name, value) != value
        }
        found.append(Stretch(record, found[-1].until + 1 if found else 1, record.steps, changed))
    return found


def shown_schedule(run: RunDirectory, record: TrialRecord) -> tuple[Stretch, ...]:
    """The same to be shown: of a trial that went on from others, and nothing, but noted, where one
    of them is lost.
    """
    try:
        return () if record.parent is None else schedule(run, record.space, record.number)
    except UserError as error:
        note(str(error))
        return ()


def steps_of(run: RunDirectory, record: TrialRecord) -> list[dict[str, Any]]:
    """Every report on the way to a trial, those of the trials that it went on from included."""
    way = [one.record for one in shown_schedule(run, record)] or [record]
    return [row for one in way for row in run.steps(one.space, one.number, one)]
