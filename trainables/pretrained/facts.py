"""What is known of a pretrained network's weights, wherever they lie."""

from __future__ import annotations

import logging
import math
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from spaces.errors import UserError, echo

Three = tuple[float, float, float]
SHA256 = re.compile("[0-9a-f]{64}")
ARCHITECTURE = re.compile(r"[A-Za-z0-9_]{1,100}")
"""A network of timm's; nothing that timm would take for a place to fetch from."""


class BackboneError(UserError):
    """A backbone that is unknown, or whose weights are missing, damaged, changed, of another
    network or of no use for what was asked.
    """


@dataclass(frozen=True)
class Weights:
    """The weights of a pretrained network, by their content.

    Attributes:
        name: as plans and bundles call them.
        architecture: timm's name of the network.
        sha256: of the file that they were read from.
        mean, std: by which each channel, 0..1, is normalised.
        licence: of the weights; empty if nobody says.
        source: where they came from.
    """

    name: str
    architecture: str
    sha256: str
    mean: Three
    std: Three
    licence: str = ""
    source: str = ""

    def __post_init__(self) -> None:
        for name in ("mean", "std"):  # JSON has lists
            object.__setattr__(self, name, tuple(getattr(self, name)))
        numbers = (*self.mean, *self.std)
        if not (
            len(self.mean) == len(self.std) == 3
            and all(isinstance(one, float | int) and math.isfinite(one) for one in numbers)
            and min(self.std) > 0
        ):
            raise ValueError(
                f"mean and std of weights must be three numbers each, std above 0, but got "
                f"{echo(self.mean)} and {echo(self.std)}"
            )
        if not SHA256.fullmatch(self.sha256):
            raise ValueError(f"weights need a SHA-256, 64 hex digits, but got {echo(self.sha256)}")
        if not ARCHITECTURE.fullmatch(self.architecture):
            raise ValueError(f"{echo(self.architecture)} is no name of a network")

    @property
    def content(self) -> dict[str, Any]:
        """What decides what the network gives, as JSON."""
        return {
            "architecture": self.architecture,
            "sha256": self.sha256,
            "mean": list(self.mean),
            "std": list(self.std),
        }


@contextmanager
def quiet(library: str) -> Iterator[None]:
    """What a library logs meanwhile is not shown: what it raises is told in a line of ours."""
    logger = logging.getLogger(library)
    before = logger.level
    logger.setLevel(logging.CRITICAL)
    try:
        yield
    finally:
        logger.setLevel(before)
