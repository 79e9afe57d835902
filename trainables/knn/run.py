"""One kNN configuration as a trial: asks for its stages, votes, and is done in one step."""

from __future__ import annotations

import logging
import time
from typing import Any

from spaces import get_space
from trainables.contract.assignment import Assignment
from trainables.contract.learner import Trial
from trainables.data.scores import answers, judged
from trainables.knn.pipeline import KnnConfig, evaluate, validation_stage
from trainables.stages.device import on

logger = logging.getLogger("visiontune.trial")


class KnnRun(Trial):
    """The run of one kNN trial."""

    def __init__(self, assignment: Assignment) -> None:
        self._assignment = assignment

    def step(self) -> dict[str, Any]:
        """All of it: scores, accuracy for every k, and what it says of each image."""
        trial = self._assignment
        data, validation = trial.data, trial.validation
        assert data is not None
        assert validation is not None
        config: KnnConfig = get_space(trial.space).typed(trial.config)
        started = time.time()
        stages = (
            validation_stage(config, data, validation, trial.seed),
            data.labels("train"),
            data.labels(validation.split),
        )
        (neighbours, gallery_labels, labels), there = trial.fetch(*stages)
        logger.info(
            "neighbours %s after %.2f s", "shared" if there else "computed", time.time() - started
        )
        outcome = evaluate(config, neighbours, gallery_labels, labels, len(data.classes))
        logger.info("val_accuracy %.4f", outcome.scores.accuracy)
        return {
            **on(data.device),
            **judged(outcome.scores, labels, outcome.predictions, len(data.classes)),
            "accuracy_by_k": list(outcome.accuracy_by_k),
            **answers(outcome.predictions, outcome.shares),
            "done": True,
        }
