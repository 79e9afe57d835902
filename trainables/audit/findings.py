"""What a look at the images of a data set found: rules, each of which gives lines of what is wrong
with which images.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from trainables.audit.entries import Entry
from trainables.audit.near import Near
from trainables.data.dataset import few
from trainables.data.remarks import WHOSE
from trainables.data.validation import Validation

UNBALANCED = 3.0
"""Images of the largest class, as a multiple of the smallest's, from which figures mislead."""
FAR = {"size": 3.0, "shape": 1.0}
"""Powers of 2 that an image's pixels, or its width over its height, must be away from the middle
one to be far from the rest; and ``SPREADS`` times as far as half of all are.
"""
SPREADS = 6.0
FEW = 0.05
"""Share of the images that may be far from the rest: of more it is not the images that are odd."""


@dataclass(frozen=True)
class Finding:
    """One kind of thing that was found.

    Attributes:
        kind: a word for programs.
        said: one line for people.
        groups: the images, those that belong together side by side; empty where it is of classes.
        classes: of which it is, where it is of classes.
    """

    kind: str
    said: str
    groups: tuple[tuple[Entry, ...], ...] = ()
    classes: tuple[str, ...] = ()


def of_images(entries: Sequence[Entry], near: Sequence[Near]) -> Iterator[Finding]:
    """What is wrong with images, alone and beside each other.

    Args:
        near: pairs of near copies, by their places in ``entries``.
    """
    copies = _copies(entries)
    pairs = [(entries[pair.one], entries[pair.other]) for pair in near]
    for rule in (_across, _inside):
        yield from rule("copies", copies)
        yield from rule("near-copies", pairs)
    twice = [group for group in (*copies, *pairs) if len({entry.label for entry in group}) > 1]
    if twice:
        names = sorted({" / ".join(sorted({e.label for e in group})) for group in twice})
        yield Finding(
            "two-labels",
            f"{_count(twice, 'picture')} under two labels: {few(names)}",
            tuple(map(tuple, twice)),
        )
    yield from _files(entries)
    yield from _far(entries)


def of_classes(
    counts: Mapping[str, Mapping[str, int]], validation: Validation | None, hold_out: float = 0.0
) -> Iterator[Finding]:
    """What is wrong with the numbers of images.

    Args:
        counts: images by split and class, of all classes in each.
        validation: how configurations are to be compared; None where nobody has said.
        hold_out: share of the training images that is still to be set aside; 0 for none.
    """
    train = {name: count for name, count in counts.get("train", {}).items() if count}
    if not train:
        return
    if len(train) == 1:
        yield Finding(
            "few-images",
            f"there is one class only, {', '.join(train)}; a search tells two apart at least",
            classes=tuple(train),
        )
    least, why = 2, "to be learned from and judged"
    if validation and validation.scheme == "k-fold":
        least, why = validation.folds, f"to stand in each of {validation.folds} folds"
    elif hold_out:
        least = max(2, round(0.5 / min(hold_out, 1 - hold_out)))
        why = f"to stand in both parts when {hold_out:g} is held out"
    elif "val" in counts:
        least, why = 1, ""
    if poor := [name for name, count in train.items() if count < least]:
        shown = few([f"{name} ({train[name]})" for name in poor])
        yield Finding(
            "few-images",
            f"too few training images {why}, at least {least}: {shown}",
            classes=tuple(poor),
        )
    for split in ("val", "test"):
        missing = [name for name in train if split in counts and not counts[split].get(name)]
        if missing:
            yield Finding(
                "few-images",
                f"no {WHOSE[split]} image of {few(missing)}, so nothing is known of how well "
                "it is told apart",
                classes=tuple(missing),
            )
    low, high = (choose(train, key=lambda name: train[name]) for choose in (min, max))
    if train[high] >= UNBALANCED * train[low]:
        yield Finding(
            "imbalance",
            f"classes are unbalanced: from {train[low]:,} training images ({low}) to "
            f"{train[high]:,} ({high}), so accuracy tells of the large ones; judge by "
            "--objective balanced_accuracy or macro_f1, and try --set class_weight=none,balanced",
            classes=(low, high),
        )


def _copies(entries: Sequence[Entry]) -> list[list[Entry]]:
    """Groups of images that are the same, pixel by pixel."""
    groups = defaultdict(list)
    for entry in entries:
        if entry.mark:
            groups[entry.mark].append(entry)
    return [group for group in groups.values() if len(group) > 1]


