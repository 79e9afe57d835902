"""MLflow is told everything exactly once, and never holds anything up."""

from __future__ import annotations

import base64
import contextlib
import http.server
import json
import re
import sqlite3
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import mlflow
import pytest
from program import PATIENCE, ROOT, refused
from samples import record, run_with
from tracked_run import client, new_database, run_directory, stored

from analysis.plan.addresses import Tracking
from analysis.run.records import DriverState
from search.driver.reporting import write_report
from search.ledger.outbox import Outbox, replica_fact, trial_fact
from search.tracking.connection import connect
from search.tracking.mlflow_runs import MlflowRuns
from search.tracking.sender import Sender
from search.tracking.tracked_facts import run_fact
from search.tracking.tracker import Tracker

pytestmark = pytest.mark.filterwarnings("ignore::Warning")  # MLflow's own, of its own dependencies


def test_every_trial_is_a_child_with_params_metrics_state_and_times(tmp_path: Path) -> None:
    """The MLflow UI shows a search as one parent with its trials below it."""
    folder = run_directory(tmp_path)
    assert Sender(folder, Tracking()).send() == 4
    (parent,), children = stored(folder)
    assert sorted(child.info.run_name for child in children) == [
        "tiny-image/0",
        "tiny-image/1",
        "tiny-image/2",
    ]
    child = next(c for c in children if c.info.run_name == "tiny-image/1")
    assert child.data.tags["mlflow.parentRunId"] == parent.info.run_id
    assert child.data.tags["visiontune.trial"] == "1"
    assert child.data.params["metric"] == "cityblock"
    assert child.data.metrics["val_accuracy"] == 0.1
    assert (child.info.start_time, child.info.end_time) == (1_010_000, 1_011_500)
    history = client(folder).get_metric_history(child.info.run_id, "accuracy_by_k")
    assert [(point.step, point.value) for point in history] == [(1, 0.5), (2, 0.6)]


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


def test_a_trial_run_again_with_another_seed_is_a_run_below_it(tmp_path: Path) -> None:
    """A mean over seeds can be believed where the seeds can be seen."""
    folder = run_directory(tmp_path)
    again = record(7).model_copy(update={"metrics": {"val_accuracy": 0.5}})
    Outbox(folder.outbox).append(replica_fact(again, [], of=2, seed=11))
    for _ in range(2):
        Outbox(folder.outbox).mark_sent(0)
        Sender(folder, Tracking()).send()
    children = {child.info.run_name: child for child in stored(folder)[1]}
    assert len(children) == 4
    below = children["tiny-image/2 seed 11"].data
    assert below.tags["mlflow.parentRunId"] == children["tiny-image/2"].info.run_id
    assert (below.tags["visiontune.seed"], below.metrics["val_accuracy"]) == ("11", 0.5)


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


def test_the_parent_shows_plan_data_versions_leaderboard_report_and_the_best_their_pictures(
    tmp_path: Path,
) -> None:
    """Who looks at MLflow alone must find what was searched, on what, with what, and what came
    out.
    """
    folder = run_with(
        tmp_path, {0: [0] * 10, 1: [0] * 4 + [1] * 6}, plan="abbreviations: {owl: OW}\n"
    )
    outbox, plan = Outbox(folder.outbox), folder.plan()
    outbox.append(run_fact(folder, plan, "f" * 64, 0.0))
    for item in folder.records():
        outbox.append(trial_fact(item, []))
    files = [str(path.relative_to(folder.path)) for path in write_report(folder, plan)]
    outbox.append({"kind": "report", "files": files})
    for _ in range(2):  # sent again after a crash
        outbox.mark_sent(0)
        assert Sender(folder, Tracking()).send() == 4
    (parent,), children = stored(folder)
    assert (parent.data.params["classes"], parent.data.params["images_train"]) == ("3", "10")
    assert [(i.dataset.name, i.dataset.digest) for i in parent.inputs.dataset_inputs] == [
        ("folder:/x", "f" * 36)
    ]
    there = {item.path for item in client(folder).list_artifacts(parent.info.run_id)}
    assert there == {"plan.yaml", "data.json", "report", "leaderboard.json"}
    shown = {item.path for item in client(folder).list_artifacts(parent.info.run_id, "report")}
    assert shown == {f"report/{Path(name).name}" for name in files}
    assert json.loads(parent.data.tags["mlflow.loggedArtifacts"]) == [
        {"path": "leaderboard.json", "type": "table"}
    ]
    table = json.loads(
        Path(
            client(folder).download_artifacts(parent.info.run_id, "leaderboard.json", str(tmp_path))
        ).read_text()
    )
    assert [dict(zip(table["columns"], row, strict=True))["trial"] for row in table["data"]] == [
        "tiny-image/1",
        "tiny-image/0",
    ]
    best = next(child for child in children if child.info.run_name == "tiny-image/1")
    assert parent.data.tags["visiontune.best_run_id"] == best.info.run_id
    pictures = {item.path for item in client(folder).list_artifacts(best.info.run_id)}
    assert pictures == {"log.txt", "accuracy-by-k.png", "confusion.png"}


