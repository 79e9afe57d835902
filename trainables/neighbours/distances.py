"""Distances between feature vectors, each a published one under its usual name."""

from __future__ import annotations

import numpy as np
from scipy.spatial.distance import cdist

from spaces.ours.knn import DISTANCES
from trainables.neighbours.norms import Float64, Floats


def euclidean(x: Float64, y: Float64) -> Float64:
    """|x - y|₂."""
    return np.asarray(cdist(x, y))


def city_block(x: Float64, y: Float64) -> Float64:
    """Σ |x - y|."""
    return np.asarray(cdist(x, y, "cityblock"))


def cosine(x: Float64, y: Float64) -> Float64:
    """1 - x·y / (|x| |y|); 1 from or to a vector of zeros."""
    lengths = [np.sqrt((a * a).sum(axis=1)) for a in (x, y)]
    units = [
        a / np.where(length > 0, length, 1.0)[:, None]
        for a, length in zip((x, y), lengths, strict=True)
    ]
    return np.maximum(1.0 - units[0] @ units[1].T, 0.0)


def chi_squared(x: Float64, y: Float64) -> Float64:
    """½ Σ (x - y)² / (x + y); terms 0/0 count 0 (Puzicha et al., 1997)."""
    from sklearn.metrics.pairwise import additive_chi2_kernel

    # scikit-learn's kernel wants writable arrays, which arrays from the object store are not.
    return (
        np.asarray(additive_chi2_kernel(*(np.require(a, requirements="W") for a in (x, y)))) / -2.0
    )


def hellinger(x: Float64, y: Float64) -> Float64:
    """|√x - √y|₂ / √2 (Hellinger, 1909)."""
    return np.asarray(cdist(np.sqrt(x), np.sqrt(y))) / np.sqrt(2.0)


def histogram_intersection(x: Float64, y: Float64) -> Float64:
    """1 - Σ min(x, y) / min(Σx, Σy) (Swain & Ballard, 1991); Σ min = (Σx + Σy - |x - y|₁) / 2."""
    sums = [a.sum(axis=1) for a in (x, y)]
    shared = (sums[0][:, None] + sums[1][None, :] - cdist(x, y, "cityblock")) / 2.0
    smaller = np.minimum(sums[0][:, None], sums[1][None, :])
    return np.where(smaller > 0, 1.0 - shared / np.where(smaller > 0, smaller, 1.0), 1.0)


def bray_curtis(x: Float64, y: Float64) -> Float64:
    """Σ |x - y| / Σ (x + y); 0 between two vectors of zeros (Bray & Curtis, 1957)."""
    return np.nan_to_num(np.asarray(cdist(x, y, "braycurtis")), nan=0.0)


def distances(queries: Floats, gallery: Floats, metric: str) -> Float64:
    """The (m, n) float64 distances from (m, d) queries to (n, d) gallery vectors.

    Raises:
        ValueError: for an unknown metric, negative numbers under a metric for histograms,
            or a distance that is not finite.
    """
    check_metric(queries, gallery, metric)
    return computed(queries, gallery, metric)


def computed(queries: Floats, gallery: Floats, metric: str) -> Float64:
    """The same for vectors that ``check_metric`` has seen."""
    result = np.asarray(
        DISTANCES[metric](
            queries.astype(np.float64, copy=False), gallery.astype(np.float64, copy=False)
        )
    )
    wanted = len(queries), len(gallery)
    if result.dtype != np.float64 or result.shape != wanted:
        raise ValueError(
            f"metric {metric} must give {wanted} float64 distances, but gave {result.shape} "
            f"{result.dtype}"
        )
    if not np.isfinite(result).all():
        raise ValueError(f"metric {metric} gives distances that are not finite for these features")
    return result


def check_metric(queries: Floats, gallery: Floats, metric: str) -> None:
    """Refuse a metric that these vectors cannot be compared by.

    Raises:
        ValueError: for an unknown metric, or negative numbers under a metric for histograms.
    """
    signed = DISTANCES[metric].signed
    if not signed and min(queries.min(initial=0), gallery.min(initial=0)) < 0:
        raise ValueError(
            f"metric {metric} is for histograms, but the features have negative numbers"
        )
