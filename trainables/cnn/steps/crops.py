"""A part of each image at the whole size, drawn anew for every image of a batch, on its device.

torchvision draws one part a batch.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor

RATIO = 4 / 3
"""Width to height of a part, at most, and at least its inverse (Szegedy et al., 2014)."""


def resized_crop(images: Tensor, generator: torch.Generator, *, crop_area: float) -> Tensor:
    """(n, 3, size, size) float32 in 0..255: of each image a part of ``crop_area`` to all of its
    area, anywhere in it, its sides in a proportion of 3:4 to 4:3; bilinear.
    """
    n, device = len(images), images.device
    area, ratio, down, across = torch.rand((4, n), generator=generator, device=device)
    area = crop_area + (1 - crop_area) * area
    root = torch.exp((2 * ratio - 1) * math.log(RATIO) / 2)
    width, height = ((area.sqrt() * side).clamp(max=1.0) for side in (root, 1 / root))
    # places are counted from -1 to 1
    zero = torch.zeros_like(width)
    rows = (
        torch.stack([width, zero, (2 * across - 1) * (1 - width)], dim=1),
        torch.stack([zero, height, (2 * down - 1) * (1 - height)], dim=1),
    )
    grid = F.affine_grid(torch.stack(rows, dim=1), list(images.shape), align_corners=False)
    return F.grid_sample(images, grid, padding_mode="reflection", align_corners=False)
