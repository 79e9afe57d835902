"""VGG-16 and VGG-19 (Simonyan & Zisserman, 2015) with batch normalisation, from torchvision's own
layer lists.
"""

from __future__ import annotations

from functools import partial
from typing import Literal

from torch import Tensor, nn
from torchvision.models.vgg import cfgs, make_layers

from trainables.cnn.models.blocks import DropoutPlace, head_rate, scaled, stage_rate


class VGG(nn.Module):
    """13 or 16 3×3 convolutions, five poolings, three linear layers as wide as the input size
    needs.

    Args:
        vgg_first: channels of the first two convolutions, 64 or (as the report tried) 96.
    """

    def __init__(
        self,
        depth: Literal["16", "19"],
        classes: int = 10,
        size: int = 32,
        *,
        width: float = 1.0,
        vgg_first: int = 64,
        dropout: float = 0.5,
        dropout_place: DropoutPlace = "head",
    ) -> None:
        super().__init__()
        plan = [
            step if isinstance(step, str) else scaled(step, width)
            for step in cfgs[{"16": "D", "19": "E"}[depth]]
        ]
        plan[:2] = [scaled(vgg_first, width)] * 2
        layers = list(make_layers(plan, batch_norm=True))
        rate, head = stage_rate(dropout, dropout_place), head_rate(dropout, dropout_place)
        if rate:
            layers = [
                part
                for layer in layers
                for part in (
                    (layer, nn.Dropout2d(rate)) if isinstance(layer, nn.MaxPool2d) else (layer,)
                )
            ]
        hidden, side = scaled(4096, width), size // 32
        self.features = nn.Sequential(*layers)
        self.classifier = nn.Sequential(
            nn.Flatten(),
            nn.Linear(scaled(512, width) * side * side, hidden),
            nn.ReLU(inplace=True),
            *([nn.Dropout(head)] if head else []),
            nn.Linear(hidden, hidden),
            nn.ReLU(inplace=True),
            *([nn.Dropout(head)] if head else []),
            nn.Linear(hidden, classes),
        )
        for module in self.modules():  # 16 layers deep, PyTorch's own initialisation would fade
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")

    def forward(self, images: Tensor) -> Tensor:
        """(n, classes) scores of (n, 3, size, size) images."""
        return self.classifier(self.features(images))


vgg16, vgg19 = partial(VGG, "16"), partial(VGG, "19")
