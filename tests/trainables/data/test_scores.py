"""Scores and confusion matrices are what scikit-learn means by their names."""

from __future__ import annotations

import itertools
import warnings

import numpy as np
import pytest
from sklearn import metrics as sklearn_metrics

from trainables.data.scores import confusion, score

LABELS = np.random.default_rng(0).integers(0, 4, (2, 200))


@pytest.mark.parametrize(
    ("labels", "predictions"),
    [
        (LABELS[0], LABELS[1]),
        (LABELS[0], LABELS[0]),
        (LABELS[0], (LABELS[0] + 1) % 4),
        (np.array([0, 0, 1, 1]), np.array([0, 3, 3, 1])),
        (np.array([3, 3, 1, 3]), np.array([3, 1, 1, 1])),
    ],
    ids=["random", "perfect", "all wrong", "a class only predicted", "classes that do not occur"],
)
def test_scores_are_those_of_scikit_learn(labels: np.ndarray, predictions: np.ndarray) -> None:
    """A score under a known name must be that score."""
    ours = score(labels, predictions, 5)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # scikit-learn warns of classes that are only predicted
        assert ours.accuracy == pytest.approx(
            sklearn_metrics.accuracy_score(labels, predictions), abs=1e-15
        )
        assert ours.balanced_accuracy == pytest.approx(
            sklearn_metrics.balanced_accuracy_score(labels, predictions), abs=1e-15
        )
        assert ours.macro_f1 == pytest.approx(
            sklearn_metrics.f1_score(labels, predictions, average="macro"), abs=1e-15
        )
    expected = sklearn_metrics.confusion_matrix(labels, predictions, labels=range(5))
    np.testing.assert_array_equal(confusion(labels, predictions, 5), expected)


def test_a_row_of_the_confusion_matrix_is_a_true_class() -> None:
    """Read the other way round it would blame the wrong class."""
    matrix = confusion(np.array([0, 0, 1]), np.array([1, 1, 2]), 3)
    assert {
        (row, column): int(matrix[row, column])
        for row, column in itertools.product(range(3), repeat=2)
        if matrix[row, column]
    } == {
        (0, 1): 2,
        (1, 2): 1,
    }
