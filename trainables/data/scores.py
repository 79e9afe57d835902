"""The figures by which a classifier is judged, as scikit-learn defines them (a test compares)."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from spaces.kinds import function_of
from spaces.objectives import computed_objectives

Int64 = npt.NDArray[np.int64]
MOST_SHARES = 4_000_000
"""Images times classes, of which a trial hands over what it gives each class: 8 MB."""


@dataclass(frozen=True)
class Scores:
    """Fractions in 0..1: of images classified right, its mean over classes, and the mean F1 over
    classes.
    """

    accuracy: float
    balanced_accuracy: float
    macro_f1: float


def score(labels: Int64, predictions: Int64, classes: int) -> Scores:
    """The scores of (n,) predictions against (n,) true labels; classes that do not occur are left
    out of means.
    """
    # not from the matrix of all classes: of 20,000 it would take 3 GB
    right = labels == predictions
    hits, present, predicted = (
        np.bincount(given, minlength=classes) for given in (labels[right], labels, predictions)
    )
    occurs = (present + predicted) > 0
    f1 = 2 * hits[occurs] / (present + predicted)[occurs]
    recall = hits[present > 0] / present[present > 0]
    return Scores(float(right.sum() / len(labels)), float(recall.mean()), float(f1.mean()))


def judged(found: Scores, labels: Int64, predictions: Int64, classes: int) -> dict[str, float]:
    """What a trial reports of its (n,) predictions of the validation images: the scores ``found``,
    and every objective that a plug-in computes.

    Raises:
        ValueError: if one of those gives no finite number.
    """
    values = {
        "val_accuracy": found.accuracy,
        "balanced_accuracy": found.balanced_accuracy,
        "macro_f1": found.macro_f1,
    }
    for name, objective in computed_objectives().items():
        assert objective.function is not None
        values[name] = float(function_of(objective.function)(labels, predictions, classes))
        if not math.isfinite(values[name]):
            raise ValueError(f"objective {name} must be a finite number, but is {values[name]}")
    return values


def answers(predictions: Int64, shares: npt.NDArray[np.floating] | None) -> dict[str, Any]:
    """What a trial hands over beside its figures: (n,) uint16 predictions of the validation images
    and, where that is not too much, (n, classes) float16 ``shares``, which sum to 1 a row.
    """
    said: dict[str, Any] = {"predictions": predictions.astype(np.uint16)}
    if shares is not None and shares.size <= MOST_SHARES:
        said["shares"] = shares.astype(np.float16)
    return said


def confusion(labels: Int64, predictions: Int64, classes: int) -> Int64:
    """(classes, classes) int64 counts; row: true class, column: predicted class."""
    pairs = labels * classes + predictions
    return np.bincount(pairs, minlength=classes * classes).reshape(classes, classes)
