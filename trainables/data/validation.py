"""How configurations are compared: which images are classified, and which may vote or teach."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from spaces.errors import DatasetError

if TYPE_CHECKING:  # plans name a validation, and many commands read a plan alone
    from trainables.data.dataset import Int64


@dataclass(frozen=True)
class Validation:
    """How configurations are compared, inside what may be learned from.

    Attributes:
        scheme: ``leave-one-out`` or ``k-fold`` inside train (the vocabulary has seen the
            left-out image, without its label: transductive), or ``val`` for the val split.
        folds: number of folds of ``k-fold``.
        seed: of the draw of folds.
    """

    scheme: Literal["leave-one-out", "k-fold", "val"]
    folds: int = 5
    seed: int = 0

    @property
    def split(self) -> str:
        """The split whose images are classified: train itself for leave-one-out and k-fold."""
        return "val" if self.scheme == "val" else "train"


def check_folds(validation: Validation, largest_class: int, spec: str) -> None:
    """Refuse more folds than can be made.

    Args:
        largest_class: training images of the class that has the most.

    Raises:
        DatasetError: if not even that one can stand in every fold.
    """
    if validation.scheme == "k-fold" and validation.folds > largest_class:
        raise DatasetError(
            f"{spec}: validation k-fold makes {validation.folds} folds, each with images of the "
            "same classes, but no class has more than "
            f"{largest_class} training images; ask for fewer folds, or for leave-one-out"
        )


def validation_groups(
    labels: Int64, *, scheme: str, folds: int, seed: int, copies: int = 1
) -> Int64:
    """(copies × n,) the group of each training image that is left out together, its mirror images
    with it.
    """
    import numpy as np

    if scheme == "leave-one-out":
        return np.tile(np.arange(len(labels)), copies)
    from sklearn.model_selection import StratifiedKFold

    groups = np.empty(len(labels), np.int64)
    splitter = StratifiedKFold(folds, shuffle=True, random_state=seed)
    for group, (_, rows) in enumerate(splitter.split(labels, labels)):
        groups[rows] = group
    return np.tile(groups, copies)
