"""Part 1 as plain functions, and the list of 360 configurations that every contestant is given."""

from __future__ import annotations

import functools
import itertools
import multiprocessing
import os
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from threadpoolctl import threadpool_limits

from trainables.data import Images, ReadOptions, read_dataset
from trainables.knn.descriptors import dense_descriptors
from trainables.knn.encoding import word_counts
from trainables.knn.sift import sampled_descriptors
from trainables.knn.vocabulary import vocabulary
from trainables.neighbours.nearest import nearest_neighbours, votes_by_k
from trainables.neighbours.norms import normalised

STEPS, SIZES, METRICS, NORMS, KS = (
    (3, 5, 8),
    (100, 200, 400),
    ("cityblock", "euclidean"),
    ("l1", "l2"),
    range(1, 11),
)
CASES = list(itertools.product(STEPS, SIZES, METRICS, NORMS))
"""A configuration is one of these and a k."""
CORES = len(os.sched_getaffinity(0))
GRID = {"fast": True, "scales": 1, "bin_size": 4}
RUN = 64
"""Images described at a time."""


@functools.cache
def images(scenes: Path) -> tuple[Any, Any]:
    """(train, val) with labels, read once a process."""
    dataset = read_dataset(f"folder:{scenes}", ReadOptions(max_side=512))
    assert dataset.test is not None
    return dataset.train, dataset.test


def sample(train: Images, start: int = 0, stop: int | None = None) -> Any:
    """Descriptors of some of the training images, for vocabularies."""
    limits = {"most": 50_000, "most_images": 600, "seed": 0, "total": len(train), "start": start}
    return sampled_descriptors(train[start:stop], step=8, **GRID, **limits)  # type: ignore[arg-type]


def words_of(sampled: Any, size: int) -> Any:
    return vocabulary(sampled, size=size, transform="root", seed=0)


def bags(some: Images, step: int, vocabularies: Sequence[Any]) -> list[Any]:
    """(n, size) word counts of n images for each vocabulary, every image described once."""
    found: list[list[Any]] = [[] for _ in vocabularies]
    for start in range(0, len(some), RUN):
        descriptors = dense_descriptors(
            some[start : start + RUN], step=step, mirrored=False, **GRID
        )  # type: ignore[arg-type]
        for bag, words in zip(found, vocabularies, strict=True):
            bag.append(
                word_counts(descriptors, words, transform="root", assignment="hard").sum(axis=1)
            )
    return [np.concatenate(bag) for bag in found]


def accuracies(
    train: Any, val: Any, labels: tuple[Any, Any], metric: str, norm: str
) -> list[float]:
    """Accuracy for k = 1 to 10 from word counts."""
    gallery, queries = (normalised(counts, norm=norm) for counts in (train, val))
    neighbours = nearest_neighbours(queries, gallery, metric=metric, most=max(KS))
    by_k, _ = votes_by_k(neighbours, labels[0], int(labels[0].max()) + 1, "uniform", max(KS))
    return [float(value) for value in (by_k == labels[1][:, None]).mean(axis=0)]


def name(step: int, size: int, metric: str, norm: str) -> str:
    return f"{step}/{size}/{metric}/{norm}"


def floor(scenes: Path) -> dict[str, Any]:
    """A straight line: each distinct result once, all cores busy, images inherited by the workers
    and never copied.
    """
    began = time.monotonic()
    train, val = images(scenes)
    read = time.monotonic()
    with threadpool_limits(1), multiprocessing.get_context("fork").Pool(CORES) as pool:
        ends = np.linspace(0, len(train), 4 * CORES + 1).astype(int)
        sampled = np.concatenate(
            pool.starmap(_sample, [(scenes, a, b) for a, b in itertools.pairwise(ends)], 1)
        )
        largest_first = pool.starmap(words_of, [(sampled, size) for size in reversed(SIZES)], 1)
        vocabularies = largest_first[::-1]
        learned = time.monotonic()
        runs = [
            (at, start)
            for at, part in enumerate((train, val))
            for start in range(0, len(part), RUN)
        ]
        found = pool.starmap(
            _bags, [(scenes, *run, step, vocabularies) for step in STEPS for run in runs], 1
        )
        counts: dict[tuple[int, int, int], Any] = {}
        for nth, step in enumerate(STEPS):
            own = list(zip(runs, found[nth * len(runs) : (nth + 1) * len(runs)], strict=True))
            for at, size in itertools.product((0, 1), range(len(SIZES))):
                counts[step, SIZES[size], at] = np.concatenate(
                    [bag[size] for (part, _), bag in own if part == at]
                )
        counted = time.monotonic()
        pairs = [
            (counts[step, size, 0], counts[step, size, 1], metric, norm)
            for step, size, metric, norm in CASES
        ]
        values = pool.starmap(_accuracies, [(scenes, *pair) for pair in pairs], 1)
    end = time.monotonic()
    parts = {
        "read": read - began,
        "vocabularies": learned - read,
        "counts": counted - learned,
        "neighbours": end - counted,
    }
    return {
        "seconds": end - began,
        "parts": parts,
        "accuracies": {name(*case): v for case, v in zip(CASES, values, strict=True)},
    }


def _sample(scenes: Path, start: int, stop: int) -> Any:
    return sample(images(scenes)[0].images, start, stop)


def _bags(scenes: Path, at: int, start: int, step: int, vocabularies: list[Any]) -> list[Any]:
    return bags(images(scenes)[at].images[start : start + RUN], step, vocabularies)


def _accuracies(scenes: Path, train: Any, val: Any, metric: str, norm: str) -> list[float]:
    return accuracies(
        train, val, (images(scenes)[0].labels, images(scenes)[1].labels), metric, norm
    )
