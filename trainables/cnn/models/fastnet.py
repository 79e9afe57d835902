"""FastNet: a net made to train fast on small images, in the spirit of the CIFAR-10 speed records
(Jordan, 2024).
"""

from __future__ import annotations

from itertools import pairwise

import torch
from torch import Tensor, nn

from trainables.cnn.models.blocks import (
    DropoutPlace,
    GlobalMaxPool,
    classifier,
    head_rate,
    scaled,
    stage_rate,
    with_channel_dropout,
)

SCALE = 1 / 9
"""Of the scores: keeps the softmax soft in the first steps, where the learning rate is high."""

WHITENED_PIXELS = 5000 * 32 * 32
"""Of images whose patches are in memory at once: about 0.5 GB of float64 numbers."""


def _convolution(before: int, after: int, *, pool: bool) -> list[nn.Module]:
    """3×3 convolution, pooling before the normalisation (a quarter of its work), batch norm,
    ReLU.
    """
    layers: list[nn.Module] = [nn.Conv2d(before, after, 3, padding=1, bias=False)]
    layers += [nn.MaxPool2d(2)] if pool else []
    return [*layers, nn.BatchNorm2d(after), nn.ReLU(inplace=True)]


class Block(nn.Module):
    """One convolution with pooling, then ``convolutions - 1`` more, with a shortcut around
    these.
    """

    def __init__(self, before: int, after: int, convolutions: int) -> None:
        super().__init__()
        self.down = nn.Sequential(*_convolution(before, after, pool=True))
        self.rest = nn.Sequential(
            *(
                layer
                for _ in range(convolutions - 1)
                for layer in _convolution(after, after, pool=False)
            )
        )

    def forward(self, images: Tensor) -> Tensor:
        """(n, after, height / 2, width / 2) features of (n, before, height, width)."""
        out = self.down(images)
        return out + self.rest(out)


class FastNet(nn.Module):
    """A 2×2 stem and three blocks that halve the image, then the largest of what is left and a
    linear layer.

    Args:
        fastnet_convolutions: in each block, 2 or 3.
        whiten: the stem's filters are made by ``whiten_stem`` from training images and stay as they
            are.
    """

    def __init__(
        self,
        classes: int = 10,
        size: int = 32,
        *,
        width: float = 1.0,
        fastnet_convolutions: int = 2,
        whiten: bool = True,
        dropout: float = 0.0,
        dropout_place: DropoutPlace = "none",
    ) -> None:
        super().__init__()
        channels = [24, scaled(48, width), scaled(128, width), scaled(384, width)]
        self.stem = nn.Sequential(nn.Conv2d(3, channels[0], 2), nn.ReLU(inplace=True))
        self.whiten = whiten
        if whiten:
            self.stem[0].weight.requires_grad_(False)
        rate = stage_rate(dropout, dropout_place)
        blocks = (
            Block(before, after, fastnet_convolutions) for before, after in pairwise(channels)
        )
        self.blocks = nn.Sequential(*(with_channel_dropout(block, rate) for block in blocks))
        self.pool = GlobalMaxPool()
        self.fc = classifier(channels[-1], classes, head_rate(dropout, dropout_place))

    def forward(self, images: Tensor) -> Tensor:
        """(n, classes) scores of (n, 3, size, size) images."""
        return self.fc(self.pool(self.blocks(self.stem(images))).flatten(1)) * SCALE

    @torch.no_grad()
    def whiten_stem(self, images: Tensor) -> None:
        """Make the stem's filters the eigenvectors of 2×2 patches, scaled to unit variance, and
        their negatives.

        Args:
            images: (n, 3, size, size) float, normalised as in training.
        """
        sums, count = images.new_zeros(12, 12, dtype=torch.float64), 0
        for part in torch.split(images, max(1, WHITENED_PIXELS // images[0, 0].numel())):
            patches = nn.functional.unfold(part, 2).transpose(1, 2).reshape(-1, 12).double()
            sums, count = sums + patches.T @ patches, count + len(patches)
        covariance = sums / count
        values, vectors = torch.linalg.eigh(covariance.cpu())
        filters = (vectors.T / torch.sqrt(values + 5e-4)[:, None]).flip(0).reshape(12, 3, 2, 2)
        convolution = self.stem[0]
        assert isinstance(convolution, nn.Conv2d)
        convolution.weight.copy_(torch.cat([filters, -filters]))
