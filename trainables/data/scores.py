"""The figures by which a classifier is judged, as scikit-learn defines them (a test compares)."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Int64 = npt.NDArray[np.int64]


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


def confusion(labels: Int64, predictions: Int64, classes: int) -> Int64:
    """(classes, classes) int64 counts; row: true class, column: predicted class."""
    pairs = labels * classes + predictions
    return np.bincount(pairs, minlength=classes * classes).reshape(classes, classes)
