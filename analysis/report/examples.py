"""Small pictures of validation images, read from the dataset again if it is still there; a report
never fails for want of one.
"""

from __future__ import annotations

import io
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import numpy.typing as npt
from PIL import Image

from spaces.datasets import CIFAR10_DIR
from spaces.kinds import function_of
from trainables.data import Dataset, ReadOptions, read_dataset
from trainables.data.dataset import Images, Split, UInt8
from trainables.data.listed import File, Listed, groups_of
from trainables.data.spec import holds_out, reader_of
from trainables.images.image_file import read_images

Int64 = npt.NDArray[np.int64]
SIDE = 72
"""Longest side of a small picture, pixels."""
MOST_BYTES = 512 * 1024**2
"""A packed dataset of more bytes is not opened for a few small pictures."""


@dataclass(frozen=True)
class KnownSplit:
    """A split of a dataset, as a search had it.

    Attributes:
        spec, options: how the dataset is read.
        skipped: files that the search left out.
        name: train, or that which was validated.
        labels: (n,) the images' classes: of images that have changed nothing is shown.
    """

    spec: str
    options: ReadOptions
    skipped: Sequence[str]
    name: str
    labels: Int64

    def images(self, rows: Sequence[int]) -> dict[int, tuple[str, UInt8]]:
        """Names and pixels of the images at ``rows``, by row; empty where the dataset is not there
        as it was, or cannot be read quickly.
        """
        try:
            reader, place = reader_of(self.spec)
            if reader.files:
                listed = function_of(reader.files)(self.spec, place, self.options)
                return self._of_files(listed, rows)
            return self._of_file(rows)
        except Exception:  # whatever has become of the dataset, the page is written
            return {}

    def thumbnails(self, rows: Sequence[int]) -> dict[int, bytes]:
        """Small JPEG pictures of the images at ``rows``, by row."""
        small = replace(self, options=replace(self.options, color="rgb", max_side=SIDE))
        return {row: jpeg(image) for row, (_, image) in small.images(rows).items()}

    def files(self, listed: Listed) -> list[File]:
        """The split's files among those of the dataset, in the order of its images; none where they
        are others than they were.
        """
        left_out, options = set(self.skipped), self.options
        files = {
            name: [f for f in listed.files if f.split == name and listed.name(f) not in left_out]
            for name in listed.splits
        }
        splits = {name: _numbered(some) for name, some in files.items()}
        dataset = Dataset("", listed.classes, splits["train"], splits.get("val"))
        source = self.name
        if holds_out(options, len(dataset.train), dataset.val is not None):
            dataset, source = dataset.hold_out(options.hold_out, options.seed), "train"
        part = dataset.splits()[self.name]
        if not np.array_equal(part.labels, self.labels):
            return []
        return [files[source][int(place)] for place in part.images.offsets]

    def _of_files(self, listed: Listed, rows: Sequence[int]) -> dict[int, tuple[str, UInt8]]:
        """The files at these rows; no other is opened, nor fetched where they lie at a URI."""
        if not (files := self.files(listed)):
            return {}
        listed.fetch([files[row] for row in rows])
        paths, options = [files[row].path for row in rows], self.options
        outcomes = read_images(paths, options.color, options.max_side, options.rule)
        return {
            row: (listed.name(files[row]), image)
            for row, image in zip(rows, outcomes, strict=True)
            if isinstance(image, np.ndarray)
        }

    def _of_file(self, rows: Sequence[int]) -> dict[int, tuple[str, UInt8]]:
        kind, _, place = self.spec.partition(":")
        if (
            kind == "cifar10"
            and not (Path(place or CIFAR10_DIR).expanduser() / "cifar-10-batches-py").is_dir()
        ):
            return {}  # reading it would download it
        if kind == "npz" and Path(place).stat().st_size > MOST_BYTES:
            return {}
        part = read_dataset(self.spec, self.options).splits()[self.name]
        if not np.array_equal(part.labels, self.labels):
            return {}
        return {row: (f"{self.name} {row}", part.images[row]) for row in rows}


def _numbered(files: Sequence[File]) -> Split:
    """A split without pixels, whose images are known by their place: ``offsets`` counts them."""
    n = len(files)
    images = Images(np.empty(0, np.uint8), np.zeros((n, 3), np.int64), np.arange(n))
    return Split(images, np.array([file.label for file in files], np.int64), groups_of(files))


def jpeg(image: UInt8, side: int = SIDE) -> bytes:
    """A small JPEG of a picture."""
    picture = Image.fromarray(image)
    picture.thumbnail((side, side))
    out = io.BytesIO()
    picture.save(out, "JPEG", quality=85)
    return out.getvalue()
