"""The export bundle: a folder that holds everything needed to classify an image, and no code.

    bundle.json         format, kind, config, classes, preprocessing, metrics with their split and n,
                        seed, versions, dataset, source trial, and the model file's SHA-256
    model.safetensors   features (n, d), labels (n,) int64 and, for bag-of-sift,
                        vocabulary (size, 128) float32 and, with idf, weights (size,) float64;
                        features and labels of mirror images follow those of the images

Nothing in a bundle is executed: JSON and safetensors hold data only.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
from pydantic import BaseModel, ConfigDict, Field, ValidationError
from safetensors import SafetensorError
from safetensors.numpy import load as load_tensors
from safetensors.numpy import save as save_tensors

from analysis.records import write_whole
from spaces import TinyImageConfig, get_space
from spaces.errors import UserError
from trainables.data import Images
from trainables.knn.neighbours import Neighbours, nearest_neighbours, votes_by_k
from trainables.knn.norms import Floats
from trainables.knn.pipeline import CONFIG_TYPES, KnnConfig, bag_stage, counts_stage, tiny_stage
from trainables.stages import Stage, compute

FORMAT = 1
Float64 = npt.NDArray[np.float64]
Int64 = npt.NDArray[np.int64]


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


class Preprocessing(BaseModel):
    """How an image file becomes pixels: see ``trainables.data.ReadOptions``."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    color: Literal["grey", "rgb"]
    max_side: int = Field(ge=1)


class BundleFacts(BaseModel):
    """What bundle.json says; see the module."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    format: Literal[1]
    kind: Literal["knn"]
    space: str
    config: dict[str, bool | int | float | str]
    classes: tuple[str, ...] = Field(min_length=2)
    preprocessing: Preprocessing
    val: Measured
    test: Measured | None
    test_evaluations: int
    seed: int
    versions: dict[str, str]
    dataset: str
    fingerprint: str
    test_fingerprint: str | None
    trial: str
    model_sha256: str


@dataclass(frozen=True)
class Model:
    """A kNN classifier in memory.

    Attributes:
        facts: what bundle.json says of it.
        features: (n, d) training features, float64 of tiny images and float32 of bags.
        labels: (n,) int64 their classes.
        vocabulary: (size, 128) float32 codebook, for bag-of-sift.
        weights: (size,) float64 of the words, with idf.
    """

    facts: BundleFacts
    features: Floats
    labels: Int64
    vocabulary: npt.NDArray[np.float32] | None
    weights: Float64 | None = None

    @property
    def config(self) -> KnnConfig:
        return CONFIG_TYPES[self.facts.space](**self.facts.config)  # type: ignore[arg-type]

    def features_of(self, images: Images, workers: int | None = None) -> Floats:
        """(m, d) features of m grey images."""
        config, rows = self.config, len(images)
        given = {"images": images, "words": self.vocabulary, "weights": self.weights}
        sources = {name: Stage(_constant, {"value": name}, content=name) for name in given}
        memo: dict[str, Any] = {sources[name].digest: value for name, value in given.items()}
        if isinstance(config, TinyImageConfig):
            return np.asarray(compute(tiny_stage(config, sources["images"], rows), memo, workers))
        counts = counts_stage(config, sources["images"], sources["words"], rows, images.area)
        weights = sources["weights"] if config.idf else None
        return np.asarray(compute(bag_stage(config, counts, weights, rows), memo, workers))

    def scores_of(self, images: Images, workers: int | None = None) -> tuple[Int64, Float64]:
        """(m,) predicted class and (m, classes) float64 vote shares, which sum to 1."""
        return self.vote(
            nearest_neighbours(self.features_of(images, workers), self.features, metric=self.config.metric, most=self.config.k)
        )

    def vote(self, neighbours: Neighbours) -> tuple[Int64, Float64]:
        by_k, shares = votes_by_k(neighbours, self.labels, len(self.facts.classes), self.config.vote, self.config.k)
        return by_k[:, -1], shares


def _constant(value: str) -> str:
    """Stands for an input that is given, not computed."""
    return value


def write_bundle(folder: Path, model: Model) -> None:
    """Write bundle.json and model.safetensors."""
    tensors: dict[str, np.ndarray[Any, Any]] = {"features": model.features, "labels": model.labels}
    if model.vocabulary is not None:
        tensors["vocabulary"] = model.vocabulary
    if model.weights is not None:
        tensors["weights"] = model.weights
    content = save_tensors({name: np.ascontiguousarray(tensor) for name, tensor in tensors.items()})
    write_whole(folder / "model.safetensors", content)
    write_facts(folder, model.facts.model_copy(update={"model_sha256": hashlib.sha256(content).hexdigest()}))


def write_facts(folder: Path, facts: BundleFacts) -> None:
    write_whole(folder / "bundle.json", facts.model_dump_json(indent=1))


def read_bundle(folder: Path) -> Model:
    """The model in ``folder``, checked against what bundle.json says of it.

    Raises:
        BundleError: with the reason why it cannot be trusted or read.
    """
    if not (folder / "bundle.json").is_file():
        raise BundleError(f"{folder}: no bundle here (no bundle.json); make one with visiontune export RUN --out DIR")
    try:
        raw = json.loads((folder / "bundle.json").read_bytes())
        if isinstance(raw, dict) and raw.get("format") != FORMAT:
            raise BundleError(f"{folder}: bundle format must be {FORMAT}, but got {raw.get('format')!r}; use the visiontune that wrote it")
        facts = BundleFacts.model_validate(raw)
        config = get_space(facts.space).check(facts.config)
        content = (folder / "model.safetensors").read_bytes()
        if hashlib.sha256(content).hexdigest() != facts.model_sha256:
            raise BundleError(f"{folder}: model.safetensors is not the file that was exported (SHA-256 differs); export it again")
        tensors = load_tensors(content)
    except (ValidationError, ValueError, OSError, SafetensorError) as error:
        if isinstance(error, BundleError):
            raise
        raise BundleError(f"{folder}: not a whole bundle ({' '.join(str(error).split())})") from error
    features, labels, vocabulary, weights = (tensors.get(name) for name in ("features", "labels", "vocabulary", "weights"))
    if features is None or labels is None or features.ndim != 2 or labels.shape != (len(features),) or len(labels) == 0:
        raise BundleError(f"{folder}: model.safetensors must hold features (n, d) and labels (n,)")
    if features.dtype not in (np.float32, np.float64) or labels.dtype != np.int64 or not np.isfinite(features).all():
        raise BundleError(f"{folder}: features must be finite floats and labels int64, but got {features.dtype} and {labels.dtype}")
    if len(set(facts.classes)) != len(facts.classes):
        raise BundleError(f"{folder}: bundle.json names a class twice")
    if labels.min() < 0 or labels.max() >= len(facts.classes) or (facts.space == "bag-of-sift") != (vocabulary is not None):
        raise BundleError(f"{folder}: model.safetensors does not fit bundle.json (labels or vocabulary)")
    words = None if vocabulary is None else vocabulary.shape[:1]
    if bool(config.get("idf")) != (weights is not None) or (weights is not None and weights.shape != words):
        raise BundleError(f"{folder}: model.safetensors does not fit bundle.json (weights of words)")
    return Model(facts.model_copy(update={"config": config}), features, labels, vocabulary, weights)
