"""A kNN classifier as a bundle holds it.

model.safetensors: features (n, d), labels (n,) int64 and, for bag-of-sift, vocabulary (size, 128)
float32 and, with idf, weights (size,) float64; features and labels of mirror images follow those of
the images.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from safetensors.numpy import load as load_tensors
from safetensors.numpy import save as save_tensors

from analysis.bundle.facts import BundleError, BundleFacts
from analysis.bundle.source import Source, bundle_facts
from analysis.run.records import TrialRecord
from spaces import BagOfSiftConfig, TinyImageConfig, get_space
from trainables.data import Dataset, Images
from trainables.data.source import data_source
from trainables.data.validation import Validation, validation_groups
from trainables.knn.pipeline import (
    KnnConfig,
    bag_stage,
    counts_stage,
    gallery_stage,
    tiny_stage,
    weights_stage,
    words_stage,
)
from trainables.knn.regions import REGIONS
from trainables.knn.sift import DESCRIPTOR
from trainables.neighbours.nearest import Neighbours, nearest_neighbours, votes_by_k
from trainables.neighbours.norms import Floats
from trainables.stages.stage import Stage, compute

PACKAGES = ("cyvlfeat", "faiss-cpu")
Float64 = npt.NDArray[np.float64]
Int64 = npt.NDArray[np.int64]


@dataclass(frozen=True)
class KnnModel:
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

    how_tested = "all training images vote"
    tolerance = 0.0
    batch = 512

    @property
    def config(self) -> KnnConfig:
        config: KnnConfig = get_space(self.facts.space).typed(self.facts.config)
        return config

    def features_of(self, images: Images, workers: int | None = None) -> Floats:
        """(m, d) features of m images."""
        images = images.grey()
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
            nearest_neighbours(
                self.features_of(images, workers),
                self.features,
                metric=self.config.metric,
                most=self.config.k,
            )
        )

    def content(self) -> bytes:
        """The model file."""
        named = {
            "features": self.features,
            "labels": self.labels,
            "vocabulary": self.vocabulary,
            "weights": self.weights,
        }
        return save_tensors(
            {
                name: np.ascontiguousarray(tensor)
                for name, tensor in named.items()
                if tensor is not None
            }
        )

    def vote(self, neighbours: Neighbours) -> tuple[Int64, Float64]:
        by_k, shares = votes_by_k(
            neighbours, self.labels, len(self.facts.classes), self.config.vote, self.config.k
        )
        return by_k[:, -1], shares


def _constant(value: str) -> str:
    """Stands for an input that is given, not computed."""
    return value


def make_knn(source: Source, record: TrialRecord, dataset: Dataset) -> KnnModel:
    """The trial's classifier, made again from the training images."""
    config: KnnConfig = get_space(record.space).typed(record.config)
    data = data_source(dataset, source.options)
    memo = {data.stage.digest: dataset}
    features = compute(gallery_stage(config, data, source.seed), memo, cache=source.cache)
    vocabulary = weights = None
    if isinstance(config, BagOfSiftConfig):
        vocabulary = compute(words_stage(config, data, source.seed), memo, cache=source.cache)
        weights = (
            compute(weights_stage(config, data, source.seed), memo, cache=source.cache)
            if config.idf
            else None
        )
    # mirror images have their image's
    labels = np.tile(dataset.train.labels, len(features) // len(dataset.train.labels))
    return KnnModel(
        bundle_facts(source, record, dataset, "knn", PACKAGES),
        features,
        labels,
        vocabulary,
        weights,
    )


def leave_out(model: KnnModel, validation: Validation, dataset: Dataset) -> tuple[Int64, Int64]:
    """True and predicted classes of the training images, each classified by the others, from the
    bundle's own arrays.
    """
    n = len(dataset.train)
    groups = validation_groups(
        model.labels[:n],
        dataset.train.groups,
        **asdict(validation),
        copies=len(model.labels) // n,
    )
    neighbours = nearest_neighbours(
        model.features[:n], model.features, groups, metric=model.config.metric, most=model.config.k
    )
    return model.labels[:n], model.vote(neighbours)[0]


def read_knn(folder: Path, facts: BundleFacts, content: bytes) -> KnnModel:
    """The classifier in the model file of ``folder``.

    Raises:
        BundleError: if it does not fit bundle.json.
    """
    tensors, config = load_tensors(content), facts.config
    features, labels, vocabulary, weights = (
        tensors.get(name) for name in ("features", "labels", "vocabulary", "weights")
    )
    if (
        features is None
        or labels is None
        or features.ndim != 2
        or labels.shape != (len(features),)
        or len(labels) == 0
    ):
        raise BundleError(f"{folder}: model.safetensors must hold features (n, d) and labels (n,)")
    if (
        features.dtype not in (np.float32, np.float64)
        or labels.dtype != np.int64
        or not np.isfinite(features).all()
    ):
        raise BundleError(
            f"{folder}: features must be finite floats and labels int64, but got "
            f"{features.dtype} and {labels.dtype}"
        )
    if (
        labels.min() < 0
        or labels.max() >= len(facts.classes)
        or (facts.space == "bag-of-sift") != (vocabulary is not None)
    ):
        raise BundleError(
            f"{folder}: model.safetensors does not fit bundle.json (labels or vocabulary)"
        )
    if vocabulary is not None and (
        vocabulary.ndim != 2 or vocabulary.shape[1] != DESCRIPTOR or not len(vocabulary)
    ):
        raise BundleError(
            f"{folder}: a vocabulary has {DESCRIPTOR} columns, but model.safetensors holds "
            f"{vocabulary.shape}"
        )
    words = None if vocabulary is None else vocabulary.shape[:1]
    if bool(config.get("idf")) != (weights is not None) or (
        weights is not None and weights.shape != words
    ):
        raise BundleError(
            f"{folder}: model.safetensors does not fit bundle.json (weights of words)"
        )
    model = KnnModel(facts, features, labels, vocabulary, weights)
    wanted, got = _columns(model.config, vocabulary), features.shape[1]
    if got != wanted:
        raise BundleError(
            f"{folder}: this configuration's features have {wanted:,} columns, but "
            f"model.safetensors holds {got:,}"
        )
    for name, array in (("vocabulary", vocabulary), ("weights", weights)):
        if array is not None and not (array.dtype.kind == "f" and np.isfinite(array).all()):
            raise BundleError(f"{folder}: {name} in model.safetensors must be finite numbers")
    return model


def _columns(config: KnnConfig, vocabulary: npt.NDArray[np.float32] | None) -> int:
    """How many numbers describe an image."""
    if isinstance(config, TinyImageConfig) or vocabulary is None:
        return int(config.size**2) if isinstance(config, TinyImageConfig) else 0
    return len(vocabulary) * REGIONS[config.regions]
