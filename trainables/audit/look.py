"""A look at a data set: its images, what is wrong with them, and what was not looked at."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from spaces.kinds import function_of
from trainables.audit.entries import Entry, of_dataset, of_files, of_headers, of_split
from trainables.audit.findings import Finding, counts_of, of_classes, of_images
from trainables.audit.near import Near, near_copies
from trainables.data.dataset import Dataset
from trainables.data.listed import Listed
from trainables.data.options import ReadOptions
from trainables.data.spec import absolute_spec, check_place, read_dataset, reader_of
from trainables.data.validation import Validation
from trainables.io.remote import is_uri

MOST_COMPARED = 20_000
"""Images that near copies are looked for among: each is compared with every other."""
MOST_GLANCED, MOST_PAIRS = 1500, 1000
"""Images, and pairs of them, that the beginning of a search looks at: some seconds of one core."""
Progress = Callable[[str, int, int], None]


def silent(what: str, done: int, of: int) -> None:
    """Say nothing."""


@dataclass(frozen=True)
class Look:
    """What was seen.

    Attributes:
        counts: images by split and class.
        listed: the files, where they are images of their own.
        unseen: what was not looked at, a line each.
    """

    spec: str
    classes: tuple[str, ...]
    counts: dict[str, dict[str, int]]
    findings: tuple[Finding, ...]
    notes: tuple[str, ...] = ()
    unseen: tuple[str, ...] = ()
    listed: Listed | None = field(default=None, repr=False)

    @property
    def sizes(self) -> dict[str, int]:
        """Images by split."""
        return {name: sum(of.values()) for name, of in self.counts.items()}


def look_at(
    spec: str,
    validation: Validation | None = None,
    hold_out: float = 0.0,
    say: Progress = silent,
) -> Look:
    """Look at every image of a data set.

    Args:
        validation, hold_out: as ``trainables.audit.findings.of_classes`` takes them.
        say: told of what, how many are done, and of how many.

    Raises:
        DatasetError: if its files cannot be listed, or, of packed images, cannot be read.
    """
    spec = absolute_spec(spec)
    check_place(spec)
    reader, place = reader_of(spec)
    options = ReadOptions(color="rgb", judged_only=True)
    listed = function_of(reader.files)(spec, place, options) if reader.files else None
    if listed is not None:
        classes, notes = listed.classes, listed.notes
        listed.fetch()
        seen, of = of_files(listed), len(listed.files)
    else:
        dataset = read_dataset(spec, options)
        classes, notes = dataset.classes, dataset.notes
        seen, of = of_dataset(dataset), sum(map(len, dataset.splits().values()))
    entries = []
    for entry in seen:
        entries.append(entry)
        say("looked at", len(entries), of)
    near, unseen = compared(entries, MOST_COMPARED, None, say)
    counts = counts_of(entries, classes)
    findings = (*of_images(entries, near), *of_classes(counts, validation, hold_out))
    return Look(spec, classes, counts, findings, notes, unseen, listed)


def compared(
    entries: Sequence[Entry], most_images: int, most_pairs: int | None, say: Progress = silent
) -> tuple[list[Near], tuple[str, ...]]:
    """The near copies among images, each picture once, and what was not looked at.

    Args:
        most_images: that are compared; of more, as many drawn evenly.
        most_pairs: that are looked at closely, the likest at first sight; None for all.
    """
    first: dict[bytes, int] = {}
    for row, entry in enumerate(entries):
        if entry.picture is not None:
            first.setdefault(entry.mark, row)
    rows = np.array(list(first.values()), np.int64)
    unseen: tuple[str, ...] = ()
    if plain := sum(entry.picture is None and not entry.fault for entry in entries):
        unseen = (
            f"{plain:,} of {len(entries):,} images show too little for near copies of them to be "
            "told from others of their kind",
        )
    if len(rows) > most_images:
        unseen += (
            f"near copies were looked for among {most_images:,} of {len(rows):,} images only",
        )
        rows = rows[np.linspace(0, len(rows) - 1, most_images).astype(np.int64)]
    if len(rows) < 2:
        return [], unseen
    pictures = np.stack([picture for row in rows if (picture := entries[row].picture) is not None])
    found = near_copies(pictures, most_pairs, lambda done, of: say("compared", done, of))
    return [Near(int(rows[n.one]), int(rows[n.other]), n.likeness) for n in found], unseen


@dataclass(frozen=True)
class Glance:
    """What the beginning of a search saw of its images.

    Attributes:
        said: kind of each finding, and its line.
        unseen: what was not looked at, a line each.
    """

    said: tuple[tuple[str, str], ...] = ()
    unseen: tuple[str, ...] = ()


def glance_at(dataset: Dataset, options: ReadOptions, validation: Validation) -> Glance:
    """Look at images that have been read, at no more of them than takes some seconds."""
    sizes = {name: len(part) for name, part in dataset.splits().items()}
    total = sum(sizes.values())
    chosen = {
        name: np.linspace(0, n - 1, max(2, MOST_GLANCED * n // total)).astype(np.int64)
        if total > MOST_GLANCED and n > 2
        else np.arange(n)
        for name, n in sizes.items()
    }
    reader, place = reader_of(dataset.spec)
    entries = [
        entry
        for name, part in dataset.splits().items()
        for entry in of_split(
            name, part.take(chosen[name]), dataset.classes, sized=reader.files is None
        )
    ]
    near, unseen = compared(entries, MOST_GLANCED, MOST_PAIRS)
    if len(entries) < total:
        unseen = (f"{len(entries):,} of {total:,} images were looked at", *unseen)
    counts = {
        name: dict(
            zip(
                dataset.classes,
                np.bincount(part.labels, minlength=len(dataset.classes)).tolist(),
                strict=True,
            )
        )
        for name, part in dataset.splits().items()
    }
    if reader.files and not is_uri(place):  # of which another node would fetch all again
        listed = function_of(reader.files)(dataset.spec, place, options)
        some = listed.files[:: max(1, -(-len(listed.files) // MOST_GLANCED))]
        files = [*of_headers(replace(listed, files=some))]
    else:
        files = []
    found = (*of_images([*entries, *files], near), *of_classes(counts, validation))
    return Glance(tuple((finding.kind, finding.said) for finding in found), unseen)
