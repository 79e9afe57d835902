"""The optimiser of a configuration, its learning rate over a training, its state as tensors, and
the running average of the weights.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel

from spaces.kinds import function_of
from spaces.ours.cnn import LOSSES, CnnConfig
from spaces.ours.network import WEIGHTS
from trainables.cnn.steps.tuning import begins_pretrained, layer_groups

WARM_UP = 0.2
"""Part of the steps in which one-cycle and triangular schedules rise."""


def make_optimizer(net: nn.Module, config: CnnConfig) -> torch.optim.Optimizer:
    """SGD with Nesterov momentum, or AdamW (Loshchilov & Hutter, 2019); weights decay, biases and
    norms do not. Layers of a pretrained network have rates of their own.
    """
    learned = [parameter for parameter in net.parameters() if parameter.requires_grad]
    decay = config.weight_decay if config.optimizer == "sgd" else config.adamw_weight_decay
    groups: list[dict[str, Any]] = [
        {"params": [p for p in learned if p.ndim > 1], "weight_decay": decay},
        {"params": [p for p in learned if p.ndim <= 1], "weight_decay": 0.0},
    ]
    if begins_pretrained(config):
        groups = layer_groups(net, config, decay)
    if config.optimizer == "sgd":
        return torch.optim.SGD(
            groups, lr=0.0, momentum=config.momentum, nesterov=config.momentum > 0, fused=True
        )
    return torch.optim.AdamW(groups, lr=0.0, fused=True)


def peak_learning_rate(config: CnnConfig) -> float:
    """The largest learning rate of the schedule."""
    return config.learning_rate if config.optimizer == "sgd" else config.adamw_learning_rate


def rate_at(config: CnnConfig, progress: float) -> float:
    """The learning rate at ``progress`` (0..1) of all steps."""
    return peak_learning_rate(config) * fraction(config.schedule, progress)


def fraction(schedule: str, progress: float) -> float:
    """The fraction of the largest learning rate at ``progress`` (0..1) of all steps.

    one-cycle rises linearly, then falls as a cosine (Smith & Topin, 2018); cosine only falls
    (Loshchilov & Hutter, 2017); triangular rises and falls linearly.

    Raises:
        ValueError: for another schedule.
    """
    rising = progress < WARM_UP
    left = (progress - WARM_UP) / (1 - WARM_UP)
    if schedule == "one-cycle":
        return progress / WARM_UP if rising else (1 + math.cos(math.pi * left)) / 2
    if schedule == "cosine":
        return (1 + math.cos(math.pi * progress)) / 2
    if schedule == "triangular":
        return progress / WARM_UP if rising else 1 - left
    raise ValueError(f"schedule must be one-cycle, cosine or triangular, but got {schedule!r}")


def optimizer_tensors(optimizer: torch.optim.Optimizer) -> dict[str, Tensor]:
    """``INDEX.NAME`` to tensor, of what the optimiser remembers of each parameter."""
    state = optimizer.state_dict()["state"]
    return {
        f"{index}.{name}": value
        for index, named in state.items()
        for name, value in named.items()
        if isinstance(value, Tensor)
    }


def restore_optimizer(optimizer: torch.optim.Optimizer, tensors: dict[str, Tensor]) -> None:
    """Give ``optimizer`` back what ``optimizer_tensors`` said."""
    state: dict[int, dict[str, Tensor]] = {}
    for key, tensor in tensors.items():
        index, _, name = key.partition(".")
        state.setdefault(int(index), {})[name] = tensor
    optimizer.load_state_dict(
        {"state": state, "param_groups": optimizer.state_dict()["param_groups"]}
    )
    for parameter, named in optimizer.state.items():
        for name, value in named.items():
            if value.shape == parameter.shape:  # the parameter's own memory layout
                named[name] = torch.empty_like(parameter, requires_grad=False).copy_(value)


class Average(AveragedModel):
    """Exponential moving average of parameters and buffers.

    torch's own asks the device twice a step how many steps there have been; this one counts on the
    host. ``n_averaged`` in its state is the same.

    Args:
        most: the share of the past in each step, once the first steps are over.
    """

    def __init__(self, net: nn.Module, most: float) -> None:
        super().__init__(net, use_buffers=True)
        self._most, self._seen = most, 0

    @torch.no_grad()
    def update_parameters(self, model: nn.Module) -> None:
        """Move towards ``model``; in the first steps faster, or the initial weights would
        linger.
        """
        seen, self._seen = self._seen, self._seen + 1
        own, others = _state(self.module), _state(model)
        if not seen:
            torch._foreach_copy_(own, others)
            return
        weight = 1 - min(self._most, (1 + seen) / (10 + seen))
        floating = [tensor.is_floating_point() for tensor in own]
        moved = list(itertools.compress(own, floating))
        torch._foreach_lerp_(moved, list(itertools.compress(others, floating)), weight)
        counts = [not kind for kind in floating]
        if any(counts):
            torch._foreach_copy_(
                list(itertools.compress(own, counts)), list(itertools.compress(others, counts))
            )

    def steps(self) -> int:
        """How many there have been, written into ``n_averaged`` for whoever saves the state."""
        self.n_averaged.fill_(self._seen)
        return self._seen

    def go_on(self, state: Mapping[str, Tensor]) -> None:
        """Load what was saved after ``steps``."""
        self.load_state_dict(state)
        self._seen = int(self.n_averaged)


def _state(net: nn.Module) -> list[Tensor]:
    return [tensor.detach() for tensor in itertools.chain(net.parameters(), net.buffers())]


def loss_of(
    config: CnnConfig, labels: Tensor | None = None, classes: int = 0
) -> Callable[[Tensor, Tensor], Tensor]:
    """What training makes small: the mean over (n, classes) float32 scores and (n,) labels.

    Args:
        labels, classes: of the training images, by which classes are weighed where the
            configuration says so.
    """
    kind = LOSSES[getattr(config, "loss", next(iter(LOSSES)))]
    given = config.own(kind)
    if given.pop(WEIGHTS, "none") == "balanced" and labels is not None:
        given["weight"] = balanced_weights(labels, classes)
    return partial(function_of(kind.function), **given)


def balanced_weights(labels: Tensor, classes: int) -> Tensor:
    """(classes,) float32 with which all classes that there are weigh the same, and the mean image
    1; 0 for a class without images.
    """
    counts = torch.bincount(labels, minlength=classes).float()
    there = counts > 0
    return torch.where(there, len(labels) / (there.sum() * counts.clamp(min=1)), 0.0)


def drawn_order(
    config: CnnConfig, labels: Tensor, classes: int, generator: torch.Generator
) -> Tensor:
    """(n,) int64: the rows of an epoch's images."""
    if config.sampling == "balanced":
        chances = balanced_weights(labels, classes)[labels]
        return chances.multinomial(len(labels), replacement=True, generator=generator)
    return torch.randperm(len(labels), generator=generator, device=labels.device)
