"""Optuna's samplers, made with their options."""

from __future__ import annotations

import inspect
import warnings
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import optuna
from optuna.distributions import (
    BaseDistribution,
    CategoricalDistribution,
    FloatDistribution,
    IntDistribution,
)
from optuna.samplers import BaseSampler
from optuna.trial import FrozenTrial, TrialState

from spaces.domain import Choice, Domain, Integer
from spaces.errors import echo
from spaces.kinds import function_of
from spaces.samplers import SAMPLERS
from spaces.space import Space


def random_in_order(seed: int) -> BaseSampler:
    """For a grid, whose points are enqueued one by one: nothing is left to draw."""
    return optuna.samplers.RandomSampler(seed=seed)


class BruteForce(optuna.samplers.BruteForceSampler):
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


EXHAUSTIVE = ("grid", "brute-force")
"""Samplers that come to an end."""


def make_sampler(
    name: str,
    options: Mapping[str, Any],
    seed: int,
    space: Space | None = None,
    source: Sequence[FrozenTrial] = (),
) -> BaseSampler:
    """The sampler called ``name``.

    Args:
        space: told to a sampler that asks for it.
        source: trials of another study that CMA-ES is to begin from.

    Raises:
        ValueError: for an unknown option or a value it refuses; names the options there are.
    """
    kind = SAMPLERS[name]
    make = function_of(kind.make)
    check_options(name, make, options, ("seed", "space"))
    settings = {**kind.settings, **options}
    if name == "tpe" and not settings["multivariate"]:
        settings["group"] = False
    if space is not None and "space" in inspect.signature(make).parameters:
        settings["space"] = space
    if source:
        settings["source_trials"] = list(source)
    # TPE's own is deprecated
    if plain_arguments(make).get("warn_independent_sampling") == "bool":
        settings.setdefault("warn_independent_sampling", False)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
        return make(seed=seed, **settings)


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


def distribution_of(domain: Domain) -> BaseDistribution:
    """A domain as Optuna keeps it with a parameter."""
    if isinstance(domain, Choice):
        return CategoricalDistribution(domain.options)
    if isinstance(domain, Integer):
        return IntDistribution(domain.low, domain.high, log=domain.log)
    return FloatDistribution(domain.low, domain.high, log=domain.log)
