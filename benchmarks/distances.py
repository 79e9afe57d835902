"""How long the 50 nearest neighbours take by each distance of histograms, from bounds as a search
finds them and with every distance computed: ``python -m benchmarks.distances [--queries N] …``.

Both run in one thread, in turn, ``--repeats`` times each; they must agree to the last bit. The
histograms are counts of words in the cells of a pyramid, of which most are 0.
"""

from __future__ import annotations

import argparse
import contextlib
import time
from collections.abc import Callable, Iterator
from statistics import median
from typing import Any
from unittest import mock

import numpy as np
from threadpoolctl import threadpool_limits

from spaces.ours.knn import OURS
from trainables.neighbours import nearest as neighbours
from trainables.neighbours.bounds import Bounds
from trainables.neighbours.distances import computed
from trainables.neighbours.norms import Floats, normalised

MOST = 50


def histograms(rows: int, columns: int, words: float) -> Floats:
    """Of images of 15 kinds, with about ``words`` of the ``columns`` in each."""
    draw = np.random.default_rng(0)
    kinds = draw.gamma(0.3, size=(15, columns))
    shares = kinds[draw.integers(15, size=rows)] * draw.gamma(1.0, size=(rows, columns))
    counts = draw.poisson(shares * words / shares.mean(axis=1, keepdims=True) / columns * 1.5)
    return normalised(counts.astype(np.float32), norm="l1")


@contextlib.contextmanager
def exactly(gallery: Floats, metric: str, device: str) -> Iterator[Bounds]:
    """What ``bounds_of`` is for a metric that it knows nothing of."""

    def both(queries: Floats) -> Any:
        exact = computed(queries, gallery, metric)
        return exact, exact

    yield both


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--queries", type=int, default=256)
    parser.add_argument("--gallery", type=int, default=3000)
    parser.add_argument("--dimensions", type=int, default=8400)
    parser.add_argument("--words", type=float, default=2000.0)
    parser.add_argument("--repeats", type=int, default=3)
    asked = parser.parse_args()
    gallery = histograms(asked.gallery, asked.dimensions, asked.words)
    print(f"{gallery.shape}, {(gallery > 0).mean():.3f} of it above 0; {asked.queries} queries")

    def found(metric: str) -> tuple[float, neighbours.Neighbours]:
        began = time.perf_counter()
        nearest = neighbours.nearest_neighbours(
            gallery[: asked.queries], gallery, metric=metric, most=MOST
        )
        return time.perf_counter() - began, nearest

    def timed(metric: str, ways: list[Callable[[], Any]]) -> tuple[list[float], list[Any]]:
        took: list[list[float]] = [[] for _ in ways]
        results: list[Any] = [None for _ in ways]
        for _ in range(asked.repeats):
            for place, way in enumerate(ways):
                with way():
                    seconds, results[place] = found(metric)
                took[place].append(seconds)
        return [median(each) for each in took], results

    ways: list[Callable[[], Any]] = [
        contextlib.nullcontext,
        lambda: mock.patch.object(neighbours, "bounds_of", exactly),
    ]
    with threadpool_limits(1):
        for metric in OURS:
            (quick, whole), (nearest, same) = timed(metric, ways)
            agree = all(nearest[key].tobytes() == same[key].tobytes() for key in nearest)
            print(
                f"{metric}: {quick:.2f} s, every distance {whole:.2f} s: {whole / quick:.1f} times"
                f"{'' if agree else '; THEY DIFFER'}",
                flush=True,
            )


if __name__ == "__main__":
    main()
