"""What MLflow is sent and when that is noted: nothing is lost between the two, nothing untrue is
said, and no secret goes along.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from program import refused
from samples import record, run_with
from tracked_run import run_directory, stored

from analysis.plan.addresses import Tracking
from analysis.plan.plan import make_plan
from analysis.run.provenance import facts
from search.ledger.outbox import Outbox, trial_fact
from search.tracking import sender as tracking
from search.tracking.mlflow_runs import MlflowRuns
from search.tracking.sender import Sender
from search.tracking.tracked_facts import run_fact
from search.tracking.tracked_files import BEST, best_files

pytestmark = pytest.mark.filterwarnings("ignore::Warning")  # MLflow's own, of its own dependencies


def test_a_fact_is_noted_as_sent_only_when_mlflow_has_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is noted is never sent again: noted first, a driver killed between the two would lose
    the trial for ever.
    """
    folder = run_directory(tmp_path, 5)
    monkeypatch.setattr(tracking, "BATCH", 2)
    mark, noted = Outbox.mark_sent, list[tuple[list[int], list[str]]]()

    def marking(self: Outbox, offset: int, place: str = "") -> None:
        told = [
            fact["number"] for fact, end in self.read() if end <= offset and fact["kind"] == "trial"
        ]
        ended = {
            run.info.run_name
            for run in stored(folder)[1]
            if run.info.status == "FINISHED" and "val_accuracy" in run.data.metrics
        }
        noted.append(
            (
                told,
                [f"tiny-image/{number}" for number in told if f"tiny-image/{number}" not in ended],
            )
        )
        mark(self, offset, place)

    monkeypatch.setattr(Outbox, "mark_sent", marking)
    assert Sender(folder, Tracking()).send() == 6
    assert noted == [([], []), ([0], []), ([0, 1, 2], []), ([0, 1, 2, 3, 4], [])]
    assert Outbox(folder.outbox).waiting() == 0


def test_what_could_not_be_sent_is_sent_again_and_what_was_is_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A server that stops in the middle: the facts up to the last whole batch are noted, no
    further.
    """
    folder = run_directory(tmp_path, 5)
    monkeypatch.setattr(tracking, "BATCH", 2)
    log, left = MlflowRuns.log, 4  # the beginning, trials 0, 1 and 2

    def logging(self: MlflowRuns, *arguments: Any) -> None:
        nonlocal left
        left -= 1
        if left < 0:
            raise ConnectionError("the server is gone")
        log(self, *arguments)

    with monkeypatch.context() as going:
        going.setattr(MlflowRuns, "log", logging)
        with pytest.raises(ConnectionError):
            Sender(folder, Tracking()).send()
    assert [fact["number"] for fact, _ in Outbox(folder.outbox).sendable(10)] == [3, 4]
    assert Sender(folder, Tracking()).send() == 2
    assert sorted(child.info.run_name for child in stored(folder)[1]) == [
        f"tiny-image/{number}" for number in range(5)
    ]


def test_states_and_causes_are_told_as_they_are(tmp_path: Path) -> None:
    """A failed trial that MLflow calls finished is taken for a result."""
    folder = run_directory(tmp_path, 0)
    outbox = Outbox(folder.outbox)
    outbox.append(
        trial_fact(record(0, state="FAIL", failure="boom", metrics={}, accuracy_by_k=()), [])
    )
    outbox.append(trial_fact(record(1, state="PRUNED", pruned_by="pruner median at step 1"), []))
    outbox.append(trial_fact(record(2, violations=("model_mb 90 is not at most 80",)), []))
    outbox.append(
        {"kind": "end", "time": 2000.0, "state": "stopped", "metrics": {"best_val_accuracy": 0.2}}
    )
    Sender(folder, Tracking()).send()
    (parent,), children = stored(folder)
    assert (parent.info.status, parent.info.end_time, parent.data.metrics) == (
        "KILLED",
        2_000_000,
        {"best_val_accuracy": 0.2},
    )
    found = {
        child.info.run_name.partition("/")[2]: (child.info.status, child.data.tags)
        for child in children
    }
    assert {
        number: (status, tags["visiontune.state"]) for number, (status, tags) in found.items()
    } == {
        "0": ("FAILED", "FAIL"),
        "1": ("KILLED", "PRUNED"),
        "2": ("FINISHED", "COMPLETE"),
    }
    assert found["0"][1]["visiontune.failure"] == "boom"
    assert found["1"][1]["visiontune.pruned_by"] == "pruner median at step 1"
    assert found["2"][1]["visiontune.violations"] == "model_mb 90 is not at most 80"
    assert "visiontune.failure" not in found["2"][1]


def test_weights_go_to_the_best_of_each_space_and_pictures_to_the_best_of_all(
    tmp_path: Path,
) -> None:
    """MLflow's registry takes the weights from there: those of the worst would be served."""
    others = tuple(record(number, space="bag-of-sift") for number in (1, 2))
    folder = run_with(
        tmp_path, {number: [0] * number + [1] * (10 - number) for number in range(5)}, others
    )
    for item in folder.records():
        weights = folder.weights(item.space, item.number)
        weights.mkdir()
        (weights / "best.safetensors").write_bytes(b"0")
    rows = [
        {"space": "tiny-image", "number": number, "trial": f"tiny-image/{number}"}
        for number in (4, 0, 3, 1, 2)
    ]
    rows += [
        {"space": "bag-of-sift", "number": number, "trial": f"bag-of-sift/{number}"}
        for number in (2, 1)
    ]
    found = dict(best_files(folder, folder.plan(), rows))
    assert BEST == 3
    assert list(found) == ["tiny-image/4", "tiny-image/0", "tiny-image/3", "bag-of-sift/2"]
    assert [key for key, files in found.items() if "weights/best.safetensors" in files] == [
        "tiny-image/4",
        "bag-of-sift/2",
    ]
    assert all("accuracy-by-k.png" in files for files in found.values())


