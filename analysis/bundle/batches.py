"""Images classified a batch at a time, so that a large folder needs little memory and progress can
be shown.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np

from analysis.bundle.bundle import Model
from analysis.bundle.knn import Float64, Int64, KnnModel
from trainables.data import Images

Say = Callable[[int, int], None]
"""Told after each batch: how many images are done, of how many."""


def batch_size(model: Model) -> int:
    """Images a batch: a multiple of what the model computes together, so that the bits are those of
    all at once.
    """
    return 512 if isinstance(model, KnnModel) else 500


def spans(count: int, size: int) -> Iterator[tuple[int, int]]:
    """(start, stop) of batches that cover ``count`` rows."""
    yield from ((start, min(start + size, count)) for start in range(0, count, size))


def scores_in_batches(model: Model, images: Images, say: Say) -> tuple[Int64, Float64]:
    """(m,) predicted class and (m, classes) scores, as ``model.scores_of`` gives them of all m
    images.
    """
    parts = []
    for start, stop in spans(len(images), batch_size(model)):
        parts.append(model.scores_of(images[start:stop]))
        say(stop, len(images))
    classes, scores = zip(*parts, strict=True)
    return np.concatenate(classes), np.concatenate(scores)
