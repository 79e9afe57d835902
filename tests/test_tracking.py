"""MLflow is told everything exactly once, and never holds anything up."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import mlflow
import pytest
from samples import record

from analysis.records import DriverState, RunDirectory
from search.outbox import Outbox, trial_fact
from search.plan import Tracking
from search.tracking import Sender, Tracker

pytestmark = pytest.mark.filterwarnings("ignore::Warning")  # MLflow's own, of its own dependencies


def run_directory(tmp_path: Path, trials: int = 3) -> RunDirectory:
    """A run whose outbox holds a beginning, some trials and a file."""
    folder = RunDirectory(tmp_path / "runs" / "one")
    folder.path.mkdir(parents=True)
    folder.write_state(DriverState(id="0123abcd"))
    outbox = Outbox(folder.outbox)
    outbox.append({"kind": "run", "time": 1000.0, "note": "a search", "params": {"trials": trials}, "tags": {"a": "b"}})
    for number in range(trials):
        outbox.append(trial_fact(record(number), []))
    return folder


def client(folder: RunDirectory) -> mlflow.MlflowClient:
    return mlflow.MlflowClient(f"sqlite:///{folder.path.parent / 'mlflow.db'}")


def stored(folder: RunDirectory) -> tuple[list[Any], list[Any]]:
    """(parents, children) that MLflow holds."""
    (experiment,) = [e for e in client(folder).search_experiments() if e.name == "visiontune"]
    runs = client(folder).search_runs([experiment.experiment_id])
    return [r for r in runs if "mlflow.parentRunId" not in r.data.tags], [r for r in runs if "mlflow.parentRunId" in r.data.tags]


def test_every_trial_is_a_child_with_params_metrics_state_and_times(tmp_path: Path) -> None:
    """The MLflow UI shows a search as one parent with its trials below it."""
    folder = run_directory(tmp_path)
    assert Sender(folder, Tracking()).send() == 4
    (parent,), children = stored(folder)
    assert sorted(child.info.run_name for child in children) == ["tiny-image/0", "tiny-image/1", "tiny-image/2"]
    child = next(c for c in children if c.info.run_name == "tiny-image/1")
    assert child.data.tags["mlflow.parentRunId"] == parent.info.run_id
    assert child.data.tags["visiontune.trial"] == "1"
    assert child.data.params["metric"] == "cityblock"
    assert child.data.metrics["val_accuracy"] == 0.1
    assert (child.info.start_time, child.info.end_time) == (1_010_000, 1_011_500)
    history = client(folder).get_metric_history(child.info.run_id, "accuracy_by_k")
    assert [(point.step, point.value) for point in history] == [(1, 0.5), (2, 0.6)]


def test_facts_sent_again_after_a_crash_are_stored_once(tmp_path: Path) -> None:
    """A driver may die after MLflow was told and before that was noted; then everything is sent again."""
    folder = run_directory(tmp_path)
    Sender(folder, Tracking()).send()
    Outbox(folder.outbox).mark_sent(0)
    Sender(folder, Tracking()).send()
    parents, children = stored(folder)
    assert len(parents) == 1
    assert len(children) == 3
    for child in children:
        assert len(client(folder).get_metric_history(child.info.run_id, "val_accuracy")) == 1
        assert len(client(folder).get_metric_history(child.info.run_id, "accuracy_by_k")) == 2


def test_sending_goes_on_where_it_stopped(tmp_path: Path) -> None:
    """What was noted as sent is not sent again, and what was added since is."""
    folder = run_directory(tmp_path)
    Sender(folder, Tracking()).send()
    Outbox(folder.outbox).append(trial_fact(record(3), []))
    assert Sender(folder, Tracking()).send() == 1
    assert len(stored(folder)[1]) == 4


def test_two_runs_of_one_name_do_not_mix(tmp_path: Path) -> None:
    """Two people may use one server, and both call their run the same."""
    first, second = run_directory(tmp_path / "a"), run_directory(tmp_path / "b")
    second.write_state(DriverState(id="ffffffff"))
    uri = f"sqlite:///{tmp_path / 'shared.db'}"
    for folder in (first, second):
        Sender(folder, Tracking(uri=uri)).send()
    shared = mlflow.MlflowClient(uri)
    experiment = shared.get_experiment_by_name("visiontune")
    assert len(shared.search_runs([experiment.experiment_id])) == 8


def test_a_server_that_is_away_neither_raises_nor_delays_the_end(tmp_path: Path) -> None:
    """Tracking must never stop a search: what could not be sent waits for sync."""
    folder = run_directory(tmp_path)
    tracker = Tracker(Sender(folder, Tracking(uri="http://127.0.0.1:9")))
    tracker.start()
    time.sleep(0.5)
    started = time.monotonic()
    assert tracker.close(patience=3.0)
    assert time.monotonic() - started < 15
    assert Outbox(folder.outbox).waiting() == 4


def test_sync_sends_what_a_server_missed(tmp_path: Path) -> None:
    """After the server is back, nothing of what it missed is lost."""
    folder = run_directory(tmp_path)
    with pytest.raises(Exception, match=r"127\.0\.0\.1"):
        Sender(folder, Tracking(uri="http://127.0.0.1:9")).send()
    assert Sender(folder, Tracking()).send() == 4


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b'{"offset": 999999}'])
def test_a_note_of_what_was_sent_that_cannot_be_trusted_means_sending_again(tmp_path: Path, content: bytes) -> None:
    """A power cut can leave an empty file; sending twice does no harm, sending nothing for ever does."""
    folder = run_directory(tmp_path)
    (folder.outbox / "sent.json").write_bytes(content)
    assert Outbox(folder.outbox).sent() == 0


def test_half_a_fact_is_not_sent(tmp_path: Path) -> None:
    """The driver may be writing while the thread reads."""
    folder = run_directory(tmp_path)
    with open(folder.outbox / "facts.jsonl", "a") as file:
        file.write('{"kind": "tri')
    outbox = Outbox(folder.outbox)
    assert len(list(outbox.read())) == 4
    outbox.repair()
    outbox.append(trial_fact(record(3), []))
    assert len(list(outbox.read())) == 5
