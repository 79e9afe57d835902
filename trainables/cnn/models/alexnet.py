"""AlexNet (Krizhevsky et al., 2012) for small images: its 11×11/4 first layer would leave nothing
of 32 pixels.
"""

from __future__ import annotations

from itertools import pairwise

from torch import Tensor, nn

from trainables.cnn.models.blocks import DropoutPlace, head_rate, scaled, stage_rate


class AlexNet(nn.Module):
    """Five convolutions (the first 3×3 with stride 2) and three linear layers, built for the input
    size.
    """

    def __init__(
        self,
        classes: int = 10,
        size: int = 32,
        *,
        width: float = 1.0,
        dropout: float = 0.5,
        dropout_place: DropoutPlace = "head",
    ) -> None:
        super().__init__()
        channels = [3, *(scaled(n, width) for n in (64, 192, 384, 256, 256))]
        hidden, side = scaled(4096, width), size // 16
        rate, head = stage_rate(dropout, dropout_place), head_rate(dropout, dropout_place)
        layers: list[nn.Module] = []
        for place, (before, after) in enumerate(pairwise(channels)):
            layers += [
                nn.Conv2d(before, after, 3, stride=2 if place == 0 else 1, padding=1),
                nn.ReLU(inplace=True),
            ]
            if place in (0, 1, 4):
                layers.append(nn.MaxPool2d(2))
                layers += [nn.Dropout2d(rate)] if rate else []
        self.features = nn.Sequential(*layers)
        self.classifier = nn.Sequential(
            nn.Flatten(),
            *([nn.Dropout(head)] if head else []),
            nn.Linear(channels[-1] * side * side, hidden),
            nn.ReLU(inplace=True),
            *([nn.Dropout(head)] if head else []),
            nn.Linear(hidden, hidden),
            nn.ReLU(inplace=True),
            nn.Linear(hidden, classes),
        )

    def forward(self, images: Tensor) -> Tensor:
        """(n, classes) scores of (n, 3, size, size) images."""
        return self.classifier(self.features(images))
