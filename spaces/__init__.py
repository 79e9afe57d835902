"""What may vary: parameters, their domains and conditions, one file per space."""

from __future__ import annotations

from spaces.bag_of_sift import BAG_OF_SIFT, BagOfSiftConfig
from spaces.cnn import CNN, CnnConfig
from spaces.domain import Space, SpaceError
from spaces.errors import echo
from spaces.tiny_image import TINY_IMAGE, TinyImageConfig
from spaces.toy import TOY, TOY_FOLDS, ToyConfig

SPACES: dict[str, Space] = {
    space.name: space for space in (TINY_IMAGE, BAG_OF_SIFT, CNN, TOY, TOY_FOLDS)
}

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
    if name not in SPACES:
        raise SpaceError(f"unknown space {echo(name)}; the spaces are {', '.join(SPACES)}")
    return SPACES[name]
