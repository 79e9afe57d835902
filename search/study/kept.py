"""Whether a plan that was kept, and maybe changed by hand since, still fits the studies that its
search began.
"""

from __future__ import annotations

from analysis.plan.complaints import PlanError
from analysis.plan.plan import Plan
from analysis.ranking.looks import looks
from analysis.run.directory import RunDirectory, RunError
from analysis.run.jobs import replicated
from analysis.run.provenance import sessions
from search.sampling.guided import read_earlier
from search.study.folders import read_shelves
from search.study.storage import read_trials
from search.study.study import check_choices

DECIDE = ("spaces", "set", "training")
"""Settings of a plan that decide what may be tried."""


def check_files(run: RunDirectory, plan: Plan) -> None:
    """Refuse, before anything starts or is written, a run of which something cannot be read that
    nothing else can replace.

    Raises:
        NewerError: if a newer version wrote the state or a record, began a trial or took trials of
            an earlier search: the report would be the first to read that, when all is done.
        UnreadableError: if one may not be read.
        RunError: if it is lost which trials were run again, or how often the test images were
            looked at.
    """
    run.state()
    read_shelves(run, plan.spaces)
    read_earlier(run)
    for trial in run.trial_files.all():
        run.begun(*trial)
    replicated(run.replicas.path)
    looks(run)


def check_kept(run: RunDirectory, plan: Plan) -> None:
    """Refuse, before anything starts, a plan whose parameters have other choices than the run's
    studies.

    The studies are read for it only if the plan is not the one of the last session.

    Raises:
        PlanError: naming the parameter, and what it was.
    """
    try:
        was = sessions(run)[0]["plan"].get("population")
    except (OSError, ValueError, KeyError, IndexError, TypeError, AttributeError):
        was = None
    said = plan.population.model_dump(mode="json") if plan.population else None
    if was and was != said:
        raise PlanError(
            f"population was {was} when the search began, and its generations follow from that: "
            "put it back in the run's plan.yaml, or start a new run"
        )
    try:
        before = sessions(run)[-1]["plan"]
        now = plan.model_dump(mode="json")
        if all(before[name] == now[name] for name in DECIDE):
            return
    except (OSError, ValueError, KeyError, IndexError, TypeError):
        pass  # it only informs: the studies tell
    spaces = plan.search_spaces()
    try:
        studies = read_trials(run, plan.storage)
    except RunError:
        return  # whoever opens it to write builds it again
    for name, trials in studies.items():
        if name in spaces:
            check_choices(spaces[name], trials)
