"""``folder:DIR``: the image files of a tree (``trainables.data.tree``), by one rule for all of them
(``trainables.images.rule``).
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np

from spaces.errors import DatasetError
from trainables.data.dataset import Dataset, Gathered, Split
from trainables.data.fetched import fetched_folder
from trainables.data.options import ReadOptions
from trainables.data.tree import Tree, list_folder
from trainables.images.image_file import Reading, outcomes
from trainables.images.rule import Needs, completed
from trainables.io.remote import Remote, is_uri


def check_folder(spec: str, place: str) -> None:
    """Refuse a folder whose layout is not that of a dataset; at a URI, one that is not there."""
    if not is_uri(place):
        list_folder(spec, Path(place))
    elif not Remote(place).folders():
        raise DatasetError(f"{spec}: no folder lies there; expected URI/train/CLASS/*.jpg")


def tree_of(spec: str, root: Path, options: ReadOptions) -> Tree:
    """The files of a ``folder:``, as these options take them."""
    return list_folder(spec, root, needs_train=not options.judged_only, exactly=options.exactly)


def read_folder(spec: str, place: str, options: ReadOptions) -> Dataset:
    """The images of a tree; see the modules named above for the layout and the rules.

    Raises:
        DatasetError: for a file that cannot be read, unless ``skip_unreadable``, or a split of
            which none can.
    """
    root = fetched_folder(place) if is_uri(place) else Path(place)
    how = Reading(options.color, options.max_side, options.rule)
    tree = tree_of(spec, root, options)
    classes = tree.classes
    files = [
        (name, path, label)
        for name, listing in tree.splits.items()
        for label, cls in enumerate(classes)
        for path in listing.files.get(cls, ())
    ]
    gone = set(options.left_out)
    read = [path for _, path, _ in files if not gone or str(path.relative_to(root)) not in gone]
    arrays, known = outcomes(read, how), set(read)
    found: list[int | Needs | DatasetError] = []
    gathered = {name: Gathered() for name in tree.splits}
    for name, path, _ in files:
        outcome = (
            next(arrays) if path in known else DatasetError(f"{path}: left out, as it was before")
        )
        found.append(gathered[name].add(outcome) if isinstance(outcome, np.ndarray) else outcome)
    next(arrays, None)  # its threads end here
    rule = completed(how.rule, (outcome for outcome in found if isinstance(outcome, Needs)))
    rest = [row for row, outcome in enumerate(found) if isinstance(outcome, Needs)]
    for row, outcome in zip(
        rest, outcomes([files[row][1] for row in rest], replace(how, rule=rule)), strict=True
    ):
        found[row] = (
            gathered[files[row][0]].add(outcome) if isinstance(outcome, np.ndarray) else outcome
        )
    splits: dict[str, Split] = {}
    skipped: list[str] = []
    for name, listing in tree.splits.items():
        mine = [
            (outcome, path, label)
            for outcome, (split, path, label) in zip(found, files, strict=True)
            if split == name
        ]
        bad = [(outcome, path) for outcome, path, _ in mine if isinstance(outcome, DatasetError)]
        if bad and not options.skip_unreadable:
            more = f" (and {len(bad) - 1} more such files in {name})" if len(bad) > 1 else ""
            raise DatasetError(f"{bad[0][0]}{more}, or pass --skip-unreadable")
        skipped += [str(path.relative_to(root)) for _, path in bad]
        good = [(outcome, label) for outcome, _, label in mine if isinstance(outcome, int)]
        if not good:
            raise DatasetError(
                f"{spec}: none of the {len(listing)} files in {name} can be read; repair them "
                f"or remove {name}"
            )
        images = gathered[name].images([number for number, _ in good])
        splits[name] = Split(images, np.array([label for _, label in good], np.int64))
    train = splits.get("train") or next(iter(splits.values())).take(np.empty(0, np.int64))
    return Dataset(
        spec,
        classes,
        train,
        splits.get("val"),
        splits.get("test"),
        tuple(skipped),
        rule,
        tree.notes,
    )
