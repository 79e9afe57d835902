"""Confusion: who was taken for whom, class by class, in the order and under the names that are to
be shown.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean
from typing import Any

import numpy as np
import numpy.typing as npt

from analysis.run.csv_text import csv_of_dicts, csv_text
from analysis.run.directory import RunDirectory
from analysis.run.notes import note
from analysis.run.records import TrialRecord
from spaces.errors import UserError
from trainables.data import scores

Int64 = npt.NDArray[np.int64]
UNBALANCED = 3.0
"""Images of the largest class, as a multiple of the smallest's, from which accuracy misleads."""
PAIRS = 10
"""Most-confused pairs that are shown."""


def display_order(classes: Sequence[str], wanted: Sequence[str]) -> list[int]:
    """Indices of ``classes`` in the order ``wanted``, or as they are if nothing is.

    Raises:
        UserError: if ``wanted`` does not name every class once.
    """
    if not wanted:
        return list(range(len(classes)))
    if sorted(wanted) != sorted(classes):
        raise UserError(
            f"class_order must name each class once: {', '.join(classes)}; but got "
            f"{', '.join(wanted)}"
        )
    place = {name: index for index, name in enumerate(classes)}
    return [place[name] for name in wanted]


def display_names(classes: Sequence[str], abbreviations: Mapping[str, str]) -> list[str]:
    """``classes`` as they are shown in a matrix.

    Raises:
        UserError: if ``abbreviations`` names no class, or two classes would look alike.
    """
    unknown = sorted(set(abbreviations) - set(classes))
    if unknown:
        raise UserError(
            f"abbreviations must be of classes, {', '.join(classes)}; but got {', '.join(unknown)}"
        )
    names = [abbreviations.get(name, name) for name in classes]
    twice = sorted(name for name, count in Counter(names).items() if count > 1)
    if twice:
        raise UserError(
            f"abbreviations must tell classes apart, but more than one is {', '.join(twice)}"
        )
    return names


@dataclass(frozen=True)
class Confusion:
    """The mistakes of one trial on the validation images, or of another classifier on other images.

    Attributes:
        trial: its key.
        classes: in the order they are shown.
        names: what each is called in a matrix.
        counts: (c, c) in that order; row: true class, column: predicted class.
        precision: of the images given a class, the share that is of it; None if no image was given
            it.
        recall: of the images of a class, the share that was given it; None if there are none.
    """

    trial: str
    classes: tuple[str, ...]
    names: tuple[str, ...]
    counts: Int64
    precision: tuple[float | None, ...]
    recall: tuple[float | None, ...]

    @property
    def n(self) -> int:
        return int(self.counts.sum())

    @property
    def accuracy(self) -> float:
        return float(np.trace(self.counts) / self.n)

    @property
    def balanced_accuracy(self) -> float:
        """Mean recall of the classes that have images."""
        return fmean(found for found in self.recall if found is not None)

    @property
    def macro_f1(self) -> float:
        """Mean F1 of the classes that have images, or were given any."""
        return fmean(row["f1"] for row in self.by_class() if row["f1"] is not None)

    @property
    def unbalanced(self) -> tuple[int, int] | None:
        """Images of the smallest and of the largest class, where accuracy says little for it."""
        images = self.counts.sum(axis=1)
        low, high = int(images.min()), int(images.max())
        return (low, high) if high >= UNBALANCED * low else None

    @property
    def title(self) -> str:
        return f"{self.trial}, validation accuracy {self.accuracy:.4f} (n = {self.n:,})"

    def by_class(self) -> list[dict[str, Any]]:
        """A row a class: how many images it has, how many were given it, precision, recall, and F1,
        which is 0 where none was right and None where there is neither.
        """
        images, given = self.counts.sum(axis=1), self.counts.sum(axis=0)
        return [
            {
                "class": name,
                "images": int(images[i]),
                "predicted": int(given[i]),
                "precision": self.precision[i],
                "recall": self.recall[i],
                "f1": 2 * int(self.counts[i, i]) / int(images[i] + given[i])
                if images[i] + given[i]
                else None,
            }
            for i, name in enumerate(self.classes)
        ]

    def pairs(self, most: int = PAIRS) -> list[dict[str, Any]]:
        """The pairs of classes that were confused most, by mistakes either way; the direction with
        more of them first.
        """
        both = np.triu(self.counts + self.counts.T, 1)
        found = []
        for index in np.argsort(-both, axis=None, kind="stable")[:most]:
            i, j = (int(k) for k in divmod(int(index), len(self.classes)))
            if not both[i, j]:
                break
            if self.counts[j, i] > self.counts[i, j]:
                i, j = j, i
            there, back = int(self.counts[i, j]), int(self.counts[j, i])
            found.append(
                {
                    "true": self.classes[i],
                    "predicted": self.classes[j],
                    "count": there,
                    "reverse": back,
                }
            )
        return found

    @property
    def mistakes(self) -> int:
        return self.n - int(np.trace(self.counts))

    @property
    def asymmetry(self) -> float | None:
        """How one-sided the mistakes are: Σ|a − b| / Σ(a + b) over pairs of classes, a and b their
        mistakes each way.

        0: every pair is confused as often one way as the other; 1: each in one direction only; None
        without mistakes.
        """
        return (
            float(np.abs(self.counts - self.counts.T).sum() / 2 / self.mistakes)
            if self.mistakes
            else None
        )

    @property
    def asymmetry_by_chance(self) -> float | None:
        """The asymmetry to be expected if every mistake were as likely to be the other way round.

        Few mistakes look one-sided by chance alone: a single one has an asymmetry of 1.
        """
        if not self.mistakes:
            return None
        pairs = (self.counts + self.counts.T)[np.triu_indices(len(self.classes), 1)]
        return sum(_walk(int(n)) for n in pairs if n) / self.mistakes

    def facts(self) -> dict[str, Any]:
        """All of it, for JSON."""
        return {
            "trial": self.trial,
            "accuracy": self.accuracy,
            "balanced_accuracy": self.balanced_accuracy,
            "macro_f1": self.macro_f1,
            "n": self.n,
            "classes": self.by_class(),
            "names": list(self.names),
            "confusion": self.counts.tolist(),
            "pairs": self.pairs(),
            "asymmetry": self.asymmetry,
            "asymmetry_by_chance": self.asymmetry_by_chance,
        }


