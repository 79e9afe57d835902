"""What MLflow was told holds no more: a trial that was run again, a run that was moved."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest
from samples import record
from tracked_run import client, new_database, run_directory, stored

from analysis.plan.addresses import Tracking
from analysis.run.directory import RunDirectory
from analysis.run.records import TrialRecord
from search.ledger.identity import make_identity
from search.ledger.outbox import Outbox, replica_fact, trial_fact
from search.tracking.sender import Sender

pytestmark = pytest.mark.filterwarnings("ignore::Warning")  # MLflow's own, of its own dependencies


def ended(folder: RunDirectory, trial: TrialRecord, rows: list[dict[str, Any]]) -> None:
    """A trial as a driver leaves it."""
    for row in rows:
        folder.append_step(trial.space, trial.number, row)
    folder.write_record(trial, "log\n", None, None)
    Outbox(folder.outbox).append(trial_fact(trial, rows))


def steps(began: float, *values: float) -> list[dict[str, Any]]:
    return [
        {"step": step, "time": began + step + 1, "seconds": 1.0, "val_accuracy": value}
        for step, value in enumerate(values)
    ]


def points(folder: RunDirectory, name: str) -> list[tuple[int, float]]:
    """Step and val_accuracy that MLflow has of one run, which must be one."""
    (child,) = [child for child in stored(folder)[1] if child.info.run_name == name]
    history = client(folder).get_metric_history(child.info.run_id, "val_accuracy")
    return sorted((point.step, point.value) for point in history)


@pytest.mark.parametrize("watched", [False, True])
@pytest.mark.parametrize("all_again", [False, True])
def test_a_trial_that_was_run_again_has_the_values_of_its_record_and_no_others(
    tmp_path: Path, watched: bool, all_again: bool
) -> None:
    """Whoever looks in MLflow must see what the leaderboard ranks, and no point of a record that
    was lost.
    """
    folder = run_directory(tmp_path, trials=1)
    make_identity(folder, "one-0123abcd", folder.plan())
    first = record(7, space="toy", config={}, metrics={"val_accuracy": 0.9}, steps=3)
    ended(folder, first, steps(1000, 0.7, 0.8, 0.9))
    Outbox(folder.outbox).append(replica_fact(record(0, space="toy", steps=0), [], 7, 4))
    Sender(folder, Tracking()).send()
    assert points(folder, "toy/7") == [(0, 0.7), (1, 0.8), (2, 0.9)]
    folder.set_trial_aside("toy", 7)
    rows = steps(5000, 0.5, 0.6)
    again = Sender(folder, Tracking())
    if watched:  # it runs, and has reported a step
        folder.append_step("toy", 7, rows[0])
        again.send_live()
        assert points(folder, "toy/7") == [(0, 0.5)]
    second = first.model_copy(
        update={"started": 5000.0, "metrics": {"val_accuracy": 0.6}, "steps": 2}
    )
    ended(folder, second, rows[watched:])
    if all_again:
        Outbox(folder.outbox).mark_sent(0)
    again.send()
    assert points(folder, "toy/7") == [(0, 0.5), (1, 0.6)]
    (_,), children = stored(folder)
    runs = {child.info.run_name: child for child in children}
    assert len(runs) == len(children) == 3
    assert runs["toy/7"].data.metrics["val_accuracy"] == 0.6
    assert runs["toy/7 seed 4"].data.tags["mlflow.parentRunId"] == runs["toy/7"].info.run_id
    kept = runs["toy/7"].info.run_id
    Outbox(folder.outbox).mark_sent(0)
    Sender(folder, Tracking()).send()
    assert kept in {child.info.run_id for child in stored(folder)[1]}, "the same is no other"


@pytest.mark.parametrize("copied", [False, True])
def test_a_run_that_was_moved_is_not_running_where_it_was(tmp_path: Path, copied: bool) -> None:
    """MLflow's file lies beside the runs: the new one has the whole run, and the old one must not
    show a search that runs for ever; but a copy changes nothing of the first.
    """
    folder = run_directory(tmp_path)
    make_identity(folder, "one-0123abcd", folder.plan())
    Sender(folder, Tracking()).send()
    (before,), _ = stored(folder)
    assert before.info.status == "RUNNING"
    other = RunDirectory(tmp_path / "others" / "two")
    other.path.parent.mkdir()
    (other.path.parent / "mlflow.db").write_bytes(new_database())
    (shutil.copytree if copied else shutil.move)(folder.path, other.path)
    Sender(other, Tracking()).send()
    (parent,), children = stored(other)
    assert (parent.info.status, len(children)) == ("RUNNING", 3)
    (left,), still = stored(folder)
    assert len(still) == 3
    assert left.info.status == ("RUNNING" if copied else "KILLED")
    moved_to = left.data.tags.get("visiontune.moved_to")
    assert moved_to == (None if copied else str(other.path))
