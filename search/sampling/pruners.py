"""Optuna's pruners, made with their options."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from typing import Any

import optuna
from optuna.pruners import BasePruner

from search.sampling.samplers import check_options
from spaces.errors import echo
from spaces.kinds import function_of
from spaces.samplers import PRUNERS


def patient_pruner(*, patience: int, min_delta: float = 0.0, around: str = "") -> BasePruner:
    """``around`` names another pruner, which then only stops what has not gained either."""
    return optuna.pruners.PatientPruner(
        make_pruner(around, {}) if around else None, patience, min_delta
    )


def percentile_pruner(
    *,
    percentile: float = 25.0,
    n_startup_trials: int = 5,
    n_warmup_steps: int = 0,
    interval_steps: int = 1,
) -> BasePruner:
    return optuna.pruners.PercentilePruner(
        percentile, n_startup_trials, n_warmup_steps, interval_steps
    )


def make_pruner(name: str, options: Mapping[str, Any]) -> BasePruner:
    """The pruner called ``name``.

    Raises:
        ValueError: for an unknown or missing option or a value it refuses; names the options there
            are.
    """
    if name not in PRUNERS:
        raise ValueError(f"pruner must be one of {', '.join(PRUNERS)}, but got {echo(name)}")
    kind = PRUNERS[name]
    make = function_of(kind.make)
    check_options(name, make, options)
    missing = [option for option in kind.needs if option not in options]
    if missing:
        raise ValueError(f"pruner {name} needs the option {missing[0]}")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
        return make(**options)
