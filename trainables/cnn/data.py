"""Images as a network trains on them: one uint8 tensor that stays on the device."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from spaces.errors import DatasetError
from trainables.cnn.images import Float64, channel_statistics, stack
from trainables.cnn.weights import normalised
from trainables.data.dataset import Dataset, UInt8

Int64 = npt.NDArray[np.int64]


@dataclass(frozen=True)
class CnnData:
    """Square RGB images of one size as arrays, which Ray's object store shares without a copy.

    Attributes:
        train_images: (n, 3, size, size) uint8.
        train_labels: (n,) int64.
        val_images: (m, 3, size, size) uint8; None to train without judging, as for a refit.
        val_labels: (m,) int64, or None.
        statistics: ``channel_statistics`` of the training images, where they are known already.
    """

    train_images: UInt8
    train_labels: Int64
    val_images: UInt8 | None = None
    val_labels: Int64 | None = None
    statistics: Float64 | None = None

    def __post_init__(self) -> None:
        for images, labels in (
            (self.train_images, self.train_labels),
            (self.val_images, self.val_labels),
        ):
            if (images is None) != (labels is None):
                raise DatasetError("validation images and labels must be given together")
            if images is None or labels is None:
                continue
            if (
                images.dtype != np.uint8
                or images.ndim != 4
                or images.shape[1] != 3
                or images.shape[2] != images.shape[3]
            ):
                raise DatasetError(
                    f"images must be (n, 3, size, size) uint8, but got {images.shape} "
                    f"{images.dtype}"
                )
            if len(images) != len(labels) or not len(images):
                raise DatasetError(
                    f"images need as many labels and at least one, but got {len(images)} and "
                    f"{len(labels)}"
                )

    @property
    def size(self) -> int:
        """Side of an image, pixels."""
        return int(self.train_images.shape[2])

    @classmethod
    def from_dataset(cls, dataset: Dataset, size: int = 32) -> CnnData:
        """``train`` and ``val`` of a dataset; images of other sizes are resized (Pillow's bicubic),
        grey ones repeated to RGB.
        """
        val = dataset.val
        return cls(
            stack(dataset.train.images, size),
            dataset.train.labels,
            None if val is None else stack(val.images, size),
            None if val is None else val.labels,
        )


@dataclass(frozen=True)
class Resident:
    """``CnnData`` on a device, with what normalises it.

    Attributes:
        train_images, train_labels, val_images, val_labels: tensors, as in ``CnnData``.
        mean, std: (3, 1, 1) float32, of the training images' channels, 0..255.
    """

    train_images: Tensor
    train_labels: Tensor
    val_images: Tensor | None
    val_labels: Tensor | None
    mean: Tensor
    std: Tensor

    @classmethod
    def on(cls, data: CnnData, device: torch.device) -> Resident:
        """A copy of ``data`` on ``device``: the arrays may be shared and read-only."""

        def tensor(array: npt.NDArray[np.generic] | None) -> Tensor | None:
            return None if array is None else torch.tensor(array, device=device)

        images, labels = tensor(data.train_images), tensor(data.train_labels)
        assert images is not None
        assert labels is not None
        known = data.statistics
        statistics = (
            torch.tensor(s, dtype=torch.float32, device=device).view(3, 1, 1)
            for s in (channel_statistics(data.train_images) if known is None else known)
        )
        return cls(images, labels, tensor(data.val_images), tensor(data.val_labels), *statistics)

    def normalise(self, images: Tensor) -> Tensor:
        """Float32 images of mean 0 and variance 1 a channel, channels last in memory, from
        0..255.
        """
        return normalised(images, self.mean, self.std)