def _how(groups: Sequence[Sequence[Entry]]) -> str:
    if any(len({entry.mark for entry in group}) > 1 for group in groups):
        return "nearly"
    same = all({len({entry.content for entry in group} - {""})} == {1} for group in groups)
    return "byte for byte" if same else "pixel by pixel"


def _across(kind: str, groups: Sequence[Sequence[Entry]]) -> Iterator[Finding]:
    """Images that judge and are learned from, or judge twice."""
    for split, others in (("test", ("train", "val")), ("val", ("train",))):
        found = [
            tuple(sorted(group, key=lambda entry: entry.split))
            for group in groups
            if {split} < {entry.split for entry in group} and _meets(group, others)
        ]
        own = {entry.name for group in found for entry in group if entry.split == split}
        if not own:
            continue
        learned = " or ".join(
            WHOSE[name] for name in others if any(_meets(group, (name,)) for group in found)
        )
        also = f"is also a {learned} image" if len(own) == 1 else f"are also {learned} images"
        yield Finding(
            f"{kind}-across",
            f"{_count(own, f'{WHOSE[split]} image')} {also}, {_how(found)}, so that "
            f"{'the test flatters' if split == 'test' else 'what is chosen is flattered'}",
            tuple(found),
        )


def _inside(kind: str, groups: Sequence[Sequence[Entry]]) -> Iterator[Finding]:
    for split in WHOSE:
        found = [
            tuple(entry for entry in group if entry.split == split)
            for group in groups
            if sum(entry.split == split for entry in group) > 1
        ]
        if found:
            stand = "stands" if len(found) == 1 else "stand"
            yield Finding(
                f"{kind}-inside",
                f"{_count(found, 'picture')} {stand} more than once among the {WHOSE[split]} "
                f"images, {_how(found)}",
                tuple(found),
            )


def _files(entries: Sequence[Entry]) -> Iterator[Finding]:
    damaged = [entry for entry in entries if entry.fault]
    if damaged:
        yield Finding(
            "damaged",
            f"{_count(damaged, 'file')} cannot be read: {damaged[0].fault}",
            tuple((entry,) for entry in damaged),
        )
    wrong = [entry for entry in entries if entry.wrong_ending]
    if wrong:
        yield Finding(
            "wrong-ending",
            f"{_count(wrong, 'file')} with an ending that says something else: {wrong[0].name} is "
            f"{wrong[0].wrong_ending}",
            tuple((entry,) for entry in wrong),
        )
    turned = [entry for entry in entries if entry.orientation != 1]
    if turned:
        yield Finding(
            "orientation",
            f"{_count(turned, 'image')} with a camera's orientation tag (EXIF): a search "
            "turns them upright, unless its plan says orientation: stored",
            tuple((entry,) for entry in turned),
        )


def _far(entries: Sequence[Entry]) -> Iterator[Finding]:
    """Images whose size or shape is far from the rest's."""
    sized = [entry for entry in entries if entry.size]
    if len(sized) < 3:
        return
    width, height = np.array([entry.size for entry in sized], np.float64).T
    for kind, values in {"size": np.log2(width * height), "shape": np.log2(width / height)}.items():
        away = np.abs(values - np.median(values))
        far = np.flatnonzero(away >= max(FAR[kind], SPREADS * float(np.median(away))))
        if 0 < len(far) <= max(1, FEW * len(sized)):
            odd = [sized[i] for i in far[np.argsort(-away[far], kind="stable")]]
            names = few([f"{e.name} ({e.size[0]} x {e.size[1]})" for e in odd if e.size])
            yield Finding(
                f"odd-{kind}",
                f"{_count(odd, 'image')} of a {kind} far from the rest's: {names}",
                tuple((entry,) for entry in odd),
            )


def counts_of(entries: Iterable[Entry], classes: Sequence[str]) -> dict[str, dict[str, int]]:
    """Images by split and class."""
    pairs = Counter((entry.split, entry.label) for entry in entries if not entry.fault)
    return {
        split: {name: pairs[split, name] for name in classes}
        for split in WHOSE
        if any(key[0] == split for key in pairs)
    }


def _meets(group: Sequence[Entry], splits: Sequence[str]) -> bool:
    return any(entry.split in splits for entry in group)


def _count(things: Sequence[object] | set[str], what: str) -> str:
    return f"{len(things):,} {what}{'' if len(things) == 1 else 's'}"
