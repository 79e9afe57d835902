"""A classifier on a pretrained network's features, as a bundle holds it.

model.safetensors: the network's own tensors as ``backbone.NAME``, and what the head is made of as
``head.NAME`` (``trainables.embedding.heads.Fitted``).
"""

from __future__ import annotations

import hashlib
import os
import threading
import weakref
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from safetensors.torch import load as load_tensors
from safetensors.torch import save as save_tensors
from torch import Tensor, from_numpy, nn, set_num_threads

from analysis.bundle.facts import TOLERANCE, BundleError, BundleFacts
from analysis.bundle.source import Source, bundle_facts
from analysis.run.records import TrialRecord
from spaces import EMBEDDING
from spaces.ours.embedding import EmbeddingConfig
from trainables.data import Dataset, Images
from trainables.data.source import data_source
from trainables.data.validation import Validation
from trainables.embedding.features import (
    BATCH,
    Features,
    chosen,
    features_of,
    mean_of_views,
    seeing,
)
from trainables.embedding.heads import Arrays, Fitted, fit
from trainables.embedding.pipeline import out_of_fold, seen_stage
from trainables.pretrained.facts import BackboneError, Weights
from trainables.pretrained.network import weights_stage, with_arrays, with_tensors
from trainables.pretrained.packaged import BACKBONES
from trainables.pretrained.weights import find
from trainables.stages.stage import compute

Float64 = npt.NDArray[np.float64]
Int64 = npt.NDArray[np.int64]
PACKAGES = ("timm", "torch", "torchvision")
KEPT = 2**31
"""Bytes of features that a thread keeps, about."""
CLOSE = 1e-3
"""Share of a feature that another machine may round otherwise."""


class LastSeen(threading.local):
    """What networks saw in the images that a thread asked of last: the members of an ensemble are
    many heads on few networks, and a network takes a thousand times as long as a head.
    """

    images: weakref.ref[Images] | None = None
    found: dict[tuple[object, ...], Features]

    def of(self, images: Images, key: tuple[object, ...], see: Callable[[], Features]) -> Features:
        if self.images is None or self.images() is not images:
            found = self.found = dict[tuple[object, ...], Features]()
            self.images = weakref.ref(images, lambda gone: found.clear())
        if key not in self.found:
            self.found[key] = see()
            while len(self.found) > 1 and self.size > KEPT:
                del self.found[next(iter(self.found))]
        return self.found[key]

    @property
    def size(self) -> int:
        return sum(part.nbytes for features in self.found.values() for part in features.values())


LAST = LastSeen()


@dataclass(frozen=True)
class EmbeddingModel:
    """A pretrained network with a head, in memory.

    Attributes:
        facts: what bundle.json says of it.
        net: the network, with the weights that the bundle holds.
        head: the classifier on its features.
    """

    facts: BundleFacts
    net: nn.Module
    head: Fitted

    how_tested = "fitted on all training images"
    tolerance = TOLERANCE  # another processor rounds otherwise, and what is near a tie tips over
    batch = 16 * BATCH

    @property
    def weights(self) -> Weights:
        """What is known of the network's weights."""
        return weights_of(self.facts)

    @cached_property
    def sees(self) -> tuple[object, ...]:
        """What its features depend on, beside the images and whether they are mirrored too."""
        config, tensors = self.head.config, hashlib.sha256()
        for name, value in sorted(self.net.state_dict().items()):
            tensors.update(f"{name} {tuple(value.shape)} {value.dtype}".encode())
            tensors.update(value.contiguous().numpy().tobytes())
        own = config.pooling == "own"
        return self.weights, tensors.digest(), config.backbone, config.side, config.crop, own

    def features_of(self, images: Images) -> Features:
        """Features of m images, of all layers and poolings, on every core."""
        return self.seen(images, lambda: self.looked_at(images))

    def seen(self, images: Images, see: Callable[[], Features]) -> Features:
        """Features of m images as a classifier that sees the same had them, or else by ``see``."""
        return LAST.of(images, (*self.sees, self.head.config.views), see)

    def looked_at(self, images: Images, kept: bool = True) -> Features:
        """The same by this network, whatever another had; the views are ``kept`` for others."""

        def view(mirrored: bool) -> Features:
            if not kept:
                return self._view(images, mirrored)
            return LAST.of(images, (*self.sees, mirrored), lambda: self._view(images, mirrored))

        if self.head.config.views == "one":
            return view(mirrored=False)
        return mean_of_views(view(mirrored=False), view(mirrored=True))

    def _view(self, images: Images, mirrored: bool) -> Features:
        config = self.head.config
        weights, own = self.weights, config.pooling == "own"
        runs = [images[start : start + BATCH] for start in range(0, max(1, len(images)), BATCH)]

        def seen(run: Images) -> Features:
            return features_of(self.net, weights, run, config.side, config.crop, mirrored, own)

        # a thread of the pool has a setting of its own, and none may change another's meanwhile
        cores = len(os.sched_getaffinity(0))
        with (
            seeing(),
            ThreadPoolExecutor(cores, initializer=set_num_threads, initargs=(1,)) as pool,
        ):
            parts = list(pool.map(seen, runs))
        return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}

    def scores_of(self, images: Images) -> tuple[Int64, Float64]:
        """(m,) predicted class and (m, classes) float64 scores, which sum to 1."""
        config = self.head.config
        picked = chosen(self.features_of(images), config.layer, config.pooling)
        shares = self.head.scores(picked)
        return shares.argmax(axis=1), shares

    def content(self) -> bytes:
        """The model file."""
        tensors = {f"backbone.{name}": value for name, value in self.net.state_dict().items()}
        tensors |= {f"head.{name}": _tensor(value) for name, value in self.head.arrays.items()}
        return save_tensors({name: value.contiguous() for name, value in tensors.items()})


