"""The image files of a dataset, whoever lists them (a tree of folders, a table), and how they
become a dataset, by one rule for all of them (``trainables.images.rule``).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from spaces.errors import DatasetError
from trainables.data.dataset import Dataset, Gathered, Int64, Split
from trainables.data.options import ReadOptions
from trainables.images.image_file import Reading, outcomes
from trainables.images.rule import Needs, completed


@dataclass(frozen=True)
class File:
    """One image file.

    Attributes:
        label: its class, an index.
        group: what it shares with images that must not be parted from it; empty for none.
    """

    split: str
    path: Path
    label: int
    group: str = ""


@dataclass(frozen=True)
class Listed:
    """The image files of a dataset, before any is opened.

    Attributes:
        root: the folder that their names are told from.
        files: by split; those of a split in the order of its images.
        notes: what is to be known of the list, a line each.
    """

    root: Path
    classes: tuple[str, ...]
    files: tuple[File, ...]
    notes: tuple[str, ...] = ()

    def name(self, file: File) -> str:
        """Its path from the root."""
        return str(file.path.relative_to(self.root))

    @property
    def splits(self) -> tuple[str, ...]:
        """In their order in the list."""
        return tuple(dict.fromkeys(file.split for file in self.files))


def groups_of(files: Sequence[File]) -> Int64 | None:
    """(n,) a number for each group, the same for its images; None where there is none."""
    if not any(file.group for file in files):
        return None
    number = {name: i for i, name in enumerate(sorted({file.group for file in files}))}
    return np.array([number[file.group] for file in files], np.int64)


def read_listed(spec: str, listed: Listed, options: ReadOptions) -> Dataset:
    """The images of a list of files.

    Raises:
        DatasetError: for a file that cannot be read, unless ``skip_unreadable``, or a split of
            which none can.
    """
    how = Reading(options.color, options.max_side, options.rule)
    files, gone = listed.files, set(options.left_out)
    read = [file.path for file in files if not gone or listed.name(file) not in gone]
    arrays, known = outcomes(read, how), set(read)
    found: list[int | Needs | DatasetError] = []
    gathered = {name: Gathered() for name in listed.splits}
    for file in files:
        outcome = (
            next(arrays)
            if file.path in known
            else DatasetError(f"{file.path}: left out, as it was before")
        )
        found.append(
            gathered[file.split].add(outcome) if isinstance(outcome, np.ndarray) else outcome
        )
    next(arrays, None)  # its threads end here
    rule = completed(how.rule, (outcome for outcome in found if isinstance(outcome, Needs)))
    rest = [row for row, outcome in enumerate(found) if isinstance(outcome, Needs)]
    for row, outcome in zip(
        rest, outcomes([files[row].path for row in rest], replace(how, rule=rule)), strict=True
    ):
        found[row] = (
            gathered[files[row].split].add(outcome) if isinstance(outcome, np.ndarray) else outcome
        )
    splits: dict[str, Split] = {}
    skipped: list[str] = []
    for name in listed.splits:
        mine = [pair for pair in zip(found, files, strict=True) if pair[1].split == name]
        bad = [(outcome, file) for outcome, file in mine if isinstance(outcome, DatasetError)]
        if bad and not options.skip_unreadable:
            more = f" (and {len(bad) - 1} more such files in {name})" if len(bad) > 1 else ""
            raise DatasetError(f"{bad[0][0]}{more}, or pass --skip-unreadable")
        skipped += [listed.name(file) for _, file in bad]
        good = [(outcome, file) for outcome, file in mine if isinstance(outcome, int)]
        if not good:
            raise DatasetError(
                f"{spec}: none of the {len(mine)} files in {name} can be read; repair them "
                f"or remove {name}"
            )
        images = gathered[name].images([number for number, _ in good])
        labels = np.array([file.label for _, file in good], np.int64)
        splits[name] = Split(images, labels, groups_of([file for _, file in good]))
    train = splits.get("train") or next(iter(splits.values())).take(np.empty(0, np.int64))
    return Dataset(
        spec,
        listed.classes,
        train,
        splits.get("val"),
        splits.get("test"),
        tuple(skipped),
        rule,
        listed.notes,
    )
