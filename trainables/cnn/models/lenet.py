"""LeNet-5 (LeCun et al., 1998), with ReLU and max-pooling as it is built today."""

from __future__ import annotations

from torch import Tensor, nn

from trainables.cnn.models.blocks import (
    DropoutPlace,
    classifier,
    head_rate,
    scaled,
    stage_rate,
    with_channel_dropout,
)


class LeNet(nn.Module):
    """Two 5×5 convolutions and three linear layers, the first as wide as the input size needs."""

    def __init__(
        self,
        classes: int = 10,
        size: int = 32,
        *,
        width: float = 1.0,
        dropout: float = 0.0,
        dropout_place: DropoutPlace = "none",
    ) -> None:
        super().__init__()
        channels = [scaled(6, width), scaled(16, width)]
        hidden = [scaled(120, width), scaled(84, width)]
        rate, side = stage_rate(dropout, dropout_place), ((size - 4) // 2 - 4) // 2
        first = nn.Sequential(nn.Conv2d(3, channels[0], 5), nn.ReLU(inplace=True), nn.MaxPool2d(2))
        second = nn.Sequential(
            nn.Conv2d(channels[0], channels[1], 5), nn.ReLU(inplace=True), nn.MaxPool2d(2)
        )
        self.features = nn.Sequential(
            with_channel_dropout(first, rate), with_channel_dropout(second, rate)
        )
        self.hidden = nn.Sequential(
            nn.Flatten(),
            nn.Linear(channels[1] * side * side, hidden[0]),
            nn.ReLU(inplace=True),
            nn.Linear(hidden[0], hidden[1]),
            nn.ReLU(inplace=True),
        )
        self.fc = classifier(hidden[1], classes, head_rate(dropout, dropout_place))

    def forward(self, images: Tensor) -> Tensor:
        """(n, classes) scores of (n, 3, size, size) images."""
        return self.fc(self.hidden(self.features(images)))
