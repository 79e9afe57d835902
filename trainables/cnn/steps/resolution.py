"""Small images first: the side of training images grows over a training, since most of what early
epochs teach needs few pixels.

Progressive resizing (Howard, DAWNBench 2018; Tan & Le, EfficientNetV2, 2021). A convolution costs
as many operations as there are pixels, so an epoch at three quarters of the side costs little over
half.
"""

from __future__ import annotations

import torch.nn.functional as F  # noqa: N812
from torch import Tensor

FULL_FROM = 0.7
"""Part of the epochs after which images have their whole side."""
STEP = 4
"""The side is a multiple of this many pixels, or the whole side."""


def side_at(start: float, epoch: int, epochs: int, size: int) -> int:
    """Side of training images in ``epoch`` (from 0) of ``epochs``, pixels: from ``start`` times
    ``size``, growing evenly to ``size``.

    The last epoch has whole images, however few there are.
    """
    grown = epoch / (FULL_FROM * epochs)
    if grown >= 1 or epoch == epochs - 1:
        return size
    return min(size, STEP * round((start + (1 - start) * grown) * size / STEP))


def shrink(images: Tensor, side: int) -> Tensor:
    """(n, 3, side, side) float32 of (n, 3, size, size), bilinear with antialiasing; the images
    themselves where nothing changes.
    """
    return (
        images
        if images.shape[-1] == side
        else F.interpolate(
            images, (side, side), mode="bilinear", antialias=True, align_corners=False
        )
    )
