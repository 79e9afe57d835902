"""Images classified a batch at a time, so that a large folder needs little memory and progress can
be shown.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np

from analysis.bundle.classifier import Float64, Int64, Model
from trainables.data import Images

Say = Callable[[int, int], None]
"""Told after each batch: how many images are done, of how many."""


def spans(count: int, size: int) -> Iterator[tuple[int, int]]:
    """(start, stop) of batches that cover ``count`` rows."""
    yield from ((start, min(start + size, count)) for start in range(0, count, size))


def scores_in_batches(model: Model, images: Images, say: Say) -> tuple[Int64, Float64]:
    """(m,) predicted class and (m, classes) scores, as ``model.scores_of`` gives them of all m
    images.
    """
    parts = []
    for start, stop in spans(len(images), model.batch):
        parts.append(model.scores_of(images[start:stop]))
        say(stop, len(images))
    classes, scores = zip(*parts, strict=True)
    return np.concatenate(classes), np.concatenate(scores)
