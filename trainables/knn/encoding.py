"""Images as counts of visual words, cell by cell."""

from __future__ import annotations

from collections.abc import Iterable
from functools import partial

import numpy as np
import numpy.typing as npt

from trainables.data import Images
from trainables.knn import on_device
from trainables.knn.descriptors import Descriptors, described
from trainables.knn.sift import GRID, Float32, UInt8, transformed
from trainables.stages.device import CORES

Int64 = npt.NDArray[np.int64]
BLOCK_DESCRIPTORS = 8192
"""Descriptors compared with all words at a time: memory stays flat at any step."""
SOFTNESS = 0.05
"""Variance of soft assignment, as a share of the mean squared distance from a word to the next."""


def word_counts(
    descriptors: Descriptors,
    words: Float32,
    *,
    transform: str,
    assignment: str,
    start: int = 0,
    device: str = CORES,
) -> Float32:
    """How often each word occurs in each of the 4 × 4 cells of an image.

    Args:
        descriptors: of n images.
        words: (size, 128) float32 codebook.
        transform: of descriptors; as the words were made from.
        assignment: ``hard``: a descriptor counts 1 for the nearest word; ``soft``: it is shared
            out among all words by a Gaussian of their distances (codeword uncertainty, van
            Gemert et al., PAMI 2010).
        device: where the nearest words are found: ``cpu`` for NumPy, any other for torch.

    Returns:
        (n, 16, size) float32; all 0 for an image too small for one descriptor.
    """
    return _counts(descriptors, len(descriptors), words, transform, assignment, device)


def streamed_word_counts(
    images: Images,
    words: Float32,
    *,
    step: int,
    bin_size: int,
    fast: bool,
    scales: int,
    mirrored: bool,
    transform: str,
    assignment: str,
    start: int = 0,
) -> Float32:
    """The same, where the descriptors are too many to keep: made, counted and dropped image by
    image, on the cores, which descriptors take longest on.
    """
    found = described(
        images, step=step, bin_size=bin_size, fast=fast, scales=scales, mirrored=mirrored
    )
    return _counts(found, len(images), words, transform, assignment)


def _counts(
    images: Iterable[tuple[UInt8, UInt8]],
    n: int,
    words: Float32,
    transform: str,
    assignment: str,
    device: str = CORES,
) -> Float32:
    counts = np.zeros((n, GRID * GRID, len(words)), np.float32)
    variance = SOFTNESS * _spacing(words) if assignment == "soft" else 0.0
    counted = (
        partial(_counted, words, variance)
        if device == CORES
        else on_device.word_counter(words, variance, device)
    )
    for row, (cells, descriptors) in enumerate(images):
        for first in range(0, len(cells), BLOCK_DESCRIPTORS):
            block = slice(first, first + BLOCK_DESCRIPTORS)
            counts[row] += counted(
                cells[block].astype(np.int64), transformed(descriptors[block], transform)
            )
    return counts


def _counted(
    words: Float32, variance: float, cells: Int64, descriptors: Float32
) -> Float32 | Int64:
    """The (16, size) word counts of (m, 128) descriptors in (m,) cells; ``variance`` is that of
    soft assignment, 0 for hard.
    """
    score = _scores(descriptors, words)
    if not variance:
        places = cells * len(words) + score.argmax(axis=1)
        return np.bincount(places, minlength=GRID * GRID * len(words)).reshape(
            GRID * GRID, len(words)
        )
    score -= score.max(axis=1, keepdims=True)
    score *= np.float32(1 / variance)
    np.exp(score, out=score)
    score /= score.sum(axis=1, keepdims=True)
    return (cells == np.arange(GRID * GRID)[:, None]).astype(np.float32) @ score


def _scores(descriptors: Float32, words: Float32) -> Float32:
    """(m, size): d·w - |w|²/2, largest for the nearest word.

    |d - w|² = |d|² - 2 d·w + |w|², whose first term is the same for all words: one matrix
    product, as fast as an exact search in faiss on one core.
    """
    score = descriptors @ words.T
    score -= np.einsum("ij,ij->i", words, words) / 2
    return score


def nearest_words(descriptors: Float32, words: Float32) -> Int64:
    """(m,) index of the word nearest to each of (m, 128) descriptors, the first of equals."""
    return np.asarray(_scores(descriptors, words).argmax(axis=1))


def _spacing(words: Float32) -> float:
    """Mean squared distance from a word to the word next to it; at least a little, where words
    repeat.
    """
    exact = words.astype(np.float64)
    squares = (exact * exact).sum(axis=1)
    gaps = squares[:, None] + squares[None, :] - 2 * exact @ exact.T
    np.fill_diagonal(gaps, np.inf)
    return max(float(gaps.min(axis=1).clip(0).mean()), 1e-9)
