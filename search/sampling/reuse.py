"""A sampler for configurations whose first part is dear and whose rest is cheap.

Trials of kNN and of embeddings share stages: with the same prefix (how descriptors, words or
features are made) a trial costs what its suffix does (norm, distance, neighbours, head). So many
suffixes of a prefix that has been paid for are tried before another is bought (the reuse of Li et
al., 2019, arXiv 1903.05176), as many as make both cost about the same; and each is drawn by a
tree-structured Parzen estimator (Bergstra et al., 2011) that sees what it can choose: of prefixes,
the best value each has come to; of suffixes, how much better than others of its prefix each was.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from statistics import fmean, median
from typing import Any

import numpy as np
import optuna
from optuna.distributions import BaseDistribution, CategoricalDistribution
from optuna.samplers import BaseSampler, RandomSampler
from optuna.trial import FrozenTrial, TrialState, create_trial

from analysis.plan.searched import MOST_SUFFIXES
from search.sampling.prefixes import Prefix, part_of, prefixes_of
from search.sampling.samplers import distribution_of, make_sampler
from spaces.domain import Domain, Value
from spaces.space import Space

ALIKE = 2.0
"""Where a new prefix costs less than so many times a suffix, sharing is not worth a detour."""
STARTUP = 10
"""Prefixes, and suffixes, that are drawn at random before TPE is asked."""
TELLING = 3
"""Suffixes of a prefix from which it says which of them are good."""
MOST_SEEN, DRAWS = 256, 8
"""Trials by which a suffix is drawn, the newest, and draws until it is one that was not tried."""


class Reuse(BaseSampler):
    """A sampler that tries many cheap suffixes of each dear prefix of a configuration.

    A prefix is the values of those parameters that decide a dear stage, which trials share. Where
    a space has no such parameters, or all trials cost about the same, it samples as Optuna's TPE.

    Args:
        seed: of all random draws.
        space: its parameters say which of them make up the prefix; its ``start``, if it has one, is
            the first trial of a study.
        n_startup_trials: number of prefixes, and of suffixes, drawn at random before TPE is asked,
            and of trials where a space has none; 10, and as ``tpe`` has it, if None.
        starters: number of suffixes that a new prefix is given if its first one is no worse than
            most.
        most: largest mean number of suffixes of a prefix, however little they cost.
        n_ei_candidates: number of draws of TPE, of which the most promising is tried.
    """

    def __init__(
        self,
        seed: int = 0,
        space: Space | None = None,
        n_startup_trials: int | None = None,
        starters: int = 4,
        most: int = MOST_SUFFIXES,
        n_ei_candidates: int = 24,
    ) -> None:
        self._rng = np.random.default_rng(seed)
        self._options: dict[str, Any] = {"n_ei_candidates": n_ei_candidates}
        if n_startup_trials is not None:
            self._options["n_startup_trials"] = n_startup_trials
        self._startup = self._options.get("n_startup_trials", STARTUP)
        self._starters, self._most = starters, most
        self._tpe, self._random = self._estimator(seed), RandomSampler(seed)
        self._space = space
        self._names = tuple(space.prefix) if space else ()
        self._given: dict[int, dict[str, Any]] = {}

    def _estimator(self, seed: int) -> BaseSampler:
        """What ``--sampler tpe`` is."""
        return make_sampler("tpe", self._options, seed)

    # --- what Optuna asks

    def reseed_rng(self) -> None:
        """Draw other numbers from now on."""
        self._rng = np.random.default_rng()
        self._tpe.reseed_rng()
        self._random.reseed_rng()

    def infer_relative_search_space(
        self, study: optuna.Study, trial: FrozenTrial
    ) -> dict[str, BaseDistribution]:
        """TPE's own, unless a prefix was chosen: each parameter is given when it is asked for."""
        if self._names and len(study.directions) == 1:
            given = self._choose(study, trial)
            if given is not None:
                self._given[trial.number] = given
                return {}
        return self._tpe.infer_relative_search_space(study, trial)

    def sample_relative(
        self, study: optuna.Study, trial: FrozenTrial, search_space: dict[str, BaseDistribution]
    ) -> dict[str, Any]:
        """TPE's own; where that was tried already, one that was not: it would come to the same
        again. A random one if all that TPE draws was tried.
        """
        if trial.number in self._given:
            return {}
        others = (one for one in study.get_trials(deepcopy=False) if one.number != trial.number)
        had = [drawn for one in others if (drawn := _drawn_of(one))]
        for draw in range(2 * DRAWS):
            found = (
                self._tpe.sample_relative(study, trial, search_space)
                if draw < DRAWS
                else {
                    name: self._random.sample_independent(study, trial, name, domain)
                    for name, domain in search_space.items()
                }
            )
            # what is drawn has values of parameters that do not apply, too
            if not any(one.items() <= found.items() for one in had):
                break
        return found

    def sample_independent(
        self,
        study: optuna.Study,
        trial: FrozenTrial,
        param_name: str,
        param_distribution: BaseDistribution,
    ) -> Any:
        """What was chosen for the trial, at random what that leaves open; else TPE's."""
        given = self._given.get(trial.number)
        if given is None:
            return self._tpe.sample_independent(study, trial, param_name, param_distribution)
        if param_name in given and _allows(param_distribution, given[param_name]):
            return given[param_name]
        return self._random.sample_independent(study, trial, param_name, param_distribution)

    def after_trial(
        self,
        study: optuna.Study,
        trial: FrozenTrial,
        state: TrialState,
        values: Sequence[float] | None,
    ) -> None:
        """Forget what was chosen for it."""
        self._given.pop(trial.number, None)
        self._tpe.after_trial(study, trial, state, values)

    # --- prefixes

    def _choose(self, study: optuna.Study, trial: FrozenTrial) -> dict[str, Any] | None:
        """Values of a trial's parameters, as far as they are decided; None if TPE should decide."""
        prefixes = prefixes_of(study, trial.number, self._names)
        paid = {key: prefix for key, prefix in prefixes.items() if prefix.values}
        target = self._target(paid.values())
        if paid and target < ALIKE:
            return None
        assert self._space is not None
        if self._space.start and len(study.get_trials(deepcopy=False)) == 1:  # this one
            return dict(self._space.start)
        chosen = self._of_paid(paid, len(prefixes), target)
        if chosen is None:
            new = self._new_prefix(prefixes, study, trial)
            if new is not None or not paid:
                return (new or {}) | self._best_suffix(paid)
            chosen = self._ranked(paid)  # there is none left to buy
        return self._suffix(paid, chosen, study, trial)

    def _target(self, paid: Iterable[Prefix]) -> float:
        """How many suffixes of a prefix cost what it does itself, as measured; a power of two, so
        that chance in the seconds rarely changes what is tried.
        """
        took = [prefix.seconds for prefix in paid if len(prefix.trials) > 1]
        if not took:
            return float(self._most)
        suffix = max(1e-3, median(one for seconds in took for one in seconds[1:]))
        first = median(seconds[0] for seconds in took)
        ratio = max(1.0, first / suffix - 1.0)
        return min(float(self._most), 2.0 ** round(math.log2(ratio)))

    def _of_paid(
        self, paid: dict[tuple[Any, ...], Prefix], there: int, target: float
    ) -> tuple[Any, ...] | None:
        """The prefix of which another suffix is tried next; None if a new one is bought."""
        if not paid:
            return None
        best_first = _best_first(paid)
        middle = median(prefix.values[0] for prefix in paid.values())
        tried = {key: len(prefix.values) + len(prefix.running) for key, prefix in paid.items()}
        for key in best_first:
            promising = paid[key].values[0] >= middle or key == best_first[0]
            if tried[key] < min(self._starters, target) and promising:
                return key
        if sum(tried.values()) >= there * target:
            return None
        return self._ranked(paid)

    def _ranked(self, paid: dict[tuple[Any, ...], Prefix]) -> tuple[Any, ...]:
        """Half of the time the best prefix, a quarter of it the next, and so on."""
        rank = int(self._rng.geometric(0.5)) - 1
        return _best_first(paid)[min(rank, len(paid) - 1)]

    # --- what is drawn

    def _new_prefix(
        self, prefixes: dict[tuple[Any, ...], Prefix], study: optuna.Study, trial: FrozenTrial
    ) -> dict[str, Any] | None:
        """Values of a prefix that was not tried; None if none is easily found."""
        seen = [
            (part_of(prefix.trials[0], self._names, True), prefix.best)
            for prefix in prefixes.values()
            if prefix.within
        ]
        for drawn in self._drawn(seen, True, study, trial):
            if tuple(drawn.get(name) for name in self._names) not in prefixes:
                return drawn
        return None

    def _suffix(
        self,
        paid: dict[tuple[Any, ...], Prefix],
        key: tuple[Any, ...],
        study: optuna.Study,
        trial: FrozenTrial,
    ) -> dict[str, Any]:
        """The prefix ``key`` with a suffix that it has not had; where none is easily found, the
        best other prefix that has not had one of those drawn. Nothing if all had them.
        """
        telling = [p for p in paid.values() if len(p.values) >= TELLING] or list(paid.values())
        gains = []
        for prefix in filter(lambda prefix: prefix.within, telling):
            mean = fmean(value for _, value in prefix.within)
            gains += [(one, value - mean) for one, value in prefix.within]
        gains.sort(key=lambda gain: gain[0].number)
        seen = [(part_of(one, self._names, False), gain) for one, gain in gains[-MOST_SEEN:]]
        drawn = []
        for suffix in self._drawn(seen, False, study, trial):
            if (found := self._untried(paid[key], suffix)) is not None:
                return found
            drawn.append(suffix)
        for other in _best_first(paid):
            for suffix in drawn:
                if (found := self._untried(paid[other], suffix)) is not None:
                    return found
        return {}

    def _untried(self, prefix: Prefix, suffix: dict[str, Any]) -> dict[str, Any] | None:
        """Both together; None if there was such a trial."""
        found = part_of(prefix.trials[0], self._names, True)[0] | suffix
        had = (*prefix.trials, *prefix.running)
        return None if any(one.params.items() <= found.items() for one in had) else found

    def _best_suffix(self, paid: dict[tuple[Any, ...], Prefix]) -> dict[str, Any]:
        """That of the best trial, by which a new prefix is compared with the others."""
        if not paid:
            return {}
        best = max(paid.values(), key=lambda prefix: prefix.best)
        trial = best.trials[best.values.index(best.best)]
        return part_of(trial, self._names, False)[0]

    def _drawn(
        self,
        seen: Sequence[tuple[tuple[dict[str, Any], dict[str, BaseDistribution]], float]],
        of_prefix: bool,
        study: optuna.Study,
        trial: FrozenTrial,
    ) -> Iterator[dict[str, Any]]:
        """What TPE proposes where these values of some parameters came to that, larger is better;
        then, and while there is little to go by, values drawn at random.
        """
        assert self._space is not None
        if len(seen) >= self._startup:
            told = optuna.create_study(
                direction="maximize", sampler=self._estimator(int(self._rng.integers(2**31)))
            )
            told.add_trials(
                [
                    create_trial(value=value, params=params, distributions=distributions)
                    for (params, distributions), value in seen
                ]
            )
            # which has no values of parameters that have one only
            single = {p.name: p.only for p in self._space.parameters if not p.varies}
            for _ in range(DRAWS):
                drawn = single | told.ask().relative_params
                yield {name: drawn[name] for name in drawn if (name in self._names) == of_prefix}

        def suggest(name: str, domain: Domain) -> Value:
            drawn: Value = self._random.sample_independent(
                study, trial, name, distribution_of(domain)
            )
            return drawn

        for _ in range(DRAWS):
            drawn = self._space.sample(suggest)
            yield {name: drawn[name] for name in drawn if (name in self._names) == of_prefix}


def _best_first(paid: dict[tuple[Any, ...], Prefix]) -> list[tuple[Any, ...]]:
    return sorted(paid, key=lambda key: paid[key].best, reverse=True)


def _drawn_of(trial: FrozenTrial) -> dict[str, Any]:
    """Its parameters, but for those that have one value in this search."""
    domains = trial.distributions
    return {name: value for name, value in trial.params.items() if not domains[name].single()}


def _allows(distribution: BaseDistribution, value: Any) -> bool:
    """Whether a value chosen among other trials may be given to this one too."""
    if isinstance(distribution, CategoricalDistribution):
        return value in distribution.choices
    low, high = getattr(distribution, "low", math.inf), getattr(distribution, "high", -math.inf)
    return bool(low <= value <= high)
