"""Which sampler, pruner, space and objectives go together: one table, by which plans are checked
and which the docs print.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from analysis.plan.complaints import PlanError
from analysis.plan.plan import Plan
from analysis.plan.population import Population
from search.sampling.population import may_change
from search.sampling.pruners import make_pruner
from search.sampling.samplers import make_sampler
from spaces import SPACES, Space, SpaceError
from spaces.domain import Choice
from spaces.errors import echo
from spaces.objectives import computed_objectives
from spaces.samplers import PRUNERS, SAMPLERS, Pruner, Sampler
from trainables.learners import LEARNERS


def check_combination(plan: Plan) -> None:
    """Refuse what cannot work, before anything is started.

    Raises:
        PlanError: one line that says everything that does not go together, and why.
    """
    problems = list(_problems(plan))
    try:
        plan.first_points()
    except SpaceError as error:
        problems.append(str(error))
    if problems:
        raise PlanError("; ".join(dict.fromkeys(problems)))


def _problems(plan: Plan) -> Iterator[str]:
    sampler, pruner = SAMPLERS[plan.sampler], PRUNERS[plan.pruner]
    for make in (
        lambda: make_sampler(plan.sampler, plan.sampler_options, plan.seed),
        lambda: make_pruner(plan.pruner, plan.pruner_options),
    ):
        try:
            make()
        except (ValueError, TypeError) as error:
            yield str(error)
    if plan.tradeoff:
        goals = " and ".join(plan.objectives)
        if sampler.objectives == "one":
            yield (
                f"sampler {plan.sampler} follows one objective, but the plan has {goals}; use "
                f"{_names(several=True)}"
            )
        if plan.pruner != "none":
            yield (
                f"pruner {plan.pruner} judges one objective, but the plan has {goals}: which of "
                "two trials is worse along the way is not "
                "defined; use pruner none, or one objective with constraints"
            )
        if plan.limits.plateau or plan.limits.target is not None:
            yield (
                "limits.target and limits.plateau look at one objective, but the plan has "
                f"{goals}; limit trials or seconds instead"
            )
    for space in plan.search_spaces().values():
        yield from _space_problems(plan, space, sampler, pruner)
    yield from _fidelity_problems(plan)
    if plan.population:
        yield from _population_problems(plan, plan.population, sampler)
    scheme = "val" if plan.validation == "hold-out" else plan.validation
    for learner in plan.learners:
        if scheme not in ("auto", *learner.validations) and learner.space.needs_images:
            ways = ["auto", *learner.validations]
            ways += ["hold-out"] if "val" in learner.validations else []
            yield (
                f"trials of {learner.name} cannot be judged by validation {plan.validation}; use "
                f"{', '.join(ways[:-1])} or {ways[-1]}"
            )
    if plan.limits.gpu_hours is not None and not (
        plan.trial_gpus or (plan.gpus_per_trial is None and plan.uses_gpus)
    ):
        yield "limits.gpu_hours counts GPUs, but gpus_per_trial is 0"
    if plan.trial_gpus > 1:
        yield (
            f"gpus_per_trial must be at most 1, but got {plan.trial_gpus:g}: a network is trained "
            "on one GPU; use the others for more trials at once"
        )


def _space_problems(plan: Plan, space: Space, sampler: Sampler, pruner: Pruner) -> Iterator[str]:
    if space.reports not in pruner.judges:
        has = f"a result {space.reports} by {space.reports}"
        if not space.stepwise:
            may = LEARNERS[space.name].in_parts
            has = f"one result at its end{'; fidelity: images gives it one a part' if may else ''}"
        yield (
            f"pruner {plan.pruner} judges {' or '.join(map(_results, pruner.judges))}, but a "
            f"trial of {space.name} gives {has}"
        )
    if sampler.needs == "numeric" and len(_numbers(space)) < 2:
        yield (
            f"sampler {plan.sampler} needs two parameters that are ranges of numbers and always "
            "apply, "
            f"but {space.name} has {len(_numbers(space))}"
        )
    if sampler.needs == "finite":
        for parameter in space.parameters:
            if not all(
                any(value in space[parent].domain for value in values)
                for parent, values in (parameter.when or {}).items()
            ):
                continue  # it never applies
            try:
                parameter.domain.values()
            except SpaceError as error:
                yield f"{space.name}.{parameter.name}: {error}"
    for name in (*plan.objectives, *plan.constraints):
        measured = (*space.metrics, *(computed_objectives() if space.needs_images else ()))
        if name not in measured:
            yield f"{name} is no metric of space {space.name}; it has {', '.join(measured)}"


def _fidelity_problems(plan: Plan) -> Iterator[str]:
    if plan.fidelity == "epochs":
        if plan.rungs:
            yield "rungs are of fidelity images, but fidelity is epochs; leave rungs out"
        return
    able = [one.name for one in LEARNERS.values() if one.in_parts]
    for learner in plan.learners:
        if not learner.in_parts:
            yield (
                f"fidelity images is for {', '.join(able)}, but the plan has {learner.name}; leave "
                "fidelity out"
            )
    if plan.population:
        yield "fidelity and a population exclude each other; leave one of them out"
    elif plan.pruner == "none":
        yield (
            "fidelity images makes steps for a pruner to judge, but pruner is none; name one, as "
            "in pruner: asha"
        )


def _population_problems(plan: Plan, said: Population, sampler: Sampler) -> Iterator[str]:
    space, steps = plan.search_spaces()[plan.spaces[0]], plan.steps
    if len(plan.spaces) > 1:
        yield f"a population is of one space, but the plan has {', '.join(plan.spaces)}; name one"
    if space.reports != "epoch":
        yield (
            f"a population goes on for a few epochs at a time, but a trial of {space.name} has "
            "none; use space cnn or toy, or leave population out"
        )
        return
    for setting, given, why in (
        ("pruner", plan.pruner != "none", "whoever is worst takes over from the best"),
        ("objective", len(plan.objectives) > 1, "who is best goes by one"),
        ("retries", plan.retries > 0, "a member that fails is replaced by one of the best"),
        ("training.patience", plan.training.patience > 0, "members train for the same epochs"),
    ):
        if given:
            told = f"{len(plan.objectives)} objectives" if setting == "objective" else setting
            yield f"{told} and a population exclude each other: {why}; leave one of them out"
    if sampler.needs == "finite":
        yield (
            f"sampler {plan.sampler} tries every combination, but in a population a sampler draws "
            "the first members alone; use another"
        )
    varying = [p for p in space.parameters if p.name == "steps" and p.varies]
    if varying:
        yield f"a population needs one number of steps, but steps is {plan.set['steps']}"
    if steps % said.every(steps):
        yield (
            f"population.interval must divide the {steps} epochs of a training, but is "
            f"{said.interval}; use "
            f"{', '.join(str(n) for n in range(1, steps + 1) if steps % n == 0)}"[:300]
        )
    free = {p.name for p in space.parameters if p.anew}
    if unknown := [name for name in said.change if name not in free]:
        yield (
            f"population.change: {echo(unknown[0])} cannot change while {space.name} is trained; "
            f"of it may {', '.join(sorted(free)) or 'nothing'}"
        )
    elif not may_change(space, said.method, said.change):
        ranges = "ranges of numbers" if said.method == "pb2" else "ranges or lists"
        yield (
            f"population {said.method} has nothing to change: of {space.name}, "
            f"{', '.join(sorted(free)) or 'no parameter'} may change while it is trained, and none "
            f"of those that are searched has several values (as {ranges})"
        )


def _results(kind: str) -> str:
    return "nothing" if kind == "nothing" else f"results {kind} by {kind}"


def _numbers(space: Space) -> list[str]:
    return [p.name for p in space.parameters if not isinstance(p.domain, Choice) and not p.when]


def _names(several: bool) -> str:
    return ", ".join(
        name for name, kind in SAMPLERS.items() if (kind.objectives == "several") == several
    )


def table() -> dict[str, list[dict[str, Any]]]:
    """Samplers and pruners with what they go with, as JSON-able rows; ``spaces`` are those they
    work on undiminished.
    """
    samplers = [
        {
            "sampler": name,
            "is": kind.doc,
            "objectives": kind.objectives,
            "parameters": {
                "": "any",
                "numeric": "two or more ranges of numbers",
                "finite": "lists and whole numbers",
            }[kind.needs],
            "constraints": "looks for trials within" if kind.constraints else "ignored",
            "learns from": kind.learns_from,
            "warm start": {"values": "values", "points": "the best few first"}[kind.warm],
        }
        for name, kind in SAMPLERS.items()
    ]
    pruners = [
        {
            "pruner": name,
            "does": kind.doc,
            "objectives": "several" if name == "none" else "one",
            "spaces": ", ".join(
                space.name for space in SPACES.values() if space.reports in kind.judges
            ),
        }
        for name, kind in PRUNERS.items()
    ]
    return {"samplers": samplers, "pruners": pruners}


def markdown() -> str:
    """The two tables as README prints them."""
    return "\n\n".join(_markdown(rows) for rows in table().values())


def _markdown(rows: list[dict[str, Any]]) -> str:
    columns = list(rows[0])
    lines = ["| " + " | ".join(columns) + " |", "|" + "---|" * len(columns)]
    return "\n".join(
        [
            *lines,
            *("| " + " | ".join(str(row[column]) for column in columns) + " |" for row in rows),
        ]
    )
