"""An ensemble of the trials of a run: the mean of what several of them give each class, some of
them more than once, chosen one after the other so that each makes it better (Caruana,
Niculescu-Mizil, Crew & Ksikes, 2004).

It is judged as the winner of a search is (``analysis.ranking.corrected``): members are chosen anew
by drawn images, and those that were not drawn judge them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from analysis.ranking.corrected import Corrected, counts_of_draws, flattering
from analysis.ranking.shares import Float32, shares_of
from analysis.run.directory import RunDirectory
from analysis.run.records import TrialRecord

DRAWS = 60
ROUNDS = 25
"""Members that are taken, one more than once if it helps."""
CELLS = 40_000_000
"""Numbers that are looked at in each round, at most: of the best trials."""
Int64 = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Ensemble:
    """Trials whose mean prediction is used as one classifier.

    Attributes:
        members: the trials, best first.
        times: how often each member was chosen; the mean counts it that often.
        shares: (n, classes) float32, the members' mean shares for the n validation images.
        worth: the accuracy to expect on new images.
        single: the accuracy of the best trial alone, estimated the same way (its choice repeated
            too) on the same images.
    """

    members: tuple[TrialRecord, ...]
    times: tuple[int, ...]
    shares: Float32
    worth: Corrected
    single: float


def choose_ensemble(run: RunDirectory, order: Sequence[TrialRecord], most: int) -> Ensemble | str:
    """An ensemble of at most ``most`` trials, or why there is none.

    Args:
        order: the leaderboard, best first.
    """
    labels, classes = run.validation_labels(), len(run.data().classes)
    if labels is None:
        return "the true classes of the validation images are not there"
    limit = max(2, CELLS // (len(labels) * classes))
    pool: list[TrialRecord] = []
    given: list[Float32] = []
    for record in order:
        found = shares_of(run, record, len(labels), classes) if len(pool) < limit else None
        if found is not None:
            pool.append(record)
            given.append(found)
    if len(pool) < 2:
        return (
            f"what trials give each class was kept of {len(pool)} of {len(order):,} only (older "
            "versions kept none, and of very many classes none is kept); search again"
        )
    stack, every = np.stack(given), np.ones(len(labels), np.float32)
    taken = _greedy(stack, labels, every, most)
    outside, alone = [], []
    right = stack.argmax(axis=2) == labels
    for counts in counts_of_draws(len(labels), DRAWS):
        out = counts == 0
        if not out.any():
            continue
        drawn = counts > 0
        times = _greedy(stack[:, drawn], labels[drawn], counts[drawn], most)
        mean = np.tensordot(times, stack[:, out], axes=1)
        outside.append(float((mean.argmax(axis=1) == labels[out]).mean()))
        alone.append(float(right[int((right @ counts).argmax()), out].mean()))
    members = sorted(np.flatnonzero(taken), key=lambda row: (-taken[row], row))
    mean = np.tensordot(taken, stack, axes=1) / taken.sum()
    low, high = (float(value) for value in np.quantile(outside, (0.025, 0.975)))
    worth = Corrected(
        metric="val_accuracy",
        estimate=float(np.mean(outside)),
        low=low,
        high=high,
        raw=float((mean.argmax(axis=1) == labels).mean()),
        trials=len(pool),
        images=len(labels),
        copies=flattering(run),
    )
    return Ensemble(
        tuple(pool[row] for row in members),
        tuple(int(taken[row]) for row in members),
        mean.astype(np.float32),
        worth,
        float(np.mean(alone)),
    )


def _greedy(stack: Float32, labels: Int64, weights: Float32, most: int) -> Int64:
    """(m,) how often each of m members was taken, at most ``most`` of them at all: each time the
    one that has most images right, of equals the one that gives the true classes most.

    Args:
        stack: (m, n, classes) what each gives.
        weights: (n,) of the images.
    """
    rows = np.arange(len(labels))
    truth = stack[:, rows, labels] @ weights / weights.sum()
    total, taken = np.zeros(stack.shape[1:], np.float32), np.zeros(len(stack), np.int64)
    best, best_taken = -1.0, taken
    for count in range(1, ROUNDS + 1):
        allowed = taken > 0 if (taken > 0).sum() >= most else np.ones(len(stack), bool)
        some = np.flatnonzero(allowed)
        right = (total + stack[some]).argmax(axis=2) == labels
        value = right @ weights + 0.5 * truth[some]
        first = int(some[value.argmax()])
        total += stack[first]
        taken = taken.copy()
        taken[first] += 1
        if value.max() > best + 1e-6 or count == 1:
            best, best_taken = float(value.max()), taken
    return best_taken