def test_steps_of_running_trials_wait_where_the_run_is_at_a_uri(tmp_path: Path) -> None:
    """MLflow must not know a trial that the URI may not have yet."""
    folder = run_directory(tmp_path, 0)
    folder.append_step("cnn", 0, {"step": 0, "time": 1001.0, "seconds": 1.0, "val_accuracy": 0.5})
    Outbox(folder.outbox).mark_mirrored(0)
    sender = Sender(folder, Tracking())
    sender.runs()
    sender.send_live()
    assert stored(folder) == ([], [])


def test_the_steps_of_a_running_trial_are_told_once_each(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Every ten seconds for hours: told all of them each time, a server would be busy with nothing
    else.
    """
    folder = run_directory(tmp_path, 0)
    log, told = MlflowRuns.log, list[list[int]]()

    def logging(self: MlflowRuns, run: Any, series: Any, *more: Any) -> None:
        told.append([step for _, _, step in series.get("val_accuracy", [])])
        log(self, run, series, *more)

    rows = [
        {"step": n, "time": 1001.0 + n, "seconds": 1.0, "val_accuracy": n / 10} for n in range(3)
    ]
    for row in rows[:2]:
        folder.append_step("cnn", 0, row)
    sender = Sender(folder, Tracking())
    sender.send()
    monkeypatch.setattr(MlflowRuns, "log", logging)
    sender.send_live()
    sender.send_live()
    folder.append_step("cnn", 0, rows[2])
    sender.send_live()
    folder.write_record(record(0, space="cnn"), "", None, None)
    sender.send_live()
    assert told == [[0, 1], [2]]
    (child,) = stored(folder)[1]
    assert child.info.start_time == 1_000_000, "a second before its first step was done"
    sender.reset()
    folder.append_step("cnn", 1, rows[0])
    sender.send_live()
    assert told == [[0, 1], [2], [0]], (
        "after an outage those of trials that run, from their beginning"
    )


def test_where_a_search_is_tracked_and_stored_is_told_to_nobody(tmp_path: Path) -> None:
    """Outbox, MLflow and provenance are read by people who have no business in the database."""
    uri, storage = (
        "http://tracking.internal.example:5000",
        "postgresql://me@studies.internal.example/optuna",
    )
    plan = make_plan(
        {"spaces": "toy", "storage": storage, "tracking": {"uri": uri}, "name": "made"}
    )
    folder = run_with(tmp_path, {})
    for told in (run_fact(folder, plan, "f", 0.0), facts(plan, "f")):
        text = json.dumps(told)
        assert "internal.example" not in text
        assert "toy" in text


@pytest.mark.parametrize(
    "storage",
    [
        "postgresql://me:s3cret@host/db",
        "mysql://me:s3cret@host/db",
        "postgresql://me:s3cret@host",
        "oracle://me:s3cret@host/db",
    ],
)
def test_a_storage_with_a_password_is_refused_without_repeating_it(
    tmp_path: Path, storage: str
) -> None:
    """Whether its kind is one of ours or not: what is said may end in a log."""
    said = refused("run", "--space", "toy", "--storage", storage, "--runs-dir", tmp_path)
    assert "storage" in said
    assert "s3cret" not in said
    assert list(tmp_path.iterdir()) == []
