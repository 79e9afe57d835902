"""From a run's plan to what ``analysis.bundle.export`` is told of it, and from an export to the
run's report.
"""

from __future__ import annotations

from dataclasses import replace

from analysis.bundle.export import Exported
from analysis.bundle.source import Source
from analysis.run.directory import RunDirectory
from analysis.run.notes import note
from analysis.run.records import TrialRecord
from search.driver.networks import training_settings
from search.driver.reporting import write_mistakes, write_report
from spaces.errors import UserError
from trainables.stages.cache import shards_folder
from trainables.stages.stage import NO_CACHE, Cache


def source_of(folder: RunDirectory, cache: Cache = NO_CACHE) -> Source:
    """Where the trials of a run come from."""
    plan, data = folder.plan(), folder.data()
    return Source(
        folder,
        data.as_read(replace(plan.read_options(), shards=str(shards_folder(folder.path.parent)))),
        plan.validation_for(data.sizes),
        plan.seed,
        training_settings(plan, folder),
        plan.class_order,
        cache,
        plan.population is not None,
    )


def show_in_report(done: Exported, folder: RunDirectory, record: TrialRecord | None) -> None:
    """Make the run's report again if the test images were scored, since it tells of every look at
    them, and explain the worst mistakes of the trial that was exported, if it is one; a driver at
    work makes its report itself. The bundle is there by now: a report that cannot be made is noted.
    """
    if not folder.report.is_dir() or folder.alive():
        return
    try:
        plan = folder.plan()
        shown = record is not None and write_mistakes(folder, plan, done.bundle, record)
        if shown or done.test_accuracy is not None:
            write_report(folder, plan)
    except (UserError, OSError) as error:
        note(f"{error} (the run's report is as it was; visiontune report makes it again)")
