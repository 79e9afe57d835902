"""The one typed value that every reader returns: images, labels, class names, splits."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import overload

import numpy as np
import numpy.typing as npt
from PIL import Image

from spaces.errors import UserError

UInt8 = npt.NDArray[np.uint8]
Int64 = npt.NDArray[np.int64]


class DatasetError(UserError):
    """A dataset that cannot be read as it is; the message names the place and the rule."""


@dataclass(frozen=True)
class Images:
    """Images of differing sizes in one flat buffer, so that they travel without a copy.

    Attributes:
        pixels: (total,) uint8, the images' bytes one after another, row by row.
        shapes: (n, 3) int64, height and width in pixels and channels (1 grey, 3 RGB).
        offsets: (n,) int64, where each image starts in ``pixels``.
    """

    pixels: UInt8
    shapes: Int64
    offsets: Int64

    @classmethod
    def from_arrays(cls, arrays: Sequence[UInt8]) -> Images:
        """Images from (H, W) grey or (H, W, 3) RGB uint8 arrays."""
        shapes = np.array([(*a.shape, 1)[:3] for a in arrays], dtype=np.int64).reshape(-1, 3)
        sizes = shapes.prod(axis=1)
        offsets = np.concatenate([[0], np.cumsum(sizes)[:-1]]).astype(np.int64)[: len(arrays)]
        pixels = np.concatenate([a.ravel() for a in arrays]) if len(arrays) else np.empty(0, np.uint8)
        return cls(pixels, shapes, offsets)

    def __len__(self) -> int:
        return len(self.shapes)

    @overload
    def __getitem__(self, index: int) -> UInt8: ...
    @overload
    def __getitem__(self, index: slice) -> Images: ...
    def __getitem__(self, index: int | slice) -> UInt8 | Images:
        """One image, (H, W) if grey or (H, W, 3); or a run of images. No pixel is copied."""
        if isinstance(index, slice):
            return Images(self.pixels, self.shapes[index], self.offsets[index])
        height, width, channels = (int(n) for n in self.shapes[index])
        start = int(self.offsets[index])
        pixels = self.pixels[start : start + height * width * channels]
        return pixels.reshape((height, width) if channels == 1 else (height, width, channels))

    def __iter__(self) -> Iterator[UInt8]:
        return (self[i] for i in range(len(self)))

    @property
    def area(self) -> int:
        """Pixels of all images together."""
        return int(self.shapes[:, :2].prod(axis=1).sum())

    def grey(self) -> Images:
        """The images in 8-bit grey; these themselves, if they are."""
        if (self.shapes[:, 2] == 1).all():
            return self
        return Images.from_arrays([image if image.ndim == 2 else np.asarray(Image.fromarray(image).convert("L")) for image in self])

    def take(self, rows: Int64) -> Images:
        """The images at ``rows``, in that order, sharing this buffer."""
        return Images(self.pixels, self.shapes[rows], self.offsets[rows])


@dataclass(frozen=True)
class Split:
    """One part of a dataset.

    Attributes:
        images: n images.
        labels: (n,) int64, indices into the dataset's classes.
    """

    images: Images
    labels: Int64

    def __len__(self) -> int:
        return len(self.labels)

    @cached_property
    def fingerprint(self) -> str:
        """SHA-256 over shapes, labels and pixels, as 64 hex digits."""
        digest = hashlib.sha256(self.images.shapes.tobytes())
        digest.update(self.labels.tobytes())
        for image in self.images:
            digest.update(image.tobytes())
        return digest.hexdigest()

    def take(self, rows: Int64) -> Split:
        return Split(self.images.take(rows), self.labels[rows])


@dataclass(frozen=True)
class Dataset:
    """Labelled images, in up to three parts.

    Attributes:
        spec: what the user typed to name it, with an absolute path.
        classes: class names, alphabetical; labels are indices into them.
        train: what may be learned from.
        val: what selects configurations, where the dataset comes with such a part.
        test: what is scored once, after selection.
        skipped: files left out because they could not be read (relative paths).
    """

    spec: str
    classes: tuple[str, ...]
    train: Split
    val: Split | None = None
    test: Split | None = None
    skipped: tuple[str, ...] = ()

    def splits(self) -> dict[str, Split]:
        parts = {"train": self.train, "val": self.val, "test": self.test}
        return {name: part for name, part in parts.items() if part is not None}

    @cached_property
    def fingerprint(self) -> str:
        """SHA-256 over classes and the splits' own fingerprints, as 64 hex digits."""
        digest = hashlib.sha256("\0".join(self.classes).encode("utf-8", "surrogateescape"))
        for name, part in self.splits().items():
            digest.update(f"\0{name}\0{part.fingerprint}".encode())
        return digest.hexdigest()

    def hold_out(self, fraction: float, seed: int) -> Dataset:
        """This dataset with a stratified part of ``train`` set aside as ``val``.

        Raises:
            DatasetError: if a class has too few images to stand in both parts.
        """
        from sklearn.model_selection import train_test_split

        rows = np.arange(len(self.train))
        try:
            fit, held = train_test_split(rows, test_size=fraction, random_state=seed, stratify=self.train.labels)
        except ValueError as error:
            raise DatasetError(f"{self.spec}: cannot hold out {fraction:g} of {len(rows)} training images: {error}") from error
        return replace(self, train=self.train.take(np.sort(fit)), val=self.train.take(np.sort(held)))


def check_classes(spec: str, dataset: Dataset) -> Dataset:
    """``dataset`` itself, if every class can be learned and every label is a class.

    Raises:
        DatasetError: for fewer than two classes, or a class without training images.
    """
    if len(dataset.classes) < 2:
        raise DatasetError(f"{spec}: needs at least 2 classes, but got {len(dataset.classes)}: {', '.join(dataset.classes)}")
    counts = np.bincount(dataset.train.labels, minlength=len(dataset.classes))
    empty = [name for name, count in zip(dataset.classes, counts, strict=True) if count == 0]
    if empty:
        raise DatasetError(f"{spec}: no training images of {few(empty)}; add some or remove the class")
    return dataset


def few(names: Sequence[str], most: int = 3) -> str:
    """The first ``most`` names, and how many more there are."""
    shown = ", ".join(names[:most])
    return shown if len(names) <= most else f"{shown} and {len(names) - most} more"
