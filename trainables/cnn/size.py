"""What a network takes, known before it is trained; nothing is allocated."""

from __future__ import annotations

import torch

from spaces import CnnConfig
from spaces.errors import UserError
from trainables.cnn.layers import MIB
from trainables.cnn.models import build


class ModelTooLarge(UserError):  # noqa: N818 (a refusal, not a fault)
    """A network over the size limit, never trained."""


def model_size_mb(config: CnnConfig, classes: int, size: int) -> float:
    """Size of the configuration's network as float32, MiB."""
    with torch.device("meta"):
        net = build(config.model, classes, size, config.tweaks())
    return sum(parameter.numel() for parameter in net.parameters()) * 4 / MIB


def check_size(config: CnnConfig, classes: int, size: int, most: float | None) -> None:
    """Refuse a network of over ``most`` MiB, if that is not None.

    Raises:
        ModelTooLarge: naming both.
    """
    if most is not None and (found := model_size_mb(config, classes, size)) > most:
        raise ModelTooLarge(
            f"{config.model} has {found:.2f} MiB, but max_model_mb is {most:g}; lower its width"
        )
