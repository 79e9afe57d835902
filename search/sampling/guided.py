"""A sampler that is told more than its study holds: the trials of earlier searches, which the run
keeps, and domains that were narrowed while the search went on. Earlier trials are none of its own,
so that nothing counts, ranks or numbers them; and a study keeps the domains that it began with.
"""

from __future__ import annotations

import copy
import math
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any, Literal

import optuna
from optuna.distributions import BaseDistribution
from optuna.samplers import BaseSampler, RandomSampler
from optuna.trial import FrozenTrial, TrialState, create_trial
from pydantic import BaseModel, ConfigDict

from analysis.plan.plan import Plan
from analysis.run.directory import RunDirectory
from analysis.run.notes import note
from analysis.run.records import TrialRecord
from analysis.run.sealed import DamagedError, read_as, sealed
from analysis.run.trial_files import read_bytes
from search.sampling.optuna_internals import StudySeen
from search.sampling.samplers import distribution_of, make_sampler
from spaces import Space, get_space
from spaces.domain import Choice, Value
from spaces.errors import echo
from spaces.samplers import SAMPLERS
from trainables.io.files import write_whole

FILE = "warm-start.json"
ENOUGH = 10
"""CMA-ES begins where the best tenth of earlier trials lies."""


class Guided(BaseSampler):
    """The sampler of a plan, guided.

    Args:
        name: one of ``spaces.samplers.SAMPLERS``, with its ``options`` and ``seed``.
        space: as the study has it.
        before: complete trials of earlier searches, in whose place the study has none.
        within: the space as it was narrowed since: nothing is drawn outside of it.
    """

    def __init__(
        self,
        name: str,
        options: Mapping[str, Any],
        seed: int,
        space: Space,
        before: Sequence[FrozenTrial] = (),
        within: Space | None = None,
    ) -> None:
        within = within or space
        self._wide = {p.name: distribution_of(p.domain) for p in space.parameters}
        self._domains = {p.name: p.domain for p in within.parameters if p != space[p.name]}
        self._narrow = {name: distribution_of(domain) for name, domain in self._domains.items()}
        self._random = RandomSampler(seed)
        before = before if SAMPLERS[name].warm == "values" else ()
        if before:
            options = {**SAMPLERS[name].informed, **options}
        source: Sequence[FrozenTrial] = ()
        if name == "cmaes":
            source = before = _numbers_alone(space, before)
            if {"sigma0", "use_separable_cma"} & set(options):  # Optuna has either
                source = ()
        self._sampler = make_sampler(name, options, seed, within, source)
        self._before = before

    def reseed_rng(self) -> None:
        """Draw other numbers from now on."""
        self._sampler.reseed_rng()
        self._random.reseed_rng()

    def infer_relative_search_space(
        self, study: optuna.Study, trial: FrozenTrial
    ) -> dict[str, BaseDistribution]:
        """The sampler's own, by the domains of the study."""
        found = self._sampler.infer_relative_search_space(self._seen(study), trial)
        return {name: self._wide[name] if name in self._narrow else d for name, d in found.items()}

    def sample_relative(
        self, study: optuna.Study, trial: FrozenTrial, search_space: dict[str, BaseDistribution]
    ) -> dict[str, Any]:
        """The sampler's own, within what was narrowed."""
        narrow = {name: self._narrow.get(name, domain) for name, domain in search_space.items()}
        found = self._sampler.sample_relative(self._seen(study), trial, narrow)
        return {name: self._inside(study, trial, name, value) for name, value in found.items()}

    def sample_independent(
        self,
        study: optuna.Study,
        trial: FrozenTrial,
        param_name: str,
        param_distribution: BaseDistribution,
    ) -> Any:
        """The sampler's own, within what was narrowed."""
        within = self._narrow.get(param_name, param_distribution)
        own = self._fit(trial) if self._narrow else trial
        if own is None:  # somebody asked for it outside
            return self._random.sample_independent(study, trial, param_name, within)
        value = self._sampler.sample_independent(self._seen(study), own, param_name, within)
        return self._inside(study, trial, param_name, value)

    def before_trial(self, study: optuna.Study, trial: FrozenTrial) -> None:
        """The sampler's own."""
        self._sampler.before_trial(study, trial)

    def after_trial(
        self,
        study: optuna.Study,
        trial: FrozenTrial,
        state: TrialState,
        values: Sequence[float] | None,
    ) -> None:
        """The sampler's own."""
        self._sampler.after_trial(study, trial, state, values)

    def _seen(self, study: optuna.Study) -> Any:
        """The study as the sampler is to see it."""
        if not self._before and not self._narrow:
            return study
        return StudySeen(study, self._before, self._fit if self._narrow else None)

    def _fit(self, trial: FrozenTrial) -> FrozenTrial | None:
        """A trial of the study with domains as they are now; None if it lies outside of them."""
        if any(name in trial.params and trial.params[name] not in domain
               for name, domain in self._domains.items()):  # fmt: skip
            return None
        found = copy.copy(trial)
        found.distributions = {n: self._narrow.get(n, d) for n, d in trial.distributions.items()}
        return found

    def _inside(self, study: optuna.Study, trial: FrozenTrial, name: str, value: Any) -> Any:
        """A value that was drawn; another where it lies outside, as one of a parent's may."""
        if name not in self._domains or value in self._domains[name]:
            return value
        return self._random.sample_independent(study, trial, name, self._narrow[name])


