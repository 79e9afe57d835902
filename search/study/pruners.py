"""Optuna's pruners by name, with their options, and what each can judge."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import optuna
from optuna.pruners import BasePruner

from search.study.samplers import check_options
from spaces.errors import echo


@dataclass(frozen=True)
class PrunerKind:
    """What a pruner is and what it judges.

    Attributes:
        make: builds it from options.
        judges: kinds of reports (``spaces.Space.reports``) it makes sense for.
        needs: options that have no default.
    """

    doc: str
    make: Callable[..., BasePruner]
    judges: tuple[str, ...] = ("epoch",)
    needs: tuple[str, ...] = ()


def _patient(*, patience: int, min_delta: float = 0.0, around: str = "") -> BasePruner:
    """``around`` names another pruner, which then only stops what has not gained either."""
    return optuna.pruners.PatientPruner(
        make_pruner(around, {}) if around else None, patience, min_delta
    )


def _percentile(
    *,
    percentile: float = 25.0,
    n_startup_trials: int = 5,
    n_warmup_steps: int = 0,
    interval_steps: int = 1,
) -> BasePruner:
    return optuna.pruners.PercentilePruner(
        percentile, n_startup_trials, n_warmup_steps, interval_steps
    )


PRUNERS: dict[str, PrunerKind] = {
    "none": PrunerKind(
        "every trial runs to its end; the default",
        optuna.pruners.NopPruner,
        ("nothing", "epoch", "fold"),
    ),
    "median": PrunerKind(
        "stops what is below the median of earlier trials at the same step",
        optuna.pruners.MedianPruner,
    ),
    "percentile": PrunerKind(
        "the same with another percentile (25 keeps the best quarter)", _percentile
    ),
    "successive-halving": PrunerKind(
        "asynchronous successive halving (ASHA)", optuna.pruners.SuccessiveHalvingPruner
    ),
    "hyperband": PrunerKind(
        "successive halving with several brackets", optuna.pruners.HyperbandPruner
    ),
    "threshold": PrunerKind(
        "stops what is below lower or above upper",
        optuna.pruners.ThresholdPruner,
        ("epoch", "fold"),
    ),
    "patient": PrunerKind(
        "stops what has not gained for patience steps", _patient, needs=("patience",)
    ),
    "wilcoxon": PrunerKind(
        "stops what a signed-rank test finds worse than the best, fold by fold or seed by seed",
        optuna.pruners.WilcoxonPruner,
        ("fold",),
    ),
}


def make_pruner(name: str, options: Mapping[str, Any]) -> BasePruner:
    """The pruner called ``name``.

    Raises:
        ValueError: for an unknown or missing option or a value it refuses; names the options there
            are.
    """
    if name not in PRUNERS:
        raise ValueError(f"pruner must be one of {', '.join(PRUNERS)}, but got {echo(name)}")
    kind = PRUNERS[name]
    check_options(name, kind.make, options)
    missing = [option for option in kind.needs if option not in options]
    if missing:
        raise ValueError(f"pruner {name} needs the option {missing[0]}")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
        return kind.make(**options)
