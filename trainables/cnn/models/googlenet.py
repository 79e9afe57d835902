"""GoogLeNet (Szegedy et al., 2014), and MyNet, the report's variant of it."""

from __future__ import annotations

import math
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from trainables.cnn.models.blocks import (
    DropoutPlace,
    Stem,
    head_rate,
    scaled,
    stage_rate,
    stem_convolution,
    stem_pool,
    with_channel_dropout,
)

INCEPTIONS = {
    "3a": (64, 96, 128, 16, 32, 32),
    "3b": (128, 128, 192, 32, 96, 64),
    "4a": (192, 96, 208, 16, 48, 64),
    "4b": (160, 112, 224, 24, 64, 64),
    "4c": (128, 128, 256, 24, 64, 64),
    "4d": (112, 144, 288, 32, 64, 64),
    "4e": (256, 160, 320, 32, 128, 128),
    "5a": (256, 160, 320, 32, 128, 128),
    "5b": (384, 192, 384, 48, 128, 128),
}
"""Output channels of each Inception's convolutions, as in Table 1 of the paper."""


class BasicConv2d(nn.Module):
    """A convolution without bias, batch normalisation and ReLU: torchvision's, so that weights of
    its GoogLeNet fit. torchvision itself takes longer to load than describing a network.
    """

    def __init__(self, before: int, after: int, **options: Any) -> None:
        super().__init__()
        self.conv = nn.Conv2d(before, after, bias=False, **options)
        self.bn = nn.BatchNorm2d(after, eps=0.001)

    def forward(self, images: Tensor) -> Tensor:
        return nn.functional.relu(self.bn(self.conv(images)), inplace=True)


class Inception(nn.Module):
    """Four branches side by side; branch 3 may have a kernel of 3 or 5 and one more convolution
    (Inception V2).

    Args:
        channels: of the convolutions, as in ``INCEPTIONS``.
        kernel: of branch 3's convolutions, pixels.
        extra: whether branch 3 has one more.
    """

    def __init__(self, before: int, channels: tuple[int, ...], *, kernel: int, extra: bool) -> None:
        super().__init__()
        first, reduced2, second, reduced3, third, pooled = channels
        self.branch1 = BasicConv2d(before, first, kernel_size=1)
        self.branch2 = nn.Sequential(
            BasicConv2d(before, reduced2, kernel_size=1),
            BasicConv2d(reduced2, second, kernel_size=3, padding=1),
        )
        self.branch3 = nn.Sequential(
            BasicConv2d(before, reduced3, kernel_size=1),
            *(
                BasicConv2d(channels_in, third, kernel_size=kernel, padding=kernel // 2)
                for channels_in in ((reduced3, third) if extra else (reduced3,))
            ),
        )
        self.branch4 = nn.Sequential(
            nn.MaxPool2d(kernel_size=3, stride=1, padding=1),
            BasicConv2d(before, pooled, kernel_size=1),
        )

    def forward(self, images: Tensor) -> Tensor:
        """(n, channels of all branches, height, width) of (n, before, height, width)."""
        branches = (self.branch1, self.branch2, self.branch3, self.branch4)
        return torch.cat([branch(images) for branch in branches], 1)


class GoogLeNet(nn.Module):
    """Nine Inceptions between a stem and a linear layer, without auxiliary classifiers.

    The last pooling covers what is left of the input size (8×8 pixels of 32×32 with a 3×3 stem).

    Args:
        stem: the first convolution; a 7×7 one halves the image and each stem pooling does so again.
        stem_convolutions: 3, as in the paper, or 1, as in the report's MyNet.
        branch3_extra: one more convolution in branch 3 of every Inception.
        branch3_kernel: of branch 3's convolutions, pixels; 5 as in the paper, 3 as in torchvision.
    """

    def __init__(
        self,
        classes: int = 10,
        size: int = 32,
        *,
        width: float = 1.0,
        stem: Stem = "3x3",
        stem_padding: int = 1,
        stem_convolutions: int = 3,
        branch3_extra: bool = False,
        branch3_kernel: int = 5,
        dropout: float = 0.2,
        dropout_place: DropoutPlace = "head",
    ) -> None:
        super().__init__()
        rate, before = stage_rate(dropout, dropout_place), scaled(192, width)
        if stem_convolutions == 1:
            self.conv = nn.Sequential(
                stem_convolution(before, stem, stem_padding, bias=True),
                nn.BatchNorm2d(before),
                nn.ReLU(inplace=True),
            )
            if stem == "7x7":
                self.conv.append(stem_pool(stem))
        else:
            narrow = scaled(64, width)
            first = stem_convolution(narrow, stem, stem_padding)
            self.conv = nn.Sequential(
                BasicConv2d(
                    3,
                    narrow,
                    kernel_size=first.kernel_size,
                    stride=first.stride,
                    padding=first.padding,
                ),
                stem_pool(stem),
                BasicConv2d(narrow, narrow, kernel_size=1),
                BasicConv2d(narrow, before, kernel_size=3, padding=1),
                stem_pool(stem),
            )
        stages = {"3b": "maxpool_3", "4e": "maxpool_4", "5b": None}
        for name, plan in INCEPTIONS.items():
            channels = tuple(scaled(n, width) for n in plan)
            block: nn.Module = Inception(
                before, channels, kernel=branch3_kernel, extra=branch3_extra
            )
            before = channels[0] + channels[2] + channels[4] + channels[5]
            if name in stages:
                block = with_channel_dropout(block, rate)
            self.add_module(f"inception_{name}", block)
            if pool := stages.get(name):
                self.add_module(pool, nn.MaxPool2d(3, stride=2, padding=1))
        side = size + 2 * (stem_padding - 1) if stem == "3x3" else size
        halvings = 2 + (0 if stem == "3x3" else 2 if stem_convolutions == 1 else 3)
        self.avgpool = nn.AvgPool2d(math.ceil(side / 2**halvings), stride=1)
        # Applied here, although the report's own table has no row for it (see layers.py).
        self.dropout = nn.Dropout(head_rate(dropout, dropout_place))
        self.fc = nn.Linear(before, classes)

    def forward(self, images: Tensor) -> Tensor:
        """(n, classes) scores of (n, 3, size, size) images."""
        out = images
        for name, module in self.named_children():
            if name == "dropout":
                out = out.flatten(1)
            out = module(out)
        return out


class MyNet(GoogLeNet):
    """The report's network, by the defaults that ``my_net`` gives it."""


my_net = partial(MyNet, stem_convolutions=1, branch3_extra=True, branch3_kernel=3)
