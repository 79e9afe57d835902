"""What bundle.json says of a classifier, whatever its kind."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

from analysis.ranking.calibration import Calibration
from analysis.ranking.corrected import Corrected
from analysis.run.records import Count, Measured, Share
from spaces.errors import UserError
from trainables.cnn.use import LEAST_STD
from trainables.images.rule import FIRST, Rule
from trainables.io.files import write_whole
from trainables.pretrained.facts import Weights

FORMAT = 1
TOLERANCE = 0.005
"""By which accuracy may differ on another device than it was judged on: other kernels
add in another order, and an image whose classes are close is given another.
"""
Side = Annotated[int, Field(ge=1, le=10_000)]


class BundleError(UserError):
    """A folder that is no bundle, or one that was damaged or changed."""


class Replicated(BaseModel):
    """Validation accuracy of the same configuration under other seeds: mean, and sample standard
    deviation (0 of a single seed).
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    seeds: tuple[int, ...] = Field(min_length=1)
    mean: Share
    spread: Annotated[float, Field(ge=0, allow_inf_nan=False)]


class Preprocessing(BaseModel):
    """How an image file becomes pixels: see ``trainables.data.ReadOptions``.

    Attributes:
        rule: how what is not 8-bit grey or RGB is read; what it does not say, the training images
            had no need of.
        size, mean, std: networks see images resized to this side, with these subtracted from each
            channel (0..255) and divided by.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    color: Literal["grey", "rgb"]
    max_side: Side
    rule: Rule = FIRST
    size: Side | None = None
    mean: tuple[Annotated[float, Field(ge=0, le=255)], ...] = ()
    std: tuple[Annotated[float, Field(ge=LEAST_STD, le=255)], ...] = ()


class Quantized(BaseModel):
    """What model-int8.onnx is worth beside model.onnx, on the same images.

    Attributes:
        accuracy, full_accuracy: of both, on n images of ``split``.
        alike: share of them that both give the same class.
        milliseconds, full_milliseconds: of one image, on the machine that exported.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    split: str
    n: Count
    accuracy: Share
    full_accuracy: Share
    alike: Share
    milliseconds: Annotated[float, Field(ge=0, allow_inf_nan=False)]
    full_milliseconds: Annotated[float, Field(ge=0, allow_inf_nan=False)]
    bytes: Count
    full_bytes: Count

    def __str__(self) -> str:
        return (
            f"accuracy {self.accuracy:.4f} on {self.n:,} {self.split} images where model.onnx has "
            f"{self.full_accuracy:.4f} ({self.alike:.1%} are given the same class), "
            f"{self.milliseconds:.1f} ms an image where that takes {self.full_milliseconds:.1f}, "
            f"{self.bytes / 2**20:.1f} MiB where that has {self.full_bytes / 2**20:.1f}"
        )


class BundleFacts(BaseModel):
    """What bundle.json says.

    Attributes:
        val: how the configuration did on validation images, which chose it.
        corrected: what it is to be expected to do on new images, where it was the best of its
            search.
        calibration: what makes probabilities of its scores, where the run kept what that takes.
        quantized: what its network in 8-bit integers is worth, where that was asked.
        replicas: how it did there under other seeds, which the search tried at its end.
        test_all: how it did on all test images, where ``test`` leaves out those that are also
            training images.
        hold_out, skipped: share of the training images that was set aside, by ``seed``, and files
            that were left out: which of the dataset's images were learned from.
        refit: it was trained again afterwards, on the validation images too.
        history: a network's metrics, epoch by epoch.
        plugins: SHA-256 of the source of each plug-in that reading it needs, by name; they are not
            in it, and whoever reads it must have loaded them.
        weights: what is known of the pretrained network in it, if there is one.
        unfinished: it is being made: not checked yet, and not scored.
        facts_sha256: of bundle.json with nothing in this place; empty in bundles of versions that
            had none.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    format: Literal[1]
    kind: str
    space: str
    config: dict[str, bool | int | float | str]
    classes: tuple[str, ...] = Field(min_length=2)
    preprocessing: Preprocessing
    val: Measured
    replicas: Replicated | None = None
    test: Measured | None
    test_all: Measured | None = None
    test_evaluations: Count
    seed: Annotated[int, Field(ge=0, lt=2**64)]
    versions: dict[str, str]
    dataset: str
    fingerprint: str
    test_fingerprint: str | None
    hold_out: Share = 0.0
    skipped: tuple[str, ...] = ()
    trial: str
    model_sha256: str
    refit: bool = False
    history: tuple[dict[str, float], ...] = ()
    plugins: dict[str, str] = {}
    weights: Weights | None = None
    corrected: Corrected | None = None
    calibration: Calibration | None = None
    quantized: Quantized | None = None
    unfinished: bool = False
    facts_sha256: str = ""


def write_facts(folder: Path, facts: BundleFacts) -> None:
    """Write bundle.json, with the digest of itself."""
    digest = hashlib.sha256(_text(facts, "").encode()).hexdigest()
    write_whole(folder / "bundle.json", _text(facts, digest))


def _text(facts: BundleFacts, digest: str) -> str:
    # versions before that know no such fields
    new = (
        "unfinished", "plugins", "weights", "test_all", "corrected", "calibration", "hold_out",
        "skipped", "quantized",
    )  # fmt: skip
    left_out = {name for name in new if not getattr(facts, name)}
    return facts.model_copy(update={"facts_sha256": digest}).model_dump_json(
        indent=1, exclude=left_out
    )


def as_written(content: bytes, facts: BundleFacts) -> bool:
    """Whether the bundle.json that ``facts`` were read from is to the byte what was written; True
    where no digest was.
    """
    digest = facts.facts_sha256.encode()
    return (
        not digest or hashlib.sha256(content.replace(digest, b"", 1)).hexdigest().encode() == digest
    )
