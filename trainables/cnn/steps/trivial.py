"""TrivialAugment (Müller & Hutter, 2021): one of fourteen changes for each image, of any strength.

Each change is done to all images of a batch that drew it, at once and on their device, each at its
own strength; torchvision draws one change and one strength a batch.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor
from torchvision.transforms.v2 import functional as V  # noqa: N812

SHEAR, SHIFT, TURN = 0.99, 32 / 224, math.radians(135.0)
"""The strongest shear, shift as a share of the side (that of the paper, at 224 pixels), and
turn.
"""
FILL = 128.0
"""What comes in from outside: grey."""
BLUR = ((1.0, 1.0, 1.0), (1.0, 5.0, 1.0), (1.0, 1.0, 1.0))
"""By which Pillow smooths, over 13."""


def trivial_augment(images: Tensor, generator: torch.Generator) -> Tensor:
    """(n, 3, size, size) float32 in 0..255, each image changed in one way."""
    n, device = len(images), images.device
    drawn = torch.randint(len(CHANGES), (n,), generator=generator, device=device).tolist()
    strength = torch.rand(n, generator=generator, device=device)
    sign = torch.randint(0, 2, (n,), generator=generator, device=device) * 2.0 - 1
    out = images.clone()
    for number, change in enumerate(CHANGES):
        rows = [row for row, which in enumerate(drawn) if which == number]
        if rows:
            out[rows] = change(images[rows], strength[rows], sign[rows])
    return out.clamp_(0, 255)


Change = Callable[[Tensor, Tensor, Tensor], Tensor]
"""Of images, (m,) strengths in 0..1 and (m,) signs."""


def _moved(kind: str) -> Change:
    def change(images: Tensor, strength: Tensor, sign: Tensor) -> Tensor:
        much = strength * sign
        matrices = torch.eye(2, 3, device=images.device).repeat(len(images), 1, 1)
        if kind == "turn":
            cos, sin = (much * TURN).cos(), (much * TURN).sin()
            matrices[:, 0, 0], matrices[:, 0, 1] = cos, -sin
            matrices[:, 1, 0], matrices[:, 1, 1] = sin, cos
        else:
            row, column = {"shear x": (0, 1), "shear y": (1, 0)}.get(
                kind, (0 if kind == "shift x" else 1, 2)
            )
            matrices[:, row, column] = much * (SHEAR if column < 2 else 2 * SHIFT)
        grid = F.affine_grid(matrices, list(images.shape), align_corners=False)
        return F.grid_sample(images - FILL, grid, align_corners=False) + FILL

    return change


def _mixed_with(other: Callable[[Tensor], Tensor]) -> Change:
    """From the image away to ``other`` of it, or as far beyond itself."""

    def change(images: Tensor, strength: Tensor, sign: Tensor) -> Tensor:
        factor = (1 + 0.99 * strength * sign)[:, None, None, None]
        return torch.lerp(other(images), images, factor)

    return change


def _grey(images: Tensor) -> Tensor:
    return V.rgb_to_grayscale(images, num_output_channels=3)


def _mean_grey(images: Tensor) -> Tensor:
    return _grey(images).mean((1, 2, 3), keepdim=True)


def _smooth(images: Tensor) -> Tensor:
    """Smoothed inside; the border as it is."""
    kernel = torch.tensor(BLUR, device=images.device).expand(3, 1, 3, 3) / 13
    inside = F.conv2d(images, kernel, groups=3)
    out = images.clone()
    out[:, :, 1:-1, 1:-1] = inside
    return out


def _posterize(images: Tensor, strength: Tensor, sign: Tensor) -> Tensor:
    step = 2.0 ** (6 * strength).round()[:, None, None, None]  # 8 bits to 2
    return (images / step).floor() * step


def _solarize(images: Tensor, strength: Tensor, sign: Tensor) -> Tensor:
    threshold = (255 * (1 - strength))[:, None, None, None]
    return torch.where(images >= threshold, 255 - images, images)


def _stretched(images: Tensor, strength: Tensor, sign: Tensor) -> Tensor:
    return V.autocontrast(_bytes(images)).float()


def _equalized(images: Tensor, strength: Tensor, sign: Tensor) -> Tensor:
    return V.equalize(_bytes(images)).float()


def _bytes(images: Tensor) -> Tensor:
    return images.round().clamp(0, 255).to(torch.uint8)


def _same(images: Tensor, strength: Tensor, sign: Tensor) -> Tensor:
    return images


CHANGES: tuple[Change, ...] = (
    _same,
    *(_moved(kind) for kind in ("shear x", "shear y", "shift x", "shift y", "turn")),
    _mixed_with(torch.zeros_like),
    _mixed_with(_grey),
    _mixed_with(_mean_grey),
    _mixed_with(_smooth),
    _posterize,
    _solarize,
    _stretched,
    _equalized,
)
"""Brightness, colour, contrast and sharpness are the four that mix."""
