"""The spaces there are, by name, and what a guest may ask of ``spaces`` itself."""

from __future__ import annotations

from spaces.datasets import READERS as READERS
from spaces.domain import SpaceError as SpaceError
from spaces.objectives import METRICS as METRICS
from spaces.ours import bag_of_sift, cnn, tiny_image
from spaces.ours.bag_of_sift import BAG_OF_SIFT as BAG_OF_SIFT
from spaces.ours.bag_of_sift import BagOfSiftConfig as BagOfSiftConfig
from spaces.ours.cnn import CNN as CNN
from spaces.ours.cnn import CnnConfig as CnnConfig
from spaces.ours.embedding import EMBEDDING as EMBEDDING
from spaces.ours.embedding import EmbeddingConfig as EmbeddingConfig
from spaces.ours.tiny_image import TINY_IMAGE as TINY_IMAGE
from spaces.ours.tiny_image import TinyImageConfig as TinyImageConfig
from spaces.ours.toy import TOY as TOY
from spaces.ours.toy import TOY_FOLDS as TOY_FOLDS
from spaces.ours.toy import ToyConfig as ToyConfig
from spaces.registry import Registry
from spaces.registry import add as add
from spaces.samplers import PRUNERS as PRUNERS
from spaces.samplers import SAMPLERS as SAMPLERS
from spaces.space import Space as Space

SPACES = Registry(Space, "space", error=SpaceError)
for _space in (TINY_IMAGE, BAG_OF_SIFT, EMBEDDING, CNN, TOY, TOY_FOLDS):
    add(_space)


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
