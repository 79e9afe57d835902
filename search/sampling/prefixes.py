"""The prefixes that a study has tried: what each has come to, and what its trials took."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import optuna
from optuna.distributions import BaseDistribution
from optuna.study import StudyDirection
from optuna.trial import FrozenTrial, TrialState

from search.sampling.optuna_internals import breaks_constraint


@dataclass
class Prefix:
    """The trials of one prefix.

    Attributes:
        trials: those that ended, in the order of their numbers.
        values: what each came to, larger is better; none is worse than one out of bounds.
        running: those that have not ended.
    """

    trials: list[FrozenTrial] = field(default_factory=list)
    values: list[float] = field(default_factory=list)
    running: list[FrozenTrial] = field(default_factory=list)

    @property
    def best(self) -> float:
        return max(self.values)

    @property
    def seconds(self) -> list[float]:
        """That each took."""
        return [_seconds(trial) for trial in self.trials]

    @property
    def within(self) -> list[tuple[FrozenTrial, float]]:
        """Those within the constraints, and what each came to."""
        pairs = zip(self.trials, self.values, strict=True)
        return [(trial, value) for trial, value in pairs if math.isfinite(value)]


def prefixes_of(
    study: optuna.Study, number: int, names: Sequence[str]
) -> dict[tuple[Any, ...], Prefix]:
    """All prefixes of a study, by the values of the parameters ``names``, but for those whose
    trials all failed, and without the trial ``number``. A trial that a pruner stopped is no better
    than the worst that came to its end.
    """
    sign = 1.0 if study.direction == StudyDirection.MAXIMIZE else -1.0
    prefixes: dict[tuple[Any, ...], Prefix] = {}
    states = (TrialState.COMPLETE, TrialState.PRUNED, TrialState.RUNNING)
    trials = study.get_trials(deepcopy=False, states=states)
    complete = [one for one in trials if one.state == TrialState.COMPLETE]
    worst = min((sign * one.values[0] for one in complete), default=math.inf)
    for trial in trials:
        reports = trial.intermediate_values
        if trial.number == number or (trial.state == TrialState.PRUNED and not reports):
            continue
        key = tuple(trial.params.get(name) for name in names)
        prefix = prefixes.setdefault(key, Prefix())
        if trial.state == TrialState.RUNNING:
            prefix.running.append(trial)
            continue
        if trial.state == TrialState.PRUNED:
            value = min(sign * reports[max(reports)], worst)
        else:
            assert trial.value is not None
            value = sign * trial.value
        prefix.trials.append(trial)
        prefix.values.append(-math.inf if breaks_constraint(trial) else value)
    return prefixes


def part_of(
    trial: FrozenTrial, names: Sequence[str], of_prefix: bool
) -> tuple[dict[str, Any], dict[str, BaseDistribution]]:
    """Parameters of a trial that are, or are not, of its prefix, with their domains."""
    kept = [name for name in trial.params if (name in names) == of_prefix]
    return (
        {name: trial.params[name] for name in kept},
        {name: trial.distributions[name] for name in kept},
    )


def _seconds(trial: FrozenTrial) -> float:
    """That a trial took, as it says itself."""
    said = trial.user_attrs.get("seconds")
    if isinstance(said, int | float):
        return float(said)
    return trial.duration.total_seconds() if trial.duration else 0.0
