"""Networks with their weights: tensors read from a file as tensors alone, and put into the network
that they belong to.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy.typing as npt

from spaces.errors import on_one_line, shown
from trainables.pretrained.facts import ARCHITECTURE, BackboneError, Weights, quiet
from trainables.pretrained.packaged import BACKBONES
from trainables.pretrained.weights import find_again
from trainables.stages.stage import Stage, code_version

if TYPE_CHECKING:
    from torch import Tensor, nn

Arrays = dict[str, npt.NDArray[Any]]
SIZE = 1 << 26
"""Bytes that weights take, about: they are kept on no disk a second time."""


def weights_stage(weights: Weights, place: Path | str = "") -> Stage:
    """Reads weights; a stage of the search, whose driver reads them for all nodes.

    Args:
        place: of their file; looked for by their name if empty.
    """
    facts = {**weights.content, "name": weights.name}
    return Stage(
        read_arrays,
        {"facts": facts, "place": str(place)},
        content=f"weights {weights.architecture} {weights.sha256} {code_version()}",
        large=SIZE,
    )


def read_arrays(*, facts: dict[str, Any], place: str = "") -> Arrays:
    """The network's tensors by its own names, as arrays; numbers with a point are float32.

    Raises:
        BackboneError: if they are missing, changed, damaged, or of another network.
    """
    weights = Weights(**facts)
    file = Path(place) if place else find_again(weights, "this began")
    return {name: tensor.numpy() for name, tensor in read_tensors(weights, file).items()}


def read_tensors(weights: Weights, place: Path) -> dict[str, Tensor]:
    """As ``read_arrays``, of a file whose SHA-256 is known to be right.

    Nothing in the file is executed: it holds tensors, or is refused.
    """
    import timm
    import torch
    from timm.models import load_state_dict

    name, architecture = shown(weights.name), weights.architecture
    try:
        with warnings.catch_warnings(), quiet("timm"):
            warnings.simplefilter("ignore")  # of an odd pickle, which is refused anyhow
            found = load_state_dict(str(place), weights_only=True)
            if weights.name in BACKBONES:  # these have names of their own
                ours = shape_of(architecture).state_dict()
                found = dict(zip(ours, found.values(), strict=True))
            if not all(isinstance(tensor, torch.Tensor) for tensor in found.values()):
                raise ValueError("something in it is no tensor")
            classes = _classes(architecture, found)
            net = timm.create_model(
                architecture,
                pretrained=True,
                num_classes=classes,
                pretrained_cfg_overlay={
                    "state_dict": found,
                    "num_classes": classes,
                    "label_offset": 0,
                    "custom_load": False,
                },
            )
    except Exception as error:  # whatever a file may hold
        raise BackboneError(
            f"{place}: not the weights of {name} ({on_one_line(error)[:200]})"
        ) from error
    tensors: dict[str, Tensor] = net.state_dict()
    if not all(tensor.isfinite().all() for tensor in tensors.values()):
        raise BackboneError(f"{place}: weights of {name} must be finite numbers")
    return tensors


def _classifier(architecture: str) -> str:
    """What timm calls the layer that tells its classes apart; empty if it has none."""
    from timm.models import get_pretrained_cfg

    config = get_pretrained_cfg(architecture, allow_unregistered=True)
    named = getattr(config, "classifier", None) or ""
    return named if isinstance(named, str) else str(named[0])


def _classes(architecture: str, tensors: dict[str, Tensor]) -> int:
    """How many classes the network of these tensors tells apart; 0 if its classifier was left
    out.
    """
    own = f"{_classifier(architecture)}.weight"
    if own in tensors:
        return len(tensors[own])
    there = shape_of(architecture)
    return 0 if set(tensors) <= set(there.state_dict()) else int(there.num_classes)  # type: ignore[arg-type]


def shape_of(architecture: str, classes: int | None = None, side: int | None = None) -> nn.Module:
    """A network on the meta device: its shapes, and no weights.

    Args:
        classes: that it tells apart; 0 for no classifier, and its own number if None.
        side: of the images that it is to see, pixels; its own if None.

    Raises:
        BackboneError: if timm has no such network, or it sees no such images.
    """
    import torch

    with torch.device("meta"):
        return made(architecture, classes, side)


def made(architecture: str, classes: int | None = None, side: int | None = None) -> nn.Module:
    """As ``shape_of`` says, with weights as they are drawn."""
    import timm

    if not ARCHITECTURE.fullmatch(architecture) or not timm.is_model(architecture):
        raise BackboneError(f"timm {timm.__version__} has no network {shown(architecture)!r}")
    counted: dict[str, Any] = {} if classes is None else {"num_classes": classes}
    net: nn.Module = timm.create_model(architecture, pretrained=False, **counted)
    return net if side is None else at_side(net, side)


def loaded(make: Callable[[], nn.Module], tensors: Mapping[str, Tensor]) -> nn.Module:
    """What ``make`` makes, with weights of which no copy is made.

    What a network computes for itself and no file of weights holds (indices of relative positions,
    masks of shifted windows, frequencies of rotary positions) is as ``make`` computes it.

    Raises:
        RuntimeError: if they do not fit.
    """
    import torch

    with torch.device("meta"):
        net = make()
    net.load_state_dict(tensors, assign=True)
    unknown = [name for name, buffer in net.named_buffers() if buffer.is_meta]
    if unknown:
        with torch.random.fork_rng(devices=[]):
            computed = dict(make().named_buffers())
        for name in unknown:
            place, _, own = name.rpartition(".")
            setattr(net.get_submodule(place), own, computed[name])
    return net


def own_side(net: nn.Module) -> int:
    """Side of the images that a network was trained on, pixels."""
    return int(net.pretrained_cfg["input_size"][-1])  # type: ignore[index]


def at_side(net: nn.Module, side: int) -> nn.Module:
    """``net`` for images of ``side`` pixels: tables of positions are resampled, where it has
    any.

    Raises:
        BackboneError: if it cannot see such images.
    """
    own = own_side(net)
    if side != own and hasattr(net, "set_input_size"):
        try:
            net.set_input_size(img_size=(side, side))  # type: ignore[operator]
        except Exception as error:  # each network has assertions of its own
            name = net.pretrained_cfg["architecture"]  # type: ignore[index]
            raise BackboneError(
                f"{name} cannot see images of {side} pixels ({on_one_line(error)[:120]}); its own "
                f"are of {own}: --set side={own}"
            ) from error
    return net


def with_arrays(weights: Weights, arrays: Arrays, side: int) -> nn.Module:
    """The network with its weights, for images of ``side`` pixels: in eval mode, on the CPU, and
    without its classifier.

    Args:
        arrays: as ``read_arrays`` gives them; they may be read-only, and of a network with or
            without a classifier.

    Raises:
        BackboneError: if they do not fit.
    """
    import torch

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # nobody will write into them
        tensors = {name: torch.from_numpy(array) for name, array in arrays.items()}
    return with_tensors(weights, tensors, side)


def with_tensors(
    weights: Weights, tensors: dict[str, Tensor], side: int, resampled: bool = False
) -> nn.Module:
    """As ``with_arrays``.

    Args:
        resampled: they are those of a network for images of ``side`` pixels already.
    """
    import torch

    make = partial(made, weights.architecture, 0, side if resampled else None)
    own, whole = (shape_of(weights.architecture, n).state_dict() for n in (0, None))
    kept = {n: tensor for n, tensor in tensors.items() if n in own or n not in whole}
    try:
        net = loaded(make, kept)
    except RuntimeError as error:
        raise BackboneError(
            f"the weights are not those of {shown(weights.name)} ({on_one_line(error)[:200]})"
        ) from error
    if not resampled:
        net = at_side(net, side)
    return net.eval().requires_grad_(False).to(memory_format=torch.channels_last)
