"""What may vary: parameters, their domains and conditions, one file per space."""

from __future__ import annotations

from spaces.bag_of_sift import BAG_OF_SIFT, BagOfSiftConfig
from spaces.cnn import CNN, CnnConfig
from spaces.domain import Space, SpaceError
from spaces.registry import Registry, add
from spaces.tiny_image import TINY_IMAGE, TinyImageConfig
from spaces.toy import TOY, TOY_FOLDS, ToyConfig

SPACES = Registry(Space, "space", error=SpaceError)
for _space in (TINY_IMAGE, BAG_OF_SIFT, CNN, TOY, TOY_FOLDS):
    add(_space)

__all__ = [
    "SPACES",
    "BagOfSiftConfig",
    "CnnConfig",
    "Space",
    "SpaceError",
    "TinyImageConfig",
    "ToyConfig",
    "get_space",
]


def get_space(name: str) -> Space:
    """The space called ``name``.

    Raises:
        SpaceError: if there is none of that name.
    """
    return SPACES[name]
