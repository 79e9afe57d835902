"""How a run stands, read from its directory beside a driver that may be writing it."""

from __future__ import annotations

from typing import Any

from analysis.leaderboard import ranked
from analysis.records import STATES, RunDirectory, TrialRecord
from search import requests
from search.outbox import Outbox
from search.plan import read_plan


def best_of(record: TrialRecord | None) -> dict[str, Any] | None:
    """The best trial as ``status`` shows it."""
    return {"trial": record.key, "config": record.config, **record.metrics} if record else None


def read_status(run: RunDirectory) -> dict[str, Any]:
    """The shape of ``visiontune status --json``.

    ``state`` is running, finished, stopped or failed, or ``interrupted`` where a driver
    died without a word. A driver notes how things stand while it runs, so that asking is
    quick however many trials there are; only after one died are the study and the records read.
    WAITING counts what was asked from another terminal and not taken up yet, too.
    """
    plan, state, alive = read_plan(run.plan_file), run.state(), run.alive()
    died = state.state == "running" and not alive
    counts, best, infeasible = state.trials, state.best, state.infeasible
    if died or not counts:
        counts, best, infeasible = _count(run, plan.storage, plan.objective)
    waiting = counts.get("WAITING", 0) + sum(1 for _ in requests.pending(run))
    return {
        "name": run.name,
        "state": "running" if alive else "interrupted" if died else state.state,
        "reason": "the driver died; go on with visiontune resume" if died else state.reason,
        "trials": {**dict.fromkeys(STATES, 0), **counts, "WAITING": waiting},
        "infeasible": infeasible,
        "budget": plan.trials,
        "best": best,
        "seconds": state.seconds,
        "tracking": {"waiting": Outbox(run.outbox).waiting() if plan.tracking.enabled else 0, "error": state.tracking_error},
        "path": str(run.path),
    }


def _count(run: RunDirectory, storage: str, objective: str) -> tuple[dict[str, int], dict[str, Any] | None, int]:
    """The same three from study and records: trials by state, the best, how many are infeasible."""
    from search.storage import read_trials

    counts = dict.fromkeys(STATES, 0)
    for trials in read_trials(run, storage).values():
        for trial in trials:
            counts[trial.state.name] += 1
    records = run.records()
    return counts, best_of(next(iter(ranked(records, objective)), None)), sum(record.infeasible for record in records)
