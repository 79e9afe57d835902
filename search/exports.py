"""From a run's plan to what ``analysis.export`` is told of it."""

from __future__ import annotations

from analysis.export_source import Source
from analysis.run_directory import RunDirectory
from search.networks import how
from search.plan import Plan
from trainables.stages import NO_CACHE, Cache


def source_of(folder: RunDirectory, plan: Plan, cache: Cache = NO_CACHE) -> Source:
    """Where the trials of a run come from."""
    validation = plan.validation_for(folder.data().sizes)
    return Source(folder, plan.read_options(), validation, plan.seed, how(plan, folder), plan.class_order, cache)
