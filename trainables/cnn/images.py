"""What a search hands its networks: square images as stages. Loads no torch."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import numpy.typing as npt

from trainables.data.dataset import Dataset, Images, UInt8
from trainables.data.source import DataSource
from trainables.images.image_file import Reading, squared
from trainables.images.packing import run_length
from trainables.stages.shards import PIXELS, Shards, kept
from trainables.stages.stage import Stage

RESIDENT_SHARE = 0.25
"""Of the memory that is free, what a training may take for packed images."""

COUNTED_PIXELS = 4_000_000
"""Of images whose values are counted at a time: each takes 8 bytes meanwhile."""
Float64 = npt.NDArray[np.float64]


def data_stages(
    data: DataSource, size: int, splits: tuple[str, ...] = ("train", "val")
) -> tuple[Stage, ...]:
    """Images and labels of each split, as networks take them."""
    images = [
        Stage(square_images, {"split": split, "size": size}, (data.stage,), light=True)
        for split in splits
    ]
    return tuple(
        stage for pair in zip(images, map(data.labels, splits), strict=True) for stage in pair
    )


def statistics_stage(data: DataSource, size: int) -> Stage:
    """The stage that computes the mean and the standard deviation of the training images' pixels,
    once for all networks.
    """
    return Stage(channel_statistics, {}, data_stages(data, size, ("train",))[:1], light=True)


def fits(size: int, there: int) -> bool:
    """Whether a training keeps ``size`` bytes of packed images in a memory of which ``there`` are
    free; else it reads them batch by batch, with the same bits.
    """
    return size <= RESIDENT_SHARE * there


def channel_statistics(images: UInt8 | Images) -> Float64:
    """(2, 3) float64: mean, and standard deviation of at least 1, of each channel's values, 0..255.

    Args:
        images: (n, 3, size, size), or n RGB squares.
    """
    counts = np.zeros((3, 256), np.int64)
    first = images[0]
    step = max(1, COUNTED_PIXELS // (first.size // 3))
    for start in range(0, len(images), step):
        some = images[start : start + step]
        part = stack(some, len(first)) if isinstance(some, Images) else some
        counts += [np.bincount(part[:, c].ravel(), minlength=256) for c in range(3)]
    share, values = counts / counts.sum(axis=1, keepdims=True), np.arange(256)
    mean = share @ values
    variance = (share * (values - mean[:, None]) ** 2).sum(axis=1)
    return np.stack([mean, np.sqrt(np.maximum(variance, 1.0))])


def square_images(dataset: Dataset, *, split: str, size: int) -> UInt8 | Images:
    """One split of a dataset as a network takes it; a stage of the search."""
    return squares(dataset.splits()[split].images, size)


def squares(images: Images, size: int) -> UInt8 | Images:
    """(n, 3, size, size) uint8 of n images; of packed ones, RGB squares that are packed too."""
    if not images.packed or images.squares(size):
        return images if images.packed else stack(images, size)
    assert isinstance(images.pixels, Shards)
    rows = run_length(Reading("rgb", square=size))
    runs = [(start, min(start + rows, len(images))) for start in range(0, len(images), rows)]
    known = hashlib.sha256(repr([stage.digest for stage in images.pixels.stages]).encode())
    known.update(np.ascontiguousarray(images.offsets).data)
    stages = [
        Stage(packed_squares, {"of": known.hexdigest(), "start": start, "size": size})
        for start, _ in runs
    ]
    make, each = SquareRuns(images, tuple(runs), size), size * size * 3
    for number, stage in enumerate(stages):
        kept(images.pixels.cache, stage, partial(make, number))
    sizes = [(stop - start) * each for start, stop in runs]
    return Images(
        Shards(images.pixels.cache, stages, sizes, make),
        np.tile(np.array([size, size, 3], np.int64), (len(images), 1)),
        each * np.arange(len(images), dtype=np.int64),
    )


def packed_squares(**parameters: Any) -> Any:
    """Names the stages of shards that ``SquareRuns`` makes."""
    raise NotImplementedError


@dataclass(frozen=True)
class SquareRuns:
    """Makes shards of squares from packed images of other shapes."""

    images: Images
    runs: tuple[tuple[int, int], ...]
    size: int

    def __call__(self, number: int) -> dict[str, Any]:
        start, stop = self.runs[number]
        pixels = stack(self.images[start:stop], self.size).transpose(0, 2, 3, 1)
        return {PIXELS: pixels.reshape(-1)}


def stack(images: Images, size: int) -> UInt8:
    """(n, 3, size, size) uint8 of n images of any size, grey or RGB."""
    out = np.empty((len(images), 3, size, size), np.uint8)
    for row, image in enumerate(images):
        image = squared(image, size)
        out[row] = image.transpose(2, 0, 1) if image.ndim == 3 else image
    return out
