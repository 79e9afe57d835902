"""What is known of a configuration before it is run."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping
from typing import Any

from spaces import CnnConfig, ToyConfig
from trainables.toy import model_mb


def _toy(config: Mapping[str, Any], classes: int, size: int) -> dict[str, float]:
    return {"model_mb": model_mb(ToyConfig(**config))}


def _network(config: Mapping[str, Any], classes: int, size: int) -> dict[str, float]:
    network = CnnConfig.of(config)
    return {"model_mb": _network_mb(network.model, tuple(network.tweaks().items()), classes, size)}


@functools.lru_cache(maxsize=10_000)
def _network_mb(model: str, tweaks: tuple[tuple[str, Any], ...], classes: int, size: int) -> float:
    """Most configurations differ in what is no part of the network."""
    # torch is loaded only where networks are searched
    from trainables.cnn.training import model_size_mb

    return model_size_mb(CnnConfig.of({"model": model, **dict(tweaks)}), classes, size)


KNOWN: dict[str, Callable[[Mapping[str, Any], int, int], dict[str, float]]] = {
    "toy": _toy,
    "toy-folds": _toy,
    "cnn": _network,
}


def known_before(
    space: str, config: Mapping[str, Any], classes: int = 0, size: int = 0
) -> dict[str, float]:
    """Metrics of a complete configuration that need no training: its size, where the space has one.

    Args:
        classes, size: of the images that it would be trained on; only networks depend on them.
    """
    return KNOWN[space](config, classes, size) if space in KNOWN else {}
