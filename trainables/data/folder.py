"""``folder:DIR``: the image files of a tree (``trainables.data.tree``); ``nested:DIR``: of one
whose class folders may have folders inside.
"""

from __future__ import annotations

from pathlib import Path

from spaces.errors import DatasetError
from trainables.data.dataset import Dataset
from trainables.data.fetched import copy_of
from trainables.data.listed import File, Listed, read_listed
from trainables.data.options import ReadOptions
from trainables.data.tree import Tree, list_folder
from trainables.io.remote import Remote, is_uri


def check_folder(spec: str, place: str) -> None:
    """Refuse a folder whose layout is not that of a dataset; at a URI, one that is not there."""
    if not is_uri(place):
        list_folder(spec, Path(place), nested=_nested(spec))
    elif not Remote(place).folders():
        raise DatasetError(f"{spec}: no folder lies there; expected URI/train/CLASS/*.jpg")


def tree_of(spec: str, root: Path, options: ReadOptions) -> Tree:
    """The files of a ``folder:``, as these options take them."""
    return list_folder(
        spec,
        root,
        needs_train=not options.judged_only,
        exactly=options.exactly,
        nested=_nested(spec),
    )


def _nested(spec: str) -> bool:
    return spec.startswith("nested:")


def files_of_folder(spec: str, place: str, options: ReadOptions) -> Listed:
    """The files of a tree, class by class."""
    copy = copy_of(place) if is_uri(place) else None
    root = copy.files if copy else Path(place)
    tree = tree_of(spec, root, options)
    files = (
        File(name, path, label)
        for name, listing in tree.splits.items()
        for label, cls in enumerate(tree.classes)
        for path in listing.files.get(cls, ())
    )
    return Listed(root, tree.classes, tuple(files), tree.notes, copy)


def read_folder(spec: str, place: str, options: ReadOptions) -> Dataset:
    """The images of a tree.

    Raises:
        DatasetError: for a layout that is none, or as ``trainables.data.listed`` says.
    """
    return read_listed(spec, files_of_folder(spec, place, options), options)
