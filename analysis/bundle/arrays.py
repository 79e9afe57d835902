"""Classifiers that are a few arrays: fitted to images in one go, and kept as safetensors."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt
from safetensors.numpy import load as load_tensors
from safetensors.numpy import save as save_tensors

from analysis.bundle.classifier import Classifier, Float64, Int64
from analysis.bundle.facts import TOLERANCE, BundleError, BundleFacts
from analysis.bundle.source import ExportRequest, Source, bundle_facts
from analysis.run.records import TrialRecord
from spaces.errors import FailedError, on_one_line
from trainables.contract.assignment import Config
from trainables.data import Dataset, Images
from trainables.data.dataset import Split
from trainables.data.validation import Validation, validation_groups
from trainables.learners import LEARNERS

Arrays = Mapping[str, npt.NDArray[Any]]


class Fitted(Protocol):
    """What was fitted to images."""

    def scores(self, images: Images) -> Float64:
        """(m, classes) float64 scores of m images; each row sums to 1."""

    def arrays(self) -> Arrays:
        """All of it, by name."""


Fit = Callable[[Config, Split, int, int], Fitted]
"""Fits to images: of configuration, training images, number of classes and seed."""


@dataclass(frozen=True)
class ArraysModel:
    """A fitted classifier in memory.

    Attributes:
        facts: what bundle.json says of it.
    """

    facts: BundleFacts
    fitted: Fitted

    how_tested = "fitted to all training images"
    tolerance = TOLERANCE  # other cores, or another number of them, may round otherwise
    batch = 500

    def scores_of(self, images: Images) -> tuple[Int64, Float64]:
        """(m,) predicted class and (m, classes) float64 scores, which sum to 1.

        Raises:
            BundleError: if the scores are none.
            FailedError: if the classifier fails on these images.
        """
        try:
            scores = np.asarray(self.fitted.scores(_seen(images, self.facts.space)))
        except Exception as error:
            raise FailedError(
                f"the {self.facts.kind} classifier fails on these images "
                f"({type(error).__name__}: {on_one_line(error)})"
            ) from error
        shape = (len(images), len(self.facts.classes))
        if scores.shape != shape or not np.allclose(scores.sum(1), 1.0):
            raise BundleError(
                f"the scores of a {self.facts.kind} must be {shape}, and sum to 1 in each row, but "
                f"got {scores.shape}"
            )
        return scores.argmax(1).astype(np.int64), scores.astype(np.float64)

    def content(self) -> bytes:
        """The model file."""
        arrays = self.fitted.arrays()
        return save_tensors({name: np.ascontiguousarray(array) for name, array in arrays.items()})


def of_arrays(
    name: str,
    title: str,
    fit: Fit,
    read: Callable[[Config, Arrays, int], Fitted],
    packages: Sequence[str] = (),
) -> Classifier:
    """A kind of classifier whose model file holds the arrays of what ``fit`` gives.

    Args:
        read: makes it again: of configuration, arrays and number of classes.
        packages: that it imports beside numpy; their versions are written into its bundles.
    """

    def make(
        source: Source, record: TrialRecord, dataset: Dataset, request: ExportRequest
    ) -> ArraysModel:
        facts = bundle_facts(source, record, dataset, name, packages)
        return ArraysModel(facts, _fit(facts, dataset.train))

    def _fit(facts: BundleFacts, images: Split) -> Fitted:
        seen = Split(_seen(images.images, facts.space), images.labels)
        return fit(facts.config, seen, len(facts.classes), facts.seed)

    def read_model(folder: Path, facts: BundleFacts, content: bytes) -> ArraysModel:
        arrays = load_tensors(content)
        try:
            return ArraysModel(facts, read(facts.config, arrays, len(facts.classes)))
        except Exception as error:  # whoever wrote it may not have thought of damage
            raise BundleError(
                f"{folder}: model.safetensors does not fit bundle.json ({type(error).__name__}: "
                f"{on_one_line(error)})"
            ) from error

    def left_out(
        model: ArraysModel, validation: Validation, dataset: Dataset
    ) -> tuple[Int64, Int64]:
        train = dataset.train
        groups = validation_groups(train.labels, train.groups, **asdict(validation))
        given = np.empty(len(train), np.int64)
        for group in np.unique(groups):
            out = np.flatnonzero(groups == group)
            fitted = _fit(model.facts, train.take(np.flatnonzero(groups != group)))
            given[out] = ArraysModel(model.facts, fitted).scores_of(train.images.take(out))[0]
        return train.labels, given

    return Classifier(name, title, title, make, read_model, left_out)


def _seen(images: Images, space: str) -> Images:
    """As the learner sees them: other learners of its search may have wanted colour."""
    return images if LEARNERS[space].color == "rgb" else images.grey()
