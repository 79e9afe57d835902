"""What the folders of trials hold, as the study of their space would say it: they are the truth,
and the study is derived from them.
"""

from __future__ import annotations

import datetime
import json
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from optuna.distributions import BaseDistribution, json_to_distribution
from optuna.trial import FrozenTrial, TrialState, create_trial

from analysis.plan.plan import Plan
from analysis.run.directory import RunDirectory
from analysis.run.records import TrialRecord
from analysis.run.sealed import DamagedError
from search.sampling.optuna_internals import FIXED, fixed, of_sampler
from search.sampling.population import MEMBER, PARENT
from search.sampling.samplers import distribution_of
from search.study.study import (
    ATTEMPT,
    CONFIG,
    FAILURE,
    GRID_INDEX,
    REQUEST,
    RETRY_OF,
)
from spaces import Space
from spaces.domain import Choice, Name

ASKED = (ATTEMPT, GRID_INDEX, MEMBER, PARENT, REQUEST, RETRY_OF)
"""Attributes that say why a trial is tried; the others say how it ended."""


@dataclass
class Shelf:
    """The trials of one space, as their folders are.

    Attributes:
        records: of those that have ended.
        damaged: those whose record cannot be believed, and why; they are run again.
        others: those that have a folder and no record.
    """

    records: dict[int, TrialRecord] = field(default_factory=dict)
    damaged: dict[int, str] = field(default_factory=dict)
    others: set[int] = field(default_factory=set)

    @property
    def count(self) -> int:
        """One more than the highest number."""
        return 1 + max((*self.records, *self.damaged, *self.others), default=-1)


def read_shelves(run: RunDirectory, spaces: Sequence[str]) -> dict[str, Shelf]:
    """Read what the trial folders of each space hold.

    Returns:
        By name of the space.

    Raises:
        NewerError: if a newer version of this program wrote a record.
        UnreadableError: if this user may not read a record.
    """
    shelves = {space: Shelf() for space in spaces}
    files = run.trial_files
    for space, number in files.all():
        if space not in shelves:
            continue
        shelf = shelves[space]
        try:
            record = files.record(space, number)
        except DamagedError as error:
            shelf.damaged[number] = str(error)
            continue
        if record is None:
            shelf.others.add(number)
        else:
            shelf.records[number] = record
    return shelves


def trials_of(
    run: RunDirectory, plan: Plan, space: Space, shelf: Shelf, were: Sequence[FrozenTrial] = ()
) -> Iterator[FrozenTrial]:
    """Every trial of a space in the order of their numbers, as its study is to have them.

    Args:
        were: as the study has them, of which what the folders do not say is kept: what is running
            or waits, and why it is tried.
    """
    lost = _Grid(space) if plan.sampler == "grid" else None
    known = [
        _known(run, space, number, shelf, were, lost)
        for number in range(max(shelf.count, len(were)))
    ]
    for number, facts in enumerate(known):
        record, was = shelf.records.get(number), were[number] if number < len(were) else None
        if record is not None:
            yield _ended(run, plan, record, facts)
        elif was is not None and not was.state.is_finished() and number not in shelf.damaged:
            yield was
        else:
            if lost and not facts.params and GRID_INDEX not in facts.attributes:
                facts = lost.next(facts)
            steps = (
                {}
                if number in shelf.damaged or (was and was.state.is_finished())
                else _reports(run, plan, space.name, number)
            )
            state = TrialState.RUNNING  # it was begun and has not ended, whatever was said of it
            yield create_trial(
                state=state, params=facts.params, distributions=facts.domains,
                user_attrs=facts.attributes,
                system_attrs=facts.system, intermediate_values=steps,
            )  # fmt: skip


def differs(record: TrialRecord, trial: FrozenTrial, plan: Plan, space: Space) -> bool:
    """Whether the study says something else of a trial than its record does."""
    state, values = _end(record, plan)
    # a driver died before it could tell; it must know what was tried
    if trial.state == TrialState.RUNNING:
        return _applying(space, record) - set(trial.params) != set() or _other_params(record, trial)
    if trial.state != state or _other_params(record, trial):
        return True
    return state == TrialState.COMPLETE and not all(
        math.isclose(a, b, rel_tol=1e-9, abs_tol=1e-12)
        for a, b in zip(values or (), trial.values or (), strict=False)
    )


def _other_params(record: TrialRecord, trial: FrozenTrial) -> bool:
    return any(record.config.get(name) != value for name, value in trial.params.items())


def _applying(space: Space, record: TrialRecord) -> set[str]:
    """Parameters that were drawn for this configuration: those that apply."""
    full = {
        p.name: record.config.get(p.name, p.before if p.before is not None else p.otherwise)
        for p in space.parameters
    }
    config: dict[str, Any] = {name: value for name, value in full.items() if value is not None}
    return {
        p.name
        for p in space.parameters
        if p.name in record.config and set(p.when or {}) <= set(config) and p.applies(config)
    }