def test_a_plan_that_was_extended_is_told_although_params_cannot_change(tmp_path: Path) -> None:
    """MLflow refuses another value of a param; the refusal would hold up everything behind it for
    ever.
    """
    folder = run_directory(tmp_path)
    Sender(folder, Tracking()).send()
    Outbox(folder.outbox).append(
        {
            "kind": "run",
            "time": 2000.0,
            "note": "more",
            "params": {"trials": 9, "seed": 1},
            "tags": {},
        }
    )
    assert Sender(folder, Tracking()).send() == 1
    (parent,), _ = stored(folder)
    assert parent.data.params == {"trials": "3", "seed": "1"}
    assert parent.data.tags["visiontune.now.trials"] == "9"


@pytest.mark.parametrize("kind", [None, "no_inferred_type", "genai_development"])
def test_the_experiment_opens_as_model_training_and_every_run_has_a_source(
    tmp_path: Path, kind: str | None
) -> None:
    """MLflow opens what it knows nothing of as work on language models, with judges and traces,
    and its column of sources would be empty. What somebody chose is left as it is.
    """
    folder = run_directory(tmp_path)
    tags = {} if kind is None else {"mlflow.experimentKind": kind}
    client(folder).create_experiment("visiontune", tags=tags)
    sender = Sender(folder, Tracking())
    sender.send()
    experiment = client(folder).get_experiment_by_name("visiontune")
    chosen = kind if kind == "genai_development" else "custom_model_development"
    assert experiment.tags["mlflow.experimentKind"] == chosen
    parents, children = stored(folder)
    for run in (*parents, *children):
        assert run.data.tags["mlflow.source.name"] == "visiontune"
        assert run.data.tags["mlflow.source.type"] == "LOCAL"
        if (ROOT / ".git").exists():
            assert re.fullmatch("[0-9a-f]{40}", run.data.tags["mlflow.source.git.commit"])
    page = sender.parent_url("http://x")
    assert page.startswith(f"http://x/#/experiments/{experiment.experiment_id}/runs/")
    assert page.endswith("?workflowType=machine_learning")


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


class Asking(http.server.BaseHTTPRequestHandler):
    """A server that answers a search for experiments, and only to who shows what ``server.wanted``
    says.
    """

    def do_POST(self) -> None:
        allowed = self.headers.get("Authorization") == self.server.wanted  # type: ignore[attr-defined]
        self.rfile.read(int(self.headers["Content-Length"]))
        body = b"{}" if allowed else b"who are you?"
        self.send_response(200 if allowed else 401)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: Any) -> None:
        """Nothing."""


@pytest.fixture
def asking() -> Iterator[http.server.ThreadingHTTPServer]:
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Asking)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield server
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.mark.parametrize(
    ("given", "shown"),
    [
        (
            {"MLFLOW_TRACKING_USERNAME": "me", "MLFLOW_TRACKING_PASSWORD": "s3cret"},
            f"Basic {base64.b64encode(b'me:s3cret').decode()}",
        ),
        ({"MLFLOW_TRACKING_TOKEN": "s3cret"}, "Bearer s3cret"),
    ],
    ids=["basic", "token"],
)
def test_credentials_reach_the_server_and_nothing_that_is_kept(
    tmp_path: Path, asking: Any, given: dict[str, str], shown: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Users' servers ask who comes; what they are answered is nobody else's business, also when it
    was wrong.
    """
    from search.tracking.connection import connect

    uri = f"http://127.0.0.1:{asking.server_port}"
    asking.wanted = shown
    with pytest.raises(Exception, match="401"):
        connect(uri, tmp_path)
    for name, value in given.items():
        monkeypatch.setenv(name, value)
    connect(uri, tmp_path)
    asking.wanted = "something else"
    folder = run_directory(tmp_path)
    tracker = Tracker(Sender(folder, Tracking(uri=uri)))
    tracker.start()
    assert "401" in tracker.close(PATIENCE)
    assert "s3cret" not in tracker.error
    assert not [
        path for path in tmp_path.rglob("*") if path.is_file() and b"s3cret" in path.read_bytes()
    ]


@pytest.mark.parametrize(
    "uri",
    [
        "http://me:s3cret@host",
        "https://s3cret@host",
        "postgresql://me:s3cret@h/d",
        "mysql://h/d?password=s3cret",
    ],
)
def test_a_tracking_uri_with_a_secret_is_refused_without_repeating_it(
    tmp_path: Path, uri: str
) -> None:
    """A plan is kept, shown and passed on."""
    said = refused("run", "--space", "toy", "--tracking-uri", uri, "--runs-dir", tmp_path)
    assert "MLFLOW_TRACKING_PASSWORD" in said
    assert "s3cret" not in said
    assert list(tmp_path.iterdir()) == []


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
