"""What is known of a configuration before it is run."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from spaces import ToyConfig
from trainables.toy import model_mb


def _toy(config: Mapping[str, Any]) -> dict[str, float]:
    return {"model_mb": model_mb(ToyConfig(**config))}


KNOWN: dict[str, Callable[[Mapping[str, Any]], dict[str, float]]] = {"toy": _toy, "toy-folds": _toy}


def known_before(space: str, config: Mapping[str, Any]) -> dict[str, float]:
    """Metrics of a complete configuration that need no training: its size, where the space has one."""
    return KNOWN[space](config) if space in KNOWN else {}