def _numbers_alone(space: Space, before: Sequence[FrozenTrial]) -> list[FrozenTrial]:
    """Earlier trials as CMA-ES sees any: by the numbers that always apply; none where they are too
    few to begin with.
    """
    names = [
        p.name
        for p in space.parameters
        if p.varies and not isinstance(p.domain, Choice) and not p.when
    ]
    if len(before) < ENOUGH or not names:
        return []
    found = [
        create_trial(
            value=trial.value,
            params={name: trial.params[name] for name in names},
            distributions={name: trial.distributions[name] for name in names},
        )
        for trial in before
    ]
    for trial in found:
        trial.number = -1
    return found


class Earlier(BaseModel):
    """What was taken of one earlier search.

    Attributes:
        source: which, in words.
        taken: the ``values`` of its trials, or only its best configurations, as ``points`` that
            were tried first.
        trials: those that were complete, of the spaces that both search.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    source: str
    taken: Literal["values", "points"]
    trials: tuple[TrialRecord, ...]


class WarmStart(BaseModel):
    """What warm-start.json says."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    earlier: tuple[Earlier, ...]


def keep_earlier(run: RunDirectory, earlier: tuple[Earlier, ...]) -> None:
    """Keep what was taken, from which no other file is needed any more."""
    if earlier:
        kept = WarmStart(earlier=earlier).model_dump(mode="json")
        write_whole(run.path / FILE, sealed(kept), within=run.path)


def read_earlier(run: RunDirectory) -> tuple[Earlier, ...]:
    """What was taken; nothing, and noted, where the file is not what was written.

    Raises:
        NewerError: if a newer version wrote it.
        UnreadableError: if it may not be read.
    """
    path = run.path / FILE
    try:
        return read_as(WarmStart, read_bytes(path), path).earlier
    except FileNotFoundError:
        return ()
    except DamagedError as error:
        note(f"{error}; the search goes on without what it took of earlier ones")
        return ()


def earlier_trials(run: RunDirectory, plan: Plan, space: Space) -> list[FrozenTrial]:
    """The trials of earlier searches as a study of ``space`` would have them; number -1 each."""
    found = []
    for source in read_earlier(run):
        for record in source.trials if source.taken == "values" else ():
            values = [record.metrics.get(name, math.nan) for name in plan.objectives]
            params = fitting(space, record)
            if record.space != space.name or isinstance(params, str):
                continue
            if all(map(math.isfinite, values)):
                trial = create_trial(
                    state=TrialState.COMPLETE,
                    values=values,
                    params=params,
                    distributions={name: distribution_of(space[name].domain) for name in params},
                    user_attrs={"seconds": record.seconds},
                    constraints=plan.excesses(record.metrics),
                )
                trial.number = -1
                found.append(trial)
    return found


def fitting(space: Space, record: TrialRecord) -> dict[str, Value] | str:
    """The parameters of an earlier trial as this search could have drawn them; or why it could not,
    in words that many trials have in common.
    """
    config: Mapping[str, Any] = record.config
    full: dict[str, Value] = {}
    params: dict[str, Value] = {}
    for parameter in space.parameters:
        name = parameter.name
        if not parameter.applies(full):
            assert parameter.otherwise is not None
            full[name] = parameter.otherwise
            continue
        value = config.get(name, parameter.before)
        if value is None:
            return f"{name} is missing"
        if value not in parameter.domain:
            return f"{name} is not {parameter.domain}"
        full[name] = params[name] = value
    there = {parameter.name: parameter for parameter in get_space(space.name).parameters}
    for name in sorted(config.keys() - full.keys()):  # it may be said of what makes no difference
        if name not in there or config[name] not in (there[name].before, there[name].otherwise):
            return f"there is no parameter {echo(name)} here"
    return params


def told(reasons: Counter[str]) -> str:
    """Why trials were left out, the commonest first."""
    most = [f"{reason} ({count})" for reason, count in reasons.most_common(3)]
    return "; ".join(most) + (f"; and {len(reasons) - 3} more" if len(reasons) > 3 else "")
