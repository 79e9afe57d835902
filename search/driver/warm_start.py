"""Warm start: what a new search takes of earlier ones, which it needs no more once it has begun."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from analysis.plan.addresses import STORAGES
from analysis.plan.complaints import PlanError
from analysis.plan.plan import Plan
from analysis.ranking.leaderboard import ranked
from analysis.run.directory import RunDirectory
from analysis.run.finding import find_run
from analysis.run.records import DataFacts, TrialRecord
from search.ledger.requests import ask
from search.sampling.guided import ENOUGH, Earlier, fitting, keep_earlier, told
from search.study.storage import study_records
from spaces.samplers import SAMPLERS
from trainables.learners import LEARNERS

Say = Callable[[str], None]
FIRST = 5
"""The best of an earlier search that are tried first, where that is all that is taken of it."""
TRAINED = ("epochs", "image_size", "patience", "start_from", "accumulate")
"""Settings of training by which trials of the same configuration differ."""


@dataclass(frozen=True)
class Source:
    """An earlier search.

    Attributes:
        name: in words.
        records: its complete trials that this search could have drawn.
        left_out: why others could not be, each with how many.
        run: None of a study, of whose images nothing is known.
    """

    name: str
    records: Sequence[TrialRecord]
    left_out: Counter[str]
    run: RunDirectory | None


def find_sources(plan: Plan, runs_dir: Path) -> list[Source]:
    """The earlier searches that a plan is to start from.

    Raises:
        UserError: if one cannot be read, or nothing of it can be taken: before anything starts.
    """
    return [_source(plan, place, runs_dir) for place in plan.warm_start]


def _source(plan: Plan, place: str, runs_dir: Path) -> Source:
    run = None
    if place.startswith(STORAGES) or Path(place.partition("#")[0]).is_file():
        name = f"study {place}"
        records = study_records(place, plan)
    else:
        run = find_run(place, runs_dir)
        name, records = f"run {run.name}", run.records()
    searched = sorted({record.space for record in records})
    done = [r for r in records if r.state == "COMPLETE" and not r.infeasible]
    own = [record for record in done if record.space in plan.spaces]
    if done and not own:
        raise PlanError(
            f"warm_start: {name} searched {', '.join(searched)}, and this search is of "
            f"{', '.join(plan.spaces)}; name one of the same space"
        )
    if not own:
        raise PlanError(f"warm_start: {name} has no complete trial; leave it out")
    spaces, kept, left_out = plan.search_spaces(), list[TrialRecord](), Counter[str]()
    for record in own:
        missing = [name for name in plan.objectives if name not in record.metrics]
        why = f"{' and '.join(missing)} was not measured" if missing else ""
        fits = fitting(spaces[record.space], record)
        if why or isinstance(fits, str):
            left_out[f"{record.space}: {why or fits}"] += 1
        else:
            kept.append(record)
    if not kept:
        raise PlanError(
            f"warm_start: no trial of {name} fits this search: {told(left_out)}; widen what is "
            "searched, or leave it out"
        )
    return Source(name, kept, left_out, run)


def take(
    plan: Plan,
    sources: Sequence[Source],
    facts: DataFacts,
    labels: npt.NDArray[np.int64] | None,
    say: Say,
) -> tuple[Earlier, ...]:
    """What is taken of each, which is said in a line."""
    found = []
    for source in sources:
        why = _prior(plan, source, facts, labels)
        few = plan.sampler == "cmaes" and len(source.records) < ENOUGH
        values = not why and not few and SAMPLERS[plan.sampler].warm == "values"
        if not why and not values:
            why = f"sampler {plan.sampler} takes no values of {'so few' if few else 'other'} trials"
        best = len(_best(plan, source.records, values))
        what = (
            f"{len(source.records)} trials are known to the sampler, and the best is tried first"
            if values
            else f"the best {best} are tried first, and no more is taken: {why}"
        )
        rest = f"; left out: {told(source.left_out)}" if source.left_out else ""
        say(f"warm start from {source.name}: {what}{rest}")
        kept = tuple(record.model_copy(update={"replicas": {}}) for record in source.records)
        found.append(
            Earlier(source=source.name, taken="values" if values else "points", trials=kept)
        )
    return tuple(found)


def _prior(
    plan: Plan, source: Source, facts: DataFacts, labels: npt.NDArray[np.int64] | None
) -> str:
    """Why figures of an earlier search say nothing of those of this one; empty if they do."""
    if not any(LEARNERS[record.space].space.needs_images for record in source.records):
        return ""
    if source.run is None:
        return "a study does not say of which images it is"
    then, before = source.run.plan(), source.run.data()
    if before.fingerprint != facts.fingerprint:
        return f"it is of other images ({before.spec})"
    theirs = source.run.validation_labels()
    scheme, its = plan.validation_for(facts.sizes).scheme, then.validation_for(before.sizes).scheme
    alike = theirs is None or labels is None or np.array_equal(theirs, labels)
    if scheme != its or not alike:
        return f"it was judged otherwise, by {its}"
    trained = any(LEARNERS[r.space].holds_cores for r in source.records)
    for name in TRAINED if trained else ():
        mine, other = getattr(plan.training, name), getattr(then.training, name)
        if mine != other:
            return f"it trained with {name} {other}, and this search does with {mine}"
    return ""


def _best(plan: Plan, records: Sequence[TrialRecord], values: bool) -> list[TrialRecord]:
    """The trials of an earlier search that are tried first: of each space."""
    found = []
    for space in plan.spaces:
        of_space = [record for record in records if record.space == space]
        found += ranked(of_space, plan.objective)[: 1 if values else FIRST]
    return found


def begin_with(run: RunDirectory, plan: Plan, earlier: tuple[Earlier, ...]) -> None:
    """Have a run, before it begins, keep what was taken and ask for what is to be tried first: what
    its plan says, then the best of earlier searches.
    """
    keep_earlier(run, earlier)
    spaces, points = plan.search_spaces(), plan.first_points()
    for source in earlier:
        for record in _best(plan, source.trials, source.taken == "values"):
            params = fitting(spaces[record.space], record)
            if not isinstance(params, str) and (record.space, params) not in points:
                points.append((record.space, params))
    for place, (space, params) in enumerate(points):
        ask(run, "enqueue", space, params, order=place)
