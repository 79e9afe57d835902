"""Neighbour order, and the vote of the k nearest (Cover & Hart, 1967)."""

from __future__ import annotations

from typing import TypedDict

import numpy as np
import numpy.typing as npt

from trainables.knn.bounds import bounds_of
from trainables.knn.metrics import check_metric, computed
from trainables.knn.norms import Float64, Floats
from trainables.stages import BLOCK

Int64 = npt.NDArray[np.int64]


class Neighbours(TypedDict):
    """The nearest gallery vectors of n queries, nearest first; ties keep gallery order.

    indices: (n, most) int64; distances: (n, most) float64.
    """

    indices: Int64
    distances: Float64


def nearest_neighbours(
    queries: Floats, gallery: Floats, groups: Int64 | None = None, *, metric: str, most: int, start: int = 0
) -> Neighbours:
    """The ``most`` nearest gallery vectors of each query.

    Args:
        queries: (m, d); rows ``start`` and on of all queries.
        gallery: (n, d).
        groups: (n,) the validation group of each gallery vector, when all queries are its
            first rows: an image is never its own neighbour, nor another of its group.
            Every image a group of its own is leave-one-out; folds are larger groups.
        most: neighbours to keep; fewer are kept where a query has fewer.

    Returns:
        Neighbours of every query, (m, min(most, neighbours that every query has)).
    """
    check_metric(queries, gallery, metric)
    largest_group = 0 if groups is None else int(np.bincount(groups).max())
    most = min(most, len(gallery) - largest_group)
    indices = np.empty((len(queries), most), np.int64)
    nearest = np.empty((len(queries), most), np.float64)
    with bounds_of(gallery, metric) as bounds:
        for first in range(0, len(queries), BLOCK):
            block = queries[first : first + BLOCK]
            low, high = bounds(block)
            for offset, row in enumerate(block):
                if groups is not None:
                    own = groups == groups[start + first + offset]
                    low[offset, own] = high[offset, own] = np.inf
                bound = np.partition(high[offset], most - 1)[most - 1]
                candidates = np.flatnonzero(low[offset] <= bound)
                exact = high[offset, candidates] if low is high else computed(row[None], gallery[candidates], metric)[0]
                order = np.argsort(exact, kind="stable")[:most]
                indices[first + offset] = candidates[order]
                nearest[first + offset] = exact[order]
    return {"indices": indices, "distances": nearest}


def votes_by_k(neighbours: Neighbours, labels: Int64, classes: int, vote: str, k: int) -> tuple[Int64, Float64]:
    """What the nearest 1, 2, … k neighbours say.

    Args:
        neighbours: of n queries.
        labels: of the gallery.
        classes: number of classes.
        vote: ``uniform``, or ``distance`` for weights 1/d; where a neighbour lies at
            distance 0, only such neighbours count (as in scikit-learn).
        k: at most this many; as many as there are, if fewer.

    Returns:
        (n, k) int64 predicted class for each k, ties going to the smallest class index,
        and (n, classes) float64 shares of the last vote, which sum to 1.
    """
    if vote not in ("uniform", "distance"):
        raise ValueError(f"vote must be uniform or distance, but got {vote!r}")
    indices, gaps = neighbours["indices"], neighbours["distances"]
    k = min(k, indices.shape[1])
    weights = np.ones_like(gaps)
    if vote == "distance":
        touching = gaps[:, :1] <= 0
        weights = np.where(touching, gaps <= 0, 1.0 / np.where(gaps > 0, gaps, 1.0))
    rows = np.arange(len(indices))
    totals = np.zeros((len(indices), classes))
    predictions = np.empty((len(indices), k), np.int64)
    for nth in range(k):
        totals[rows, labels[indices[:, nth]]] += weights[:, nth]
        predictions[:, nth] = totals.argmax(axis=1)
    return predictions, totals / totals.sum(axis=1, keepdims=True)
