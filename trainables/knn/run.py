"""One kNN configuration as a trial: asks for its stages, and votes."""

from __future__ import annotations

import logging
import time
from typing import Any

from spaces import get_space
from trainables.contract.learner import InParts
from trainables.data.scores import answers, judged
from trainables.data.source import DataSource
from trainables.knn.pipeline import KnnConfig, evaluate, validation_stage
from trainables.stages.device import on

logger = logging.getLogger("visiontune.trial")


class KnnRun(InParts):
    """The run of one kNN trial."""

    def judged_on(self, data: DataSource) -> dict[str, Any]:
        """Scores, accuracy for every k, and what it says of each image."""
        trial, validation = self._assignment, self._assignment.validation
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
        }
