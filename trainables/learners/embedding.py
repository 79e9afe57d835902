"""Pretrained networks as feature extractors with a simple classifier on top: their trials wait for
features, which they share.
"""

from __future__ import annotations

from spaces import EMBEDDING
from trainables.contract.assignment import Assignment, Config, Shared
from trainables.contract.learner import Learner, Trial
from trainables.stages.stage import Stage


def _trial(assignment: Assignment) -> Trial:
    from trainables.embedding.trial import EmbeddingTrial  # scikit-learn takes long to import

    return EmbeddingTrial(assignment)


def _work(shared: Shared, config: Config) -> Stage:
    from trainables.embedding.pipeline import seen_stage

    assert shared.data is not None
    return seen_stage(EMBEDDING.typed(config), shared.data, "train")


FEATURES = Learner(
    EMBEDDING,
    _trial,
    work=_work,
    holds_cores=False,
    validations=("k-fold", "val"),
    color="rgb",
    imports=("timm", "torch"),
    classifier="embedding",
)
