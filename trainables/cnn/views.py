"""Test-time augmentation: an image judged by the mean score over several views of it (Krizhevsky et
al., 2012).
"""

from __future__ import annotations

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor, nn


def mean_over_views(net: nn.Module, images: Tensor, flip: bool, shift: int) -> Tensor:
    """(n, classes) float32 for (n, 3, size, size) normalised images.

    Args:
        flip: each view counts as the mean over itself and its mirror image.
        shift: the image makes one half, and it moved by so many pixels down and right, and up and
            left, a quarter each; what comes in mirrors what stands at the edge. 0: the image alone.
    """

    def seen(view: Tensor) -> Tensor:
        scores: Tensor = net(view).float()
        return (scores + net(view.flip(3)).float()) / 2 if flip else scores

    scores = seen(images)
    if shift:
        size, padded = images.shape[-1], F.pad(images, (shift,) * 4, mode="reflect")
        first, second = (seen(_cut(padded, at, size)) for at in (0, 2 * shift))
        scores = scores / 2 + (first + second) / 4
    return scores


def _cut(images: Tensor, at: int, size: int) -> Tensor:
    return images[..., at : at + size, at : at + size].contiguous(memory_format=torch.channels_last)
