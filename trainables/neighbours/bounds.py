"""Distances from below and above, quickly: only what may be among the nearest is compared exactly.

The exact distance of the few candidates is then what ``trainables.neighbours.distances`` says, so
neighbours, ties and votes are those of a full comparison in float64, to the last bit.

- Sums of |x - y| come from faiss in float32, six times as fast as SciPy in float64. A sum of
  d terms in float32 is off by less than (d + 2) ε times the sum of what is added (Higham,
  Accuracy and Stability of Numerical Algorithms, 2002, section 4.2).
- Euclidean distances come from one matrix product in float64, with the same bound.
- χ² comes from five matrix products in float32, ``trainables.neighbours.chi_squared``.
- Other metrics are compared exactly at once.

On a CUDA device the sums and products come from ``trainables.neighbours.on_device``. The bounds
hold for any order of adding up, so the neighbours are the same.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
from threadpoolctl import threadpool_limits

from trainables.neighbours import chi_squared, on_device
from trainables.neighbours.distances import computed
from trainables.neighbours.norms import Float32, Float64, Floats
from trainables.stages.device import CORES

TILE_BYTES = 512 * 1024
"""Gallery vectors compared at a time: what stays in a core's own cache."""
Bounds = Callable[[Floats], tuple[Float64, Float64]]


@contextmanager
def bounds_of(gallery: Floats, metric: str, device: str = CORES) -> Iterator[Bounds]:
    """A function from (m, d) queries to two (m, n) arrays that the distances to ``gallery`` lie
    between.

    Both are one array where the metric is computed exactly at once. One thread computes: the
    bits of a sum depend on the threads.

    Args:
        device: ``cpu`` for faiss and NumPy, any other for torch.
    """
    if metric in ("cityblock", "histogram-intersection", "bray-curtis"):
        import faiss  # before the limit, which sees only what is loaded

        with threadpool_limits(1):
            rough = np.ascontiguousarray(gallery, np.float32)
            sums = _tiled(rough, faiss) if device == CORES else on_device.city_block(rough, device)
            yield _city_block(gallery, metric, sums)
    elif metric in ("euclidean", "hellinger"):
        with threadpool_limits(1):
            yield _euclidean(gallery, metric, device)
    elif metric == "chi-squared":
        with threadpool_limits(1):
            yield _chi_squared(gallery, device)
    else:
        with threadpool_limits(1):
            yield lambda queries: (exact := computed(queries, gallery, metric), exact)


def _tiled(gallery: Float32, faiss: Any) -> Callable[[Float32], Float32]:
    """A function from (m, d) queries to the (m, n) sums of |x - y|, in float32."""
    rows = max(1, TILE_BYTES // (4 * max(1, gallery.shape[1])))
    tiles = [gallery[first : first + rows] for first in range(0, len(gallery), rows)]
    return lambda queries: np.concatenate(
        [faiss.pairwise_distances(queries, tile, faiss.METRIC_L1) for tile in tiles], axis=1
    )


def _city_block(gallery: Floats, metric: str, rough_sums: Callable[[Float32], Float32]) -> Bounds:
    sums, dimensions = gallery.sum(axis=1, dtype=np.float64), gallery.shape[1]
    sizes = sums if metric != "cityblock" else np.abs(gallery).sum(axis=1, dtype=np.float64)

    def bounds(queries: Floats) -> tuple[Float64, Float64]:
        gaps = rough_sums(np.ascontiguousarray(queries, np.float32)).astype(np.float64)
        own = np.abs(queries).sum(axis=1, dtype=np.float64)
        both = own[:, None] + sizes[None, :]
        slack = (dimensions + 4) * float(np.finfo(np.float32).eps) * both
        low, high = np.maximum(gaps - slack, 0.0), gaps + slack
        if metric == "cityblock":
            return low, high
        if metric == "bray-curtis":
            safe = np.where(both > 0, both, 1.0)
            return low / safe - _ROUNDING, high / safe + _ROUNDING
        smaller = np.minimum(own[:, None], sums[None, :])
        safe = np.where(smaller > 0, smaller, 1.0)
        ends = (np.where(smaller > 0, 1.0 - (both - gap) / 2.0 / safe, 1.0) for gap in (low, high))
        below, above = ends
        return below - _ROUNDING * (1 + both / safe), above + _ROUNDING * (1 + both / safe)

    return bounds


def _chi_squared(gallery: Floats, device: str) -> Bounds:
    roughly = chi_squared.roughly(gallery, device)

    def bounds(queries: Floats) -> tuple[Float64, Float64]:
        gaps, slack = roughly(queries)
        return np.maximum(gaps - slack, 0.0), gaps + slack

    return bounds


_ROUNDING = 1e-9
"""What float64 may add to that: far more than it can."""


def _euclidean(gallery: Floats, metric: str, device: str) -> Bounds:
    def prepared(vectors: Floats) -> tuple[Float64, Float64]:
        exact = vectors.astype(np.float64, copy=False)
        exact = np.sqrt(exact) if metric == "hellinger" else exact
        return exact, np.einsum("ij,ij->i", exact, exact)

    points, squares = prepared(gallery)
    scale = 0.5 if metric == "hellinger" else 1.0
    inner = on_device.products(points, device) if device != CORES else lambda own: own @ points.T

    def bounds(queries: Floats) -> tuple[Float64, Float64]:
        own, own_squares = prepared(queries)
        both = own_squares[:, None] + squares[None, :]
        gaps = both - 2.0 * inner(own)
        slack = (gallery.shape[1] + 8) * 2 * float(np.finfo(np.float64).eps) * both
        return np.sqrt(np.maximum(gaps - slack, 0.0) * scale) * (1 - 1e-12), np.sqrt(
            (gaps + slack).clip(0) * scale
        ) * (1 + 1e-12)

    return bounds
