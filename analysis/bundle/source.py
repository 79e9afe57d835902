"""Where an exported trial comes from, and what every bundle says of that."""

from __future__ import annotations

import importlib.metadata
import platform
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from analysis.bundle.facts import FORMAT, BundleFacts, Preprocessing
from analysis.run.directory import RunDirectory
from analysis.run.records import Measured, TrialRecord
from spaces import plugins
from trainables.contract.assignment import TrainingSettings
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
"""What every bundle is read and used with."""
EpochCallback = Callable[[int, int, Mapping[str, float]], None]
"""Told after each epoch of a refit: epoch, epochs, and its metrics."""


@dataclass(frozen=True)
class Source:
    """Where an exported trial comes from: its run, how it read its images, how it was validated
    and, for networks, trained; and whether it may have gone on from others.
    """

    run: RunDirectory
    options: ReadOptions
    validation: Validation
    seed: int
    settings: TrainingSettings | None = None
    class_order: Sequence[str] = ()
    cache: Cache = NO_CACHE
    population: bool = False


@dataclass(frozen=True)
class ExportRequest:
    """What is to be exported of a trial.

    Attributes:
        score_test: score the dataset's test split, if it has one. The run counts how often.
        epoch: a network as it was after its ``last`` or its ``best`` epoch.
        refit: a network trained again on all training images, those included that chose it.
        refit_epochs: that it is then trained for, its schedule laid over them; as many as in the
            search by default.
        say: told after each epoch of a refit.
        calibrate: make probabilities of its scores, where the run kept what that takes.
        drop_leaked: leave test images that are also training images out of the test score.
        check: told of the trials that are to be exported, before anything is written; may refuse
            them.
    """

    score_test: bool = True
    epoch: str = "last"
    refit: bool = False
    refit_epochs: int | None = None
    say: EpochCallback = lambda epoch, epochs, metrics: None
    drop_leaked: bool = False
    calibrate: bool = True
    check: Callable[[Sequence[TrialRecord]], None] = lambda records: None


def bundle_facts(
    source: Source,
    record: TrialRecord,
    dataset: Dataset,
    kind: str,
    packages: Sequence[str],
    **more: Any,
) -> BundleFacts:
    """What is known of a bundle before it is checked.

    Args:
        packages: that predicting with it imports, beside ``READERS``; their versions are written
            into it.
    """
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
        | {name: importlib.metadata.version(name) for name in ("numpy", *packages, *READERS)},
        "dataset": dataset.spec,
        "fingerprint": dataset.fingerprint,
        "test_fingerprint": dataset.test.fingerprint if dataset.test else None,
        "plugins": plugins.sha256s((record.space, *record.config, *record.config.values())),
        "hold_out": source.options.hold_out,
        "skipped": dataset.skipped,
        "trial": f"{source.run.name}: {record.key}",
        "model_sha256": "",
    }
    return BundleFacts(**facts | more)
