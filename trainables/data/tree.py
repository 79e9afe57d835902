"""The files of a tree of images, before any is opened: DIR/train/CLASS/*.jpg with DIR/test or
DIR/val.

With ``train`` and ``test``, or ``train`` and ``val`` only, the second is the test split; with all
three, ``val`` selects. DIR/CLASS/*.jpg without any of the three is all training. Folders of other
names that say the same (``trainables.data.names.PARTS``) are taken for them, and any other folder
of images beside ``train`` is refused. Hidden files and folders, and what systems leave behind, are
passed over; anything else is an image or an error. Nothing outside DIR is read: a link that leaves
the tree is refused.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from spaces.errors import DatasetError
from trainables.data.dataset import few
from trainables.data.names import (
    PARTS,
    check_utf8,
    lookalike,
    part_of,
    parts_in_words,
    passed_over,
    twins,
)

ENDINGS = {
    ".apng", ".bmp", ".dib", ".gif", ".jfif", ".jpe", ".jpeg", ".jpg", ".pbm", ".pfm", ".pgm",
    ".png", ".pnm", ".ppm", ".tif", ".tiff",
    ".webp",
}  # fmt: skip
EXPECTED = "expected DIR/train/CLASS/*.jpg"


@dataclass(frozen=True)
class Listing:
    """The files of one split by class, before any is opened."""

    files: dict[str, tuple[Path, ...]]

    def __len__(self) -> int:
        return sum(len(paths) for paths in self.files.values())


@dataclass(frozen=True)
class Tree:
    """The files of a dataset.

    Attributes:
        splits: train, val and test, as far as they are there.
        notes: which folders were taken for them, a line each.
    """

    splits: dict[str, Listing]
    notes: tuple[str, ...] = ()

    @property
    def classes(self) -> tuple[str, ...]:
        """In alphabetical order."""
        return tuple(sorted({name for listing in self.splits.values() for name in listing.files}))


def list_folder(
    spec: str, root: Path, *, needs_train: bool = True, exactly: bool = False, nested: bool = False
) -> Tree:
    """The files under ``root`` by split and class, without opening them.

    Args:
        nested: images may lie in folders inside their class's folder, however deep.
        needs_train: refuse a folder that has parts and none of them train.
        exactly: take ``train``, ``val`` and ``test`` alone, and pass over all other folders beside
            them, as the first release did.

    Raises:
        DatasetError: for a missing folder, a layout that is none of the above, a class
            without images, a class outside train, or a link that leaves the tree.
    """
    if not root.is_dir():
        raise DatasetError(
            f"{spec}: {'not a folder' if root.exists() else 'no such folder'}; {EXPECTED}"
        )
    home = root.resolve()
    folders = (
        {name: root / name for name in PARTS if (root / name).is_dir()}
        if exactly
        else _parts(spec, root)
    )
    for folder in folders.values():
        _refuse_leaving(folder, home, spec)
    notes = [
        f"{folder.name} is taken for {name}"
        for name, folder in folders.items()
        if folder.name != name
    ]
    if not folders:
        folders = {"train": root}
    elif "train" not in folders and needs_train:
        raise DatasetError(
            f"{spec}: has {' and '.join(f.name for f in folders.values())} but no train folder; "
            f"{EXPECTED}"
        )
    listings = {name: _list_split(spec, folder, home, nested) for name, folder in folders.items()}
    if not exactly and folders.get("train") != root:
        _refuse_others(spec, root, folders.values(), list(listings.values()))
    _check_same_classes(spec, listings)
    notes += [
        f"warning: two classes {said}"
        for said in twins(sorted({name for listing in listings.values() for name in listing.files}))
    ]
    if "val" in listings and "test" not in listings:
        listings["test"] = listings.pop("val")
    return Tree(listings, tuple(notes))


def _parts(spec: str, root: Path) -> dict[str, Path]:
    """The folders that stand for train, val and test; another name than those three must have class
    folders to be taken for one.
    """
    found: dict[str, Path] = {}
    for folder in sorted(
        path for path in root.iterdir() if not passed_over(path.name) and path.is_dir()
    ):
        part = part_of(folder.name)
        if part is None or not (
            folder.name in PARTS
            or any(path.is_dir() for path in folder.iterdir() if not passed_over(path.name))
        ):
            continue
        if part in found:
            raise DatasetError(
                f"{spec}: {found[part].name} and {folder.name} are both {part}; rename one of "
                "them, or move it elsewhere"
            )
        found[part] = folder
    return {part: found[part] for part in PARTS if part in found}


def _refuse_others(
    spec: str, root: Path, folders: Iterable[Path], listings: Sequence[Listing]
) -> None:
    """Images beside the splits would be left out of what the user thinks is all of them; a pool
    that links lead into is not.
    """
    splits = list(folders)
    others = (
        path
        for path in sorted(root.iterdir())
        if not passed_over(path.name) and path.is_dir() and path not in splits
    )
    for folder in others:
        if _ours(folder) or not _has_images(folder) or _is_pool(folder, listings):
            continue
        raise DatasetError(
            f"{spec}: {folder.name} beside {' and '.join(path.name for path in splits)} holds "
            f"images and is none of {parts_in_words()}; "
            "rename it, or move it out of the folder"
        )


def _is_pool(folder: Path, listings: Sequence[Listing]) -> bool:
    """Whether links in the splits lead into it."""
    files = (path for listing in listings for paths in listing.files.values() for path in paths)
    home = folder.resolve()
    return any(
        path.resolve().is_relative_to(home)
        for path in files
        if path.is_symlink() or path.parent.is_symlink()
    )


def _ours(folder: Path) -> bool:
    """Whether it is a bundle or a runs directory, or holds some: they have pictures of their
    own.
    """
    names = ("bundle.json", "plan.yaml", "mlflow.db", "reproduce", "*/bundle.json", "*/plan.yaml")
    return any(next(folder.glob(name), None) for name in names)


def _has_images(folder: Path) -> bool:
    """Whether there are image files, by their names, in a folder or in one right inside it."""
    here = [path for path in folder.iterdir() if not passed_over(path.name)]
    files = (
        path
        for place in (here, *(inner.iterdir() for inner in here if inner.is_dir()))
        for path in place
    )
    return any(path.suffix.lower() in ENDINGS for path in files)


def _check_same_classes(spec: str, listings: dict[str, Listing]) -> None:
    if "train" not in listings:
        return
    classes = listings["train"].files
    for name, listing in listings.items():
        unknown = sorted(set(listing.files) - set(classes))
        if unknown:
            alike = next((said for one in unknown if (said := lookalike(one, classes))), "")
            told = (
                f"; {alike}: give both the same name"
                if alike
                else f"; train has {few(sorted(classes), 20)}"
            )
            raise DatasetError(
                f"{spec}: {name} has a class that train has not: {few(unknown)}{told}"
            )


def _list_split(spec: str, folder: Path, root: Path, nested: bool) -> Listing:
    files: dict[str, tuple[Path, ...]] = {}
    for found in _entries(folder, root, spec):
        entry = folder / found.name
        if not found.is_dir():
            raise DatasetError(
                f"{spec}: {entry} is a file among the class folders; expected {folder}/CLASS/*.jpg"
            )
        images = tuple(_below(entry, root, spec, nested))
        if not images:
            raise DatasetError(
                f"{spec}: class {entry.name} has no images in {folder}; add some or remove the "
                "folder"
            )
        files[entry.name] = images
    if not files:
        raise DatasetError(f"{spec}: no class folders in {folder}; expected {folder}/CLASS/*.jpg")
    return Listing(files)


def _below(folder: Path, root: Path, spec: str, nested: bool) -> Iterator[Path]:
    """The files in a class folder and, if ``nested``, in those inside it, each once, none of them
    outside ``root``.
    """
    for entry in _entries(folder, root, spec):
        path = folder / entry.name
        if not entry.is_dir():
            yield path
        elif not nested:
            raise DatasetError(
                f"{spec}: {path} is a folder inside a class folder; expected image files, or "
                "nested:DIR, which takes all below a class folder for that class"
            )
        elif entry.is_symlink():
            raise DatasetError(f"{spec}: {path} is a link to a folder; copy the files instead")
        else:
            yield from _below(path, root, spec, nested)


def _entries(folder: Path, root: Path, spec: str) -> Sequence[os.DirEntry[str]]:
    """The visible entries of ``folder``, sorted by name, none of them outside ``root``; of which
    most need no look of their own at the disk.
    """
    with os.scandir(folder) as found:
        entries = sorted(
            (entry for entry in found if not passed_over(entry.name)), key=lambda one: one.name
        )
    for entry in entries:
        if said := check_utf8("the name", entry.name):
            raise DatasetError(f"{spec}: in {folder}, {said}")
        if entry.is_symlink():
            _refuse_leaving(folder / entry.name, root, spec)
    return entries


def _refuse_leaving(path: Path, root: Path, spec: str) -> None:
    if not path.is_symlink():
        return
    try:
        target = path.resolve()
    except RuntimeError:
        raise DatasetError(
            f"{spec}: {path} is a link that leads back to itself; remove it"
        ) from None
    if not target.is_relative_to(root):
        raise DatasetError(
            f"{spec}: {path} is a link that leaves the folder (to {target}); copy the files instead"
        )
