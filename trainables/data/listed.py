"""The image files of a dataset, whoever lists them (a tree of folders, a table), and how they
become a dataset, by one rule for all of them (``trainables.images.rule``).
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TypeAlias

import numpy as np

from spaces.errors import DatasetError
from trainables.data.dataset import Dataset, Gathered, Images, Int64, Split, joined
from trainables.data.fetched import Copy
from trainables.data.options import ReadOptions, fitting_size
from trainables.images.image_file import Reading, outcomes
from trainables.images.packing import PROBED, Estimate, estimate, most_in_memory, pack
from trainables.images.rule import Needs, Rule, completed
from trainables.io.refused import amount
from trainables.stages.cache import DiskCache

KEPT_BYTES = 20 * 2**30
"""Of packed images, those of earlier searches too; more where the images at hand take more."""
Read: TypeAlias = tuple[
    Callable[[str, list[int]], Images], Sequence[int | Needs | DatasetError], Rule
]
"""What gives the images of a split by their numbers in it; the number of each file's, or why it has
none; and the rule that they were read by.
"""


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
        copy: of a dataset at a URI, whose files are empty until they are fetched.
    """

    root: Path
    classes: tuple[str, ...]
    files: tuple[File, ...]
    notes: tuple[str, ...] = ()
    copy: Copy | None = None

    def name(self, file: File) -> str:
        """Its path from the root."""
        root, path = f"{self.root}{os.sep}", str(file.path)
        if path.startswith(root):  # quicker than pathlib, which counts where there are 100,000
            return path.removeprefix(root)
        return str(file.path.relative_to(self.root))

    def fetch(self, files: Sequence[File] | None = None) -> None:
        """Have the content of these files, or of all of them."""
        if self.copy is not None:
            some = self.files if files is None else files
            self.copy.fetch(map(self.name, some))

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
    how, files = Reading(options.color, options.max_side, options.rule), listed.files
    about, notes = _packing(listed, options, how), listed.notes
    if about is None:
        images_of, found, rule = _in_memory(listed, options, how)
    else:
        if options.square is not None:
            how = replace(how, square=options.square or fitting_size(about.shorter))
        images_of, found, rule = (_unmade if options.unmade else _packed)(
            listed, options, how, about
        )
        notes = (*notes, _said(len(files), about, how))
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
        images = images_of(name, [number for number, _ in good])
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
        notes,
        how.square or 0,
        about is not None and options.unmade,
    )


def _in_memory(listed: Listed, options: ReadOptions, how: Reading) -> Read:
    files, gone = listed.files, set(options.left_out)
    listed.fetch()
    read = [file.path for file in files if not gone or listed.name(file) not in gone]
    arrays, known = outcomes(read, how), set(read)
    found: list[int | Needs | DatasetError] = []
    gathered = {name: Gathered() for name in listed.splits}
    for file in files:
        outcome = next(arrays) if file.path in known else _left_out(file)
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
    return lambda name, numbers: gathered[name].images(numbers), found, rule


def _left_out(file: File) -> DatasetError:
    return DatasetError(f"{file.path}: left out, as it was before")


def _packing(listed: Listed, options: ReadOptions, how: Reading) -> Estimate | None:
    """What the images are, if they are to be packed."""
    channels, most, count = 1 if how.color == "grey" else 3, most_in_memory(), len(listed.files)
    if options.shards is None or (
        not options.packed and count * channels * options.max_side**2 <= most
    ):
        return None
    probed = listed.files[:: max(1, count // PROBED)]
    listed.fetch(probed)
    about = estimate([file.path for file in probed], count, how)
    return about if options.packed or about.bytes > most else None


def _packed(listed: Listed, options: ReadOptions, how: Reading, about: Estimate) -> Read:
    """The images in shards; those of a split in shards of their own, for whoever needs no other."""
    assert options.shards is not None
    cache = DiskCache(Path(options.shards), max(KEPT_BYTES, 2 * about.bytes))
    gone, files = set(options.left_out), listed.files
    found: list[int | Needs | DatasetError] = [_left_out(file) for file in files]
    rows: dict[str, list[int]] = {name: [] for name in listed.splits}
    for row, file in enumerate(files):
        rows[file.split].append(row)
    parts: dict[str, list[Images]] = {name: [] for name in rows}

    there = (listed.copy.uri, listed.copy.there) if listed.copy else ()

    def read(how: Reading, rows: dict[str, list[int]]) -> None:
        for name, some in rows.items():
            names = [listed.name(files[row]) for row in some]
            paths = [files[row].path for row in some]
            pixels, shapes, said = pack(cache, names, paths, how, *there)
            before = sum(map(len, parts[name]))
            for at, row in enumerate(some):
                if not gone or names[at] not in gone:
                    found[row] = said.get(at, before + at)
            parts[name].append(Images(pixels, shapes, _offsets(shapes)))

    read(how, rows)
    rule = completed(how.rule, (outcome for outcome in found if isinstance(outcome, Needs)))
    rest = {
        name: [row for row in some if isinstance(found[row], Needs)] for name, some in rows.items()
    }
    read(replace(how, rule=rule), {name: some for name, some in rest.items() if some})
    return lambda name, numbers: joined(parts[name]).take(np.array(numbers, np.int64)), found, rule


def _unmade(listed: Listed, options: ReadOptions, how: Reading, about: Estimate) -> Read:
    """As ``_packed`` would give them, were all files good, without a pixel."""
    width, height = (how.square or side for side in (about.width, about.height))
    shape = (height, width, 1 if how.color == "grey" else 3)

    def images(name: str, numbers: list[int]) -> Images:
        shapes = np.tile(np.array(shape, np.int64), (len(numbers), 1))
        return Images(np.empty(0, np.uint8), shapes, _offsets(shapes))

    return images, list(range(len(listed.files))), how.rule


def _offsets(shapes: Int64) -> Int64:
    sizes = shapes.prod(axis=1)
    return np.asarray(np.cumsum(sizes) - sizes)


def _said(count: int, about: Estimate, how: Reading) -> str:
    whole = f"{count:,} images would take {amount(about.bytes)} of memory: they are packed "
    if how.square is None:
        return whole + "on the disk"
    size = amount(count * how.square**2 * 3)
    return f"{whole}as squares of {how.square} pixels, {size} on the disk"
