"""How a run stands, read from its directory beside a driver that may be writing it."""

from __future__ import annotations

from typing import Any

from analysis.leaderboard import ranked
from analysis.records import STATES, DriverState, TrialRecord
from analysis.run_directory import RunDirectory
from search import requests
from search.outbox import Outbox
from search.plan import Plan, read_plan

ENDED = ("COMPLETE", "PRUNED", "FAIL")
Standing = tuple[dict[str, int], dict[str, Any] | None, int]
"""Trials by state, the best as ``status`` shows it, and how many are infeasible."""


def best_of(record: TrialRecord | None) -> dict[str, Any] | None:
    """The best trial as ``status`` shows it."""
    return {"trial": record.key, "config": record.config, **record.metrics} if record else None


def read_status(run: RunDirectory) -> dict[str, Any]:
    """The shape of ``visiontune status --json``.

    ``state`` is running, finished, stopped or failed, or ``interrupted`` where a driver
    died without a word. A driver notes how things stand while it runs, so that asking is
    quick however many trials there are; after one died, what ended since its last note is added.
    WAITING counts what was asked from another terminal and not taken up yet, too.
    """
    plan, state, alive = read_plan(run.plan_file), run.state(), run.alive()
    died = state.state == "running" and not alive
    counts, best, infeasible = state.trials, state.best, state.infeasible
    if died or not counts:
        counts, best, infeasible = _since(run, state, plan) or _count(run, plan.storage, plan.objective)
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


def _since(run: RunDirectory, state: DriverState, plan: Plan) -> Standing | None:
    """How things stand, from the driver's last note and the trials that ended after it; None if that cannot be told.

    A record is written before its trial is counted, so the records that the note does not count are the last ones.
    """
    noted = sum(state.trials.get(name, 0) for name in ENDED)
    ended = sorted(run.ended())
    if plan.storage or not state.trials or len(ended) < noted:
        return None
    counts, infeasible = dict(state.trials), state.infeasible
    records = [run.record(space, number) for _, space, number in ended[noted:]]
    if state.best:
        space, _, number = state.best["trial"].rpartition("/")
        records.append(run.record(space, int(number)))
    there = [record for record in records if record is not None]
    for record in there[: len(ended) - noted]:
        counts[record.state] += 1
        infeasible += record.infeasible
    counts["RUNNING"] = max(0, _created(run) - len(ended) - counts.get("WAITING", 0))
    return counts, best_of(next(iter(ranked(there, plan.objective)), None)), infeasible


def _created(run: RunDirectory) -> int:
    """How many trials the studies in the journal have, however they stand: counted, not read."""
    try:
        return run.journal.read_bytes().count(b'"op_code":4,')  # within a string of JSON its quotes would be escaped
    except FileNotFoundError:
        return 0


def _count(run: RunDirectory, storage: str, objective: str) -> Standing:
    """The same from study and records, however many there are."""
    from search.storage import read_trials

    counts = dict.fromkeys(STATES, 0)
    for trials in read_trials(run, storage).values():
        for trial in trials:
            counts[trial.state.name] += 1
    records = run.records()
    return counts, best_of(next(iter(ranked(records, objective)), None)), sum(record.infeasible for record in records)
