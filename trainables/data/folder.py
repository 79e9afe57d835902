"""``folder:DIR``: a tree of image files, DIR/train/CLASS/*.jpg with DIR/test or DIR/val.

With ``train`` and ``test``, or ``train`` and ``val`` only, the second is the test split;
with all three, ``val`` selects. DIR/CLASS/*.jpg without any of the three is all training.
Hidden files, ``Thumbs.db`` and ``desktop.ini`` are passed over; anything else is an image
or an error. Nothing outside DIR is read: a link that leaves the tree is refused.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from trainables.data.dataset import Dataset, DatasetError, Images, Split, check_classes, few
from trainables.data.image_file import Color, read_images

SPLITS = ("train", "val", "test")
JUNK = {"thumbs.db", "desktop.ini"}


@dataclass(frozen=True)
class Listing:
    """The files of one split by class, before any is opened."""

    files: dict[str, tuple[Path, ...]]

    def __len__(self) -> int:
        return sum(len(paths) for paths in self.files.values())


def list_folder(spec: str, root: Path) -> dict[str, Listing]:
    """The files under ``root`` by split and class, without opening them.

    Raises:
        DatasetError: for a missing folder, a layout that is none of the above, a class
            without images, a class outside train, or a link that leaves the tree.
    """
    if not root.is_dir():
        raise DatasetError(f"{spec}: {'not a folder' if root.exists() else 'no such folder'}; expected DIR/train/CLASS/*.jpg")
    folders = {name: root / name for name in SPLITS if (root / name).is_dir()}
    for folder in folders.values():
        _refuse_leaving(folder, root.resolve(), spec)
    if not folders:
        folders = {"train": root}
    elif "train" not in folders:
        raise DatasetError(f"{spec}: has {' and '.join(folders)} but no train folder; expected DIR/train/CLASS/*.jpg")
    listings = {name: _list_split(spec, folder, root.resolve()) for name, folder in folders.items()}
    classes = listings["train"].files
    for name, listing in listings.items():
        unknown = sorted(set(listing.files) - set(classes))
        if unknown:
            raise DatasetError(f"{spec}: {name} has a class that train has not: {few(unknown)}; train has {few(sorted(classes), 20)}")
    if "val" in listings and "test" not in listings:
        listings["test"] = listings.pop("val")
    return listings


def read_folder(spec: str, root: Path, *, color: Color, max_side: int, skip_unreadable: bool) -> Dataset:
    """The images under ``root``; see the module for the layout and the rules."""
    listings = list_folder(spec, root)
    classes = tuple(sorted(listings["train"].files))
    skipped: list[str] = []
    splits: dict[str, Split] = {}
    for name, listing in listings.items():
        paths = [(path, label) for label, cls in enumerate(classes) for path in listing.files.get(cls, ())]
        outcomes = read_images([path for path, _ in paths], color, max_side)
        bad = [outcome for outcome in outcomes if isinstance(outcome, DatasetError)]
        if bad and not skip_unreadable:
            more = f" (and {len(bad) - 1} more such files in {name})" if len(bad) > 1 else ""
            raise DatasetError(f"{bad[0]}{more}, or pass --skip-unreadable")
        good = [(outcome, label) for outcome, (_, label) in zip(outcomes, paths, strict=True) if not isinstance(outcome, DatasetError)]
        skipped += [
            str(path.relative_to(root)) for outcome, (path, _) in zip(outcomes, paths, strict=True) if isinstance(outcome, DatasetError)
        ]
        if not good:
            raise DatasetError(f"{spec}: none of the {len(paths)} files in {name} can be read; repair them or remove {name}")
        splits[name] = Split(Images.from_arrays([a for a, _ in good]), np.array([label for _, label in good], np.int64))
    return check_classes(spec, Dataset(spec, classes, splits["train"], splits.get("val"), splits.get("test"), tuple(skipped)))


def _list_split(spec: str, folder: Path, root: Path) -> Listing:
    files: dict[str, tuple[Path, ...]] = {}
    for entry in _entries(folder, root, spec):
        if not entry.is_dir():
            raise DatasetError(f"{spec}: {entry} is a file among the class folders; expected {folder}/CLASS/*.jpg")
        images = tuple(_entries(entry, root, spec))
        nested = next((path for path in images if path.is_dir()), None)
        if nested:
            raise DatasetError(f"{spec}: {nested} is a folder inside a class folder; expected image files")
        if not images:
            raise DatasetError(f"{spec}: class {entry.name} has no images in {folder}; add some or remove the folder")
        files[entry.name] = images
    if not files:
        raise DatasetError(f"{spec}: no class folders in {folder}; expected {folder}/CLASS/*.jpg")
    return Listing(files)


def _entries(folder: Path, root: Path, spec: str) -> list[Path]:
    """The visible entries of ``folder``, sorted by name, none of them outside ``root``."""
    entries = sorted(path for path in folder.iterdir() if not path.name.startswith(".") and path.name.lower() not in JUNK)
    for path in entries:
        try:
            path.name.encode()
        except UnicodeEncodeError:
            raise DatasetError(f"{spec}: the name {os.fsencode(path.name)!r} in {folder} is not UTF-8; rename it") from None
        _refuse_leaving(path, root, spec)
    return entries


def _refuse_leaving(path: Path, root: Path, spec: str) -> None:
    if not path.is_symlink():
        return
    try:
        target = path.resolve()
    except RuntimeError:
        raise DatasetError(f"{spec}: {path} is a link that leads back to itself; remove it") from None
    if not target.is_relative_to(root):
        raise DatasetError(f"{spec}: {path} is a link that leaves the folder (to {target}); copy the files instead")
