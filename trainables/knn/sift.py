"""Dense SIFT descriptors through cyvlfeat (VLFeat's ``vl_dsift``; Lowe, IJCV 2004)."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from trainables.data import Images

Float32 = npt.NDArray[np.float32]
DESCRIPTOR = 128
"""Numbers in a descriptor: 4 × 4 bins of 8 orientations."""


def dense_sift(image: npt.NDArray[np.uint8], *, step: int, bin_size: int, fast: bool) -> npt.NDArray[np.uint8]:
    """The descriptors of one grey image, on a grid.

    Args:
        image: (H, W) uint8.
        step: distance between neighbouring descriptors, pixels.
        bin_size: side of a spatial bin, pixels; a descriptor spans 3 × bin_size + 1.
        fast: flat instead of Gaussian window.

    Returns:
        (m, 128) uint8; m is 0 for an image smaller than one descriptor.
    """
    from cyvlfeat.sift.dsift import dsift  # here, so that only those who compute descriptors load it

    _, descriptors = dsift(image.astype(np.float32), step=step, size=bin_size, fast=fast)
    return np.asarray(descriptors, np.uint8)


def transformed(descriptors: npt.NDArray[np.uint8], transform: str) -> Float32:
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
    images: Images, *, step: int, bin_size: int, fast: bool, most: int, most_images: int, seed: int
) -> npt.NDArray[np.uint8]:
    """Descriptors on a coarse grid, for a vocabulary to be made from.

    Args:
        images: n grey images.
        most: at most this many descriptors, drawn at random; each image gives at most its
            share, so that large images do not rule.
        most_images: at most this many images, spread evenly over all of them (which stand
            in class order).
        seed: of the draw.

    Returns:
        (m, 128) uint8 with m ≤ most, in image order.
    """
    generator = np.random.default_rng(seed)
    rows = np.unique(np.linspace(0, len(images) - 1, min(most_images, len(images))).astype(np.int64))
    share = max(1, -(-most // len(rows)))
    found = []
    for row in rows:
        descriptors = dense_sift(images[int(row)], step=step, bin_size=bin_size, fast=fast)
        if len(descriptors) > share:
            descriptors = descriptors[np.sort(generator.choice(len(descriptors), share, replace=False))]
        found.append(descriptors)
    return np.concatenate(found)[:most]
