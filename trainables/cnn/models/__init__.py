"""The networks by name; each is ``Net(classes, size, **tweaks)`` and takes (n, 3, size, size)
images.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

from torch import nn

from spaces.errors import UserError
from trainables.cnn.models.alexnet import AlexNet
from trainables.cnn.models.densenet import DenseNet
from trainables.cnn.models.fastnet import FastNet
from trainables.cnn.models.googlenet import GoogLeNet, MyNet
from trainables.cnn.models.lenet import LeNet
from trainables.cnn.models.resnet import ResNet18
from trainables.cnn.models.vgg import VGG

MODELS: dict[str, Callable[..., nn.Module]] = {
    "lenet": LeNet,
    "alexnet": AlexNet,
    "vgg16": partial(VGG, "16"),
    "vgg19": partial(VGG, "19"),
    "googlenet": GoogLeNet,
    "densenet": DenseNet,
    "resnet18": ResNet18,
    "mynet": partial(MyNet, stem_convolutions=1, branch3_extra=True, branch3_kernel=3),
    "fastnet": FastNet,
}
MIN_SIZE = 32
"""Pixels: under it the deeper networks pool an image away."""


def build(
    model: str, classes: int, size: int, tweaks: Mapping[str, Any] | None = None
) -> nn.Module:
    """The network ``model`` for images of ``size`` × ``size`` pixels.

    Args:
        tweaks: architecture parameters of the space ``cnn`` that apply to it; the network's own
            defaults for the rest.

    Raises:
        UserError: for an unknown model, a size under ``MIN_SIZE``, or a tweak that the model does
            not have.
    """
    if model not in MODELS:
        raise UserError(f"unknown model {model!r}; the models are {', '.join(MODELS)}")
    if size < MIN_SIZE:
        raise UserError(
            f"{model} needs images of at least {MIN_SIZE} × {MIN_SIZE} pixels, but got {size} × "
            f"{size}; enlarge them"
        )
    if unknown := sorted(set(tweaks or {}) - set(tweak_defaults(model))):
        raise UserError(
            f"{model} has no parameter {', '.join(unknown)}; it has "
            f"{', '.join(tweak_defaults(model))}"
        )
    return MODELS[model](classes, size, **(tweaks or {}))


def tweak_defaults(model: str) -> dict[str, Any]:
    """The architecture parameters of ``model`` and the values they have unless told otherwise."""
    parameters = inspect.signature(MODELS[model]).parameters.values()
    return {p.name: p.default for p in parameters if p.kind is inspect.Parameter.KEYWORD_ONLY}