def _end(record: TrialRecord, plan: Plan) -> tuple[TrialState, list[float] | None]:
    """How a trial ended, as Optuna says it."""
    if record.state == "COMPLETE" and all(
        math.isfinite(record.metrics.get(name, math.nan)) for name in plan.objectives
    ):
        return TrialState.COMPLETE, [record.metrics[name] for name in plan.objectives]
    return TrialState.PRUNED if record.state == "PRUNED" else TrialState.FAIL, None


@dataclass(frozen=True)
class _Known:
    """What was tried: parameters with their domains, and why."""

    params: dict[str, Any]
    domains: dict[str, BaseDistribution]
    attributes: dict[str, Any]
    system: dict[str, Any]


def _known(
    run: RunDirectory,
    space: Space,
    number: int,
    shelf: Shelf,
    were: Sequence[FrozenTrial],
    lost: _Grid | None,
) -> _Known:
    """What was tried under a number: as its folder says, else the study, else its record and the
    plan.
    """
    record, was = shelf.records.get(number), were[number] if number < len(were) else None
    asked = {name: was.user_attrs[name] for name in ASKED if name in was.user_attrs} if was else {}
    system = {} if was is None else fixed(was) if record is None else of_sampler(was)
    facts = run.begun(space.name, number)
    if facts and (record is None or facts.get("config") == record.config):
        domains = {name: json_to_distribution(text) for name, text in facts["domains"].items()}
        known = _Known(dict(facts["params"]), domains, {**asked, **facts["attributes"]}, system)
    elif (
        was
        and was.params
        and (record is None or not _other_params(record, was))
        and (record is None or not _applying(space, record) - set(was.params))
    ):
        known = _Known(dict(was.params), dict(was.distributions), asked, system)
    elif record is not None:
        known = _from_record(space, record, asked, system)
    else:
        known = _Known({}, {}, asked, system)
    if lost:
        known = lost.seen(known)
    return known


def _from_record(
    space: Space, record: TrialRecord, asked: dict[str, Any], system: dict[str, Any]
) -> _Known:
    params: dict[str, Any] = {}
    domains: dict[str, BaseDistribution] = {}
    for name in _applying(space, record):
        parameter, value = space[name], record.config[name]
        domain = next((d for d in (parameter.domain, parameter.limits) if value in d), None)
        if domain is not None:
            known = Choice((value,)) if isinstance(domain, Name) else domain
            params[name], domains[name] = value, distribution_of(known)
    return _Known(params, domains, asked, system)


def _reports(run: RunDirectory, plan: Plan, space: str, number: int) -> dict[int, float]:
    """What a pruner was shown; with several objectives nothing is."""
    if len(plan.objectives) > 1:
        return {}
    return {
        row["step"]: float(row["report"]) for row in run.steps(space, number) if "report" in row
    }


def _ended(run: RunDirectory, plan: Plan, record: TrialRecord, known: _Known) -> FrozenTrial:
    """A finished trial, as the study would have been told it."""
    state, values = _end(record, plan)
    steps = _reports(run, plan, record.space, record.number) if record.steps else {}
    if state == TrialState.PRUNED and steps and math.isfinite(last := steps[max(steps)]):
        values = [last]
    attributes = {**known.attributes, CONFIG: record.config, **record.metrics}
    if record.failure:
        attributes[FAILURE] = record.failure
    trial = create_trial(
        state=state, values=values, params=known.params, distributions=known.domains,
        user_attrs=attributes,
        system_attrs=known.system, intermediate_values=steps,
        constraints=plan.excesses(record.metrics),
    )  # fmt: skip
    began, ended = (_time(seconds) for seconds in (record.started, record.started + record.seconds))
    if began and ended:
        trial.datetime_start, trial.datetime_complete = began, max(began, ended)
    return trial


def _time(seconds: float) -> datetime.datetime | None:
    try:
        return datetime.datetime.fromtimestamp(seconds)
    except (ValueError, OverflowError, OSError):
        return None


class _Grid:
    """Places of a grid: which have been tried, and which a lost trial may have had."""

    def __init__(self, space: Space) -> None:
        self._points = list(space.grid())
        self._places = {
            json.dumps(point, sort_keys=True): index for index, point in enumerate(self._points)
        }
        self._taken: set[int] = set()

    def seen(self, known: _Known) -> _Known:
        """Note a place as tried; found by its parameters, if nothing says it."""
        index = known.attributes.get(GRID_INDEX)
        if (
            index is None
            and known.params
            and RETRY_OF not in known.attributes
            and REQUEST not in known.attributes
        ):
            index = self._places.get(json.dumps(known.params, sort_keys=True))
            if index is not None and index not in self._taken:
                known = _Known(
                    known.params,
                    known.domains,
                    {**known.attributes, GRID_INDEX: index},
                    known.system,
                )
        if isinstance(index, int):
            self._taken.add(index)
        return known

    def next(self, known: _Known) -> _Known:
        """A trial of which nothing is left takes the first place that nobody has."""
        index = next(
            (index for index in range(len(self._points)) if index not in self._taken), None
        )
        if index is None:
            return known
        self._taken.add(index)
        system: Mapping[str, Any] = {**known.system, FIXED: self._points[index]}
        return _Known({}, {}, {**known.attributes, GRID_INDEX: index}, dict(system))
