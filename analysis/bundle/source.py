"""Where an exported trial comes from, and what every bundle says of that."""

from __future__ import annotations

import importlib.metadata
import platform
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from analysis.bundle.facts import FORMAT, BundleFacts, Preprocessing
from analysis.run.directory import RunDirectory
from analysis.run.records import Measured, TrialRecord
from spaces import plugins
from trainables.cnn.images import How
from trainables.data import Dataset, ReadOptions
from trainables.data.validation import Validation
from trainables.stages.stage import NO_CACHE, Cache

READERS = (
    "joblib",
    "matplotlib",
    "pillow",
    "pydantic",
    "pyyaml",
    "rich",
    "safetensors",
    "scikit-learn",
    "scipy",
    "threadpoolctl",
    "typer",
)
PACKAGES = {
    "knn": ("numpy", "cyvlfeat", "faiss-cpu", *READERS),
    "cnn": ("numpy", "torch", "torchvision", *READERS),
}
"""All that predicting and evaluating with a bundle imports; its versions are written into it."""


@dataclass(frozen=True)
class Source:
    """Where an exported trial comes from: its run, how it read its images, how it was validated
    and, for networks, trained.
    """

    run: RunDirectory
    options: ReadOptions
    validation: Validation
    seed: int
    how: How | None = None
    class_order: Sequence[str] = ()
    cache: Cache = NO_CACHE


def bundle_facts(
    source: Source, record: TrialRecord, dataset: Dataset, kind: str, **more: Any
) -> BundleFacts:
    """What is known of a bundle before it is checked."""
    validation, metrics = source.validation, record.metrics
    facts = {
        "format": FORMAT,
        "kind": kind,
        "space": record.space,
        "config": record.config,
        "classes": dataset.classes,
        "preprocessing": Preprocessing(
            color=source.options.color, max_side=source.options.max_side, rule=dataset.rule
        ),
        "val": Measured(
            split=validation.split,
            n=len(dataset.splits()[validation.split]),
            scheme=validation.scheme,
            accuracy=metrics["val_accuracy"],
            balanced_accuracy=metrics["balanced_accuracy"],
            macro_f1=metrics["macro_f1"],
        ),
        "test": None,
        "test_evaluations": 0,
        "seed": source.seed,
        "versions": {"python": platform.python_version()}
        | {name: importlib.metadata.version(name) for name in PACKAGES[kind]},
        "dataset": dataset.spec,
        "fingerprint": dataset.fingerprint,
        "test_fingerprint": dataset.test.fingerprint if dataset.test else None,
        "plugins": plugins.sha256s((record.space, *record.config, *record.config.values())),
        "trial": f"{source.run.name}: {record.key}",
        "model_sha256": "",
    }
    return BundleFacts(**facts | more)
