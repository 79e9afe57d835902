"""The Optuna study of one space: proposes configurations, judges reports, is told how trials ended.

Ray's own ``OptunaSearch`` fixes a pruner that never prunes and tells stopped trials as
COMPLETE; so the study is asked, reported to and told here, and Tune only runs what it says.
Only the driver writes a study; anything may read it, plain Optuna included.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Iterable, Iterator, Mapping
from enum import Enum
from typing import Any

import optuna
from optuna.distributions import (
    BaseDistribution,
    CategoricalDistribution,
    check_distribution_compatibility,
    distribution_to_json,
)
from optuna.storages import BaseStorage
from optuna.trial import FrozenTrial, Trial, TrialState

from analysis.plan.complaints import PlanError
from analysis.plan.plan import Plan
from analysis.plan.population import ONLY_FIRST
from analysis.run.directory import RunDirectory
from analysis.run.records import TrialRecord
from search.sampling.guided import Guided, earlier_trials
from search.sampling.optuna_internals import live
from search.sampling.population import Explore, Population
from search.sampling.pruners import make_pruner
from search.sampling.samplers import EXHAUSTIVE, distribution_of
from spaces.domain import Choice, Domain, Integer, Value
from spaces.objectives import METRICS
from spaces.space import Space

GRID_INDEX = "visiontune:grid_index"
FAILURE = "visiontune:failure"
CONFIG = "visiontune:config"
RETRY_OF = "visiontune:retry_of"
ATTEMPT = "visiontune:attempt"
REQUEST = "visiontune:request"


class Answer(Enum):
    """What a study says where it proposes no trial."""

    LATER = "nothing until trials that run have ended"
    NO_MORE = "nothing any more"


def open_study(storage: BaseStorage, name: str, plan: Plan) -> optuna.Study:
    """The study called ``name``; made there if it is not."""
    directions = [METRICS[objective].direction for objective in plan.objectives]
    study = optuna.create_study(
        study_name=name, storage=storage, directions=directions, load_if_exists=True
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
        study.set_metric_names(list(plan.objectives))
    return study


class SpaceStudy:
    """The study of one space: numbers its trials, proposes their configs, is told their ends.

    Args:
        storage: where it lives; created there or continued.
        name: of the study there.
        space: as narrowed by the plan.
        plan: names sampler, pruner, objectives and seed. A continued study draws other numbers than
            it drew before.
        run: which keeps what its sampler is to know of earlier searches.
        explore: changes values in a population.

    Attributes:
        population: who goes on from whom; None where every trial is trained from its beginning.
    """

    def __init__(
        self,
        storage: BaseStorage,
        name: str,
        space: Space,
        plan: Plan,
        run: RunDirectory | None = None,
        explore: Explore | None = None,
    ) -> None:
        self.space = space
        self.population = Population(plan, space, explore) if plan.population else None
        self._objectives = plan.objectives
        self._study = open_study(storage, name, plan)
        trials = self.trials()
        check_choices(space, trials)
        self._plan, self._run = plan, run
        self._study.pruner = make_pruner(plan.pruner, plan.pruner_options)
        self._prunes = plan.pruner != "none"
        self._live: dict[int, Trial] = {}
        self.waiting = sum(trial.state == TrialState.WAITING for trial in trials)
        self._grid = enumerate(space.grid()) if plan.sampler == "grid" else None
        self._within, self._left = space, math.inf
        self._tried = {
            trial.user_attrs[GRID_INDEX] for trial in trials if GRID_INDEX in trial.user_attrs
        }
        self.narrow(plan.narrowed_spaces().get(space.name, space))

    def trials(self) -> list[FrozenTrial]:
        return self._study.get_trials(deepcopy=False)

    # --- what to try

    def narrow(self, within: Space) -> None:
        """Draw within a part of the space from now on."""
        plan, trials = self._plan, self.trials()
        self._within = within
        if self.population:
            self.population.space = within
        before = earlier_trials(self._run, plan, within) if self._run else []
        seed, options = plan.seed + len(trials), plan.sampler_options
        self._study.sampler = Guided(plan.sampler, options, seed, self.space, before, within)
        if plan.sampler in EXHAUSTIVE and self._grid is None:
            own = [trial.params for trial in trials if RETRY_OF not in trial.user_attrs]
            self._left = sum(1 for _ in within.grid()) - sum(map(self._is_within, own))

    def _is_within(self, params: Mapping[str, Value]) -> bool:
        """Whether values lie in the part of the space in which is searched now."""
        domains = {parameter.name: parameter.domain for parameter in self._within.parameters}
        return all(value in domains[name] for name, value in params.items() if name in domains)

    def ask(self) -> tuple[int, dict[str, Value]] | Answer:
        """The next trial's number and complete config."""
        if self.population and not self.waiting and not self._enqueue_members():
            return Answer.NO_MORE if self.population.end else Answer.LATER
        if self.waiting:
            self.waiting -= 1  # Optuna hands out waiting trials first
        elif self._grid is not None:
            left = (one for one in self._grid if one[0] not in self._tried)
            index, point = next((one for one in left if self._is_within(one[1])), (-1, None))
            if point is None:
                return Answer.NO_MORE
            self._study.enqueue_trial(point, user_attrs={GRID_INDEX: index})
            self._tried.add(index)
        elif self._left <= 0:
            return Answer.NO_MORE
        else:
            self._left -= 1
        return self._begin(self._study.ask())

    def _enqueue_members(self) -> bool:
        """Whether a population has a trial to propose now: of its first generation, or of a later
        one, which is enqueued once the one before has ended.
        """
        assert self.population is not None
        trials = self.trials()
        if self.population.wants_first(trials):
            return True
        for member in self.population.next(trials) or ():
            self.enqueue(member.params, member.attributes)
        return self.waiting > 0

    def coming(self) -> Iterator[dict[str, Value]]:
        """The complete configs that will be proposed, as far as that is known: those of a grid."""
        if self._grid is not None:
            tried = set(self._tried)
            yield from (
                self.space.check(point)
                for index, point in enumerate(self.space.grid())
                if index not in tried and self._is_within(point)
            )

    def enqueue(self, params: Mapping[str, Value], attributes: Mapping[str, Any]) -> None:
        """Try these parameters next; what they leave open is drawn."""
        self._study.enqueue_trial(dict(params), user_attrs=dict(attributes))
        self.waiting += 1

    def retry(self, number: int, attributes: Mapping[str, Any]) -> None:
        """Try a trial's parameters again, as a new trial."""
        frozen = self.trials()[number]
        attempt = frozen.user_attrs.get(ATTEMPT, 0) + 1
        self.enqueue(frozen.params, {RETRY_OF: number, ATTEMPT: attempt, **attributes})

    def objection(self, kind: str, number: int, params: Mapping[str, Any]) -> str:
        """Why what another terminal asked for cannot be tried; empty if it can."""
        if self.population and (kind == "retry" or not self.population.wants_first(self.trials())):
            return ONLY_FIRST
        if kind == "retry":
            ended = [trial.number for trial in self.trials() if trial.state.is_finished()]
            return (
                "" if number in ended else f"there is no finished trial {self.space.name}/{number}"
            )
        known = {parameter.name: parameter for parameter in self.space.parameters}
        for name, value in params.items():
            if name not in known or value not in known[name].domain:
                allowed = (
                    known[name].domain
                    if name in known
                    else f"one of the parameters {', '.join(known)}"
                )
                return f"{self.space.name}.{name} must be {allowed}, but it asks for {value!r}"[
                    :300
                ]
        return ""

    def retry_failed(self, record: TrialRecord, retries: int) -> None:
        """Try a failed trial again, unless it has been tried ``retries`` times over."""
        if (
            retries
            and record.state == "FAIL"
            and self.trials()[record.number].user_attrs.get(ATTEMPT, 0) < retries
        ):
            self.retry(record.number, {})

    def retry_all_failed(self, retries: int) -> None:
        """The same for failures whose retry a killed driver did not come to."""
        if not retries:
            return
        trials = self.trials()
        retried = {trial.user_attrs.get(RETRY_OF) for trial in trials}
        for trial in trials:
            if (
                trial.state == TrialState.FAIL
                and trial.number not in retried
                and trial.user_attrs.get(ATTEMPT, 0) < retries
            ):
                self.retry(trial.number, {})

    def continue_trial(self, number: int) -> tuple[int, dict[str, Value]]:
        """The same trial again: its number, and its config with what was not yet drawn."""
        return self._begin(live(self._study, self.trials()[number]))

    def going_on(self, number: int) -> dict[str, Any]:
        """Of a trial of a population, as a proposal has it: ``parent``, the values ``before``,
        ``until`` when it is trained, and whether it ``leaves`` a state to others.
        """
        if self.population is None:
            return {}
        known = self._live[number].user_attrs
        return self.population.going_on(known, self.trials(), self._config)

    def _config(self, trial: FrozenTrial) -> dict[str, Value]:
        return trial.user_attrs.get(CONFIG) or self.space.check(trial.params)

    def begun(self, number: int) -> dict[str, Any]:
        """What the study knows of a trial that has begun, as its folder keeps it: parameters with
        their domains, attributes.
        """
        trial = self._live[number]
        attributes = {name: value for name, value in trial.user_attrs.items() if name != CONFIG}
        domains = {
            name: distribution_to_json(domain) for name, domain in trial.distributions.items()
        }
        return {"params": dict(trial.params), "domains": domains, "attributes": attributes}

    def _begin(self, trial: Trial) -> tuple[int, dict[str, Value]]:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
            config = self.space.sample(lambda name, domain: _suggest(trial, name, domain))
        if CONFIG not in trial.user_attrs:
            trial.set_user_attr(CONFIG, config)
        self._live[trial.number] = trial
        return trial.number, config

    # --- what came out

    def report(self, number: int, step: int, value: float) -> bool:
        """Tell what a running trial has come to at ``step``, counted from 0; True if the pruner
        would stop it.

        With several objectives nothing is told: Optuna's pruners judge one.
        """
        if len(self._objectives) > 1:
            return False
        trial = self._live[number]
        trial.report(value, step)
        return self._prunes and trial.should_prune()

    def report_late(self, number: int, step: int, value: float) -> None:
        """Report what a trial had come to before its driver died."""
        if len(self._objectives) == 1:
            live(self._study, self.trials()[number]).report(value, step)

    def tell(self, record: TrialRecord, excesses: Mapping[str, float]) -> None:
        """Tell how a trial ended; its metrics, cause and constraints are kept as Optuna keeps such
        things.

        Args:
            excesses: constraint to how far the trial is out of bounds, at most 0 within them.
        """
        trial = self._live.pop(record.number, None) or live(
            self._study, self.trials()[record.number]
        )
        for name, value in record.metrics.items():
            trial.set_user_attr(name, value)
        if record.failure:
            trial.set_user_attr(FAILURE, record.failure)
        for name, excess in excesses.items():
            if name not in trial.constraints:
                trial.set_constraint(name, excess)
        if record.state == "COMPLETE":
            self._study.tell(trial, [record.metrics[objective] for objective in self._objectives])
        else:
            self._study.tell(
                trial, state=TrialState.PRUNED if record.state == "PRUNED" else TrialState.FAIL
            )


