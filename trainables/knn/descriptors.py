"""The descriptors of many images in one value, so that several vocabularies can count them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from trainables.data import Images
from trainables.knn.sift import DESCRIPTOR, UInt8, located_sift

Int64 = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Descriptors:
    """What dense SIFT finds in n images.

    Attributes:
        values: (m, 128) uint8, image after image.
        cells: (m,) uint8, the cell of the image that each lies in, 0 to 15.
        ends: (n,) int64, where each image's descriptors end in ``values``.
    """

    values: UInt8
    cells: UInt8
    ends: Int64

    def __len__(self) -> int:
        return len(self.ends)

    def __iter__(self) -> Iterator[tuple[UInt8, UInt8]]:
        """(cells, descriptors) of each image."""
        start = 0
        for end in self.ends:
            yield self.cells[start:end], self.values[start:end]
            start = int(end)

    def __getitem__(self, rows: slice) -> Descriptors:
        """A run of images. Nothing is copied but the ends."""
        first, stop, _ = rows.indices(len(self))
        begin = int(self.ends[first - 1]) if first else 0
        ends = self.ends[first:stop]
        end = int(ends[-1]) if len(ends) else begin
        return Descriptors(self.values[begin:end], self.cells[begin:end], ends - begin)

    @staticmethod
    def joined(parts: Sequence[Descriptors]) -> Descriptors:
        before = np.cumsum([0, *(len(part.values) for part in parts[:-1])])
        ends = np.concatenate(
            [part.ends + offset for part, offset in zip(parts, before, strict=True)]
        )
        return Descriptors(
            np.concatenate([part.values for part in parts]),
            np.concatenate([part.cells for part in parts]),
            ends,
        )


def described(
    images: Images,
    *,
    step: int,
    bin_size: int,
    fast: bool,
    scales: int,
    mirrored: bool,
    start: int = 0,
) -> Iterator[tuple[UInt8, UInt8]]:
    """(cells, descriptors) of each image, or of its mirror image, one at a time."""
    for image in images:
        seen = np.ascontiguousarray(image[:, ::-1]) if mirrored else image
        yield located_sift(seen, step=step, bin_size=bin_size, fast=fast, scales=scales)


def dense_descriptors(
    images: Images,
    *,
    step: int,
    bin_size: int,
    fast: bool,
    scales: int,
    mirrored: bool,
    start: int = 0,
) -> Descriptors:
    """The descriptors of n grey images; see ``trainables.knn.sift.dense_sift`` for the settings."""
    cells, values = [np.empty(0, np.uint8)], [np.empty((0, DESCRIPTOR), np.uint8)]
    for cell, descriptors in described(
        images, step=step, bin_size=bin_size, fast=fast, scales=scales, mirrored=mirrored
    ):
        cells.append(cell)
        values.append(descriptors)
    return Descriptors(
        np.concatenate(values), np.concatenate(cells), np.cumsum([len(part) for part in values])[1:]
    )
