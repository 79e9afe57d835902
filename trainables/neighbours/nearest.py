"""Neighbour order, and the vote of the k nearest (Cover & Hart, 1967)."""

from __future__ import annotations

from typing import TypedDict

import numpy as np
import numpy.typing as npt

from trainables.neighbours.bounds import bounds_of
from trainables.neighbours.distances import check_metric, computed
from trainables.neighbours.norms import Float64, Floats
from trainables.stages.device import CORES
from trainables.stages.stage import BLOCK

Int64 = npt.NDArray[np.int64]


class Neighbours(TypedDict):
    """The nearest gallery vectors of n queries, nearest first; ties keep gallery order.

    indices: (n, most) int64; distances: (n, most) float64.
    """

    indices: Int64
    distances: Float64


def nearest_neighbours(
    queries: Floats,
    gallery: Floats,
    groups: Int64 | None = None,
    *,
    metric: str,
    most: int,
    start: int = 0,
    device: str = CORES,
) -> Neighbours:
    """The ``most`` nearest gallery vectors of each query.

    Args:
        queries: (m, d); rows ``start`` and on of all queries.
        gallery: (n, d).
        groups: (n,) the validation group of each gallery vector, when all queries are its
            first rows: an image is never its own neighbour, nor another of its group.
            Every image a group of its own is leave-one-out; folds are larger groups.
        most: neighbours to keep; fewer are kept where a query has fewer.
        device: where bounds of the distances are found.

    Returns:
        Neighbours of every query, (m, min(most, neighbours that every query has)).
    """
    check_metric(queries, gallery, metric)
    largest_group = 0 if groups is None else int(np.bincount(groups).max())
    most = min(most, len(gallery) - largest_group)
    indices = np.empty((len(queries), most), np.int64)
    nearest = np.empty((len(queries), most), np.float64)
    with bounds_of(gallery, metric, device) as bounds:
        for first in range(0, len(queries), BLOCK):
            block = queries[first : first + BLOCK]
            low, high = bounds(block)
            for offset, row in enumerate(block):
                if groups is not None:
                    own = groups == groups[start + first + offset]
                    low[offset, own] = high[offset, own] = np.inf
                bound = np.partition(high[offset], most - 1)[most - 1]
                candidates = np.flatnonzero(low[offset] <= bound)
                exact = (
                    high[offset, candidates]
                    if low is high
                    else computed(row[None], gallery[candidates], metric)[0]
                )
                order = np.argsort(exact, kind="stable")[:most]
                indices[first + offset] = candidates[order]
                nearest[first + offset] = exact[order]
    return {"indices": indices, "distances": nearest}


def predicted_by_k(neighbours: Neighbours, labels: Int64, classes: int, vote: str, k: int) -> Int64:
    """(n, k) int64: what the nearest 1, 2, … k neighbours say; arguments and ties as ``votes_by_k``
    has them.
    """
    return _tally(neighbours, labels, classes, vote, k)[0]


def votes_by_k(
    neighbours: Neighbours, labels: Int64, classes: int, vote: str, k: int
) -> tuple[Int64, Float64]:
    """What the nearest 1, 2, … k neighbours say, and how the last vote was shared out.

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
    predictions, known, totals = _tally(neighbours, labels, classes, vote, k)
    shares = np.zeros((len(known), classes))
    np.add.at(shares, (np.arange(len(known))[:, None], known), totals)
    return predictions, shares / shares.sum(axis=1, keepdims=True)


def _tally(
    neighbours: Neighbours, labels: Int64, classes: int, vote: str, k: int
) -> tuple[Int64, Int64, Float64]:
    """(n, k) predictions; and of each query's neighbours the classes, in order, with their votes.

    Only classes that a neighbour has are counted: with all of them, 20,000 classes would take
    gigabytes.
    """
    if vote not in ("uniform", "distance"):
        raise ValueError(f"vote must be uniform or distance, but got {vote!r}")
    indices, gaps = neighbours["indices"], neighbours["distances"]
    k = min(k, indices.shape[1])
    weights = np.ones_like(gaps)
    if vote == "distance":
        touching = gaps[:, :1] <= 0
        weights = np.where(touching, gaps <= 0, 1.0 / np.where(gaps > 0, gaps, 1.0))
    given = labels[indices[:, :k]]
    order = np.argsort(given, axis=1, kind="stable")
    in_order = np.take_along_axis(given, order, axis=1)
    places = np.zeros_like(given)  # of a neighbour's class among those of its query
    np.put_along_axis(
        places,
        order,
        np.cumsum(np.diff(in_order, axis=1, prepend=in_order[:, :1]) > 0, axis=1),
        axis=1,
    )
    rows = np.arange(len(given))
    # where a query has fewer classes, its last one again
    known = np.repeat(in_order[:, -1:], min(k, classes), axis=1)
    np.put_along_axis(known, places, given, axis=1)
    totals = np.zeros(known.shape)
    predictions = np.empty(given.shape, np.int64)
    for nth in range(k):
        totals[rows, places[:, nth]] += weights[:, nth]
        predictions[:, nth] = known[rows, totals.argmax(axis=1)]
    return predictions, known, totals
