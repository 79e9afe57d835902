"""Convolutional networks: a trial trains one, an epoch a step. Loads torch in workers alone."""

from __future__ import annotations

import functools
from typing import Any

from spaces import CNN, CnnConfig, Space
from trainables.contract.assignment import Assignment, Config, Shared
from trainables.contract.learner import Learner, Trial
from trainables.pretrained.facts import Weights
from trainables.stages.stage import Stage

MOST_MB = 80.0
"""MiB of float32 parameters that a network may have unless the plan says otherwise: the limit of
the report.
"""


def _trial(assignment: Assignment) -> Trial:
    from trainables.cnn.run import CnnTrial

    return CnnTrial(assignment)


def _known(config: Config, classes: int, size: int) -> dict[str, float]:
    network: CnnConfig = CNN.typed(config)
    size = network.side_of(size)
    return {"model_mb": _network_mb(network.model, tuple(network.tweaks().items()), classes, size)}


@functools.lru_cache(maxsize=10_000)
def _network_mb(model: str, tweaks: tuple[tuple[str, Any], ...], classes: int, size: int) -> float:
    """Most configurations differ in what is no part of the network."""
    from trainables.cnn.size import model_size_mb

    return model_size_mb(CnnConfig.of({"model": model, **dict(tweaks)}), classes, size)


def _costs(config: Config, classes: int, size: int) -> dict[str, float]:
    from trainables.cnn.size import training_costs

    network: CnnConfig = CNN.typed(config)
    return training_costs(network, classes, network.side_of(size))


def _fits(space: Space, weights: Weights) -> None:
    from trainables.pretrained.network import shape_of
    from trainables.pretrained.weights import architecture_of

    sides = [
        int(side)
        for parameter in space.parameters
        if parameter.name == "side"
        for side in parameter.domain.values()
    ]
    architecture_of(weights.name)  # a file alone does not say it on other machines
    for side in filter(None, sides):
        shape_of(weights.architecture, 0, side)


def _prepare(shared: Shared) -> tuple[Stage, ...]:
    assert shared.data is not None
    assert shared.training is not None
    size = shared.training.image_size
    from trainables.cnn.images import data_stages, statistics_stage

    return (*data_stages(shared.data, size), statistics_stage(shared.data, size))


NETWORKS = Learner(
    CNN,
    _trial,
    known=_known,
    costs=_costs,
    prepare=_prepare,
    gpu="any",
    color="rgb",
    squares=True,
    most_mb=MOST_MB,
    imports=("torch", "trainables.cnn.run"),
    classifier="cnn",
    backbones="backbone",
    in_parts=True,
    fits=_fits,
)
