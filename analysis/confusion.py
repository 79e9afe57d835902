"""Confusion matrices as counts, in the order they are to be shown."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from spaces.errors import UserError

Int64 = npt.NDArray[np.int64]


def display_order(classes: Sequence[str], wanted: Sequence[str]) -> list[int]:
    """Indices of ``classes`` in the order ``wanted``, or as they are if nothing is.

    Raises:
        UserError: if ``wanted`` does not name every class once.
    """
    if not wanted:
        return list(range(len(classes)))
    if sorted(wanted) != sorted(classes):
        raise UserError(f"class_order must name each class once: {', '.join(classes)}; but got {', '.join(wanted)}")
    return [list(classes).index(name) for name in wanted]


def to_csv(counts: Int64, classes: Sequence[str]) -> str:
    """Counts as CSV: a row a true class, a column a predicted one."""
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(["true class", *classes])
    writer.writerows([name, *(int(n) for n in row)] for name, row in zip(classes, counts, strict=True))
    return out.getvalue()