def _walk(n: int) -> float:
    """Mean of |heads − tails| over n throws of a fair coin."""
    return n * math.comb(n - 1, (n - 1) // 2) / 2 ** (n - 1)


def confusion_of(
    run: RunDirectory,
    record: TrialRecord,
    class_order: Sequence[str],
    abbreviations: Mapping[str, str],
) -> Confusion | None:
    """The mistakes of a trial; None if its predictions were not kept, since it was never among the
    best.
    """
    predictions, labels = run.predictions(record), run.validation_labels()
    if predictions is None or labels is None:
        return None
    classes = run.data().classes
    if (
        len(labels) == 0
        or max(labels.max(), predictions.max()) >= len(classes)
        or min(labels.min(), predictions.min()) < 0
    ):
        note(
            f"{run.path}: the predictions of trial {record.key} are of other classes than "
            "data.json names; they are not shown"
        )
        return None
    return confusion_between(
        record.key, labels, predictions.astype(labels.dtype), classes, class_order, abbreviations
    )


def confusion_between(
    key: str,
    labels: Int64,
    given: Int64,
    classes: Sequence[str],
    class_order: Sequence[str],
    abbreviations: Mapping[str, str],
) -> Confusion:
    """What a classifier called ``key`` mistook, from (n,) true and (n,) given classes.

    Raises:
        UserError: if ``class_order`` or ``abbreviations`` do not fit the classes.
    """
    from sklearn.metrics import precision_recall_fscore_support

    order = display_order(classes, class_order)
    names = display_names(classes, abbreviations)
    precision, recall, _, _ = precision_recall_fscore_support(
        labels, given, labels=order, zero_division=np.nan
    )
    return Confusion(
        key,
        tuple(classes[i] for i in order),
        tuple(names[i] for i in order),
        scores.confusion(labels, given, len(classes))[order][:, order],
        tuple(_defined(precision)),
        tuple(_defined(recall)),
    )


def _defined(values: Any) -> list[float | None]:
    return [None if math.isnan(value) else float(value) for value in values]


def to_csv(counts: Int64, classes: Sequence[str]) -> str:
    """Counts as CSV: a row a true class, a column a predicted one."""
    return csv_text(
        ["true class", *classes],
        ([name, *(int(n) for n in row)] for name, row in zip(classes, counts, strict=True)),
    )


def classes_csv(found: Confusion) -> str:
    """Precision and recall as CSV, a row a class."""
    return csv_of_dicts(
        ["class", "images", "predicted", "precision", "recall", "f1"], found.by_class()
    )
