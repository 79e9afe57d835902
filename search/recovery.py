"""What a killed driver left between two writes is mended here, when its run is opened again."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from analysis.metrics import METRICS
from analysis.records import TrialRecord
from analysis.run_directory import RunDirectory
from search.leftovers import drop_unknown
from search.outbox import Outbox, trial_fact
from search.plan import Plan
from search.study import CONFIG, SpaceStudy
from search.tally import Tally
from trainables.files import cut_half_line

Key = tuple[str, int]


def recover(
    run: RunDirectory,
    plan: Plan,
    studies: Mapping[str, SpaceStudy],
    outbox: Outbox,
    tally: Tally,
    tell: Callable[[TrialRecord], None],
) -> list[Key]:
    """Count what is finished, tell what was written but not told; returns the trials that were begun and did not end.

    Args:
        tell: tells a study how a trial ended.
    """
    told = {(fact["space"], fact["number"]) for fact, _ in outbox.read() if fact["kind"] == "trial"}
    finished: list[TrialRecord] = []
    unfinished: list[Key] = []
    for space, study in studies.items():
        trials = study.trials()
        drop_unknown(run, space, len(trials))
        for trial in trials:
            record = run.record(space, trial.number)
            if record is None and not trial.state.is_finished():
                if trial.state.name == "RUNNING":
                    unfinished.append((space, trial.number))
                    cut_half_line(run.trial(space, trial.number) / "steps.jsonl")
                    _report_again(run, study, space, trial)
                continue
            if record is None:  # finished by someone else's hand: the study is all there is
                record = _record_of(space, trial)
            if not trial.state.is_finished():
                tell(record)
            if (space, trial.number) not in told:
                outbox.append(trial_fact(record, run.steps(space, trial.number)))
            finished.append(record)
        study.retry_all_failed(plan.retries)
    for record in sorted(finished, key=lambda record: record.started + record.seconds):
        tally.count(record)
        if record.state == "COMPLETE" and plan.objective in record.metrics:
            tally.among_best(record.metrics[plan.objective])
    return unfinished


def _report_again(run: RunDirectory, study: SpaceStudy, space: str, trial: Any) -> None:
    """Reports that were written down, but not yet told to the study."""
    for row in run.steps(space, trial.number):
        if row["step"] not in trial.intermediate_values:
            study.report_late(trial.number, row["step"], row["report"])


def _record_of(space: str, trial: Any) -> TrialRecord:
    """What the study alone knows of a finished trial."""
    attributes = trial.user_attrs
    return TrialRecord(
        space=space,
        number=trial.number,
        state=trial.state.name,
        config=attributes.get(CONFIG, trial.params),
        metrics={name: attributes[name] for name in METRICS if name in attributes},
        started=trial.datetime_start.timestamp() if trial.datetime_start else 0.0,
        seconds=trial.duration.total_seconds() if trial.duration else 0.0,
        steps=len(trial.intermediate_values),
        failure=None if trial.state.name == "COMPLETE" else "its record is missing",
    )
