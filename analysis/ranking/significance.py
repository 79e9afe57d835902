"""How far the best trial can be trusted: the interval of its accuracy, and whether the next one is
really worse.

Both look at the validation images as a sample of images like them. They know nothing of what else
chance decides: the seed of a training, and that the best of many trials was lucky on these images.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from analysis.run.directory import RunDirectory
from analysis.run.records import TrialRecord

LEVEL = 0.95
DECISIVE = 0.05
"""p up to which a difference is more than chance would often do."""


def interval(right: int, n: int, level: float = LEVEL) -> tuple[float, float]:
    """The bootstrap's percentile interval of an accuracy.

    Drawing n images with replacement and counting those classified right is drawing from a binomial
    distribution, so its percentiles are given exactly, without drawing. Where all or none are right
    every draw is the same; there it is the exact (Clopper–Pearson) interval.
    """
    tail = (1 - level) / 2
    if right == 0:
        return 0.0, 1 - tail ** (1 / n)
    if right == n:
        return tail ** (1 / n), 1.0
    low, high = np.searchsorted(_at_most(n, right / n), (tail, 1 - tail)) / n
    return float(low), float(high)


def _at_most(n: int, p: float) -> npt.NDArray[np.float64]:
    """(n + 1,) the chance of at most 0, 1, … n successes in n trials that succeed with ``p``.

    Written out, since scipy.stats takes longer to load than all else that ``best`` does.
    """
    factorials = np.concatenate(([0.0], np.log(np.arange(1, n + 1)).cumsum()))  # their logarithms
    k = np.arange(n + 1)
    ways = factorials[n] - factorials[k] - factorials[n - k]
    return np.exp(ways + k * np.log(p) + (n - k) * np.log1p(-p)).cumsum()


def coin_test(heads: int, n: int) -> float:
    """The chance that n throws of a fair coin are split at least as unevenly as this; exact."""
    ways, total = 1, 0
    for k in range(min(heads, n - heads) + 1):
        total += ways
        ways = ways * (n - k) // (k + 1)
    return min(1.0, 2 * total / 2**n)


@dataclass(frozen=True)
class Comparison:
    """McNemar's exact test of two trials on the same images.

    Attributes:
        trial: the other one's key.
        only_first: images that the first alone has right.
        only_other: images that the other alone has right.
        p: chance of a split at least as uneven if both were equally good.
    """

    trial: str
    only_first: int
    only_other: int
    p: float

    @property
    def decisive(self) -> bool:
        return self.p <= DECISIVE

    def __str__(self) -> str:
        if not self.only_first + self.only_other:
            return f"{self.trial} has the same images right"
        verdict = (
            "more than chance would often do"
            if self.decisive
            else "no more than chance would often do"
        )
        p = f"p = {self.p:.3f}" if self.p >= 0.001 else f"p = {self.p:.1g}"
        return (
            f"it alone has {self.only_first} images right, and {self.trial}, the next, "
            f"{self.only_other}: "
            f"{verdict} (McNemar's exact test, {p})"
        )


def compare(first: npt.NDArray[np.bool_], other: npt.NDArray[np.bool_], trial: str) -> Comparison:
    """Compare two trials by which of the same images they have right; ``trial`` is the other's
    key.
    """
    only_first, only_other = int((first & ~other).sum()), int((other & ~first).sum())
    differ = only_first + only_other
    return Comparison(
        trial,
        only_first,
        only_other,
        coin_test(only_first, differ),
    )


def intervals(
    run: RunDirectory, records: Sequence[TrialRecord]
) -> list[tuple[float, float] | None]:
    """The interval of each trial's validation accuracy; None where its predictions were not
    kept.
    """
    return [
        interval(int(right.sum()), len(right)) if right is not None else None
        for right in map(_reader(run), records)
    ]


def first_against_next(run: RunDirectory, order: Sequence[TrialRecord]) -> Comparison | None:
    """The first of a leaderboard against the second; None if there is no second, or predictions
    were not kept.
    """
    if len(order) < 2:
        return None
    first, other = map(_reader(run), order[:2])
    return None if first is None or other is None else compare(first, other, order[1].key)


def _reader(run: RunDirectory) -> Any:
    labels = run.validation_labels()

    def right(record: TrialRecord) -> npt.NDArray[np.bool_] | None:
        predictions = run.predictions(record)
        return None if labels is None or predictions is None else np.asarray(predictions == labels)

    return right
