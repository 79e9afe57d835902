"""Images as a network trains on them: one uint8 tensor that stays on the device."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from spaces.errors import DatasetError
from trainables.cnn.images import Float64, channel_statistics, fits, stack
from trainables.cnn.memory import free
from trainables.cnn.weights import normalised
from trainables.data.dataset import Dataset, Images, UInt8
from trainables.stages.shards import Shards

Int64 = npt.NDArray[np.int64]


@dataclass(frozen=True)
class CnnData:
    """Square RGB images of one size as arrays, which Ray's object store shares without a copy.

    Attributes:
        train_images: (n, 3, size, size) uint8, or n packed RGB squares.
        train_labels: (n,) int64.
        val_images: (m, 3, size, size) uint8; None to train without judging, as for a refit.
        val_labels: (m,) int64, or None.
        statistics: ``channel_statistics`` of the training images, where they are known already.
        order: (n,) the share of the training images from which on each of them is seen
            (``trainables.data.validation.comes_in``); None where all are.
    """

    train_images: UInt8 | Images
    train_labels: Int64
    val_images: UInt8 | Images | None = None
    val_labels: Int64 | None = None
    statistics: Float64 | None = None
    order: Float64 | None = None

    def __post_init__(self) -> None:
        for images, labels in (
            (self.train_images, self.train_labels),
            (self.val_images, self.val_labels),
        ):
            if (images is None) != (labels is None):
                raise DatasetError("validation images and labels must be given together")
            if images is None or labels is None:
                continue
            if isinstance(images, Images):
                if not images.squares(int(images.shapes[0, 0])):
                    raise DatasetError("packed images must be RGB squares of one size")
            elif (
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
        images = self.train_images
        return int(images.shapes[0, 0] if isinstance(images, Images) else images.shape[2])

    @property
    def nbytes(self) -> int:
        """Of all images."""
        counts = len(self.train_images) + len(() if self.val_images is None else self.val_images)
        return counts * 3 * self.size**2

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


class Streamed:
    """Packed RGB squares that a device is given batch by batch, as a tensor of all would have them:
    (n, 3, size, size) uint8.
    """

    def __init__(self, images: Images, device: torch.device) -> None:
        self._images, self.device = images, device
        side = int(images.shapes[0, 0])
        self.shape = torch.Size((len(images), 3, side, side))

    def __len__(self) -> int:
        return len(self._images)

    def __getitem__(self, rows: Tensor | slice) -> Tensor:
        numbers = range(len(self))[rows] if isinstance(rows, slice) else rows.tolist()
        pinned = self.device.type == "cuda"
        batch = torch.empty(
            (len(numbers), *self.shape[2:], 3), dtype=torch.uint8, pin_memory=pinned
        )
        out = batch.numpy()
        for place, row in enumerate(numbers):
            out[place] = self._images[row]
        return batch.to(self.device, non_blocking=pinned).permute(0, 3, 1, 2).contiguous()


@dataclass(frozen=True)
class Resident:
    """``CnnData`` on a device, with what normalises it; packed images as ``fits`` says.

    Attributes:
        train_images, train_labels, val_images, val_labels: tensors, as in ``CnnData``.
        mean, std: (3, 1, 1) float32, of the training images' channels, 0..255.
    """

    train_images: Tensor | Streamed
    train_labels: Tensor
    val_images: Tensor | Streamed | None
    val_labels: Tensor | None
    mean: Tensor
    std: Tensor

    @classmethod
    def on(cls, data: CnnData, device: torch.device) -> Resident:
        """A copy of ``data`` on ``device``: the arrays may be shared and read-only."""

        def tensor(array: npt.NDArray[np.generic] | None) -> Tensor | None:
            return None if array is None else torch.tensor(array, device=device)

        keep = isinstance(data.train_images, Images) and fits(data.nbytes, free(device))

        def seen(images: UInt8 | Images | None) -> Tensor | Streamed | None:
            if not isinstance(images, Images):
                return tensor(images)
            if not keep:
                return Streamed(images, device)
            copy = torch.from_numpy(stack(images, data.size)).to(device)
            if isinstance(images.pixels, Shards):
                images.pixels.release()
            return copy

        images, labels = seen(data.train_images), tensor(data.train_labels)
        assert images is not None
        assert labels is not None
        known = data.statistics
        statistics = (
            torch.tensor(s, dtype=torch.float32, device=device).view(3, 1, 1)
            for s in (channel_statistics(data.train_images) if known is None else known)
        )
        return cls(images, labels, seen(data.val_images), tensor(data.val_labels), *statistics)

    def as_judged(self, rows: Tensor) -> Tensor:
        """The training images of these numbers, with nothing done to them."""
        return self.normalise(self.train_images[rows])

    def normalise(self, images: Tensor) -> Tensor:
        """Float32 images of mean 0 and variance 1 a channel, channels last in memory, from
        0..255.
        """
        return normalised(images, self.mean, self.std)
