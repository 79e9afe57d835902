"""Labels that are probably wrong: images that the best trials, which never saw their labels, agree
to be of another class.

Confident learning (Northcutt, Jiang and Chuang, 2021; cleanlab's method) on the shares of the
trials' votes: an image is of a class with confidence where as many trials say so as say it, on
average, of images that carry its label, or two thirds of them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from analysis.ranking.leaderboard import ranked
from analysis.run.directory import RunDirectory, RunError
from analysis.run.records import TrialRecord

Int64 = npt.NDArray[np.int64]
Float64 = npt.NDArray[np.float64]
FEWEST, MOST = 3, 15
"""Trials whose votes are counted, the best first."""
MAJORITY = 2 / 3
"""Share of the trials that is enough, however sure they are of the other images of a class."""


@dataclass(frozen=True)
class Doubt:
    """An image whose label is probably wrong.

    Attributes:
        row: of the validation images.
        label, said: index of its class, and of the one that the trials say.
        share: of the trials that say so.
    """

    row: int
    label: int
    said: int
    share: float


def doubtful_labels(
    run: RunDirectory, records: Sequence[TrialRecord], objective: str
) -> tuple[list[Doubt], int]:
    """The doubtful ones, the surest first, and how many trials were asked.

    Raises:
        RunError: if the predictions of too few trials were kept.
    """
    labels, classes = run.validation_labels(), len(run.data().classes)
    said = [
        found
        for record in ranked(list(records), objective)
        if (found := run.predictions(record)) is not None
        and labels is not None
        and len(found) == len(labels)
        and found.max(initial=0) < classes
    ][:MOST]
    if labels is None or len(said) < FEWEST:
        raise RunError(
            f"run {run.name} has kept the predictions of {len(said)} trials, and labels are judged "
            f"by {FEWEST} at least; search more"
        )
    votes = np.zeros((len(labels), classes))
    for found in said:
        votes[np.arange(len(labels)), found.astype(np.int64)] += 1 / len(said)
    return doubts(labels, votes), len(said)


def doubts(labels: Int64, shares: Float64) -> list[Doubt]:
    """Labels off the diagonal of the confident joint, the surest first.

    Args:
        shares: (n, classes) how likely each class is for each image, by who never saw its label.
    """
    classes = shares.shape[1]
    own = shares[np.arange(len(labels)), labels]
    counts = np.bincount(labels, minlength=classes)
    usual = np.bincount(labels, weights=own, minlength=classes) / np.maximum(counts, 1)
    wanted = np.where(counts > 0, np.minimum(usual, MAJORITY), np.inf)
    confident = (shares >= wanted) & (shares > 0.5)
    said = np.where(confident, shares, -1.0).argmax(axis=1)
    rows = np.flatnonzero(confident.any(axis=1) & (said != labels))
    margin = shares[rows, said[rows]] - own[rows]
    return [
        Doubt(int(row), int(labels[row]), int(said[row]), float(shares[row, said[row]]))
        for row in rows[np.argsort(-margin, kind="stable")]
    ]
