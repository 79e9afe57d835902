"""Classifiers on feature vectors, and what is done to the vectors before.

Linear ones come to a matrix and a vector, whichever way they were found, so that a bundle holds
numbers alone. Estimators are scikit-learn's, but for discriminant analysis: with one covariance for
all classes, a linear system of the size of the features is all there is to it, which scikit-learn
solves some thirty times slower (a test compares).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from threadpoolctl import threadpool_limits

from spaces.ours.embedding import EmbeddingConfig
from trainables.data.dataset import Int64
from trainables.neighbours.nearest import nearest_neighbours, votes_by_k
from trainables.pretrained.linear import ITERATIONS, estimated, of_all_classes

Float32 = npt.NDArray[np.float32]
Float64 = npt.NDArray[np.float64]
Arrays = dict[str, npt.NDArray[np.generic]]
LEAST_DEVIATION = 1e-6


@dataclass(frozen=True)
class Fitted:
    """A classifier of feature vectors.

    Attributes:
        config: how it was made.
        classes: how many there are.
        arrays: ``mean`` and ``components`` (k, d) of what is done to vectors first, where there is
            any; ``weights`` (classes, k) and ``bias`` (classes,), or the ``gallery`` (n, k) with
            its ``labels``.
    """

    config: EmbeddingConfig
    classes: int
    arrays: Arrays

    @threadpool_limits.wrap(limits=1)
    def scores(self, features: Float32) -> Float64:
        """(n, classes) float64 shares, which sum to 1, for (n, d) features."""
        vectors = self.prepared(features)
        if self.config.head == "knn":
            gallery, labels = self.arrays["gallery"], self.arrays["labels"]
            k = min(self.config.k, len(gallery))
            found = nearest_neighbours(vectors, gallery, metric=self.config.metric, most=k)  # type: ignore[arg-type]
            return votes_by_k(found, labels, self.classes, self.config.vote, k)[1]  # type: ignore[arg-type]
        decision = vectors @ self.arrays["weights"].T + self.arrays["bias"]  # type: ignore[operator]
        shares = np.exp(decision - decision.max(axis=1, keepdims=True))
        return np.asarray(shares / shares.sum(axis=1, keepdims=True), np.float64)

    def prepared(self, features: Float32) -> Float64:
        """(n, k) what the classifier itself is given of (n, d) features."""
        vectors = _in_length(features, self.config.norm)
        if "mean" in self.arrays:
            vectors = vectors - self.arrays["mean"]  # type: ignore[operator]
        if "deviation" in self.arrays:
            vectors = vectors / self.arrays["deviation"]  # type: ignore[operator]
        if "components" in self.arrays:
            vectors = vectors @ self.arrays["components"].T  # type: ignore[operator]
        return vectors


def _in_length(features: Float32, norm: str) -> Float64:
    vectors = features.astype(np.float64)
    if norm == "l2":
        lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
        vectors = vectors / np.where(lengths > 0, lengths, 1.0)
    return vectors


@threadpool_limits.wrap(limits=1)
def fit(config: EmbeddingConfig, features: Float32, labels: Int64, classes: int) -> Fitted:
    """The classifier that ``config`` makes of (n, d) features and their (n,) labels.

    A class that no vector has is never given. One BLAS thread computes it, as it does the scores:
    the bits must not depend on how many cores a machine, or a trial, has.
    """
    arrays: Arrays = {}
    vectors = _in_length(features, config.norm)
    if config.norm == "standard" or config.components:
        arrays["mean"] = vectors.mean(axis=0)
        vectors = vectors - arrays["mean"]  # type: ignore[operator]
    if config.norm == "standard":
        deviation = vectors.std(axis=0)
        arrays["deviation"] = np.where(deviation > LEAST_DEVIATION, deviation, 1.0)
        vectors = vectors / arrays["deviation"]  # type: ignore[operator]
    if 0 < config.components < min(vectors.shape):
        arrays["components"] = _components(vectors, config.components)
        vectors = vectors @ arrays["components"].T  # type: ignore[operator]
    if config.head == "knn":
        return Fitted(config, classes, {**arrays, "gallery": vectors, "labels": labels})
    weights, bias = _linear(config, vectors, labels, classes)
    return Fitted(config, classes, {**arrays, "weights": weights, "bias": bias})


def _components(centred: Float64, count: int) -> Float64:
    """(count, d) principal directions, from the smaller of covariance and Gram matrix."""
    from scipy.linalg import eigh

    n, d = centred.shape
    if n < d:
        values, vectors = eigh(centred @ centred.T, subset_by_index=(n - count, n - 1))
        found = (centred.T @ vectors / np.sqrt(np.maximum(values, 1e-12))).T
    else:
        _, vectors = eigh(centred.T @ centred, subset_by_index=(d - count, d - 1))
        found = vectors.T
    return np.ascontiguousarray(found[::-1])


def _linear(
    config: EmbeddingConfig, vectors: Float64, labels: Int64, classes: int
) -> tuple[Float64, Float64]:
    """(classes, d) weights and (classes,) biases."""

    def find() -> tuple[Float64, Float64]:
        if config.head == "lda":
            return _discriminant(config, vectors, labels, np.unique(labels))
        return estimated(_estimator(config), vectors, labels)

    return of_all_classes(find, labels, classes, vectors.shape[1])


def _estimator(config: EmbeddingConfig) -> Any:
    from sklearn.linear_model import LogisticRegression, RidgeClassifier
    from sklearn.svm import LinearSVC

    weigh = {"class_weight": "balanced" if config.class_weight == "balanced" else None}
    if config.head == "logistic":
        return LogisticRegression(C=config.C, max_iter=ITERATIONS, **weigh)
    if config.head == "svm":
        return LinearSVC(C=config.C, tol=1e-3, max_iter=ITERATIONS, random_state=0, **weigh)
    return RidgeClassifier(alpha=config.alpha, **weigh)


def _discriminant(
    config: EmbeddingConfig, vectors: Float64, labels: Int64, there: Int64
) -> tuple[Float64, Float64]:
    """Fisher's linear discriminants, with ``shrinkage`` of the common covariance towards a multiple
    of the identity (Friedman, 1989); classes are as likely as they are frequent, or alike.
    """
    from scipy.linalg import solve

    shrinkage = config.shrinkage

    means = np.stack([vectors[labels == one].mean(axis=0) for one in there])
    inside = vectors - means[np.searchsorted(there, labels)]
    alike = config.class_weight == "balanced"
    counts = np.array([np.sum(labels == one) for one in there])
    if alike:  # the common covariance is the mean of the classes' own
        inside *= np.sqrt(len(vectors) / (len(there) * counts))[
            np.searchsorted(there, labels), None
        ]
    covariance = inside.T @ inside / len(vectors)
    size = len(covariance)
    level = max(float(np.trace(covariance)) / size, 1e-12)
    covariance *= 1 - shrinkage
    covariance[np.diag_indices(size)] += shrinkage * level
    weights = solve(covariance, means.T, assume_a="pos").T
    shares = np.full(len(there), 1 / len(there)) if alike else counts / len(labels)
    return weights, -0.5 * np.sum(weights * means, axis=1) + np.log(shares)
