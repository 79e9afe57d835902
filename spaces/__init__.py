"""What may vary: parameters, their domains and conditions, one file per space.

The names of ``spaces.known`` stand here too. It is imported when the first of them is asked for:
``visiontune --help`` needs no space.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from spaces.known import (
        BAG_OF_SIFT,
        CNN,
        EMBEDDING,
        METRICS,
        PRUNERS,
        READERS,
        SAMPLERS,
        SPACES,
        TINY_IMAGE,
        TOY,
        TOY_FOLDS,
        BagOfSiftConfig,
        CnnConfig,
        EmbeddingConfig,
        Space,
        SpaceError,
        TinyImageConfig,
        ToyConfig,
        add,
        get_space,
        renew,
    )


__all__ = [
    "BAG_OF_SIFT",
    "CNN",
    "EMBEDDING",
    "METRICS",
    "PRUNERS",
    "READERS",
    "SAMPLERS",
    "SPACES",
    "TINY_IMAGE",
    "TOY",
    "TOY_FOLDS",
    "BagOfSiftConfig",
    "CnnConfig",
    "EmbeddingConfig",
    "Space",
    "SpaceError",
    "TinyImageConfig",
    "ToyConfig",
    "add",
    "get_space",
    "renew",
]


def __getattr__(name: str) -> Any:
    if name not in __all__:  # such as a module of this folder
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module("spaces.known"), name)
