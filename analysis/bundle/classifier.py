"""The kinds of classifiers that a bundle may hold: how one is made of a trial, read back, and
asked a batch of images at a time.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from analysis.bundle.facts import BundleFacts
from analysis.bundle.source import ExportRequest, Source
from analysis.run.records import TrialRecord
from spaces.kinds import function_of
from spaces.registry import Registry, add
from trainables.contract.assignment import Config
from trainables.data import Dataset, Images
from trainables.data.validation import Validation

Float64 = npt.NDArray[np.float64]
Int64 = npt.NDArray[np.int64]
BatchCallback = Callable[[int, int], None]
"""Told after each batch: how many images are done, of how many."""


class Model(Protocol):
    """A classifier in memory.

    Attributes:
        facts: what bundle.json says of it.
        how_tested: how it classifies images that it has not seen, in words.
        tolerance: by which its accuracy here may differ from what was recorded.
        batch: images that it classifies at once: a multiple of what it computes together, so that
            the bits are those of all at once.
    """

    @property
    def facts(self) -> BundleFacts: ...

    @property
    def how_tested(self) -> str: ...

    @property
    def tolerance(self) -> float: ...

    @property
    def batch(self) -> int: ...

    def scores_of(self, images: Images) -> tuple[Int64, Float64]:
        """(m,) predicted class and (m, classes) float64 scores, which sum to 1."""

    def content(self) -> bytes:
        """The model file."""


@dataclass(frozen=True)
class Calibrated:
    """A classifier whose scores are probabilities, by what its bundle says."""

    inner: Model

    @property
    def facts(self) -> BundleFacts:
        return self.inner.facts

    @property
    def how_tested(self) -> str:
        return self.inner.how_tested

    @property
    def tolerance(self) -> float:
        return self.inner.tolerance

    @property
    def batch(self) -> int:
        return self.inner.batch

    def content(self) -> bytes:
        return self.inner.content()

    def scores_of(self, images: Images) -> tuple[Int64, Float64]:
        """(m,) predicted class and (m, classes) float64 probabilities."""
        classes, shares = self.inner.scores_of(images)
        assert self.facts.calibration is not None
        return classes, self.facts.calibration.of(shares)


def spans(count: int, size: int) -> Iterator[tuple[int, int]]:
    """(start, stop) of batches that cover ``count`` rows."""
    yield from ((start, min(start + size, count)) for start in range(0, count, size))


def scores_in_batches(model: Model, images: Images, say: BatchCallback) -> tuple[Int64, Float64]:
    """(m,) predicted class and (m, classes) scores, as ``model.scores_of`` gives them of all m
    images.
    """
    parts = []
    for start, stop in spans(len(images), model.batch):
        parts.append(model.scores_of(images[start:stop]))
        say(stop, len(images))
    classes, scores = zip(*parts, strict=True)
    return np.concatenate(classes), np.concatenate(scores)


@dataclass(frozen=True)
class Classifier:
    """A kind of classifier. What it keeps of a model is data, in the form of safetensors, and
    reading it runs nothing of what it reads.

    Attributes:
        name: the ``kind`` in bundle.json.
        word: what one is called in a sentence.
        title: what it is, for the bundle's README.md.
        make: a trial's classifier, made of the training images or of what the trial kept.
        read: the classifier in a model file; raises BundleError if it does not fit bundle.json.
        left_out: true and predicted classes of the training images, each classified by a model that
            has not seen it; None where the learner is judged on images held out alone.
        epochs: it is trained in epochs, of which one may be chosen, and may be trained again.
        onnx: what keeps a trial of a configuration from being written as ONNX; empty if nothing
            does.
    """

    name: str
    word: str
    title: str
    make: Callable[[Source, TrialRecord, Dataset, ExportRequest], Model]
    read: Callable[[Path, BundleFacts, bytes], Model]
    left_out: Callable[[Any, Validation, Dataset], tuple[Int64, Int64]] | None = None
    epochs: bool = False
    onnx: Callable[[Config], str] = lambda config: "has no network"


CLASSIFIERS = Registry(Classifier, "classifier")


def _make_knn(
    source: Source, record: TrialRecord, dataset: Dataset, request: ExportRequest
) -> Model:
    from analysis.bundle.knn import make_knn

    return make_knn(source, record, dataset)


def _read_knn(folder: Path, facts: BundleFacts, content: bytes) -> Model:
    from analysis.bundle.knn import read_knn

    return read_knn(folder, facts, content)


def _knn_left_out(model: Any, validation: Validation, dataset: Dataset) -> tuple[Int64, Int64]:
    from analysis.bundle.knn import leave_out

    return leave_out(model, validation, dataset)


def _make_cnn(
    source: Source, record: TrialRecord, dataset: Dataset, request: ExportRequest
) -> Model:
    from analysis.bundle.export_cnn import make_cnn, refit_cnn  # loads torch

    if request.refit:
        return refit_cnn(source, record, dataset, request.refit_epochs, request.say)
    return make_cnn(source, record, dataset, request.epoch)


def _read_cnn(folder: Path, facts: BundleFacts, content: bytes) -> Model:
    from analysis.bundle.cnn import read_cnn  # loads torch

    return read_cnn(folder, facts, content)


def _make_embedding(
    source: Source, record: TrialRecord, dataset: Dataset, request: ExportRequest
) -> Model:
    from analysis.bundle.embedding import make_embedding  # loads torch

    return make_embedding(source, record, dataset)


def _read_embedding(folder: Path, facts: BundleFacts, content: bytes) -> Model:
    from analysis.bundle.embedding import read_embedding  # loads torch

    return read_embedding(folder, facts, content)


def _embedding_left_out(
    model: Any, validation: Validation, dataset: Dataset
) -> tuple[Int64, Int64]:
    from analysis.bundle.embedding import left_out

    return left_out(model, validation, dataset)


ENSEMBLE = "ensemble"
"""Kind and space of a bundle that holds others; ``analysis.ensemble`` makes and reads it."""


def _read_ensemble(folder: Path, facts: BundleFacts, content: bytes) -> Model:
    model: Model = function_of("analysis.ensemble.model:read_ensemble")(folder, facts, content)
    return model


def _make_ensemble(
    source: Source, record: TrialRecord, dataset: Dataset, request: ExportRequest
) -> Model:
    raise NotImplementedError("an ensemble is of several trials: analysis.ensemble.export")


KNN = Classifier(
    "knn",
    "kNN classifier",
    "k-nearest-neighbour classifier",
    _make_knn,
    _read_knn,
    _knn_left_out,
    onnx=lambda config: "is a kNN classifier",
)
NETWORK = Classifier(
    "cnn",
    "network",
    "Convolutional network",
    _make_cnn,
    _read_cnn,
    epochs=True,
    onnx=lambda config: "",
)
EMBEDDING = Classifier(
    "embedding",
    "classifier on features",
    "Classifier on the features of a pretrained network",
    _make_embedding,
    _read_embedding,
    _embedding_left_out,
    onnx=lambda config: (
        "has head knn, which looks among all training images" if config["head"] == "knn" else ""
    ),
)
_ENSEMBLE = Classifier(
    ENSEMBLE, "ensemble", "Mean of several classifiers", _make_ensemble, _read_ensemble
)
for _kind in (KNN, NETWORK, EMBEDDING, _ENSEMBLE):
    add(_kind)
