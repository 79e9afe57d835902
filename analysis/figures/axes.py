"""The parameters of a space as axes of a plot: numbers as they are, words as places in a row."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from analysis.run.records import TrialRecord
from spaces import SPACES
from spaces.domain import Choice, Float, Integer, Parameter

Float64 = npt.NDArray[np.float64]
MOST_TRIALS = 1000
"""Trials of a space that are drawn, at most."""
MOST_LINES = 200
"""Trials that a picture of parallel coordinates has room for."""

FEW = 10
"""Different values up to which each of them is named on an axis."""


@dataclass(frozen=True)
class Axis:
    """One parameter of several trials.

    Attributes:
        values: (trials,); NaN where it does not apply.
        words: what stands at 0, 1, …; empty for numbers.
        log: numbers that are drawn logarithmically.
    """

    name: str
    values: Float64
    words: tuple[str, ...] = ()
    log: bool = False

    @property
    def few(self) -> Float64 | None:
        """The values that occur, if they are few; None if they fill a range."""
        there = np.unique(self.values[~np.isnan(self.values)])
        return there if len(there) <= FEW else None

    def scaled(self) -> Float64:
        """Values between 0 and 1; NaN where it does not apply."""
        values = np.log10(self.values) if self.log else self.values
        low, high = np.nanmin(values), np.nanmax(values)
        scaled: Float64 = (values - low) / (high - low)
        return scaled


def axes_of(space: str, records: Sequence[TrialRecord], order: Sequence[str] = ()) -> list[Axis]:
    """The parameters that differ between these trials; those in ``order`` first, then as the space
    has them.
    """
    parameters = list(SPACES[space].parameters) if space in SPACES else []
    found: dict[str, Axis] = {}
    for parameter in parameters:
        raw = [
            record.config[parameter.name] if _has(record, parameter) else None for record in records
        ]
        there = [value for value in raw if value is not None]
        if len(set(there)) < 2:
            continue
        numbers = not any(isinstance(value, bool | str) for value in there)
        if numbers:
            values = np.array([math.nan if value is None else float(value) for value in raw])
            log = (
                isinstance(parameter.limits, Integer | Float)
                and parameter.limits.log
                and bool(np.nanmin(values) > 0)
            )
            found[parameter.name] = Axis(parameter.name, values, (), log)
        else:
            options = parameter.domain.options if isinstance(parameter.domain, Choice) else ()
            known = [value for value in dict.fromkeys((*options, *there)) if value in there]
            words = tuple(
                str(value).lower() if isinstance(value, bool) else str(value) for value in known
            )
            found[parameter.name] = Axis(
                parameter.name,
                np.array([math.nan if v is None else float(known.index(v)) for v in raw]),
                words,
            )
    return [found[name] for name in dict.fromkeys((*order, *found)) if name in found]


def _has(record: TrialRecord, parameter: Parameter) -> bool:
    """Whether a parameter applies to a trial; an older run may lack it."""
    return {parameter.name, *(parameter.when or {})} <= set(record.config) and parameter.applies(
        record.config
    )


def thinned(order: Sequence[TrialRecord], most: int = MOST_TRIALS) -> list[TrialRecord]:
    """At most ``most`` of a leaderboard's trials: a tenth of that number from its top, and evenly
    spaced ones of the rest.
    """
    if len(order) <= most:
        return list(order)
    top = most // 10
    places = np.linspace(top, len(order) - 1, most - top).round().astype(int)
    return [*order[:top], *(order[i] for i in places)]
