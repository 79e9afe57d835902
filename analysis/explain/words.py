"""Bags of words: which words of an image bring it nearer to a class, and where they lie."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from analysis.bundle.classifier import Int64
from analysis.bundle.knn import KnnModel
from spaces import BagOfSiftConfig
from trainables.data.dataset import UInt8
from trainables.knn.encoding import nearest_words
from trainables.knn.sift import placed_sift, transformed
from trainables.neighbours.distances import computed
from trainables.neighbours.nearest import nearest_neighbours
from trainables.neighbours.norms import Floats, normalised

METHOD = "places of the words that bring it nearer to this class than to others, each left out once"
MOST = 200
"""Nearest training images among which those of the class and of others are looked for."""
MAP = 64
"""Rows and columns of the map that is made."""


def word_heat(
    model: KnnModel,
    image: UInt8,
    vector: Floats,
    label: int,
    apart: tuple[int, Int64] | None,
) -> npt.NDArray[np.float64]:
    """(MAP, MAP), 0 to 1, of a grey (height, width) image with features (1, d); all 0 where no word
    speaks for the class.

    A word's worth is by how much the image, without it, moves away from its nearest training images
    of the class, less by how much from those of other classes. Every descriptor that is nearest to
    it has an equal share of that, spread over the pixels that it describes.
    """
    config, vocabulary = model.config, model.vocabulary
    assert isinstance(config, BagOfSiftConfig)
    assert vocabulary is not None
    heat = np.zeros((MAP, MAP))
    centres, spans, descriptors = placed_sift(
        image, step=config.step, bin_size=config.bin_size, fast=config.fast, scales=config.scales
    )
    if not len(descriptors):
        return heat
    words = nearest_words(transformed(descriptors, config.transform), vocabulary)
    there, counts = np.unique(words, return_counts=True)
    worth = np.zeros(len(vocabulary))
    worth[there] = _worth(model, vector, there, label, apart).clip(0) / counts
    scale = MAP / np.array(image.shape)
    for (row, column), span, value in zip(centres, spans, worth[words], strict=True):
        if value > 0:
            top, left = ((np.array([row, column]) - span / 2) * scale).clip(0).astype(int)
            low, right = np.ceil((np.array([row, column]) + span / 2) * scale).astype(int)
            heat[top:low, left:right] += value / span**2
    return np.asarray(heat / (heat.max() or 1.0))


def _worth(
    model: KnnModel, vector: Floats, words: Int64, label: int, apart: tuple[int, Int64] | None
) -> npt.NDArray[np.float64]:
    """(m,) what each of m words does for the class."""
    metric, size = model.config.metric, len(model.vocabulary)  # type: ignore[arg-type]
    start, groups = apart or (0, None)
    if groups is not None:
        groups = np.tile(groups, len(model.labels) // len(groups))
    near = nearest_neighbours(
        vector, model.features, groups, metric=metric, most=MOST, start=start
    )["indices"][0]
    own, others = (near[(model.labels[near] == label) == same][: model.config.k] for same in (1, 0))
    without = np.repeat(vector, len(words), axis=0).reshape(len(words), -1, size)
    without[np.arange(len(words)), :, words] = 0
    changed = normalised(without.reshape(len(words), -1), norm=model.config.norm)
    worth = np.zeros(len(words))
    for rows, sign in ((own, 1), (others, -1)):
        if len(rows):
            before, after = (
                computed(x, model.features[rows], metric).mean(axis=1) for x in (vector, changed)
            )
            worth += sign * (after - before)
    return worth
