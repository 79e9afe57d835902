"""``csv:FILE`` and ``parquet:FILE``: a row an image, with columns for its path and its label and,
as wished, for its split and its group.

Paths are relative to the folder of the file, which may lie at a URI, and none may leave it. Rows
without a split are training images. Images of one group (a patient, a video, a place) are never
split: neither by the table, which is refused if it does, nor by a search that holds some out or
makes folds.
"""

from __future__ import annotations

import errno
import math
import re
from collections import Counter
from collections.abc import Sequence
from pathlib import Path, PurePosixPath

from spaces.errors import DatasetError, echo
from trainables.data.dataset import Dataset, few
from trainables.data.fetched import copy_of, fetched_file
from trainables.data.listed import File, Listed, read_listed
from trainables.data.names import PARTS, part_of, parts_in_words, twins
from trainables.data.options import ReadOptions
from trainables.io.remote import folder_of, is_uri
from trainables.tables.columns import read_columns

MISSING = {"nan", "na", "n/a", "<na>", "null", "none", "nil"}
"""What programs write where there is no label."""
DRIVE = re.compile(r"[A-Za-z]:")


def check_table(spec: str, place: str) -> None:
    """Refuse a table that is not there, or says what cannot be; opens no image."""
    files_of_table(spec, place, ReadOptions(judged_only=True))


def read_table(spec: str, place: str, options: ReadOptions) -> Dataset:
    """Read the images that a CSV or Parquet table names.

    Raises:
        DatasetError: in one line, if the table cannot be read, or a row has a class, split, group
            or path that is not allowed.
    """
    return read_listed(spec, files_of_table(spec, place, options), options)


def files_of_table(spec: str, place: str, options: ReadOptions) -> Listed:
    """The files that a table names: by split, class and row."""
    there, notes = is_uri(place), list[str]()
    table = fetched_file(spec, place) if there else Path(place)
    if not table.is_file():
        raise DatasetError(f"{spec}: no such file")
    columns = read_columns(spec, table, notes)
    copy = copy_of(folder_of(place), _names(columns["path"]), f"{place}#images") if there else None
    root = copy.files if copy else table.parent
    labels = columns["label"]
    splits = _splits(spec, columns)
    if "train" not in splits and not options.judged_only:
        raise DatasetError(
            f"{spec}: has no row of train; its splits are {', '.join(sorted(set(splits)))}"
        )
    groups = columns.get("group") or [""] * len(labels)
    _check_groups(spec, groups, splits)
    paths = _paths(spec, root, columns["path"])
    classes = tuple(sorted(set(labels)))
    notes += _notes(classes)
    place_of = {name: number for number, name in enumerate(classes)}
    order = {name: number for number, name in enumerate(PARTS)}
    files = [
        File(split, path, place_of[label], group)
        for split, path, label, group in zip(splits, paths, labels, groups, strict=True)
    ]
    files.sort(key=lambda file: (order[file.split], file.label))
    listed = Listed(root, classes, tuple(files), tuple(notes), copy)
    _check_train(spec, listed, options)
    return listed


def _splits(spec: str, columns: dict[str, list[str]]) -> list[str]:
    """The split of each row."""
    said = columns.get("split")
    if said is None:
        return ["train"] * len(columns["path"])
    parts = {name: part_of(name or "train") for name in set(said)}
    if unknown := {name for name, part in parts.items() if part is None}:
        row = next(row for row, name in enumerate(said) if name in unknown)
        raise DatasetError(
            f"{spec}: row {row + 1}: the split must be {parts_in_words()}, but got "
            f"{echo(said[row])}"
        )
    return [parts[name] or "" for name in said]


def _notes(classes: Sequence[str]) -> list[str]:
    """What is to be said of the names of classes."""
    notes = [f"warning: two classes {said}" for said in twins(classes)]
    if missing := [name for name in classes if name.casefold() in MISSING]:
        notes.append(
            f"warning: {few([echo(name) for name in missing])} is taken for the name of a class; "
            "leave rows out that have no label"
        )
    numbers = [name for name in classes if _is_number(name)]
    if numbers and len(numbers) < len(classes):
        notes.append(
            f"warning: some labels are numbers ({few(numbers)}) and others are not; all are taken "
            "as text"
        )
    return notes


def _names(said: Sequence[str]) -> set[str]:
    """Of images, as a listing has them."""
    return {str(PurePosixPath(name.replace("\\", "/"))) for name in said}


def _paths(spec: str, root: Path, names: Sequence[str]) -> list[Path]:
    """Where the images of the rows lie, each once and none outside the folder."""
    home, seen, folders = root.resolve(), dict[str, int](), dict[Path, bool]()
    paths, missing, more = list[Path](), "", 0
    for number, said in enumerate(names, 1):
        name = said.replace("\\", "/")
        pure = PurePosixPath(name)
        if pure.is_absolute() or ".." in pure.parts or "\0" in name or DRIVE.match(name):
            raise DatasetError(
                f"{_row(spec, number, name)} leaves the folder of the table; put the images "
                "beside it"
            )
        if (before := seen.setdefault(str(pure), number)) != number:
            raise DatasetError(
                f"{_row(spec, number, name)} stands in row {before} too; an image has one row"
            )
        path = root / pure
        folder = path.parent
        if not _is_file(path):
            more += bool(missing)
            missing = missing or _row(spec, number, name)
            continue
        if folder not in folders:
            folders[folder] = folder.resolve().is_relative_to(home)
        if not folders[folder] or (path.is_symlink() and not path.resolve().is_relative_to(home)):
            raise DatasetError(
                f"{_row(spec, number, name)} is a link that leaves the folder; copy the files "
                "instead"
            )
        paths.append(path)
    if missing:
        raise DatasetError(f"{missing}: no such file{f' (and {more:,} more)' if more else ''}")
    return paths


def _row(spec: str, number: int, name: str) -> str:
    return f"{spec}: row {number}: {echo(name)}"


def _is_file(path: Path) -> bool:
    try:
        return path.is_file()
    except OSError as error:
        if error.errno != errno.ENAMETOOLONG:
            raise
        return False


def _check_groups(spec: str, groups: Sequence[str], splits: Sequence[str]) -> None:
    """Refuse a group that stands on both sides, and rows without one where others have some."""
    if not any(groups):
        return
    if not all(groups):
        raise DatasetError(
            f"{spec}: row {groups.index('') + 1}: has no group, but others have; give each row one"
        )
    side: dict[str, str] = {}
    for group, split in zip(groups, splits, strict=True):
        if side.setdefault(group, split) != split:
            raise DatasetError(
                f"{spec}: group {echo(group)} stands in {side[group]} and in {split}; all of its "
                "images belong into one"
            )


def _check_train(spec: str, listed: Listed, options: ReadOptions) -> None:
    counts = Counter(file.label for file in listed.files if file.split == "train")
    unknown = [name for label, name in enumerate(listed.classes) if not counts[label]]
    if unknown and not options.judged_only:
        raise DatasetError(f"{spec}: no training images of {few(unknown)}; add some")


def _is_number(text: str) -> bool:
    try:
        return math.isfinite(float(text))
    except ValueError:
        return False
