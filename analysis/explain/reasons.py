"""Why a classifier gives an image a class: places of the image that speak for it, and training
images that are nearest.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, cast

import numpy as np
import numpy.typing as npt

from analysis.bundle.classifier import CLASSIFIERS, ENSEMBLE, Calibrated, Int64, Model
from analysis.bundle.facts import BundleError
from analysis.bundle.knn import KnnModel
from analysis.ensemble.model import EnsembleModel
from analysis.explain.words import METHOD as WORDS
from analysis.explain.words import word_heat
from spaces.ours.embedding import EmbeddingConfig
from trainables.data import Images
from trainables.data.dataset import UInt8
from trainables.embedding.features import chosen
from trainables.knn.pipeline import KnnConfig
from trainables.neighbours.nearest import nearest_neighbours
from trainables.neighbours.norms import Floats

if TYPE_CHECKING:  # loads torch, which no report of other kinds needs
    from analysis.bundle.embedding import EmbeddingModel

SHOWN = 8
"""Nearest training images that are named of an image."""
CHANGED = 1e-3
"""By which share of its length a training image's features may differ from those in the bundle:
another machine rounds otherwise, another picture differs by far more.
"""


@dataclass(frozen=True)
class Heat:
    """Where in an image the reasons for a class lie.

    Attributes:
        seen: (height, width) or (height, width, 3) uint8, the image as the classifier sees it.
        places: (rows, columns) float64 over it, 0 to 1; all 0 where no place speaks for the class.
        method: by which they were found, with its source.
    """

    seen: UInt8
    places: npt.NDArray[np.float64]
    method: str


@dataclass(frozen=True)
class Near:
    """A training image among the nearest.

    Attributes:
        row: its number among the training images.
        label: its class.
        mirrored: its mirror image it is.
    """

    row: int
    label: int
    distance: float
    mirrored: bool = False


@dataclass(frozen=True)
class Reason:
    """Why one classifier gives a class.

    Attributes:
        who: which member of an ensemble; empty for a classifier that stands alone.
        model: the classifier.
        heat: None where it does not look at places.
        near: nearest first; empty where it does not look among training images.
        remark: what else is to be said.
    """

    who: str
    model: Model
    heat: Heat | None = None
    near: tuple[Near, ...] = ()
    remark: str = ""


Apart = tuple[int, Int64]
"""An image that is itself the training image of a number: that, and the (n,) validation groups of
the training images, its own of which did not vote.
"""
Explainer = Callable[[Any, UInt8, int, Apart | None], Reason]


def why(model: Model, image: UInt8, label: int, apart: Apart | None = None) -> list[Reason]:
    """Why ``model`` gives an image the class ``label``: a reason, or one a member of an ensemble.

    Raises:
        BundleError: for a kind of classifier that nothing is known of.
    """
    inner = model.inner if isinstance(model, Calibrated) else model
    if isinstance(inner, EnsembleModel):
        members = zip(inner.members, inner.times.tolist(), strict=True)
        return [
            replace(reason, who=f"member {n}, counted {times} of {inner.times.sum()} times")
            for n, (member, times) in enumerate(members, 1)
            for reason in why(member, image, label, apart)
        ]
    kind = inner.facts.kind
    if kind not in EXPLAINERS:
        known = ", ".join(CLASSIFIERS[name].word for name in (*EXPLAINERS, ENSEMBLE))
        raise BundleError(f"a {kind} cannot be explained; known are {known}")
    return [EXPLAINERS[kind](inner, image, label, apart)]


def _network(model: Any, image: UInt8, label: int, apart: Apart | None) -> Reason:
    from analysis.explain.activation import METHOD, activation  # loads torch
    from analysis.graphs.judges import judge_of, pixels_of

    judge = judge_of(model)
    pixels = pixels_of(Images.from_arrays([image]), judge.views[0])
    places = activation(judge, pixels, label)
    seen = np.ascontiguousarray(pixels[0].transpose(1, 2, 0))
    return Reason("", model, Heat(seen, places, METHOD))


def _embedding(model: EmbeddingModel, image: UInt8, label: int, apart: Apart | None) -> Reason:
    if model.head.config.head != "knn":
        return _network(model, image, label, apart)
    vector = vectors_of(model, Images.from_arrays([image]))
    return Reason("", model, None, *_near(model, vector, model.head.config, label, apart))


def _knn(model: KnnModel, image: UInt8, label: int, apart: Apart | None) -> Reason:
    images = Images.from_arrays([image]).grey()
    vector, heat = vectors_of(model, images), None
    if model.vocabulary is not None:
        heat = Heat(images[0], word_heat(model, images[0], vector, label, apart), WORDS)
    return Reason("", model, heat, *_near(model, vector, model.config, label, apart))


EXPLAINERS: Mapping[str, Explainer] = {"knn": _knn, "embedding": _embedding, "cnn": _network}
"""By kind of classifier."""


def explains(model: Model) -> bool:
    """Whether anything is known of why a classifier of this kind says what it does."""
    return model.facts.kind in (*EXPLAINERS, ENSEMBLE)


def _near(
    model: Model,
    vector: Floats,
    config: KnnConfig | EmbeddingConfig,
    label: int,
    apart: Apart | None,
) -> tuple[tuple[Near, ...], str]:
    """The nearest training images, and how many of those that vote have the class."""
    gallery, labels, copies = gallery_of(model)
    start, own = apart or (0, None)
    groups = None if own is None else np.tile(own, copies)
    found = nearest_neighbours(
        vector, gallery, groups, metric=config.metric, most=config.k, start=start
    )
    rows, distances, count = found["indices"][0], found["distances"][0], len(gallery) // copies
    near = tuple(
        Near(int(row) % count, int(labels[row]), float(distance), bool(row >= count))
        for row, distance in zip(rows[:SHOWN], distances, strict=False)
    )
    return near, f"{int((labels[rows] == label).sum())} of the {len(rows)} nearest have this class"


def vectors_of(model: Model, images: Images) -> Floats:
    """(n, d) what a classifier that looks among training images compares."""
    if isinstance(model, KnnModel):
        return model.features_of(images)
    embedding = cast("EmbeddingModel", model)
    config = embedding.head.config
    return embedding.head.prepared(
        chosen(embedding.features_of(images), config.layer, config.pooling)
    )


def same_as_then(model: Model, rows: Sequence[int], images: Images) -> list[bool]:
    """Whether images are still those whose features the bundle holds at these rows."""
    now, then = vectors_of(model, images), gallery_of(model)[0][list(rows)]
    gaps = np.linalg.norm(now.astype(np.float64) - then, axis=1)
    return [bool(one) for one in gaps <= CHANGED * np.linalg.norm(then, axis=1)]


def gallery_of(model: Model) -> tuple[Floats, Int64, int]:
    """(n, d) what it looks among, (n,) their classes, and how many of them are of one image."""
    if isinstance(model, KnnModel):
        return model.features, model.labels, 2 if model.config.mirrored else 1
    arrays = cast("EmbeddingModel", model).head.arrays
    return cast(Floats, arrays["gallery"]), cast(Int64, arrays["labels"]), 1


def training_labels(model: Model) -> Int64:
    """(n,) classes of the training images that it looks among."""
    _, labels, copies = gallery_of(model)
    return labels[: len(labels) // copies]
