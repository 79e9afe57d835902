"""How a search went: the best so far, trial by trial and second by second, and how many trials
reached each step.
"""

from __future__ import annotations

import bisect
from collections.abc import Sequence
from dataclasses import dataclass

from analysis.ranking.leaderboard import ranked
from analysis.run.records import TrialRecord
from spaces.objectives import METRICS


@dataclass(frozen=True)
class Point:
    """A trial that ended.

    Attributes:
        count: how many had ended with it, pruned ones included.
        seconds: for how long any trial had run by then; pauses between sessions are left out.
        value: of the objective.
        best: of its space so far, the trial itself included.
    """

    record: TrialRecord
    count: int
    seconds: float
    value: float
    best: float


def best_so_far(records: Sequence[TrialRecord], objective: str) -> dict[str, list[Point]]:
    """Each space's complete trials within the constraints, in the order they ended."""
    candidates = {record.key for record in ranked(records, objective)}
    clock = _Clock(records)
    metric = METRICS[objective]
    found: dict[str, list[Point]] = {}
    count = 0
    for record in sorted(records, key=lambda r: (r.started + r.seconds, r.key)):
        count += record.state != "FAIL" and not record.infeasible
        if record.key not in candidates:
            continue
        value = record.metrics[objective]
        points = found.setdefault(record.space, [])
        before = points[-1].best if points else value
        best = value if metric.better(value, before) else before
        points.append(Point(record, count, clock.at(record.started + record.seconds), value, best))
    return found


def running_seconds(records: Sequence[TrialRecord]) -> float:
    """For how long any of these trials ran."""
    clock = _Clock(records)
    return clock.total


class _Clock:
    """Seconds in which at least one trial ran."""

    def __init__(self, records: Sequence[TrialRecord]) -> None:
        self._starts: list[float] = []
        self._ends: list[float] = []
        self._before: list[float] = []
        for record in sorted(records, key=lambda r: r.started):
            end = record.started + max(0.0, record.seconds)  # a clock may have been set back
            if self._ends and record.started <= self._ends[-1]:
                self._ends[-1] = max(self._ends[-1], end)
                continue
            self._before.append(
                self._before[-1] + self._ends[-1] - self._starts[-1] if self._ends else 0.0
            )
            self._starts.append(record.started)
            self._ends.append(end)

    @property
    def total(self) -> float:
        return self._before[-1] + self._ends[-1] - self._starts[-1] if self._ends else 0.0

    def at(self, time: float) -> float:
        i = max(0, bisect.bisect_right(self._starts, time) - 1)
        return self._before[i] + min(time, self._ends[i]) - self._starts[i]


def survival(records: Sequence[TrialRecord]) -> dict[str, list[int]]:
    """How many trials of each space reached step 1, 2, …; only of spaces in which some stopped
    before others.
    """
    steps: dict[str, list[int]] = {}
    for record in records:
        if not record.infeasible:
            steps.setdefault(record.space, []).append(record.steps)
    return {
        space: [sum(n >= step for n in done) for step in range(1, max(done) + 1)]
        for space, done in steps.items()
        if max(done) >= 2 and min(done) < max(done)
    }


def clock_unit(seconds: float) -> tuple[float, str]:
    """Seconds in the unit that suits such a time, and its name."""
    if seconds >= 3 * 3600:
        return 3600.0, "hours"
    return (60.0, "minutes") if seconds >= 180 else (1.0, "seconds")
