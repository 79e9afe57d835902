"""Linear classifiers of feature vectors: a row of weights and a bias for each class, whichever way
they are found.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt

Float64 = npt.NDArray[np.float64]
Int64 = npt.NDArray[np.int64]
ITERATIONS = 1000
"""Of the solvers; one that has not converged by then is as good as it gets."""


def of_all_classes(
    find: Callable[[], tuple[Float64, Float64]], labels: Int64, classes: int, width: int
) -> tuple[Float64, Float64]:
    """(classes, width) weights and (classes,) biases; a class without an image is never given.

    Args:
        find: gives those of the classes that ``labels`` has, or the one boundary between two.
    """
    there = np.unique(labels)
    weights, bias = np.zeros((classes, width)), np.full(classes, -1e9)
    if len(there) == 1:
        bias[there] = 0.0
        return weights, bias
    own, offset = find()
    if len(own) == 1:  # one boundary between two classes
        own, offset = np.concatenate([-own, own]) / 2, np.concatenate([-offset, offset]) / 2
    weights[there], bias[there] = own, offset
    return weights, bias


def estimated(estimator: Any, vectors: Float64, labels: Int64) -> tuple[Float64, Float64]:
    """What an estimator of scikit-learn's finds of (n, d) vectors, scaled to a mean squared length
    of 1, so that a penalty means the same whatever the features are measured in.
    """
    from sklearn.exceptions import ConvergenceWarning

    scale = float(np.sqrt(np.mean(np.sum(vectors * vectors, axis=1)))) or 1.0
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        estimator.fit(vectors / scale, labels)
    return np.atleast_2d(estimator.coef_) / scale, np.atleast_1d(estimator.intercept_)
