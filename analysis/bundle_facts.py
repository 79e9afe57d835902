"""What bundle.json says of a classifier, whatever its kind."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

from spaces.errors import UserError
from trainables.files import write_whole

FORMAT = 1


class BundleError(UserError):
    """A folder that is no bundle, or one that was damaged or changed."""


class Measured(BaseModel):
    """Scores on one split: which, of how many images, and how it was measured."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    split: str
    n: int
    scheme: str
    accuracy: float
    balanced_accuracy: float
    macro_f1: float


class Replicated(BaseModel):
    """Validation accuracy of the same configuration under other seeds: mean, and sample standard deviation (0 of a single seed)."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    seeds: tuple[int, ...] = Field(min_length=1)
    mean: float
    spread: float


class Preprocessing(BaseModel):
    """How an image file becomes pixels: see ``trainables.data.ReadOptions``.

    Attributes:
        size, mean, std: networks see images resized to this side, with these subtracted from each channel (0..255) and divided by.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    color: Literal["grey", "rgb"]
    max_side: int = Field(ge=1)
    size: int | None = None
    mean: tuple[float, ...] = ()
    std: tuple[float, ...] = ()


class BundleFacts(BaseModel):
    """What bundle.json says.

    Attributes:
        val: how the configuration did on validation images, which chose it.
        replicas: how it did there under other seeds, which the search tried at its end.
        refit: it was trained again afterwards, on the validation images too.
        history: a network's metrics, epoch by epoch.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    format: Literal[1]
    kind: Literal["knn", "cnn"]
    space: str
    config: dict[str, bool | int | float | str]
    classes: tuple[str, ...] = Field(min_length=2)
    preprocessing: Preprocessing
    val: Measured
    replicas: Replicated | None = None
    test: Measured | None
    test_evaluations: int
    seed: int
    versions: dict[str, str]
    dataset: str
    fingerprint: str
    test_fingerprint: str | None
    trial: str
    model_sha256: str
    refit: bool = False
    history: tuple[dict[str, float], ...] = ()


def write_facts(folder: Path, facts: BundleFacts) -> None:
    write_whole(folder / "bundle.json", facts.model_dump_json(indent=1))
