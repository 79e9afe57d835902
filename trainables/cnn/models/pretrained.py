"""Networks of timm's, by the name of their weights (which ``trainables.cnn.run`` puts in)."""

from __future__ import annotations

from torch import nn

from trainables.pretrained.network import at_side
from trainables.pretrained.weights import architecture_of


def pretrained(
    classes: int = 10,
    size: int = 32,
    *,
    backbone: str = "efficientnet-lite0",
    random_weights: bool = False,
) -> nn.Module:
    """The network of ``backbone`` for these classes and images of this size, with random weights.

    Args:
        random_weights: whether it keeps them; nothing of the network depends on it.

    Raises:
        BackboneError: if there is none of that name, or it sees no images of this size.
    """
    import timm  # takes long to import

    net = timm.create_model(architecture_of(backbone), pretrained=False, num_classes=classes)
    return at_side(net, size)
