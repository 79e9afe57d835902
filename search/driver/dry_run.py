"""``run --dry-run``: everything checked and shown, nothing started or written."""

from __future__ import annotations

import json
import os
import random
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import psutil

from analysis.plan.plan import Plan
from analysis.ranking.confusion import display_names, display_order
from analysis.ranking.leaderboard import short_config
from search.cluster.capacity import Capacity
from search.driver.networks import with_start
from search.study.combinations import check_combination
from spaces.domain import Choice, Domain, Integer, Value
from trainables.cnn.images import RESIDENT_SHARE, fits
from trainables.data import Dataset, read_dataset
from trainables.data.source import shorter_side, smallest_part
from trainables.data.validation import check_folds
from trainables.io.refused import amount
from trainables.learners import LEARNERS
from trainables.stages.registry import STAGE_CPUS

SHOWN = 20
"""Configurations printed in a terminal."""
DRAWN = 1000
"""Configurations that ``--json`` gives at most: what a dry run costs does not grow with the number
of trials.
"""


def dry_run(plan: Plan, as_json: bool) -> None:
    """Print the dataset's facts, what a trial asks for, and random configurations: as many as
    trials, up to a limit.
    """
    plan = with_start(plan)
    check_combination(plan)
    facts: dict[str, Any] = {"dataset": plan.dataset}
    if plan.needs_images:
        plan, known = _images(plan)
        facts |= known
    spaces = list(plan.search_spaces().values())
    generator = random.Random(plan.seed)
    drawn = plan.population.members if plan.population else plan.trials
    configs = [
        {"space": space.name, **space.sample(lambda _, domain: _draw(generator, domain))}
        for space in (
            spaces[i % len(spaces)] for i in range(min(drawn, DRAWN if as_json else SHOWN))
        )
    ]
    cores = len(os.sched_getaffinity(0))
    cpus = {space.name: Capacity.of(plan, cores).asks(space.name)["CPU"] for space in spaces}
    facts |= {
        "cores": cores,
        "cpus_per_trial": max(cpus.values()),
        "cpus_per_stage_task": STAGE_CPUS,
    }
    seen = (facts.get("classes", 0), plan.training.side)
    if plan.population:
        facts["population"] = plan.population.said(plan.steps)
    for number, config in enumerate(configs):
        own = {name: value for name, value in config.items() if name != "space"}
        learner = LEARNERS[str(config["space"])]
        config.update(learner.known_before(own, *seen))
        if learner.costs and number < SHOWN:
            config.update(learner.costs(own, *seen))
    facts["notes"] = [*facts.get("notes", ()), *_memory(plan, configs, cores)]
    if as_json:
        print(json.dumps({**facts, "configs": configs}))
        return
    notes = facts.pop("notes", ())
    for name, value in facts.items():
        print(f"{name:20} {value}")
    for line in notes:
        print(line)
    print(f"\n{plan.trials:,} trials; {len(configs)} configurations, drawn at random:")
    for config in configs:
        print("  " + short_config(config, str(config["space"])))


def _memory(plan: Plan, configs: list[dict[str, Any]], cores: int) -> Iterator[str]:
    """A warning where as many trainings as run at once on the cores may take more memory than there
    is.
    """
    most = max((float(config.get("training_mb", 0)) for config in configs), default=0.0)
    if plan.trial_gpus or not most:
        return
    at_once, there = Capacity.of(plan, cores).concurrency, psutil.virtual_memory().total / 2**20
    if most * at_once > there:
        yield (
            f"warning: {at_once} trainings at once may take {most * at_once / 1024:.0f} GiB, but "
            f"there are {there / 1024:.0f}; lower batch_size, side or concurrency"
        )


def _images(plan: Plan) -> tuple[Plan, dict[str, Any]]:
    """The plan with what the dataset decides of it, and facts of that, which is read for them."""
    options = replace(plan.read_options(), shards=os.devnull, unmade=True)
    dataset = read_dataset(plan.dataset, options)
    sizes = {name: len(part) for name, part in dataset.splits().items()}
    display_order(dataset.classes, plan.class_order)
    display_names(dataset.classes, plan.abbreviations)
    pixels = sum(int(part.images.shapes.prod(axis=1).sum()) for part in dataset.splits().values())
    validation = plan.validation_for(sizes)
    most, groups, parts = smallest_part(dataset, plan.parts, plan.seed)
    check_folds(validation, most, plan.dataset, groups)
    plan, told = plan.with_size(shorter_side(dataset.train.images))
    networks = any(learner.squares for learner in plan.learners)
    return plan, {
        "classes": len(dataset.classes),
        "images": sizes,
        "megabytes": round(pixels / 2**20, 1),
        "skipped": len(dataset.skipped),
        "validation": validation.scheme,
        **_fidelity(plan, parts),
        **({"image_size": plan.training.side} if networks else {}),
        "notes": [*dataset.notes, *told, *_kept(dataset)],
    }


def _fidelity(plan: Plan, parts: tuple[int, ...]) -> dict[str, str]:
    """The parts that trials see, where the plan says some, of so many images each."""
    counts = f" ({', '.join(f'{count:,}' for count in parts)})"
    return {"fidelity": f"{plan.said_of_parts}{counts}"} if parts else {}


def _kept(dataset: Dataset) -> Iterator[str]:
    """Whether networks keep packed images in memory."""
    if not dataset.square:
        return
    parts = (part.images for part in (dataset.train, dataset.val) if part is not None)
    size = sum(int(images.shapes.prod(axis=1).sum()) for images in parts)
    there = psutil.virtual_memory().available
    keep = "keeps its images in memory" if fits(size, there) else "reads its images batch by batch"
    yield (
        f"a network on the cores {keep}: {amount(size)}, where it may take {RESIDENT_SHARE:.0%} of "
        f"the {amount(there)} that are free"
    )


def _draw(generator: random.Random, domain: Domain) -> Value:
    if isinstance(domain, Choice):
        return generator.choice(domain.options)
    if isinstance(domain, Integer):
        return generator.randint(domain.low, domain.high)
    return generator.uniform(domain.low, domain.high)
