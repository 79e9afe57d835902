"""MLflow is told everything exactly once, and never holds anything up."""

from __future__ import annotations

import contextlib
import sqlite3
import time
from pathlib import Path

import mlflow
import pytest
from program import PATIENCE
from samples import record
from tracked_run import client, new_database, run_directory, stored

from analysis.plan.addresses import Tracking
from analysis.run.records import DriverState
from search.ledger.outbox import Outbox, trial_fact
from search.tracking.connection import connect
from search.tracking.mlflow_runs import MlflowRuns
from search.tracking.sender import Sender
from search.tracking.tracker import Tracker

pytestmark = pytest.mark.filterwarnings("ignore::Warning")  # MLflow's own, of its own dependencies


def test_facts_sent_again_after_a_crash_are_stored_once(tmp_path: Path) -> None:
    """A driver may die after MLflow was told and before that was noted; then everything is sent
    again.
    """
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


def test_a_running_trial_can_be_watched_and_ends_as_if_it_had_not_been(tmp_path: Path) -> None:
    """A curve is wanted while the network trains, and no point of it twice when it has ended."""
    folder = run_directory(tmp_path, 0)
    rows = [
        {"step": n, "time": 1001.0 + n, "seconds": 1.0, "val_accuracy": n / 10} for n in range(3)
    ]
    for row in rows[:2]:
        folder.append_step("cnn", 0, row)
    sender = Sender(folder, Tracking())
    sender.send()
    sender.send_live()
    (child,) = stored(folder)[1]
    assert (child.info.status, child.data.tags["visiontune.state"], child.data.metrics) == (
        "RUNNING",
        "RUNNING",
        {"val_accuracy": 0.1},
    )
    folder.append_step("cnn", 0, rows[2])
    sender.send_live()
    ended = record(0).model_copy(
        update={"space": "cnn", "metrics": {"val_accuracy": 0.2}, "started": 1000.0}
    )
    folder.write_record(ended, "", None, None)
    Outbox(folder.outbox).append(trial_fact(ended, rows))
    sender.send_live()
    sender.send()
    (child,) = stored(folder)[1]
    assert (child.info.status, child.data.tags["visiontune.state"]) == ("FINISHED", "COMPLETE")
    history = client(folder).get_metric_history(child.info.run_id, "val_accuracy")
    assert [(point.step, point.value, point.timestamp) for point in history] == [
        (n, n / 10, 1_001_000 + 1000 * n) for n in range(3)
    ]
    assert child.data.params["metric"] == "cityblock"


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
    (tmp_path / "shared.db").write_bytes(new_database())
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
    assert time.monotonic() - started < 60, "MLflow alone would try for minutes"
    assert Outbox(folder.outbox).waiting() == 4


def test_sync_sends_what_a_server_missed(tmp_path: Path) -> None:
    """After the server is back, nothing of what it missed is lost."""
    folder = run_directory(tmp_path)
    with pytest.raises(Exception, match=r"127\.0\.0\.1"):
        Sender(folder, Tracking(uri="http://127.0.0.1:9")).send()
    assert Sender(folder, Tracking()).send() == 4


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b'{"offset": 999999}'])
def test_a_note_of_what_was_sent_that_cannot_be_trusted_means_sending_again(
    tmp_path: Path, content: bytes
) -> None:
    """A power cut can leave an empty file; sending twice does no harm, sending nothing for ever
    does.
    """
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


def test_a_run_that_a_late_answer_made_twice_is_one_again(tmp_path: Path) -> None:
    """A server that answers after we gave up has made a run of which nobody was told."""
    folder = run_directory(tmp_path)
    sender = Sender(folder, Tracking())
    runs = sender.runs()
    runs.client.create_run(
        runs.experiment, 0, {"visiontune.run": "one-0123abcd", "visiontune.name": "tiny-image/1"}
    )
    sender.send()
    runs.client.create_run(
        runs.experiment, 0, {"visiontune.run": "one-0123abcd", "visiontune.name": "parent"}
    )
    MlflowRuns(
        f"sqlite:///{folder.path.parent / 'mlflow.db'}",
        folder.path.parent,
        "visiontune",
        "one-0123abcd",
    )
    parents, children = stored(folder)
    assert [run.data.params for run in parents] == [{"trials": "3"}]
    assert sorted(child.info.run_name for child in children) == [
        "tiny-image/0",
        "tiny-image/1",
        "tiny-image/2",
    ]


def test_an_emptied_database_is_filled_again(tmp_path: Path) -> None:
    """Who deletes mlflow.db must not be left with a search that can never be told."""
    folder = run_directory(tmp_path)
    Sender(folder, Tracking()).send()
    elsewhere = Tracking(uri=f"sqlite:///{tmp_path / 'other.db'}")  # as empty as a new one
    assert Sender(folder, elsewhere).send() == 4


def test_a_locked_database_delays_nothing_but_the_sending(tmp_path: Path) -> None:
    """Somebody's backup may hold the database; the search writes its outbox meanwhile, and all
    arrives afterwards.
    """
    folder = run_directory(tmp_path)
    Sender(folder, Tracking()).runs()
    lock = sqlite3.connect(folder.path.parent / "mlflow.db", isolation_level=None)
    lock.execute("begin exclusive")
    tracker = Tracker(Sender(folder, Tracking()))
    tracker.start()
    outbox = Outbox(folder.outbox)
    for number in range(3, 23):
        outbox.append(trial_fact(record(number), []))
    assert outbox.waiting() == 24
    assert outbox.seconds < 2
    lock.execute("rollback")
    lock.close()
    assert tracker.close(PATIENCE) == ""
    _, children = stored(folder)
    assert len(children) == 23
    assert len({child.info.run_name for child in children}) == 23


def test_a_database_that_a_killed_process_was_making_is_made_again(tmp_path: Path) -> None:
    """MLflow cannot go on with one: the run could never be synced, nor any other beside it."""
    folder = run_directory(tmp_path)
    file = folder.path.parent / "mlflow.db"
    with contextlib.closing(sqlite3.connect(file)) as database, database:
        database.executescript(
            "delete from experiments; drop table trace_tags; delete from alembic_version;"
            "create table _alembic_tmp_experiments (experiment_id integer)"
        )
    left = file.with_name(".mlflow.db.01234567")
    left.mkdir()
    assert Sender(folder, Tracking()).send() == 4
    (_,), children = stored(folder)
    assert len(children) == 3
    assert not left.exists()
    before = file.stat().st_ino
    connect(f"sqlite:///{file}", file.parent)
    assert file.stat().st_ino == before
