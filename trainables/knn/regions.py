"""From word counts in cells to one feature vector an image: regions, weights of words, norm."""

from __future__ import annotations

import numpy as np

from trainables.knn.sift import GRID, Float32
from trainables.neighbours.norms import Float64, normalised

REGIONS = {"none": 1, "2x2": 4, "pyramid": 21}
"""Kind of region to how many of them count the words of an image."""


def inverse_document_frequency(counts: Float32) -> Float64:
    """(size,) weight of each word: ln((1 + n) / (1 + images that have it)) + 1 (Sivic & Zisserman,
    2003, smoothed).
    """
    present = (counts.sum(axis=1) > 0).sum(axis=0)
    return np.asarray(np.log((1 + len(counts)) / (1 + present)) + 1)


def region_features(
    counts: Float32, weights: Float64 | None = None, *, regions: str, norm: str, start: int = 0
) -> Float32:
    """The feature vector of each image.

    Args:
        counts: (n, 16, size) words in the 4 × 4 cells.
        weights: (size,) of the words; all alike if None.
        regions: ``none``: the words of the whole image; ``2x2``: those of each quarter, end to
            end; ``pyramid``: the whole image, its quarters and its 16 cells, weighted ¼, ¼
            and ½ (Lazebnik, Schmid & Ponce, CVPR 2006).
        norm: as in ``trainables.neighbours.norms.normalised``.

    Returns:
        (n, d) float32, d = size, 4 size or 21 size.
    """
    n, _, size = counts.shape
    cells = counts if weights is None else counts * weights.astype(np.float32)
    quarters = cells.reshape(n, GRID // 2, 2, GRID // 2, 2, size).sum(axis=(2, 4))
    whole = quarters.sum(axis=(1, 2))
    if regions == "none":
        features = whole
    elif regions == "2x2":
        features = quarters.reshape(n, -1)
    elif regions == "pyramid":
        features = np.concatenate(
            [whole / 4, quarters.reshape(n, -1) / 4, cells.reshape(n, -1) / 2], axis=1
        )
    else:
        raise ValueError(f"regions must be {', '.join(REGIONS)}, but got {regions!r}")
    return normalised(features, norm=norm).astype(np.float32, copy=False)
