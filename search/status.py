"""How a run stands, read from its directory beside a driver that may be writing it."""

from __future__ import annotations

from typing import Any

from analysis.leaderboard import ranked
from analysis.records import STATES, RunDirectory
from search.outbox import Outbox
from search.plan import read_plan
from search.study import read_trials


def read_status(run: RunDirectory) -> dict[str, Any]:
    """The shape of ``visiontune status --json``.

    ``state`` is running, finished, stopped or failed, or ``interrupted`` where a driver
    died without a word. A trial that is RUNNING while no driver is alive goes on with resume.
    """
    plan, state, alive = read_plan(run.plan_file), run.state(), run.alive()
    counts = dict.fromkeys(STATES, 0)
    for trials in read_trials(run.journal).values():
        for trial in trials:
            counts[trial.state.name] += 1
    first = ranked(run.records(), plan.objective)[:1]
    best = {"trial": first[0].key, "config": first[0].config, **first[0].metrics} if first else None
    died = state.state == "running" and not alive
    return {
        "name": run.name,
        "state": "running" if alive else "interrupted" if died else state.state,
        "reason": "the driver died; go on with visiontune resume" if died else state.reason,
        "trials": counts,
        "budget": plan.trials,
        "best": best,
        "seconds": state.seconds,
        "tracking": {"waiting": Outbox(run.outbox).waiting() if plan.tracking.enabled else 0, "error": state.tracking_error},
        "path": str(run.path),
    }
