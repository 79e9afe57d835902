"""Networks of timm's, by the name of their weights (which ``trainables.cnn.run`` puts in)."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from torch import Tensor, nn

from spaces.ours.cnn import CnnConfig
from trainables.pretrained.network import read_tensors
from trainables.pretrained.weights import architecture_of, find


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
    """
    import timm  # takes long to import

    net: nn.Module = timm.create_model(
        architecture_of(backbone), pretrained=False, num_classes=classes
    )
    return net


def own_weights(config: CnnConfig) -> dict[str, Tensor]:
    """The weights that the configuration's network begins with.

    Raises:
        BackboneError: if they are missing, damaged, or not those that they are known by.
    """
    return read_tensors(*find(str(getattr(config, "backbone", ""))))


def own_statistics(config: CnnConfig) -> npt.NDArray[np.float64]:
    """(2, 3) mean and deviation of channels, 0..255, by which those weights want images."""
    known, _ = find(str(getattr(config, "backbone", "")))
    return 255 * np.array([known.mean, known.std])
