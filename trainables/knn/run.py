"""One kNN configuration as a trial: asks for its stages, votes, and is done in one step."""

from __future__ import annotations

import logging
import time
from pathlib import Path
from typing import Any

import numpy as np
import ray

from trainables.data.scores import judged
from trainables.data.source import DataSource
from trainables.data.validation import Validation
from trainables.knn.pipeline import CONFIG_TYPES, KnnConfig, evaluate, validation_stage
from trainables.stages.registry import NAMESPACE, fetch

logger = logging.getLogger("visiontune.trial")


class KnnRun:
    """The run of one kNN trial.

    Args:
        trial: its ``space`` and ``config``, the name of the stage ``registry``, ``data``,
            ``validation`` and ``seed``.
    """

    def __init__(self, trial: dict[str, Any]) -> None:
        self._trial = trial

    def step(self) -> dict[str, Any]:
        """All of it: scores, accuracy for every k, and (n,) uint16 predictions."""
        trial = self._trial
        data: DataSource = trial["data"]
        validation: Validation = trial["validation"]
        config: KnnConfig = CONFIG_TYPES[trial["space"]](**trial["config"])
        registry = ray.get_actor(trial["registry"], namespace=NAMESPACE)
        started = time.time()
        stages = (
            validation_stage(config, data, validation, trial["seed"]),
            data.labels("train"),
            data.labels(validation.split),
        )
        (neighbours, gallery_labels, labels), there = fetch(registry, *stages)
        logger.info(
            "neighbours %s after %.2f s", "shared" if there else "computed", time.time() - started
        )
        outcome = evaluate(config, neighbours, gallery_labels, labels, len(data.classes))
        logger.info("val_accuracy %.4f", outcome.scores.accuracy)
        return {
            **judged(outcome.scores, labels, outcome.predictions, len(data.classes)),
            "accuracy_by_k": list(outcome.accuracy_by_k),
            "predictions": outcome.predictions.astype(np.uint16),
            "done": True,
        }

    def save(self, folder: Path) -> None:
        """Nothing to save: there is nothing between the beginning and the end."""

    def load(self, folder: Path) -> None:
        """Nothing to load."""

    def close(self) -> None:
        """Nothing to give back."""
