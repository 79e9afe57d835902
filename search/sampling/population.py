"""A population, generation by generation: who goes on from whom, and with which values.

A generation of a member is a trial. The first are drawn by the plan's sampler; each later one
follows from the trials of the one before and the seed, so that a search that is gone on with asks
for the same.
"""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from optuna.trial import FrozenTrial, TrialState

from analysis.plan.plan import Plan
from search.sampling.optuna_internals import breaks_constraint
from spaces import Space
from spaces.domain import Choice, Domain, Value
from spaces.objectives import METRICS

PARENT, MEMBER = "visiontune:parent", "visiontune:member"
"""Attributes of a trial that goes on from another: the number of that, and [generation, member],
both from 0. Trials of the first generation have none.
"""
Told = tuple[str, int, Mapping[str, Value], float]
"""Of a trial: its name, steps done, its values, and the objective then, more of which is better."""


class Explore(Protocol):
    """Changes the values that a member takes over (``search.cluster.ray_internals.explored``)."""

    def __call__(
        self,
        method: str,
        values: Mapping[str, Value],
        domains: Mapping[str, Domain],
        told: Sequence[Told],
        base: str,
        taken: Sequence[Mapping[str, Value]],
        seed: int,
        /,
    ) -> dict[str, Value]: ...


@dataclass(frozen=True)
class Member:
    """A trial that is to be enqueued.

    Attributes:
        params: values of the parameters that apply.
        attributes: of the trial.
    """

    params: dict[str, Value]
    attributes: dict[str, Any]


