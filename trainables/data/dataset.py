"""The one typed value that every reader returns: images, labels, class names, splits."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import overload

import numpy as np
import numpy.typing as npt
from PIL import Image

from spaces.errors import DatasetError
from trainables.images.rule import PLAIN, Rule
from trainables.stages.shards import Shards

UInt8 = npt.NDArray[np.uint8]
Int64 = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Images:
    """Images of differing sizes in one flat buffer, so that they travel without a copy.

    Attributes:
        pixels: (total,) uint8, the images' bytes one after another, row by row; or where they lie
            on the disk.
        shapes: (n, 3) int64, height and width in pixels and channels (1 grey, 3 RGB).
        offsets: (n,) int64, where each image starts in ``pixels``.
        as_grey: they are seen in 8-bit grey, whatever they are.
    """

    pixels: UInt8 | Shards
    shapes: Int64
    offsets: Int64
    as_grey: bool = False

    @classmethod
    def from_arrays(cls, arrays: Iterable[UInt8]) -> Images:
        """Images from (H, W) grey or (H, W, 3) RGB uint8 arrays, none of which is kept: one by one
        they need the memory of one.
        """
        gathered = Gathered()
        for array in arrays:
            gathered.add(array)
        return gathered.images()

    def __len__(self) -> int:
        return len(self.shapes)

    @overload
    def __getitem__(self, index: int) -> UInt8: ...
    @overload
    def __getitem__(self, index: slice) -> Images: ...
    def __getitem__(self, index: int | slice) -> UInt8 | Images:
        """One image, (H, W) if grey or (H, W, 3); or a run of images. No pixel is copied."""
        if isinstance(index, slice):
            return replace(self, shapes=self.shapes[index], offsets=self.offsets[index])
        height, width, channels = (int(n) for n in self.shapes[index])
        start = int(self.offsets[index])
        pixels = self.pixels[start : start + height * width * channels]
        image = pixels.reshape((height, width) if channels == 1 else (height, width, channels))
        return _grey(image) if self.as_grey else image

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
        if self.packed:  # one by one, where they are used
            return replace(self, as_grey=True)
        return Images.from_arrays(map(_grey, self))

    def take(self, rows: Int64) -> Images:
        """The images at ``rows``, in that order, sharing this buffer."""
        return replace(self, shapes=self.shapes[rows], offsets=self.offsets[rows])

    @property
    def packed(self) -> bool:
        """Whether they lie on the disk."""
        return isinstance(self.pixels, Shards)

    def squares(self, side: int) -> bool:
        """Whether they are packed as RGB squares of this side."""
        return self.packed and bool((self.shapes == (side, side, 3)).all())


def _grey(image: UInt8) -> UInt8:
    return image if image.ndim == 2 else np.asarray(Image.fromarray(image).convert("L"))


def joined(parts: Sequence[Images]) -> Images:
    """Packed images one after another, which stay where they are."""
    first, *rest = parts
    for more in rest:
        assert isinstance(first.pixels, Shards)
        assert isinstance(more.pixels, Shards)
        first = Images(
            first.pixels + more.pixels,
            np.concatenate([first.shapes, more.shapes]),
            np.concatenate([first.offsets, more.offsets + first.pixels.nbytes]),
        )
    return first


class Gathered:
    """Images that come one by one, as one buffer that grows: they are never there twice."""

    def __init__(self) -> None:
        self._pixels = bytearray()
        self._shapes: list[tuple[int, int, int]] = []
        self._offsets: list[int] = []

    def add(self, array: UInt8) -> int:
        """Take an (H, W) or (H, W, 3) array; returns its number, from 0 on."""
        height, width, channels = (*array.shape, 1)[:3]
        self._shapes.append((height, width, channels))
        self._offsets.append(len(self._pixels))
        self._pixels += np.ascontiguousarray(array).reshape(-1).data
        return len(self._shapes) - 1

    def images(self, order: Sequence[int] | None = None) -> Images:
        """All of them, or those of these numbers; nothing can be added any more."""
        shapes, offsets = (
            np.array(self._shapes, np.int64).reshape(-1, 3),
            np.array(self._offsets, np.int64),
        )
        images = Images(np.frombuffer(self._pixels, np.uint8), shapes, offsets)
        return images if order is None else images.take(np.array(order, np.int64))


@dataclass(frozen=True)
class Split:
    """One part of a dataset.

    Attributes:
        images: n images.
        labels: (n,) int64, indices into the dataset's classes.
        groups: (n,) int64, the same for images that must not be parted (of one patient, video or
            place); None where each stands for itself.
    """

    images: Images
    labels: Int64
    groups: Int64 | None = None

    def __len__(self) -> int:
        return len(self.labels)

    @cached_property
    def fingerprint(self) -> str:
        """SHA-256 over shapes, labels and pixels, as 64 hex digits."""
        digest = hashlib.sha256(self.images.shapes.tobytes())
        digest.update(self.labels.tobytes())
        if self.groups is not None:
            digest.update(b"groups" + self.groups.tobytes())
        for image in self.images:
            digest.update(image.tobytes())
        return digest.hexdigest()

    def take(self, rows: Int64) -> Split:
        groups = None if self.groups is None else self.groups[rows]
        return Split(self.images.take(rows), self.labels[rows], groups)


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
        rule: how what is not 8-bit grey or RGB became that.
        notes: what whoever uses it should know, a line each; a warning begins with ``warning: ``.
        square: side of the squares that its images are packed as; 0 where they keep their shapes.
        unmade: there are no pixels, only what is known before files are read.
    """

    spec: str
    classes: tuple[str, ...]
    train: Split
    val: Split | None = None
    test: Split | None = None
    skipped: tuple[str, ...] = ()
    rule: Rule = PLAIN
    notes: tuple[str, ...] = ()
    square: int = 0
    unmade: bool = False

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
        """This dataset with a stratified part of ``train`` set aside as ``val``; with groups, whole
        ones, as near to ``fraction`` and to the shares of the classes as they allow.

        Raises:
            DatasetError: if a class has too few images to stand in both parts.
        """
        from sklearn.model_selection import train_test_split

        rows, counts = (
            np.arange(len(self.train)),
            np.bincount(self.train.labels, minlength=len(self.classes)),
        )
        cannot = f"{self.spec}: cannot hold out {fraction:g} of {len(rows)} training images"
        alone = [name for name, count in zip(self.classes, counts, strict=True) if count == 1]
        if alone:
            raise DatasetError(
                f"{cannot}: a class must stand in both parts, but there is one image only of "
                f"{few(alone)}; add some"
            )
        held_out = math.ceil(fraction * len(rows))  # as train_test_split counts
        if min(held_out, len(rows) - held_out) < len(self.classes):
            raise DatasetError(
                f"{cannot}: each of the two parts needs an image of each of the "
                f"{len(self.classes)} classes, but they would have "
                f"{len(rows) - held_out} and {held_out}; add images or choose another hold_out"
            )
        if self.train.groups is not None:
            from trainables.data.validation import held_out_rows

            held = held_out_rows(cannot, self.train.labels, self.train.groups, fraction, seed)
            fit = np.setdiff1d(rows, held)
        else:
            fit, held = train_test_split(
                rows, test_size=fraction, random_state=seed, stratify=self.train.labels
            )
        return replace(
            self, train=self.train.take(np.sort(fit)), val=self.train.take(np.sort(held))
        )


def check_classes(spec: str, dataset: Dataset) -> Dataset:
    """``dataset`` itself, if every class can be learned and every label is a class.

    Raises:
        DatasetError: for fewer than two classes, or a class without training images.
    """
    if len(dataset.classes) < 2:
        raise DatasetError(
            f"{spec}: needs at least 2 classes, but got {len(dataset.classes)}: "
            f"{', '.join(dataset.classes)}"
        )
    counts = np.bincount(dataset.train.labels, minlength=len(dataset.classes))
    empty = [name for name, count in zip(dataset.classes, counts, strict=True) if count == 0]
    if empty:
        raise DatasetError(
            f"{spec}: no training images of {few(empty)}; add some or remove the class"
        )
    return dataset


def few(names: Sequence[str], most: int = 3) -> str:
    """The first ``most`` names, and how many more there are."""
    shown = ", ".join(names[:most])
    return shown if len(names) <= most else f"{shown} and {len(names) - most} more"
