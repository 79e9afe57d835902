"""How a run stands, read from its directory beside a driver that may be writing it."""

from __future__ import annotations

import platform
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from analysis.plan.limits import SearchTotals, reached
from analysis.plan.plan import Plan
from analysis.ranking.history import running_seconds
from analysis.ranking.leaderboard import ranked
from analysis.run.directory import RunDirectory, RunError
from analysis.run.notes import note
from analysis.run.records import STATES, DriverState, TrialRecord
from search.ledger import requests
from search.ledger.outbox import Outbox
from search.ledger.tally import Tally

ENDED = ("COMPLETE", "PRUNED", "FAIL")
TrialCounts = tuple[dict[str, int], dict[str, Any] | None, int]
"""Trials by state, the best as ``status`` shows it, and how many are infeasible."""


@dataclass(frozen=True)
class Summary:
    """How a session of a search ended.

    Attributes:
        state: ``finished``, ``stopped`` (resume goes on) or ``failed`` (no trial completed, or too
            many failed).
        counts: trials of all sessions by state.
        seconds: of all sessions together.
        tracking_error: why MLflow was not told everything; empty if it was.
    """

    run: RunDirectory
    state: str
    reason: str
    counts: dict[str, int]
    best: TrialRecord | None
    seconds: float
    tracking_error: str


def is_ending(run: RunDirectory) -> bool:
    """Whether a driver on this machine has searched, and writes its report now: what is asked of
    the run from here on is for the next one.
    """
    state = run.state()
    here = state.node == platform.node() and Path(f"/proc/{state.pid}").exists()
    return state.state != "running" and here and run.alive()


def best_of(record: TrialRecord | None) -> dict[str, Any] | None:
    """The best trial as ``status`` shows it."""
    return {"trial": record.key, "config": record.config, **record.metrics} if record else None


def read_status(run: RunDirectory) -> dict[str, Any]:
    """The shape of ``visiontune status --json``.

    ``state`` is running, finished, stopped or failed, or ``interrupted`` where a driver
    died without a word. A driver notes how things stand while it runs, so that asking is
    quick however many trials there are; where none runs, the trials' records are counted.
    WAITING counts what was asked from another terminal and not taken up yet, too.
    """
    plan, state, alive = run.plan(), run.state(), run.alive()
    died = state.state == "running" and not alive
    counts, best, infeasible = state.trials, state.best, state.infeasible
    if not alive or not counts:
        counts, best, infeasible = _since(run, state, plan) or _count(
            run, plan.storage, plan.objective
        )
    left = state.left if alive else _left(run, plan) if state.state != "finished" else {}
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
        "left": left,
        "spaces": state.shares,
        **({"fidelity": plan.said_of_parts} if plan.said_of_parts else {}),
        "changes": [change.model_dump(mode="json") for change in plan.changes],
        "tracking": {
            "waiting": Outbox(run.outbox).waiting() if plan.tracking.enabled else 0,
            "error": state.tracking_error,
        },
        "path": str(run.path),
    }


def totals(run: RunDirectory, plan: Plan) -> tuple[SearchTotals, tuple[str, ...]]:
    """How far a search has come, and which of its limits are reached that end one well."""
    tally, seconds = _tally(run, plan)
    now = tally.standing(plan.trials, seconds, 0.0)
    return now, reached(plan.limits, now)


def _tally(run: RunDirectory, plan: Plan) -> tuple[Tally, float]:
    """The count of what has ended, and the seconds that it took."""
    tally, records = Tally(plan), run.records()
    for record in sorted(records, key=lambda record: record.started + record.seconds):
        tally.count(record)
    return tally, run.state().seconds or running_seconds(records)


def _left(run: RunDirectory, plan: Plan) -> dict[str, float]:
    """What is to be expected of a search that does not run, once it goes on."""
    tally, seconds = _tally(run, plan)
    left = tally.left(plan, seconds, ())
    return {"seconds": left.seconds, "trials": left.trials} if left else {}


def _ended(run: RunDirectory, objective: str) -> TrialCounts:
    """Finished trials by state, the best of them, and how many are infeasible: what their records
    say, and nothing else.
    """
    records = run.records()
    counts = dict.fromkeys(ENDED, 0)
    for record in records:
        counts[record.state] += 1
    return (
        counts,
        best_of(next(iter(ranked(records, objective)), None)),
        sum(record.infeasible for record in records),
    )


def _count(run: RunDirectory, storage: str, objective: str) -> TrialCounts:
    """How things stand, from the records of what has ended and the study of what has not, however
    many there are.
    """
    from search.study.storage import read_trials

    counts, best, infeasible = _ended(run, objective)
    try:
        states = [
            trial.state.name for trials in read_trials(run, storage).values() for trial in trials
        ]
    except RunError as error:
        note(str(error))
        states = ["RUNNING"] * len(run.trial_files.all())
    return (
        {**counts, **_others(states.count("WAITING"), len(states), sum(counts.values()))},
        best,
        infeasible,
    )


def _since(run: RunDirectory, state: DriverState, plan: Plan) -> TrialCounts | None:
    """The same without reading the study, from the driver's last note; None if that cannot be
    told.
    """
    if plan.storage or not state.trials:
        return None
    counts, best, infeasible = _ended(run, plan.objective)
    ended = sum(counts.values())
    there = max(_created(run), ended)
    if there < sum(state.trials.get(name, 0) for name in ENDED):
        return None
    return {**counts, **_others(state.trials.get("WAITING", 0), there, ended)}, best, infeasible


def _others(waiting: int, there: int, ended: int) -> dict[str, int]:
    """Trials that have not ended, of all that there are."""
    return {"RUNNING": max(0, there - ended - waiting), "WAITING": waiting}


def _created(run: RunDirectory) -> int:
    """How many trials the studies in the journal have, however they stand: counted, not read."""
    try:
        # within a string of JSON its quotes would be escaped
        return run.journal.read_bytes().count(b'"op_code":4,')
    except OSError:
        return 0
