"""What a network begins with: weights of a bundle, those of a pretrained network, or random ones;
and how images are normalised for them.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import numpy as np
from torch import Tensor

from spaces import CnnConfig
from spaces.ours.tuning import PRETRAINED
from trainables.cnn import weights
from trainables.cnn.data import CnnData
from trainables.cnn.steps.tuning import begins_pretrained
from trainables.contract.assignment import TrainingSettings
from trainables.pretrained.facts import Weights
from trainables.pretrained.network import Arrays, read_arrays, with_arrays
from trainables.pretrained.weights import find

Known = tuple[Weights, Arrays]
"""What is known of weights, and their tensors."""
Start = tuple[Mapping[str, Tensor], bool]
"""Weights to begin from, and whether the head among them is kept."""


def known_here(config: CnnConfig, before: Mapping[str, Weights]) -> Known | None:
    """The weights that a pretrained network begins with, read on this machine; None of another
    network.

    Args:
        before: those that the search began with, by name: others are refused.

    Raises:
        BackboneError: if they cannot be had, or have changed.
    """
    if config.model != PRETRAINED:
        return None
    name = backbone_of(config)
    facts = before.get(name) or find(name)[0]
    return facts, read_arrays(facts={**facts.content, "name": facts.name})


def backbone_of(config: CnnConfig) -> str:
    """The name of its weights."""
    return str(getattr(config, "backbone", ""))


def started(
    config: CnnConfig,
    data: CnnData,
    settings: TrainingSettings,
    classes: tuple[str, ...],
    known: Known | None,
) -> tuple[Start | None, CnnData]:
    """What the training begins with, None for random weights; and its images, with the statistics
    by which they are normalised for it.

    Args:
        known: the weights of a pretrained network, read.

    Raises:
        WeightsError: if the bundle to start from has none that can be read.
    """
    start: Start | None = None
    if known is not None:  # it knows images as its own weights were learned on them
        facts, arrays = known
        data = replace(data, statistics=255 * np.array([facts.mean, facts.std]))
        if begins_pretrained(config):
            start = with_arrays(facts, arrays, data.size).state_dict(), False
    if settings.start:
        tensors, use = weights.read(settings.start)
        start = tensors, classes == settings.start_classes
        if config.model == PRETRAINED:
            data = replace(data, statistics=np.array([use.mean, use.std]))
    return start, data
