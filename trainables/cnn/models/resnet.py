"""ResNet-18 (He et al., 2016): torchvision's, with a stem for small images."""

from __future__ import annotations

from torch import Tensor, nn
from torchvision import models as tv
from torchvision.models.resnet import BasicBlock

from trainables.cnn.models.blocks import (
    DropoutPlace,
    Stem,
    classifier,
    head_rate,
    scaled,
    stage_rate,
    stem_convolution,
    stem_pool,
    with_channel_dropout,
)


class ResNet18(nn.Module):
    """torchvision's ResNet-18 behind the report's stem: 3×3 with stride 1, no max-pooling, and its
    odd padding of 3.
    """

    def __init__(
        self,
        classes: int = 10,
        size: int = 32,
        *,
        width: float = 1.0,
        stem: Stem = "3x3",
        stem_padding: int = 3,
        dropout: float = 0.0,
        dropout_place: DropoutPlace = "none",
    ) -> None:
        super().__init__()
        net = tv.ResNet(BasicBlock, [2, 2, 2, 2], num_classes=classes)
        if width != 1:  # torchvision's own width is for bottleneck blocks alone
            net.inplanes = scaled(64, width)
            net.bn1 = nn.BatchNorm2d(net.inplanes)
            for stage in range(4):
                layer = net._make_layer(
                    BasicBlock, scaled(64 << stage, width), 2, stride=1 if stage == 0 else 2
                )
                net.add_module(f"layer{stage + 1}", layer)
        net.conv1 = stem_convolution(net.bn1.num_features, stem, stem_padding)
        net.maxpool = stem_pool(stem)
        for name in ("layer1", "layer2", "layer3", "layer4"):
            net.add_module(
                name, with_channel_dropout(getattr(net, name), stage_rate(dropout, dropout_place))
            )
        net.fc = classifier(scaled(512, width), classes, head_rate(dropout, dropout_place))
        for module in net.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
        self.resnet = net

    def forward(self, images: Tensor) -> Tensor:
        """(n, classes) scores of (n, 3, size, size) images."""
        return self.resnet(images)