def _tensor(array: npt.NDArray[np.generic]) -> Tensor:
    return from_numpy(np.ascontiguousarray(array))


def make_embedding(source: Source, record: TrialRecord, dataset: Dataset) -> EmbeddingModel:
    """The trial's classifier, its head fitted on all training images."""
    config: EmbeddingConfig = EMBEDDING.typed(record.config)
    data = data_source(dataset, source.options)
    weights = source.run.plan().weights.get(config.backbone) or find(config.backbone)[0]
    memo: dict[str, Any] = {data.stage.digest: dataset}
    arrays = compute(weights_stage(weights), memo)
    facts = bundle_facts(source, record, dataset, "embedding", PACKAGES, weights=weights)
    made = EmbeddingModel(facts, with_arrays(weights, arrays, config.side), Fitted(config, 0, {}))
    stage = seen_stage(config, weights, data, "train")
    features = made.seen(dataset.train.images, lambda: compute(stage, memo, cache=source.cache))
    picked = chosen(features, config.layer, config.pooling)
    return replace(made, head=fit(config, picked, dataset.train.labels, len(dataset.classes)))


def weights_of(facts: BundleFacts) -> Weights:
    """What is known of the weights in a bundle.

    Raises:
        BundleError: if nothing is.
    """
    name = facts.config["backbone"]
    if facts.weights is None and name not in BACKBONES:
        raise BundleError(f"bundle.json says nothing of the weights of {name}")
    return facts.weights or BACKBONES[str(name)].weights


def left_out(
    model: EmbeddingModel, validation: Validation, dataset: Dataset
) -> tuple[Int64, Int64]:
    """True and predicted classes of the training images, each classified by a head that was fitted
    without its fold, on what the bundle's own network sees. What a network of the same tensors saw
    of all images is believed where this one sees the same in some.
    """
    labels, classes = dataset.train.labels, len(dataset.classes)
    features = model.features_of(dataset.train.images)
    some = dataset.train.images[:BATCH]
    for name, values in model.looked_at(some, kept=False).items():
        if not np.allclose(values, features[name][: len(some)], CLOSE, CLOSE / 10):
            features = model.looked_at(dataset.train.images)
            break
    together = dataset.train.groups
    scores = out_of_fold(model.head.config, features, labels, classes, validation, together)
    return labels, scores.argmax(axis=1)


def read_embedding(folder: Path, facts: BundleFacts, content: bytes) -> EmbeddingModel:
    """The classifier in the model file of ``folder``.

    Raises:
        BundleError: if it does not fit bundle.json.
    """
    config: EmbeddingConfig = EMBEDDING.typed(facts.config)
    parts: dict[str, dict[str, Tensor]] = {"backbone": {}, "head": {}}
    for key, value in load_tensors(content).items():
        part, _, name = key.partition(".")
        if part not in parts:
            raise BundleError(f"{folder}: model.safetensors holds {part!r}, which no bundle has")
        parts[part][name] = value
    try:
        weights = weights_of(facts)
        net = with_tensors(weights, parts["backbone"], config.side, resampled=True)
        nothing = EmbeddingModel(facts, net, Fitted(config, 0, {}))
        features = nothing.features_of(Images.from_arrays([]))
        columns = chosen(features, config.layer, config.pooling).shape[1]
    except BackboneError as error:
        raise BundleError(f"{folder}: {error}") from error
    if not all(value.isfinite().all() for value in parts["backbone"].values()):
        raise BundleError(f"{folder}: weights in model.safetensors must be finite numbers")
    arrays = {name: value.numpy() for name, value in parts["head"].items()}
    if wrong := _misfit(config, arrays, len(facts.classes), columns):
        raise BundleError(f"{folder}: model.safetensors does not fit bundle.json ({wrong})")
    return EmbeddingModel(facts, net, Fitted(config, len(facts.classes), arrays))


def _misfit(config: EmbeddingConfig, arrays: Arrays, classes: int, columns: int) -> str:
    """What is wrong with the arrays of a head on so many features; empty if nothing is."""
    wanted: dict[str, tuple[int, ...]] = {}
    if config.norm == "standard" or config.components:
        wanted["mean"] = (columns,)
    if config.norm == "standard":
        wanted["deviation"] = (columns,)
    if "components" in arrays and arrays["components"].ndim == 2:
        kept = len(arrays["components"])
        wanted["components"] = (kept, columns)
        columns = kept
    if config.head == "knn":
        count = len(arrays["gallery"]) if "gallery" in arrays else 0
        wanted |= {"gallery": (count, columns), "labels": (count,)}
    else:
        wanted |= {"weights": (classes, columns), "bias": (classes,)}
    for name, shape in wanted.items():
        if name not in arrays or arrays[name].shape != shape or not shape[0]:
            return f"the head's {name} must be {shape}"
        kind = np.int64 if name == "labels" else np.float64
        if arrays[name].dtype != kind or not np.isfinite(arrays[name]).all():
            return f"the head's {name} must be finite numbers"
    if set(arrays) != set(wanted):
        return f"the head has {', '.join(sorted(set(arrays) - set(wanted)))}"
    if "deviation" in arrays and arrays["deviation"].min() <= 0:
        return "the head's deviation must be above 0"
    if "labels" in arrays and not 0 <= arrays["labels"].min() <= arrays["labels"].max() < classes:
        return f"the head's labels must be 0..{classes - 1}"
    return ""
