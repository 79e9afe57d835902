"""Optuna's samplers by name, with their options, and what each can do."""

from __future__ import annotations

import inspect
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import optuna
from optuna.samplers import BaseSampler
from optuna.trial import FrozenTrial, TrialState

from spaces.errors import echo


@dataclass(frozen=True)
class SamplerKind:
    """What a sampler is and can do.

    Attributes:
        make: builds it; keyword arguments are options and the seed.
        objectives: how many it can follow.
        needs: ``numeric`` if at least two parameters must be numbers that always apply,
            ``finite`` if every parameter must have a list of values.
        constraints: whether it looks for trials within the plan's constraints.
        learns_from: the trials that guide it.
    """

    doc: str
    make: Callable[..., BaseSampler]
    objectives: Literal["one", "several"] = "several"
    needs: Literal["", "numeric", "finite"] = ""
    constraints: bool = False
    learns_from: str = "nothing"


def _random_in_order(seed: int) -> BaseSampler:
    """For a grid, whose points are enqueued one by one: nothing is left to draw."""
    return optuna.samplers.RandomSampler(seed=seed)


class _BruteForce(optuna.samplers.BruteForceSampler):
    """Optuna's own ends ``Study.optimize`` by itself; here whoever asks counts the combinations."""

    def __init__(self, seed: int | None = None) -> None:
        super().__init__(seed)

    def after_trial(
        self,
        study: optuna.Study,
        trial: FrozenTrial,
        state: TrialState,
        values: Sequence[float] | None,
    ) -> None:
        """Nothing to do: Optuna's would stop a loop that is not there."""


SAMPLERS: dict[str, SamplerKind] = {
    "tpe": SamplerKind(
        "tree-structured Parzen estimator; the default",
        optuna.samplers.TPESampler,
        constraints=True,
        learns_from="COMPLETE and PRUNED, broken constraints included",
    ),
    "gp": SamplerKind(
        "Gaussian process", optuna.samplers.GPSampler, constraints=True, learns_from="COMPLETE"
    ),
    "cmaes": SamplerKind(
        "CMA-ES; parameters that are no numbers or do not always apply are drawn at random",
        optuna.samplers.CmaEsSampler,
        objectives="one",
        needs="numeric",
        learns_from="COMPLETE, with consider_pruned_trials PRUNED too",
    ),
    "nsgaii": SamplerKind(
        "NSGA-II, genetic", optuna.samplers.NSGAIISampler, constraints=True, learns_from="COMPLETE"
    ),
    "nsgaiii": SamplerKind(
        "NSGA-III, genetic, for many objectives",
        optuna.samplers.NSGAIIISampler,
        constraints=True,
        learns_from="COMPLETE",
    ),
    "qmc": SamplerKind("quasi-Monte Carlo (Sobol, scrambled)", optuna.samplers.QMCSampler),
    "random": SamplerKind("uniform", optuna.samplers.RandomSampler),
    "grid": SamplerKind(
        "every combination, in the space's own order", _random_in_order, needs="finite"
    ),
    "brute-force": SamplerKind("every combination, in random order", _BruteForce, needs="finite"),
}
EXHAUSTIVE = ("grid", "brute-force")
"""Samplers that come to an end."""
_DEFAULTS: dict[str, dict[str, Any]] = {
    # group: parameters that apply under different conditions are modelled apart.
    "tpe": {"multivariate": True, "group": True, "constant_liar": True},
    "qmc": {"scramble": True, "warn_asynchronous_seeding": False},
}


def make_sampler(name: str, options: Mapping[str, Any], seed: int) -> BaseSampler:
    """The sampler called ``name``.

    Raises:
        ValueError: for an unknown option or a value it refuses; names the options there are.
    """
    kind = SAMPLERS[name]
    check_options(name, kind.make, options, ("seed",))
    settings = {**_DEFAULTS.get(name, {}), **options}
    if name == "tpe" and not settings["multivariate"]:
        settings["group"] = False
    # TPE's own is deprecated
    if plain_arguments(kind.make).get("warn_independent_sampling") == "bool":
        settings.setdefault("warn_independent_sampling", False)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
        return kind.make(seed=seed, **settings)


def plain_arguments(make: Callable[..., Any]) -> dict[str, str]:
    """Argument names of ``make`` that a plan can give as plain values, with their types as
    written.
    """
    found = {}
    for name, parameter in inspect.signature(make).parameters.items():
        kind = str(parameter.annotation)
        if kind == "bool | None":  # Optuna's deprecated ones
            continue
        if (
            any(plain in kind for plain in ("bool", "int", "float", "str"))
            and "Callable" not in kind
            and "Sequence" not in kind
        ):
            found[name] = kind
    return found


def check_options(
    name: str, make: Callable[..., Any], options: Mapping[str, Any], fixed: tuple[str, ...] = ()
) -> None:
    """Refuse options that ``make`` does not take.

    Raises:
        ValueError: naming the options there are.
    """
    kinds = {option: kind for option, kind in plain_arguments(make).items() if option not in fixed}
    for option, value in options.items():
        if option not in kinds or not _fits(value, kinds[option]):
            there = ", ".join(f"{known} ({kind})" for known, kind in kinds.items()) or "none"
            raise ValueError(
                f"{name} has no option {echo(option)} with value {echo(value)}; its options are "
                f"{there}"
            )


def _fits(value: Any, kind: str) -> bool:
    """Whether a plain value is of a type as written in a signature; a whole number is a float
    too.
    """
    words = set(kind.replace("|", " ").replace("'", " ").split())
    return type(value).__name__ in words or (type(value) is int and "float" in words)
