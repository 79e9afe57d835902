"""What a network takes, known before it is trained; nothing is allocated."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.autograd.graph import saved_tensors_hooks
from torch.utils.flop_counter import FlopCounterMode

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


def training_costs(config: CnnConfig, classes: int, size: int) -> dict[str, float]:
    """``gmacs``: multiplications of one image forward, in thousands of millions; ``training_mb``:
    memory of a training in float32, without its images, MiB: what a step keeps for its gradients,
    and weights, gradients, and what the optimiser and an average remember of them.
    """
    with torch.device("meta"):
        net = build(config.model, classes, size, config.tweaks()).train()
        kept: dict[int, Tensor] = {}

        def keep(tensor: Tensor) -> Tensor:
            kept[tensor.untyped_storage()._cdata] = tensor
            return tensor

        images = torch.zeros(2, 3, size, size)
        counted = FlopCounterMode(display=False)
        with saved_tensors_hooks(keep, lambda tensor: tensor), counted:
            net(images).sum()
    weights = {parameter.untyped_storage()._cdata for parameter in net.parameters()}
    a_batch = sum(
        tensor.untyped_storage().nbytes() for key, tensor in kept.items() if key not in weights
    )
    copies = 2 + (1 if config.optimizer == "sgd" else 2) + bool(config.ema)
    own = 4 * copies * sum(parameter.numel() for parameter in net.parameters())
    return {
        "gmacs": counted.get_total_flops() / 4e9,
        "training_mb": (a_batch * config.batch_size / len(images) + own) / MIB,
    }


def check_size(config: CnnConfig, classes: int, size: int, most: float | None) -> None:
    """Refuse a network of over ``most`` MiB, if that is not None.

    Raises:
        ModelTooLarge: naming both.
    """
    if most is not None and (found := model_size_mb(config, classes, size)) > most:
        raise ModelTooLarge(
            f"{config.model} has {found:.2f} MiB, but max_model_mb is {most:g}; lower its width"
        )
