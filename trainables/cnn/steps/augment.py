"""Augmentation of whole batches, drawn anew for every image, as pure functions on the images'
device.

Flip, rotation and shift are one resampling with our own matrices: one pass over the pixels, where
kornia's three transforms make three (669 against 76 µs an image here, and 286 for torchvision's
image by image; see docs/decisions.md).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any, Protocol

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor

from spaces.errors import UserError
from spaces.kinds import function_of
from spaces.ours.cnn import AUGMENTATIONS, CnnConfig
from trainables.cnn.steps.randomness import numbers
from trainables.cnn.steps.resolution import shrink

Augment = tuple[str, Callable[[Tensor, torch.Generator], Tensor]]


class Normalising(Protocol):
    """Knows the mean and deviation of images."""

    def normalise(self, images: Tensor) -> Tensor: ...


def augment(
    images: Tensor,
    mirrored: Tensor,
    config: CnnConfig,
    data: Normalising,
    generator: torch.Generator,
    side: int,
    added: Sequence[Augment] = (),
) -> Tensor:
    """(n, 3, side, side) float32, normalised, channels last, from (n, 3, size, size) uint8; the
    batch itself is untouched.

    Args:
        mirrored: (n,) bool, which of the images to mirror.
        added: what is done beside, as ``added_by_plugins`` gives it.

    Raises:
        UserError: if one of these gives no images of that shape.
    """
    if config.rotation:
        out = rotate_shift_flip(images.float(), config.rotation, config.crop, mirrored, generator)
    else:
        out = shift_flip(images, config.crop, mirrored, generator).float()
    if config.jitter:
        out = jitter(out, config.jitter, generator)
    for name, change in added:
        before: torch.Size = out.shape
        out = change(out, generator)
        if not isinstance(out, Tensor) or out.shape != before or out.dtype != torch.float32:
            raise UserError(
                f"augmentation {name} must give float32 images of shape {tuple(before)}, as it was "
                f"given, but gave {getattr(out, 'dtype', type(out).__name__)} of shape "
                f"{tuple(getattr(out, 'shape', ()))}"
            )
    out = data.normalise(out)
    if config.cutout:
        out = cutout(out, config.cutout, generator)
    out = shrink(out, side)
    return out.contiguous(memory_format=torch.channels_last)


def added_by_plugins(config: CnnConfig) -> tuple[Augment, ...]:
    """The augmentations beside ours that a configuration asks for, by name."""
    return tuple(
        (name, partial(_with_generator, function_of(kind.function), config.own(kind)))
        for name, kind in AUGMENTATIONS.items()
        if getattr(config, name, False)
    )


def _with_generator(
    function: Callable[..., Tensor],
    values: Mapping[str, Any],
    images: Tensor,
    generator: torch.Generator,
) -> Tensor:
    return function(images, generator, **values)


def mirrored_in(epoch: int, count: int, share: float, seed: int) -> Tensor:
    """(count,) bool: which of a training's images are mirrored in ``epoch``.

    Each image is in ``share`` of the epochs, spread evenly; which, is drawn once, from ``seed``.
    With one half it is in every second epoch (Jordan, 2024), so that two epochs show every image
    both ways, which chance does to half of them.
    """
    phase = torch.rand(count, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))
    return (phase + epoch * share) % 1 < share


def uniform(count: int, low: float, high: float, generator: torch.Generator) -> Tensor:
    """(count,) float32 in ``low``..``high`` on the generator's device."""
    return torch.rand(count, generator=generator, device=generator.device) * (high - low) + low


def shift_flip(images: Tensor, most: int, mirrored: Tensor, generator: torch.Generator) -> Tensor:
    """Images shifted by whole pixels, up to ``most`` either way on each axis, those ``mirrored``
    also flipped; same dtype.

    What is shifted in mirrors what stands at the edge. Pixels are copied, none is interpolated.
    """
    n, size = len(images), images.shape[-1]
    steps = torch.arange(size, device=images.device)
    shifts = torch.randint(-most, most + 1, (2, n, 1), generator=generator, device=generator.device)
    rows, columns = _reflect(steps + shifts[0], size), _reflect(steps + shifts[1], size)
    columns = torch.where(mirrored[:, None], columns.flip(1), columns)
    places = (
        (rows[:, :, None] * size + columns[:, None, :]).view(n, 1, size * size).expand(n, 3, -1)
    )
    return images.flatten(2).gather(2, places).view_as(images)


def _reflect(index: Tensor, size: int) -> Tensor:
    """Indices outside 0..size - 1 mirrored at the edge pixels."""
    index = index.abs() % (2 * size - 2)
    return torch.minimum(index, 2 * size - 2 - index)


