"""The spaces there are, by name, and what a guest may ask of ``spaces`` itself."""

from __future__ import annotations

from spaces.datasets import READERS
from spaces.domain import SpaceError
from spaces.objectives import METRICS
from spaces.ours import bag_of_sift, cnn, tiny_image
from spaces.ours.bag_of_sift import BAG_OF_SIFT, BagOfSiftConfig
from spaces.ours.cnn import CNN, CnnConfig
from spaces.ours.embedding import EMBEDDING, EmbeddingConfig
from spaces.ours.tiny_image import TINY_IMAGE, TinyImageConfig
from spaces.ours.toy import TOY, TOY_FOLDS, ToyConfig
from spaces.registry import Registry, add
from spaces.samplers import PRUNERS, SAMPLERS
from spaces.space import Space

SPACES = Registry(Space, "space", error=SpaceError)
for _space in (TINY_IMAGE, BAG_OF_SIFT, EMBEDDING, CNN, TOY, TOY_FOLDS):
    add(_space)

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


def renew() -> None:
    """Have the spaces take up what was added to the registries, or removed, since they were made.

    Raises:
        SpaceError: if a parameter of that is one of a space already.
    """
    CNN.become(cnn.parameters())
    TINY_IMAGE.become(tiny_image.parameters())
    BAG_OF_SIFT.become(bag_of_sift.parameters())


def get_space(name: str) -> Space:
    """The space called ``name``.

    Raises:
        SpaceError: if there is none of that name.
    """
    return SPACES[name]
