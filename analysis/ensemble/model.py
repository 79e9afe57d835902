"""An ensemble as a bundle holds it: each member is a bundle of its own in ``members/N``, and
model.safetensors has how often each counts and the SHA-256 of its bundle.json.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
from safetensors.numpy import load as load_tensors
from safetensors.numpy import save as save_tensors

from analysis.bundle.bundle import read_bundle
from analysis.bundle.classifier import ENSEMBLE, Float64, Int64, Model
from analysis.bundle.facts import BundleError, BundleFacts
from trainables.data import Images

MOST_MEMBERS = 100


@dataclass(frozen=True)
class EnsembleModel:
    """Several classifiers in memory.

    Attributes:
        facts: what bundle.json says of all together.
        members: what they are.
        times: (m,) int64 how often each counts.
        digests: (m, 32) uint8 SHA-256 of the members' bundle.json.
    """

    facts: BundleFacts
    members: tuple[Model, ...]
    times: Int64
    digests: npt.NDArray[np.uint8]

    @property
    def batch(self) -> int:
        """Images that are classified at a time."""
        return min(member.batch for member in self.members)

    @property
    def how_tested(self) -> str:
        return f"mean of {len(self.members)} classifiers"

    @property
    def tolerance(self) -> float:
        """By which its accuracy here may differ from what was recorded."""
        return max(member.tolerance for member in self.members)

    def scores_of(self, images: Images) -> tuple[Int64, Float64]:
        """(m,) predicted class and (m, classes) float64 scores, which sum to 1."""
        total = np.zeros((len(images), len(self.facts.classes)))
        for member, times in zip(self.members, self.times, strict=True):
            total += times * member.scores_of(images)[1]
        return total.argmax(axis=1), total / self.times.sum()

    def content(self) -> bytes:
        """The model file."""
        return save_tensors({"times": self.times, "digests": self.digests})


def place_of(folder: Path, number: int) -> Path:
    """Where the member of a number, from 1 on, lies in a bundle."""
    return folder / "members" / str(number)


def digest_of(folder: Path) -> npt.NDArray[np.uint8]:
    """(32,) SHA-256 of a member's bundle.json."""
    content = (folder / "bundle.json").read_bytes()
    return np.frombuffer(hashlib.sha256(content).digest(), np.uint8)


def read_ensemble(folder: Path, facts: BundleFacts, content: bytes) -> EnsembleModel:
    """The ensemble in ``folder``.

    Raises:
        BundleError: if it does not fit bundle.json, or a member is not the one that was exported.
    """
    tensors = load_tensors(content)
    times, digests = tensors.get("times"), tensors.get("digests")
    if (
        times is None
        or digests is None
        or times.dtype != np.int64
        or digests.dtype != np.uint8
        or times.ndim != 1
        or not 0 < len(times) <= MOST_MEMBERS
        or digests.shape != (len(times), hashlib.sha256().digest_size)
        or times.min() < 1
    ):
        raise BundleError(
            f"{folder}: model.safetensors must hold times (m,) above 0 and digests (m, 32)"
        )
    members = []
    for number, digest in enumerate(digests, 1):
        place = place_of(folder, number)
        member = read_bundle(place)
        if member.facts.kind == ENSEMBLE:
            raise BundleError(f"{place}: an ensemble cannot be a member of another")
        if not np.array_equal(digest_of(place), digest):
            raise BundleError(
                f"{place}: bundle.json is not of the member that was exported (SHA-256 differs); "
                "export the ensemble again"
            )
        seen = {"size": None, "mean": (), "std": ()}  # each member has its own of these
        if member.facts.classes != facts.classes or (
            member.facts.preprocessing.model_copy(update=seen) != facts.preprocessing
        ):
            raise BundleError(f"{place}: has other classes than the ensemble, or reads otherwise")
        members.append(member)
    return EnsembleModel(facts, tuple(members), times, digests)