class Population:
    """What a plan says of a population of a space.

    Args:
        plan: has one.
        explore: chooses changed values.

    Attributes:
        space: within which values change.
        end: why it has come to its end, once it has.
        spent: trials from whose end nobody goes on any more, since the last generation was begun.
    """

    def __init__(self, plan: Plan, space: Space, explore: Explore | None) -> None:
        assert plan.population is not None
        self._said, self.space, self._seed = plan.population, space, plan.seed
        self._explore = explore
        self.members = plan.population.members
        self.every = plan.population.every(plan.steps)
        self.generations = plan.population.generations(plan.steps)
        self.steps = self.every * self.generations
        self._sign = 1.0 if METRICS[plan.objective].direction == "maximize" else -1.0
        self.end, self.spent = "", list[int]()

    def until(self, attributes: Mapping[str, Any]) -> int:
        """Steps after which a trial with these attributes ends."""
        return (_generation(attributes) + 1) * self.every

    def wants_first(self, trials: Sequence[FrozenTrial]) -> bool:
        """Whether members of the first generation are still to be drawn. One that was not run, or
        was stopped by a limit of the search, is none.
        """
        return len(self._of(trials, 0)) < self.members

    def drawn_again(self, trials: Sequence[FrozenTrial]) -> int:
        """How many of the first generation a limit stopped: others are drawn in their place."""
        return sum(
            _generation(trial.user_attrs) == 0
            and trial.state == TrialState.PRUNED
            and not breaks_constraint(trial)
            for trial in trials
        )

    def next(self, trials: Sequence[FrozenTrial]) -> list[Member] | None:
        """The members to enqueue once all of the first generation have been drawn; none while those
        of the last generation run, and None when there are no more, which ``end`` explains.
        """
        last = max(_generation(trial.user_attrs) for trial in trials)
        there = self._of(trials, last)
        if last and len(there) < self.members:  # a killed driver did not come to the others
            before = self._of(trials, last - 1)
        elif not all(trial.state.is_finished() for trial in there):
            return []
        elif last + 1 == self.generations:
            self.end = f"all {self.generations} generations are done"
            return None
        else:
            last, before, there = last + 1, there, []
        known = {trial.user_attrs[MEMBER][1] for trial in there}
        order = sorted(before, key=self._rank)
        if order[0].state != TrialState.COMPLETE:
            self.end = f"no member of generation {last} is left to go on from"
            return None
        born = list(self._born(last, order, trials))
        parents = {member.attributes[PARENT] for member in born}
        old = [*before, *self._of(trials, last - 2)]
        self.spent = [trial.number for trial in old if trial.number not in parents]
        return [member for member in born if member.attributes[MEMBER][1] not in known]

    def going_on(
        self,
        attributes: Mapping[str, Any],
        trials: Sequence[FrozenTrial],
        config: Callable[[FrozenTrial], dict[str, Value]],
    ) -> dict[str, Any]:
        """Of a trial with these attributes, as a proposal has it: ``parent``, the values
        ``before``, ``until`` when it is trained, and whether it ``leaves`` a state to others.
        """
        before, following = list[tuple[int, dict[str, Value]]](), attributes.get(PARENT)
        while following is not None:
            known = trials[following].user_attrs
            before.insert(0, (self.until(known), config(trials[following])))
            following = known.get(PARENT)
        until = self.until(attributes)
        given = {"parent": attributes.get(PARENT), "before": tuple(before)}
        return {**given, "until": until, "leaves": until < self.steps}

    def _of(self, trials: Sequence[FrozenTrial], generation: int) -> list[FrozenTrial]:
        return [
            trial
            for trial in trials
            if _generation(trial.user_attrs) == generation
            and (generation or trial.state != TrialState.PRUNED)
        ]

    def _rank(self, trial: FrozenTrial) -> tuple[bool, bool, float, int]:
        """Sorts the best first; what failed, or breaks a constraint, last."""
        if trial.state != TrialState.COMPLETE or trial.value is None:
            return True, True, math.inf, trial.number
        return False, breaks_constraint(trial), -self._sign * trial.value, trial.number

    def _born(
        self, generation: int, order: Sequence[FrozenTrial], trials: Sequence[FrozenTrial]
    ) -> Iterator[Member]:
        """The members of a generation.

        Args:
            order: the trials of the one before, from best to worst.
        """
        done = sum(trial.state == TrialState.COMPLETE for trial in order)
        share = min(math.ceil(self.members * self._said.quantile), self.members // 2)
        best = order[: min(share, done)]
        taken: list[Mapping[str, Value]] = []
        for member, trial in enumerate(order):
            draw = random.Random(f"{self._seed}/{generation}/{member}")
            parent = trial
            if member >= min(done, self.members - share) and trial not in best:
                parent = draw.choice(best)
            params = dict(parent.params)
            if parent is not trial:
                params |= self._changed(parent, trials, taken, draw.getrandbits(32))
            yield Member(params, {PARENT: parent.number, MEMBER: [generation, member]})

    def _changed(
        self,
        parent: FrozenTrial,
        trials: Sequence[FrozenTrial],
        taken: list[Mapping[str, Value]],
        seed: int,
    ) -> dict[str, Value]:
        asked = self._said.change
        domains = {
            p.name: p.domain
            for p in may_change(self.space, self._said.method, asked)
            if p.name in parent.params
        }
        settled = {  # narrowed to one value since it began
            p.name: p.only
            for p in self.space.parameters
            if p.anew and not p.varies and p.name in parent.params and p.name in (asked or [p.name])
        }
        values = {name: parent.params[name] for name in domains}
        if not values:
            return settled
        told = [row for trial in trials for row in self._told(trial, trials, domains)]
        assert self._explore is not None  # who runs a search has one
        found = self._explore(
            self._said.method, values, domains, told, str(parent.number), taken, seed
        )
        taken.append(found)
        return settled | found

    def _told(
        self, trial: FrozenTrial, trials: Sequence[FrozenTrial], names: Mapping[str, Domain]
    ) -> Iterator[Told]:
        """What a trial came to step by step, from where it went on; nothing of one of which other
        parameters are asked for.
        """
        if not set(names) <= set(trial.params):
            return
        parent = trials[trial.user_attrs[PARENT]] if PARENT in trial.user_attrs else None
        rows = [(step + 1, value) for step, value in trial.intermediate_values.items()]
        if parent and parent.value is not None:
            rows.insert(0, (self.until(parent.user_attrs), parent.value))
        for done, value in rows:
            own = {name: trial.params[name] for name in names}
            yield str(trial.number), done, own, self._sign * value


def _generation(attributes: Mapping[str, Any]) -> int:
    return int(attributes.get(MEMBER, (0,))[0])


def may_change(space: Space, method: str, change: Sequence[str] = ()) -> list[Any]:
    """The parameters of a space, as it is searched, that a population may change: of PB2 ranges
    alone.

    Args:
        change: those that were asked for.
    """
    conditions = {name for parameter in space.parameters for name in parameter.when or {}}
    return [
        p
        for p in space.parameters
        if p.anew
        and p.varies
        and p.name not in conditions
        and (not change or p.name in change)
        and (method == "pbt" or not isinstance(p.domain, Choice))
    ]
