"""The virtual time of a search on a recorded table, and what it is to find.

Needs numpy alone, so that searches of other environments are played on it too.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from benchmarks.search.tables import Row, Table

DRAWN = 64
"""Fully trained random configurations, the best of which is to be found."""
GENEROUS = 4.0
"""What all of those cost, so many times over, is all that a search is given."""


class EndedError(Exception):
    """The search has found what it was to find, or has had all it is given."""


class Tape:
    """The virtual time of a search.

    Args:
        target: accuracy that is to be found.
        most: seconds that a search is given.
        shares: whether a stage that was paid for once is there from then on.

    Attributes:
        seconds: so far.
        reached: when the target was found; None if it was not.
    """

    def __init__(self, table: Table, target: float, most: float, shares: bool = True) -> None:
        self.table, self.target, self.most, self.shares = table, target, most, shares
        self.seconds, self.paid = 0.0, set[str]()
        self.reached: float | None = None

    def spend(self, seconds: float, accuracy: float) -> None:
        """Play seconds that led to an accuracy.

        Raises:
            EndedError: if that was the end.
        """
        self.seconds += seconds
        if accuracy >= self.target and self.seconds <= self.most:
            self.reached = self.seconds
            raise EndedError
        if self.seconds > self.most:
            raise EndedError

    def whole(self, config: Any) -> float:
        """Play a trial to its end; its accuracy."""
        row = self.table.row(config)
        if row.stages:
            self.spend(self.cost(row), row.accuracy[-1])
        else:
            for seconds, accuracy in zip(row.seconds, row.accuracy, strict=True):
                self.spend(seconds, accuracy)
        return row.accuracy[-1]

    def cost(self, row: Row) -> float:
        """The seconds of a row with stages, which are there afterwards if they are shared."""
        return sum(self.table.cost(row, self.paid if self.shares else set()))

    @property
    def found(self) -> float:
        """Seconds to the target; all that it was given where it was not found."""
        return self.most if self.reached is None else self.reached


Search = Callable[[Tape, int], None]


def drawn(table: Table, draw: np.random.Generator) -> dict[str, Any]:
    """A complete configuration, uniformly."""
    return table.grid.space.sample(lambda name, domain: draw.choice(domain.values()).item())


def goal(table: Table, seed: int) -> tuple[float, float, float]:
    """Of ``DRAWN`` random configurations: the best accuracy that any comes to, be it on its way, as
    it counts for whoever looks for it; what they cost together without shared stages; and what they
    cost until the best has ended.
    """
    draw = np.random.default_rng(seed)
    rows = [table.row(drawn(table, draw)) for _ in range(DRAWN)]
    best = [max(row.accuracy) for row in rows]
    costs = [sum(table.cost(row, set())) for row in rows]
    return max(best), sum(costs), sum(costs[: best.index(max(best)) + 1])
