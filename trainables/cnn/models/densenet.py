"""DenseNet (Huang et al., 2017): torchvision's, with a stem for small images."""

from __future__ import annotations

from torch import Tensor, nn
from torchvision import models as tv

from trainables.cnn.models.blocks import (
    DropoutPlace,
    Stem,
    classifier,
    head_rate,
    stage_rate,
    stem_convolution,
    stem_pool,
)

BLOCKS = {53: (4, 6, 8, 6), 89: (6, 8, 16, 12), 121: (6, 12, 24, 16), 169: (6, 12, 32, 32)}
"""Dense layers in each block by depth (convolutions and the classifier); the last two are the
paper's.
"""


class DenseNet(nn.Module):
    """torchvision's DenseNet; dropout in the stages is its own, after every dense layer, as in the
    paper.

    Args:
        densenet_depth: layers in all, one of ``BLOCKS``.
        densenet_growth: channels that each dense layer adds.
    """

    def __init__(
        self,
        classes: int = 10,
        size: int = 32,
        *,
        stem: Stem = "3x3",
        stem_padding: int = 1,
        densenet_depth: int = 121,
        densenet_growth: int = 32,
        dropout: float = 0.0,
        dropout_place: DropoutPlace = "none",
    ) -> None:
        super().__init__()
        net = tv.DenseNet(
            growth_rate=densenet_growth,
            block_config=BLOCKS[densenet_depth],
            num_init_features=2 * densenet_growth,
            drop_rate=stage_rate(dropout, dropout_place),
            num_classes=classes,
        )
        net.features.conv0 = stem_convolution(2 * densenet_growth, stem, stem_padding)
        nn.init.kaiming_normal_(net.features.conv0.weight)
        net.features.pool0 = stem_pool(stem)
        net.classifier = classifier(
            net.classifier.in_features, classes, head_rate(dropout, dropout_place)
        )
        self.densenet = net

    def forward(self, images: Tensor) -> Tensor:
        """(n, classes) scores of (n, 3, size, size) images."""
        return self.densenet(images)
