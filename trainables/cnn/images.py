"""What a search hands its networks: square images as stages, and how all of them are trained. Loads
no torch.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from PIL import Image

from trainables.data.dataset import Dataset, Images, UInt8
from trainables.data.source import DataSource
from trainables.stages.stage import Stage


@dataclass(frozen=True)
class How:
    """What every trial of a search shares, beside data and seed.

    Attributes:
        epochs, image_size, cpus_per_trial, compile, deterministic: as ``analysis.plan.training``
            has them.
        gpus: that a trial gets; 0 trains on the CPU.
        objective: metric by which the best epoch is told.
        maximize: whether more of it is better.
        trials: folder, a path or URI, in which a trial NUMBER has its own, for weights.
        start: weights to start from, a path or URI; empty for random ones.
        start_classes: what they tell apart.
    """

    epochs: int
    image_size: int
    cpus_per_trial: int
    compile: bool
    deterministic: bool
    gpus: float
    objective: str
    maximize: bool
    trials: str
    start: str = ""
    start_classes: tuple[str, ...] = ()


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
