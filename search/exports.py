"""From a run's plan to what ``analysis.export`` is told of it, and from an export to the run's
report.
"""

from __future__ import annotations

from analysis.export import Exported
from analysis.export_source import Source
from analysis.run_directory import RunDirectory
from search.networks import how
from search.plan import Plan
from search.reading import options_of
from search.reporting import write_report
from trainables.stages import NO_CACHE, Cache


def source_of(folder: RunDirectory, plan: Plan, cache: Cache = NO_CACHE) -> Source:
    """Where the trials of a run come from."""
    validation = plan.validation_for(folder.data().sizes)
    return Source(
        folder,
        options_of(plan, folder.data()),
        validation,
        plan.seed,
        how(plan, folder),
        plan.class_order,
        cache,
    )


def show_in_report(done: Exported, folder: RunDirectory, plan: Plan) -> None:
    """Make the run's report again if the test images were scored, since it tells of every look at
    them; a driver at work does so itself.
    """
    if done.test_accuracy is not None and folder.report.is_dir() and not folder.alive():
        write_report(folder, plan)
