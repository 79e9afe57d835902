"""One configuration of the space ``embedding`` as a trial: asks for features, and fits its head."""

from __future__ import annotations

import logging
import time
from dataclasses import asdict
from typing import Any

from spaces import EMBEDDING
from spaces.ours.embedding import EmbeddingConfig
from trainables.contract.learner import InParts
from trainables.data.scores import answers, score
from trainables.data.source import DataSource
from trainables.embedding.pipeline import held_out, out_of_fold, seen_stage
from trainables.stages.device import on

logger = logging.getLogger("visiontune.trial")


class EmbeddingTrial(InParts):
    """One trial: fits a configuration's head to the features of a pretrained network, and judges
    it.
    """

    def judged_on(self, data: DataSource) -> dict[str, Any]:
        """Scores, and (n,) uint16 predictions of the validation images."""
        trial = self._assignment
        assert trial.validation is not None
        config: EmbeddingConfig = EMBEDDING.typed(trial.config)
        judged_by, classes = trial.validation, len(data.classes)
        weights = trial.weights[config.backbone]
        splits = ("train", "val") if judged_by.scheme == "val" else ("train",)
        began = time.monotonic()
        seen = [seen_stage(config, weights, data, split) for split in splits]
        folded_by = data.folded_by()[1:] if judged_by.scheme == "k-fold" else ()
        results, there = trial.fetch(*seen, *map(data.labels, splits), *folded_by)
        n = len(splits)
        features, labels, together = results[:n], results[n : 2 * n], results[2 * n :]
        logger.info(
            "features %s after %.2f s",
            "shared" if there else "computed",
            time.monotonic() - began,
        )
        began = time.monotonic()
        if judged_by.scheme == "val":
            scores = held_out(config, features[0], labels[0], features[1], classes)
        else:
            judged_on = (config, features[0], labels[0], classes, judged_by, *together)
            scores = out_of_fold(*judged_on)
        predictions = scores.argmax(axis=1)
        found = asdict(score(labels[-1], predictions, classes))
        logger.info(
            "%s fitted in %.2f s: val_accuracy %.4f",
            config.head,
            time.monotonic() - began,
            found["accuracy"],
        )
        return {
            **on(data.device),
            "val_accuracy": found["accuracy"],
            "balanced_accuracy": found["balanced_accuracy"],
            "macro_f1": found["macro_f1"],
            **answers(predictions, scores),
        }