def check_choices(space: Space, trials: Iterable[FrozenTrial]) -> None:
    """Refuse a space with other choices than a study began with: a study keeps them for ever.

    Raises:
        PlanError: one line that names them.
    """
    began: dict[str, BaseDistribution] = {}
    for trial in trials:
        for name, distribution in trial.distributions.items():
            began.setdefault(name, distribution)
    for parameter in space.parameters:
        before, now = began.get(parameter.name), distribution_of(parameter.domain)
        if before is None:
            continue
        try:
            check_distribution_compatibility(before, now)
        except ValueError:
            was = (
                f"one of {', '.join(map(str, before.choices))}"
                if isinstance(before, CategoricalDistribution)
                else before
            )
            raise PlanError(
                f"{space.name}.{parameter.name} was {was} when the search began, and is "
                f"{parameter.domain} now, which its study cannot "
                f"take up: put set.{parameter.name} back in the run's plan.yaml, or start a new run"
            ) from None


def _suggest(trial: Trial, name: str, domain: Domain) -> Value:
    if isinstance(domain, Choice):
        value: Any = trial.suggest_categorical(name, domain.options)
        return value
    if isinstance(domain, Integer):
        return trial.suggest_int(name, domain.low, domain.high, log=domain.log)
    return trial.suggest_float(name, domain.low, domain.high, log=domain.log)
