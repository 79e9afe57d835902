"""Schedulers of Ray Tune that stop trials, as pruners of a study.

They keep what they have seen in memory. Here they are told it again from the study, which outlives
a driver, so that a resumed search stops what the first would have stopped.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any

import optuna
from optuna.pruners import BasePruner
from optuna.study import StudyDirection
from optuna.trial import FrozenTrial
from ray.tune.schedulers import ASHAScheduler, MedianStoppingRule, TrialScheduler

KEYS = {"time_attr": "training_iteration", "metric": "value", "mode": "max"}


@dataclass(frozen=True)
class Numbered:
    """All that the two schedulers ask of one of Tune's trials."""

    trial_id: str


@dataclass
class TunePruner(BasePruner):
    """Asks a scheduler about each report, in the order of the reports.

    Attributes:
        scheduler: made to maximise ``value``, by ``training_iteration``, counted from 1.
        told: how many reports of each trial it has seen.
        said: what it said of the last of them, where it was asked.
    """

    scheduler: TrialScheduler
    told: dict[int, int] = field(default_factory=dict)
    said: dict[int, bool] = field(default_factory=dict)

    def prune(self, study: optuna.Study, trial: FrozenTrial) -> bool:
        """Whether the scheduler would stop the trial after its last report."""
        sign = 1.0 if study.direction == StudyDirection.MAXIMIZE else -1.0
        for other in study.get_trials(deepcopy=False):
            if other.number != trial.number:
                self._tell(other, sign)
        self._tell(trial, sign)
        return self.said.get(trial.number, False)

    def _tell(self, trial: FrozenTrial, sign: float) -> None:
        reports = trial.intermediate_values
        seen = self.told.get(trial.number)
        if seen == len(reports):
            return
        one: Any = Numbered(str(trial.number))
        controller: Any = None
        if seen is None:
            self.scheduler.on_trial_add(controller, one)
        for step in sorted(reports)[seen or 0 :]:
            result = {"training_iteration": step + 1, "value": sign * reports[step]}
            said = self.scheduler.on_trial_result(controller, one, result)
            self.said[trial.number] = said != TrialScheduler.CONTINUE
        self.told[trial.number] = len(reports)


class Median(MedianStoppingRule):
    """Tune's; of a trial that went on where it would have stopped it, as it was told of the others
    in another order then, it keeps the reports.
    """

    def __init__(self, **settings: Any) -> None:
        super().__init__(**settings, hard_stop=False)
        self.passed = set[Any]()

    def on_trial_result(self, tune_controller: Any, trial: Any, result: dict[str, Any]) -> str:
        said: str = super().on_trial_result(tune_controller, trial, result)
        if trial in self.passed:  # of such a one it takes no more than what is said to be its end
            self.on_trial_complete(tune_controller, trial, result)
        elif said == TrialScheduler.PAUSE:
            self.passed.add(trial)
        return said


def asha(
    *, max_t: int = 100, grace_period: int = 1, reduction_factor: float = 4.0, brackets: int = 1
) -> BasePruner:
    """Tune's ASHA; one that has done ``max_t`` steps is not stopped for that.

    Raises:
        ValueError: for what Tune refuses.
    """
    try:
        # a trial that has come through the last rung runs to its end
        return TunePruner(
            ASHAScheduler(
                **KEYS,
                max_t=max_t,
                grace_period=grace_period,
                reduction_factor=reduction_factor,
                brackets=brackets,
                stop_last_trials=False,
            )
        )
    except AssertionError as error:
        raise ValueError(f"pruner asha: {error}") from None


def median_stopping(*, grace_period: int = 1, min_samples_required: int = 3) -> BasePruner:
    """Tune's median stopping rule, which never lets trials wait.

    Args:
        grace_period: steps that each trial does.
    """
    rule = Median(
        **KEYS,
        grace_period=grace_period,
        min_samples_required=min_samples_required,
        min_time_slice=math.inf,
    )
    return TunePruner(rule)
