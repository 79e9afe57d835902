"""How configurations are compared: which images are classified, and which may vote or teach."""

from __future__ import annotations

import contextlib
import warnings
from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, TypeAlias, get_args

from spaces.errors import DatasetError

if TYPE_CHECKING:  # plans name a validation, and many commands read a plan alone
    import numpy as np
    import numpy.typing as npt

    from trainables.data.dataset import Int64

    Float64 = npt.NDArray[np.float64]


Scheme: TypeAlias = Literal["leave-one-out", "k-fold", "val"]
MANY = 10_000
"""Training images from which on part of them is held out in place of folds: a fifth of them tells
an accuracy well enough, and one classifier is fitted in place of five.
"""


def usual_scheme(learners: Iterable[Collection[str]], val: bool) -> Scheme:
    """How configurations are compared unless somebody says: on the val split, if there is one; else
    leaving out each image, or a fold of them, if every learner can be judged so; else on a part
    held out, which is a val split then.

    Args:
        learners: how each of them can be judged.
    """
    learners, schemes = list(learners), get_args(Scheme)
    return next(
        scheme
        for scheme in schemes
        if scheme == "val" or (not val and all(scheme in its for its in learners))
    )


@dataclass(frozen=True)
class Validation:
    """How configurations are compared, inside what may be learned from.

    Attributes:
        scheme: ``leave-one-out`` or ``k-fold`` inside train (the vocabulary has seen the
            left-out image, without its label: transductive), or ``val`` for the val split.
        folds: number of folds of ``k-fold``.
        seed: of the draw of folds.
    """

    scheme: Scheme
    folds: int = 5
    seed: int = 0

    @property
    def split(self) -> str:
        """The split whose images are classified: train itself for leave-one-out and k-fold."""
        return "val" if self.scheme == "val" else "train"


def check_folds(validation: Validation, largest_class: int, spec: str, groups: int = 0) -> None:
    """Refuse more folds than can be made, and to leave out all images at once.

    Args:
        largest_class: training images of the class that has the most.
        groups: of training images that are not to be parted; 0 where each stands for itself. Both
            are of the smallest part of the images that is judged.

    Raises:
        DatasetError: if not even that class can stand in every fold, or no image would be left.
    """
    if validation.scheme == "leave-one-out" and groups == 1:
        raise DatasetError(
            f"{spec}: validation leave-one-out leaves out an image with its whole group, but all "
            "training images (of the smallest part that is judged, where there are parts) are of "
            "one group; make the part larger, or ask for hold-out"
        )
    if validation.scheme == "k-fold" and validation.folds > largest_class:
        raise DatasetError(
            f"{spec}: validation k-fold makes {validation.folds} folds, each with images of the "
            "same classes, but no class has more than "
            f"{largest_class} training images; ask for fewer folds, or for leave-one-out"
        )
    if validation.scheme == "k-fold" and 0 < groups < validation.folds:
        raise DatasetError(
            f"{spec}: validation k-fold makes {validation.folds} folds of whole groups, but there "
            f"are {groups} groups only; ask for fewer folds"
        )


def validation_groups(
    labels: Int64,
    together: Int64 | None = None,
    *,
    scheme: str,
    folds: int,
    seed: int,
    copies: int = 1,
) -> Int64:
    """(copies × n,) the group of each training image that is left out together, its mirror images
    with it.

    Args:
        together: (n,) the same for images that must not be parted; None where each stands for
            itself.
    """
    import numpy as np

    if scheme == "leave-one-out":
        groups = np.arange(len(labels)) if together is None else together
    elif together is not None:
        groups = grouped_folds(labels, together, folds, seed)
    else:
        from sklearn.model_selection import StratifiedKFold

        splitter = StratifiedKFold(folds, shuffle=True, random_state=seed)
        with _few_of_a_class():
            groups = _numbered(splitter.split(labels, labels), len(labels))
    return np.tile(groups, copies)


def comes_in(labels: Int64, together: Int64 | None = None, *, seed: int) -> Float64:
    """(n,) float64 in 0..1: each training image is in every part that is a larger share of them.

    So a smaller part lies within a larger one, has of each class about that share, at least an
    image of each, and parts no group; which images come first is drawn by ``seed``.

    Args:
        together: (n,) the same for images that must not be parted; None where each stands for
            itself.
    """
    import numpy as np

    groups = np.arange(len(labels)) if together is None else together
    _, first, of = np.unique(groups, return_index=True, return_inverse=True)
    kinds = labels[first]  # a group of several classes counts for that of its first image
    order = np.random.default_rng(seed).permutation(len(first))
    order = order[np.argsort(kinds[order], kind="stable")]
    sizes = np.bincount(of)[order]
    before = np.cumsum(sizes) - sizes
    _, starts, kind = np.unique(kinds[order], return_index=True, return_inverse=True)
    shares = np.empty(len(first))
    shares[order] = (before - before[starts][kind]) / np.bincount(kind, sizes)[kind]
    return np.asarray(shares[of])


def grouped_folds(labels: Int64, groups: Int64, folds: int, seed: int) -> Int64:
    """(n,) the fold of each image: whole groups, with the shares of the classes as equal as they
    allow (scikit-learn's ``StratifiedGroupKFold``).
    """
    from sklearn.model_selection import StratifiedGroupKFold

    splitter = StratifiedGroupKFold(folds, shuffle=True, random_state=seed)
    with _few_of_a_class():
        return _numbered(splitter.split(labels, labels, groups), len(labels))


@contextlib.contextmanager
def _few_of_a_class() -> Iterator[None]:
    """scikit-learn warns of classes with fewer images than folds."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        yield


def held_out_rows(cannot: str, labels: Int64, groups: Int64, fraction: float, seed: int) -> Int64:
    """Rows of the groups that are held out: the nearest whole number of parts to ``fraction``.

    Raises:
        DatasetError: beginning with ``cannot``, where a class would not stand on both sides.
    """
    import numpy as np

    most = len(np.unique(groups))
    if most < 2:
        raise DatasetError(f"{cannot}: all of them are of one group; there must be two at least")
    # scikit-learn makes no more parts than the largest class has images
    most = max(2, min(most, int(np.bincount(labels).max())))
    parts = min(max(2, round(1 / min(fraction, 1 - fraction))), most)
    folds = grouped_folds(labels, groups, parts, seed)
    classes = np.unique(labels)
    whole = [
        fold
        for fold in range(parts)
        if (np.isin(classes, labels[folds == fold]) & np.isin(classes, labels[folds != fold])).all()
    ]
    if not whole:
        raise DatasetError(
            f"{cannot} in whole groups with each class on both sides: some class stands in too few "
            "groups; give it more, or let the table say the split"
        )
    one = folds == whole[0]
    return np.flatnonzero(one if fraction <= 0.5 else ~one)


def _numbered(folds: Iterable[tuple[Int64, Int64]], n: int) -> Int64:
    """(n,) the fold of each image, of scikit-learn's pairs of rows to learn from and to judge."""
    import numpy as np

    found = np.empty(n, np.int64)
    for fold, (_, rows) in enumerate(folds):
        found[rows] = fold
    return found
