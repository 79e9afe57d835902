"""The thin file that makes the pipelines Ray trainables.

A trial that fails does not raise: it returns its cause as a result. An exception would
end the actor, and a fresh one costs seconds where a reused one costs milliseconds.
"""

from __future__ import annotations

import io
import logging
import platform
import time
import traceback
from typing import Any

import numpy as np
import ray
from ray import tune

from trainables.knn.pipeline import CONFIG_TYPES, DataSource, KnnConfig, Validation, evaluate, validation_stage
from trainables.stage_registry import NAMESPACE, fetch

logger = logging.getLogger("visiontune.trial")


class KnnTrial(tune.Trainable):
    """One kNN configuration: asks for its stages, votes, and is done in one step.

    The Tune config holds ``space``, ``number`` and ``config`` of the trial, and what all
    trials share: ``registry`` (its name), ``data``, ``validation`` and ``seed``.
    """

    def setup(self, config: dict[str, Any]) -> None:
        self._trial = config

    def reset_config(self, new_config: dict[str, Any]) -> bool:
        """Nothing outlives a trial: everything it knows is in its config."""
        self._trial = new_config
        return True

    def step(self) -> dict[str, Any]:
        log = io.StringIO()
        handler = logging.StreamHandler(log)
        handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(message)s"))
        logger.addHandler(handler)
        logger.setLevel(logging.INFO)
        started = time.time()
        try:
            result = self._run()
        except Exception as error:
            logger.error("failed: %s", error)
            cause = f"{type(error).__name__}: {error}"
            result = {"failure": " ".join(cause.split()), "traceback": traceback.format_exc()}
        finally:
            logger.removeHandler(handler)
        common = {"started": started, "seconds": time.time() - started, "node": platform.node(), "log": log.getvalue()}
        return {**result, **common, "done": True}

    def _run(self) -> dict[str, Any]:
        trial = self._trial
        data: DataSource = trial["data"]
        validation: Validation = trial["validation"]
        config: KnnConfig = CONFIG_TYPES[trial["space"]](**trial["config"])
        logger.info("trial %s/%s: %s", trial["space"], trial["number"], config)
        registry = ray.get_actor(trial["registry"], namespace=NAMESPACE)
        started = time.time()
        neighbours, there = fetch(registry, validation_stage(config, data, validation, trial["seed"]))
        logger.info("neighbours %s after %.2f s", "shared" if there else "computed", time.time() - started)
        gallery_labels, _ = fetch(registry, data.labels("train"))
        labels, _ = fetch(registry, data.labels(validation.split))
        outcome = evaluate(config, neighbours, gallery_labels, labels, len(data.classes))
        logger.info("val_accuracy %.4f", outcome.scores.accuracy)
        return {
            "val_accuracy": outcome.scores.accuracy,
            "balanced_accuracy": outcome.scores.balanced_accuracy,
            "macro_f1": outcome.scores.macro_f1,
            "accuracy_by_k": list(outcome.accuracy_by_k),
            "predictions": outcome.predictions.astype(np.uint16),
        }
