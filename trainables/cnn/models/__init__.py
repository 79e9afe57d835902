"""The networks of ``spaces.ours.cnn.NETWORKS``, built; each takes (n, 3, size, size) images."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from typing import Any

from torch import nn

from spaces.errors import UserError
from spaces.kinds import function_of
from spaces.ours.cnn import NETWORKS

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
        UserError: for an unknown model, a size under ``MIN_SIZE``, a tweak that the model does
            not have, or a plug-in's network that is none.
    """
    make = function_of(NETWORKS[model].build)
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
    net = make(classes, size, **(tweaks or {}))
    if not isinstance(net, nn.Module):
        raise UserError(
            f"{model} must be built as a torch.nn.Module, but its build gave {type(net).__name__}"
        )
    return net


def tweak_defaults(model: str) -> dict[str, Any]:
    """The architecture parameters of ``model`` and the values they have unless told otherwise."""
    parameters = inspect.signature(function_of(NETWORKS[model].build)).parameters.values()
    if any(p.kind is inspect.Parameter.VAR_KEYWORD for p in parameters):
        network = NETWORKS[model]
        return dict.fromkeys((*network.takes, *(p.name for p in network.parameters)))
    return {p.name: p.default for p in parameters if p.kind is inspect.Parameter.KEYWORD_ONLY}
