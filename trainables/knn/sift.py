"""Dense SIFT descriptors through cyvlfeat (VLFeat's ``vl_dsift``; Lowe, IJCV 2004)."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from trainables.data import Images

Float32 = npt.NDArray[np.float32]
UInt8 = npt.NDArray[np.uint8]
DESCRIPTOR = 128
"""Numbers in a descriptor: 4 × 4 bins of 8 orientations."""
GRID = 4
"""An image is divided into GRID × GRID cells, and a descriptor is in the cell of its centre."""


def dense_sift(image: UInt8, *, step: int, bin_size: int, fast: bool, scales: int = 1) -> UInt8:
    """The descriptors of one grey image, on a grid for each bin size.

    Args:
        image: (H, W) uint8.
        step: distance between neighbouring descriptors, pixels.
        bin_size: side of a spatial bin, pixels; a descriptor spans ``span(bin_size)``.
        fast: flat instead of Gaussian window.
        scales: bin sizes used together: bin_size, twice that, three times that and so on
            (several sizes together: Bosch, Zisserman & Muñoz, ICCV 2007).

    Returns:
        (m, 128) uint8, one bin size after another; m is 0 for an image smaller than one descriptor.
    """
    return located_sift(image, step=step, bin_size=bin_size, fast=fast, scales=scales)[1]


def located_sift(
    image: UInt8, *, step: int, bin_size: int, fast: bool, scales: int = 1
) -> tuple[UInt8, UInt8]:
    """(m,) uint8 cell of each descriptor, row by row from the top left, and ``dense_sift``'s
    descriptors.
    """
    centres, _, descriptors = placed_sift(
        image, step=step, bin_size=bin_size, fast=fast, scales=scales
    )
    row, column = np.minimum(centres * (GRID / np.array(image.shape)), GRID - 1).astype(np.uint8).T
    return row * np.uint8(GRID) + column, descriptors


def placed_sift(
    image: UInt8, *, step: int, bin_size: int, fast: bool, scales: int = 1
) -> tuple[npt.NDArray[np.floating[Any]], npt.NDArray[np.int64], UInt8]:
    """(m, 2) row and column of each descriptor's centre and (m,) side of what it describes, pixels,
    and ``dense_sift``'s descriptors.
    """
    # here, so that only those who compute descriptors load it
    from cyvlfeat.sift.dsift import dsift

    pixels = image.astype(np.float32)
    sizes = [
        bin_size * scale
        for scale in range(1, scales + 1)
        if min(image.shape) >= span(bin_size * scale)
    ]
    if not sizes:  # vl_dsift reads beyond an image of one row or column, and may end the process
        return np.empty((0, 2)), np.empty(0, np.int64), np.empty((0, DESCRIPTOR), np.uint8)
    found = [dsift(pixels, step=step, size=size, fast=fast) for size in sizes]
    sides = [span(size) for size in sizes]
    return (
        np.concatenate([frames for frames, _ in found]),
        np.repeat(np.array(sides, np.int64), [len(frames) for frames, _ in found]),
        np.concatenate([np.asarray(descriptors, np.uint8) for _, descriptors in found]),
    )


def span(bin_size: int) -> int:
    """Side of a descriptor, pixels; an image with a shorter side has none."""
    return 3 * bin_size + 1


def transformed(descriptors: UInt8, transform: str) -> Float32:
    """Descriptors as float32: ``raw``, or ``root`` for RootSIFT.

    RootSIFT (Arandjelović & Zisserman, CVPR 2012) is the square root of the descriptor
    divided by its sum, so that Euclidean distance compares them as Hellinger's would.
    """
    values = descriptors.astype(np.float32)
    if transform == "raw":
        return values
    total = np.maximum(values.sum(axis=1, keepdims=True), 1e-12)
    return np.sqrt(values / total)


def sampled_descriptors(
    images: Images,
    *,
    step: int,
    bin_size: int,
    fast: bool,
    most: int,
    most_images: int,
    seed: int,
    scales: int = 1,
    total: int | None = None,
    start: int = 0,
) -> UInt8:
    """Descriptors on a coarse grid, for a vocabulary to be made from.

    Args:
        images: grey images ``start`` and on of ``total``.
        most: at most this many descriptors of all images, drawn at random; each image gives
            at most its share, so that large images do not rule.
        most_images: at most this many images, spread evenly over all of them (which stand
            in class order).
        seed: of the draws; each image has its own, so that they do not depend on the chunks.
        total: number of all images; those given if None.

    Returns:
        (m, 128) uint8, in image order.
    """
    total = len(images) if total is None else total
    rows = np.unique(np.linspace(0, total - 1, min(most_images, most, total)).astype(np.int64))
    share = most // len(rows)
    found = [np.empty((0, DESCRIPTOR), np.uint8)]
    for row in rows[(rows >= start) & (rows < start + len(images))]:
        descriptors = dense_sift(
            images[int(row) - start], step=step, bin_size=bin_size, fast=fast, scales=scales
        )
        if len(descriptors) > share:
            generator = np.random.default_rng((seed, int(row)))
            descriptors = descriptors[
                np.sort(generator.choice(len(descriptors), share, replace=False))
            ]
        found.append(descriptors)
    return np.concatenate(found)
