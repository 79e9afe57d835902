"""When a search ends: everything a plan may say about it, and the judgement itself."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, model_validator

Positive = Annotated[float, Field(gt=0)]


class Bound(BaseModel):
    """The values of a metric that are acceptable: at most ``max``, at least ``min``."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    max: float | None = None
    min: float | None = None

    @model_validator(mode="after")
    def _says_something(self) -> Bound:
        if self.max is None and self.min is None:
            raise ValueError("a constraint needs max or min")
        return self

    def excess(self, value: float) -> float:
        """How far ``value`` is out of bounds; acceptable if it is at most 0, as Optuna counts
        it.
        """
        over = [value - self.max] if self.max is not None else []
        under = [self.min - value] if self.min is not None else []
        return max(over + under)

    def __str__(self) -> str:
        parts = [f"at most {self.max:g}"] if self.max is not None else []
        return " and ".join(parts + ([f"at least {self.min:g}"] if self.min is not None else []))


class Plateau(BaseModel):
    """No gain of more than ``gain`` in the objective over this many trials in a row."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    trials: Annotated[int, Field(ge=1)]
    gain: Annotated[float, Field(ge=0)] = 0.0


class Limits(BaseModel):
    """What ends a search before the plan's number of trials is reached, and what ends a trial.

    Attributes:
        seconds: of all sessions of the run together; trials that run then are stopped.
        gpu_hours: hours times GPUs of all trials together; trials that run then are stopped.
        target: value of the objective that is good enough.
        plateau: how long to go on without a gain.
        max_failed: failed trials of one session; a tenth of the plan's trials, at least 10, if
            None.
        max_failed_in_a_row: failed trials with none that succeeded between them.
        max_infeasible: trials that were not run because they break a constraint.
        trial_seconds: of one trial; it fails then, hung or not.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    seconds: Positive | None = None
    gpu_hours: Positive | None = None
    target: float | None = None
    plateau: Plateau | None = None
    max_failed: Annotated[int, Field(ge=0)] | None = None
    max_failed_in_a_row: Annotated[int, Field(ge=1)] = 8
    max_infeasible: Annotated[int, Field(ge=0)] = 1000
    trial_seconds: Positive | None = None


@dataclass(frozen=True)
class SearchTotals:
    """How a search stands, as far as limits look at it.

    Attributes:
        best: of the objective; None before the first complete trial.
        reached: whether ``best`` is at least as good as the target.
        since_gain: trials that counted since the objective last gained enough.
    """

    trials: int
    done: int
    seconds: float
    gpu_hours: float
    best: float | None
    reached: bool
    since_gain: int
    failed: int
    failed_in_a_row: int
    infeasible: int


@dataclass(frozen=True)
class Ending:
    """Why no more trials are begun.

    Attributes:
        gave_up: it ended badly: too much went wrong.
        at_once: trials that run are stopped too.
    """

    reason: str
    gave_up: bool = False
    at_once: bool = False

    @property
    def gently(self) -> bool:
        """Whether trials that run come to their own end."""
        return not (self.gave_up or self.at_once)


def reached(limits: Limits, now: SearchTotals) -> tuple[str, ...]:
    """Which limits are reached that end a search well."""
    best, stale = now.best is not None, limits.plateau
    met = {
        "seconds": limits.seconds is not None and now.seconds >= limits.seconds,
        "gpu_hours": limits.gpu_hours is not None and now.gpu_hours >= limits.gpu_hours,
        "target": limits.target is not None and now.reached,
        "plateau": stale is not None and best and now.since_gain >= stale.trials,
    }
    return tuple(name for name, is_met in met.items() if is_met)


def ending(limits: Limits, now: SearchTotals) -> Ending | None:
    """Why the search ends now, or None: it goes on."""
    most_failed = limits.max_failed if limits.max_failed is not None else max(10, now.trials // 10)
    if now.failed > most_failed:
        return Ending(
            f"{now.failed} trials failed (limits.max_failed: {most_failed})", gave_up=True
        )
    if now.failed_in_a_row >= limits.max_failed_in_a_row and now.failed:
        return Ending(
            f"{now.failed_in_a_row} trials failed in a row (limits.max_failed_in_a_row)",
            gave_up=True,
        )
    if now.infeasible > limits.max_infeasible:
        return Ending(
            f"{now.infeasible} trials broke a constraint (limits.max_infeasible: "
            f"{limits.max_infeasible})",
            gave_up=True,
        )
    if now.done >= now.trials:
        if now.done > now.trials:  # fewer were asked for since
            return Ending(f"{now.done} trials are done, and {now.trials} were asked for")
        return Ending(f"all {now.trials} trials are done")
    met = reached(limits, now)
    if "seconds" in met:
        return Ending(f"time limit of {limits.seconds:g} s reached (limits.seconds)", at_once=True)
    if "gpu_hours" in met:
        return Ending(f"{limits.gpu_hours:g} GPU-hours used (limits.gpu_hours)", at_once=True)
    if "target" in met:
        return Ending(f"target {limits.target:g} reached: {now.best:.4f} (limits.target)")
    if limits.plateau is not None and "plateau" in met:
        return Ending(
            f"no gain of more than {limits.plateau.gain:g} in {now.since_gain} trials "
            "(limits.plateau)"
        )
    return None
