"""What a search hands its networks: square images as stages. Loads no torch."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from PIL import Image

from trainables.data.dataset import Dataset, Images, UInt8
from trainables.data.source import DataSource
from trainables.stages.stage import Stage

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
    """Mean and deviation of the training images, once for all networks."""
    return Stage(channel_statistics, {}, data_stages(data, size, ("train",))[:1], light=True)


def channel_statistics(images: UInt8) -> Float64:
    """(2, 3) float64: mean, and standard deviation of at least 1, of each channel's values, 0..255.

    Args:
        images: (n, 3, size, size).
    """
    counts = np.zeros((3, 256), np.int64)
    step = max(1, COUNTED_PIXELS // images[0, 0].size)
    for start in range(0, len(images), step):
        part = images[start : start + step]
        counts += [np.bincount(part[:, c].ravel(), minlength=256) for c in range(3)]
    share, values = counts / counts.sum(axis=1, keepdims=True), np.arange(256)
    mean = share @ values
    variance = (share * (values - mean[:, None]) ** 2).sum(axis=1)
    return np.stack([mean, np.sqrt(np.maximum(variance, 1.0))])


def square_images(dataset: Dataset, *, split: str, size: int) -> UInt8:
    """One split of a dataset as a network takes it; a stage of the search."""
    return stack(dataset.splits()[split].images, size)


def stack(images: Images, size: int) -> UInt8:
    """(n, 3, size, size) uint8 of n images of any size, grey or RGB."""
    out = np.empty((len(images), 3, size, size), np.uint8)
    for row, image in enumerate(images):
        if image.shape[:2] != (size, size):
            image = np.asarray(
                Image.fromarray(image).resize((size, size), Image.Resampling.BICUBIC)
            )
        out[row] = image.transpose(2, 0, 1) if image.ndim == 3 else image
    return out
