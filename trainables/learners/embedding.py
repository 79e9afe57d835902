"""Pretrained networks as feature extractors with a simple classifier on top: their trials wait for
features, which they share.
"""

from __future__ import annotations

import functools

from spaces import EMBEDDING, Space
from spaces.domain import Choice
from trainables.contract.assignment import Assignment, Config, Shared
from trainables.contract.learner import Learner, Trial
from trainables.pretrained.facts import Weights
from trainables.stages.stage import Stage


def _trial(assignment: Assignment) -> Trial:
    from trainables.embedding.trial import EmbeddingTrial  # scikit-learn takes long to import

    return EmbeddingTrial(assignment)


def _work(shared: Shared, config: Config) -> Stage:
    from trainables.embedding.pipeline import seen_stage

    assert shared.data is not None
    typed = EMBEDDING.typed(config)
    return seen_stage(typed, shared.weights[typed.backbone], shared.data.at(0), "train")


def _costs(config: Config, classes: int, size: int) -> dict[str, float]:
    typed = EMBEDDING.typed(config)
    width, seconds = _cost(typed.backbone, typed.side)
    views = 1 if typed.views == "one" else 2
    return {"bytes_an_image": 4 * width, "seconds_an_image": round(views * seconds, 4)}


@functools.lru_cache(maxsize=100)
def _cost(backbone: str, side: int) -> tuple[int, float]:
    """(features, seconds) of an image."""
    from trainables.embedding.cost import cost  # loads torch

    found = cost(backbone, side)
    return sum(found.widths.values()), found.seconds


def _fits(space: Space, weights: Weights) -> None:
    from trainables.embedding.features import check_seen  # loads torch

    sides = space["side"].domain
    asked = sides.options if isinstance(sides, Choice) else (sides.low, sides.high)
    check_seen(weights, map(int, asked), map(str, space["layer"].domain.values()))


FEATURES = Learner(
    EMBEDDING,
    _trial,
    costs=_costs,
    work=_work,
    holds_cores=False,
    validations=("k-fold", "val"),
    color="rgb",
    imports=("timm", "torch"),
    classifier="embedding",
    backbones="backbone",
    in_parts=True,
    fits=_fits,
)
