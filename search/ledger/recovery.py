"""What a killed driver left between two writes is mended here, when its run is opened again."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from analysis.plan.plan import Plan
from analysis.run.directory import RunDirectory
from analysis.run.records import TrialRecord
from search.ledger.outbox import Outbox, trial_fact
from search.ledger.tally import Tally
from search.ledger.trial_source import Key
from search.study.folders import Shelf
from search.study.study import SpaceStudy
from trainables.io.files import cut_half_line


def recover(
    run: RunDirectory,
    plan: Plan,
    studies: Mapping[str, SpaceStudy],
    shelves: Mapping[str, Shelf],
    outbox: Outbox,
    tally: Tally,
    tell: Callable[[TrialRecord], None],
) -> list[Key]:
    """Count what is finished, tell what was written but not told; returns the trials that were
    begun and did not end.

    Args:
        shelves: what the folders of the trials hold; the studies agree with them.
        tell: tells a study how a trial ended.
    """
    told = {(fact["space"], fact["number"]) for fact, _ in outbox.read() if fact["kind"] == "trial"}
    finished: list[TrialRecord] = []
    unfinished: list[Key] = []
    for space, study in studies.items():
        for trial in study.trials():
            record = shelves[space].records.get(trial.number)
            if record is None:
                if trial.state.name == "RUNNING":
                    unfinished.append((space, trial.number))
                    cut_half_line(run.trial(space, trial.number) / "steps.jsonl")
                    _report_again(run, study, space, trial)
                continue
            if not trial.state.is_finished():
                tell(record)
            if (space, trial.number) not in told:
                outbox.append(trial_fact(record, run.steps(space, trial.number, record)))
            finished.append(record)
        study.retry_all_failed(plan.retries)
    for record in sorted(finished, key=lambda record: record.started + record.seconds):
        tally.count(record)
        if record.state == "COMPLETE" and plan.objective in record.metrics:
            for of in ("", record.space):
                tally.among_best(record.metrics[plan.objective], of)
    return unfinished


def _report_again(run: RunDirectory, study: SpaceStudy, space: str, trial: Any) -> None:
    """Reports that were written down, but not yet told to the study."""
    for row in run.steps(space, trial.number):
        if row["step"] not in trial.intermediate_values and "report" in row:
            study.report_late(trial.number, row["step"], row["report"])