def rotate_shift_flip(
    images: Tensor, degrees: float, most: int, mirrored: Tensor, generator: torch.Generator
) -> Tensor:
    """Float images turned by up to ``degrees`` either way, shifted by up to ``most`` whole pixels,
    those ``mirrored`` flipped.

    One bilinear resampling; what comes in from outside mirrors what stands at the edge.
    """
    n, size = len(images), images.shape[-1]
    angle = uniform(n, -math.radians(degrees), math.radians(degrees), generator)
    shifts = torch.randint(
        -most, most + 1, (2, n), generator=generator, device=generator.device
    ) * (2 / size)
    sign = torch.where(mirrored, -1.0, 1.0)
    cos, sin = angle.cos(), angle.sin()
    matrices = torch.stack([cos * sign, -sin, shifts[0], sin * sign, cos, shifts[1]], dim=1).view(
        n, 2, 3
    )
    grid = F.affine_grid(matrices, list(images.shape), align_corners=False)
    return F.grid_sample(images, grid, padding_mode="reflection", align_corners=False)


def jitter(images: Tensor, strength: float, generator: torch.Generator) -> Tensor:
    """Float images in 0..255 whose brightness, contrast and saturation are each multiplied by 1 ±
    ``strength``.
    """
    brightness, contrast, saturation = uniform(
        3 * len(images), 1 - strength, 1 + strength, generator
    ).view(3, -1, 1, 1, 1)
    out = images * brightness
    mean = out.mean(dim=(1, 2, 3), keepdim=True)
    out = torch.lerp(mean, out, contrast)
    grey = out.mean(dim=1, keepdim=True)
    return torch.lerp(grey, out, saturation).clamp_(0, 255)


def cutout(images: Tensor, side: int, generator: torch.Generator) -> Tensor:
    """Normalised images with a square of ``side`` pixels, centred anywhere in each, set to 0
    (DeVries & Taylor, 2017).
    """
    n, size = len(images), images.shape[-1]
    centres = torch.randint(0, size, (2, n, 1), generator=generator, device=generator.device)
    offset = torch.arange(size, device=images.device) - centres + side // 2
    inside = (offset >= 0) & (offset < side)
    return images.masked_fill((inside[0][:, :, None] & inside[1][:, None, :])[:, None], 0.0)


def mixed(
    images: Tensor,
    labels: Tensor,
    config: CnnConfig,
    generator: torch.Generator,
    host: torch.Generator | None = None,
) -> tuple[Tensor, Tensor, float]:
    """A batch mixed with itself as the configuration says.

    Args:
        host: draws what Python decides by, so that nobody waits for the images' device; on a CPU
            it is ``generator``.

    Returns:
        the images, the (n,) labels of the second images, and the share of the first; 1 where
        nothing is mixed.
    """
    host = host or generator
    if config.cutmix and numbers(1, host)[0] < config.cutmix:
        return cutmix(images, labels, generator, host)
    if config.mixup:
        return mixup(images, labels, config.mixup, generator, host)
    return images, labels, 1.0


def cutmix(
    images: Tensor, labels: Tensor, generator: torch.Generator, host: torch.Generator | None = None
) -> tuple[Tensor, Tensor, float]:
    """Images with a box from a permutation of themselves (Yun et al., 2019): its area evenly drawn,
    its centre anywhere.

    Returns:
        as ``mixed``; the share is what the box, which the edge may cut, leaves of the first image.
    """
    area, down, across = numbers(3, host or generator)
    height, width = images.shape[-2:]
    half = math.sqrt(area) / 2
    top, bottom = (round(height * min(max(down + d, 0.0), 1.0)) for d in (-half, half))
    left, right = (round(width * min(max(across + d, 0.0), 1.0)) for d in (-half, half))
    partner = torch.randperm(len(images), generator=generator, device=generator.device)
    out = images.clone()
    out[:, :, top:bottom, left:right] = images[partner, :, top:bottom, left:right]
    return out, labels[partner], 1 - (bottom - top) * (right - left) / (height * width)


def mixup(
    images: Tensor,
    labels: Tensor,
    alpha: float,
    generator: torch.Generator,
    host: torch.Generator | None = None,
) -> tuple[Tensor, Tensor, float]:
    """Images mixed with a permutation of themselves (Zhang et al., 2018).

    Returns:
        the mixed images, the (n,) labels of the second images, and the share of the first, at least
        one half.
    """
    share = 0.0
    while not share:  # Jöhnk's method: Beta(alpha, alpha) from two uniform numbers
        first, second = numbers(2, host or generator, 1 / alpha)
        share = first / (first + second) if 0 < first + second <= 1 else 0.0
    share = max(share, 1 - share)
    partner = torch.randperm(len(images), generator=generator, device=generator.device)
    return torch.lerp(images[partner], images, share), labels[partner], share
