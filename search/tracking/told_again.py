"""What MLflow was to be told and the outbox holds no more: the folders of the run still say it.

The folders are the truth, and the outbox a list that is made on the way; so one that is lost, short
or spoilt costs no trial in MLflow.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from analysis.plan.plan import Plan
from analysis.ranking.leaderboard import ranked
from analysis.run.directory import RunDirectory
from analysis.run.jobs import read_jobs
from analysis.run.notes import note
from analysis.run.records import DriverState, TrialRecord
from search.ledger.outbox import Fact, Outbox, ReplicaFact, TrialFact, replica_fact, trial_fact
from search.ledger.trial_source import Key
from search.tracking.tracked_facts import run_fact


def tell_again(run: RunDirectory, plan: Plan) -> None:
    """Put back what the outbox of a run lacks, and note what that was; for whoever holds the run's
    lock.

    A run whose driver was killed has not ended: nothing is missed there but its trials.

    Raises:
        RunError: if how the run began is lost, and data.json too.
    """
    outbox = Outbox(run.outbox)
    outbox.repair()
    held = [fact for fact, _ in outbox.read()]
    kinds = {fact["kind"] for fact in held}
    marks = [fact for fact in held if fact["kind"] in ("run", "end")]
    records, state = run.records(), run.state()
    ended = bool(records) and state.state != "running"
    facts: list[Fact] = []
    lacks: list[str] = []

    def lacking(found: Sequence[Fact], what: str) -> None:
        if found:
            facts.extend(found)
            lacks.append(what)

    if records and "run" not in kinds:
        began = run_fact(run, plan, run.data().fingerprint, None)
        lacking([{**began, "time": min(each.started for each in records)}], "how the run began")
    told, again = _numbers(held, "trial"), _numbers(held, "replica")
    trials = [
        trial_fact(each, run.steps(each.space, each.number, each))
        for each in records
        if (each.space, each.number) not in told
    ]
    lacking(trials, f"{len(trials)} of {len(records)} trials")
    found = {(each.space, each.number): each for each in run.replicas.trial_files.records()}
    replicas = [
        replica_fact(record, run.replicas.steps(job.space, number), job.trial, job.seed)
        for number, job in enumerate(read_jobs(run.replicas.path))
        if (record := found.get((job.space, number)))
    ]
    untold = [fact for fact in replicas if _key(fact) not in again]
    lacking(untold, f"{len(untold)} of {len(replicas)} trials run again")
    files = sorted(str(path.relative_to(run.path)) for path in run.report.glob("*"))
    if ended and files and "report" not in kinds:
        lacking([{"kind": "report", "files": files}], "its report")
    if ended and (not marks or marks[-1]["kind"] != "end"):
        lacking([_end(state, records, plan.objective)], "how it ended")
    elif records and marks and "run" not in kinds:
        facts.append(marks[-1])  # or it would be one that goes on
    for fact in facts:
        outbox.append(fact)
    if lacks:
        note(
            f"{run.outbox / 'facts.jsonl'}: lacks {', '.join(lacks)}; MLflow is told again what "
            "the run's folder has of it"
        )


def _key(fact: TrialFact | ReplicaFact) -> Key:
    return fact["space"], fact["number"]


def _numbers(facts: Sequence[Fact], kind: Literal["trial", "replica"]) -> set[Key]:
    return {_key(fact) for fact in facts if fact["kind"] == kind}


def _end(state: DriverState, records: Sequence[TrialRecord], objective: str) -> Fact:
    best = next(iter(ranked(records, objective)), None)
    metrics = {f"best_{name}": value for name, value in best.metrics.items()} if best else {}
    return {
        "kind": "end",
        "time": max(record.started + record.seconds for record in records),
        "state": state.state,
        "metrics": {**metrics, "seconds": state.seconds},
    }
