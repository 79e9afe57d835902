"""What several of the networks share: scaled widths, stems, and where dropout goes."""

from __future__ import annotations

from typing import Literal

from torch import Tensor, nn

Stem = Literal["3x3", "7x7"]
DropoutPlace = Literal["none", "head", "stages", "both"]


def scaled(channels: int, width: float) -> int:
    """``channels`` times ``width``, rounded to a multiple of 8 (unchanged at width 1), at least
    8.
    """
    return channels if width == 1 else max(8, round(channels * width / 8) * 8)


def stem_convolution(channels: int, stem: Stem, padding: int, *, bias: bool = False) -> nn.Conv2d:
    """The first convolution: 7×7 with stride 2 and padding 3, or 3×3 with stride 1 and ``padding``
    pixels.
    """
    if stem == "7x7":
        return nn.Conv2d(3, channels, 7, stride=2, padding=3, bias=bias)
    return nn.Conv2d(3, channels, 3, stride=1, padding=padding, bias=bias)


def stem_pool(stem: Stem) -> nn.Module:
    """The pooling after a 7×7 stem; nothing after a 3×3 one, which keeps small images whole."""
    return nn.MaxPool2d(3, stride=2, padding=1) if stem == "7x7" else nn.Identity()


class GlobalMaxPool(nn.Module):
    """The largest of each channel: as ``AdaptiveMaxPool2d(1)``, to the bit, but with a backward
    pass that is deterministic on CUDA too.
    """

    def forward(self, images: Tensor) -> Tensor:
        """(n, channels, 1, 1) of (n, channels, height, width)."""
        return images.flatten(2).max(2).values[:, :, None, None]


def head_rate(dropout: float, place: DropoutPlace) -> float:
    """The rate of dropout before the classifier."""
    return dropout if place in ("head", "both") else 0.0


def stage_rate(dropout: float, place: DropoutPlace) -> float:
    """The rate of channel dropout (Tompson et al., 2015) after each stage of convolutions."""
    return dropout if place in ("stages", "both") else 0.0


def classifier(features: int, classes: int, rate: float) -> nn.Module:
    """A linear layer, with dropout (Srivastava et al., 2014) before it where ``rate`` is not 0."""
    linear = nn.Linear(features, classes)
    return nn.Sequential(nn.Dropout(rate), linear) if rate else linear


def with_channel_dropout(stage: nn.Module, rate: float) -> nn.Module:
    """``stage`` followed by channel dropout; itself where ``rate`` is 0."""
    if not rate:
        return stage
    layers = list(stage) if isinstance(stage, nn.Sequential) else [stage]
    return nn.Sequential(*layers, nn.Dropout2d(rate))
