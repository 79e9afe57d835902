"""What features of a pretrained network cost: measured on one batch, with any weights."""

from __future__ import annotations

import time
from dataclasses import dataclass

import numpy as np

from trainables.data.dataset import Images
from trainables.embedding.features import BATCH, features_of, seeing
from trainables.pretrained.facts import Weights
from trainables.pretrained.network import at_side, own_side, shape_of
from trainables.pretrained.weights import architecture_of


@dataclass(frozen=True)
class Cost:
    """What it takes to have an image seen once by a network.

    Attributes:
        architecture: timm's name of it.
        side: of the square that it sees, pixels.
        parameters: without the classifier; ``mib`` of them in float32.
        widths: features by layer and pooling.
        seconds: an image, on one core.
    """

    architecture: str
    side: int
    parameters: int
    widths: dict[str, int]
    seconds: float

    @property
    def mib(self) -> float:
        return self.parameters * 4 / 2**20

    @property
    def bytes(self) -> int:
        """Of an image's features."""
        return 4 * sum(self.widths.values())


def cost(name: str, side: int | None = None) -> Cost:
    """What the backbone called ``name`` costs; its weights are not needed.

    Args:
        side: the network's own if None.

    Raises:
        BackboneError: if there is none, or it gives no features of such images.
    """
    import timm

    architecture, half = architecture_of(name), (0.5, 0.5, 0.5)
    side = side or own_side(shape_of(architecture, 0))
    net = at_side(timm.create_model(architecture, num_classes=0).eval(), side)
    weights = Weights(architecture, architecture, "0" * 64, half, half)
    images = Images.from_arrays([np.zeros((side, side, 3), np.uint8)] * BATCH)
    with seeing():
        # the first batch takes longer
        features_of(net, weights, images[:1], side, "squash", False, False)
        began = time.perf_counter()
        found = features_of(net, weights, images, side, "squash", False, False)
        seconds = (time.perf_counter() - began) / BATCH
    parameters = sum(parameter.numel() for parameter in net.parameters())
    widths = {name: part.shape[1] for name, part in found.items()}
    return Cost(architecture, side, parameters, widths, seconds)
