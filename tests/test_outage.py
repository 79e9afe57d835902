"""MLflow goes away or lets nobody in: the search does not notice, and MLflow has everything afterwards."""

from __future__ import annotations

import re
import sqlite3
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
from program import Driver, free_port, output, visiontune

from analysis.run_directory import RunDirectory
from benchmarks.tracking import server

pytestmark = pytest.mark.slow
SHARE = 0.02
"""Of the driver's time that telling MLflow may take."""
SETTINGS = ("--space", "toy", "--pruner", "median", "--set", "pause=0.05", "--set", "steps=6", "--name", "away")


class Server:
    """An MLflow server that goes away and comes back at the same address, with what it knew."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.port = folder, free_port()
        self.uri = f"http://127.0.0.1:{self.port}"
        self._up = ExitStack()

    def start(self) -> None:
        self._up.enter_context(server(self.folder, self.port))

    def stop(self) -> None:
        self._up.close()


@pytest.fixture
def mlflow_server(tmp_path: Path) -> Iterator[Server]:
    made = Server(tmp_path / "server")
    made.start()
    yield made
    made.stop()


def assert_exactly_once(run: RunDirectory, database: Path) -> None:
    """Every trial is one child, and every point of its objective is there once."""
    records = run.records()
    with sqlite3.connect(f"file:{database}?mode=ro", uri=True) as connection:
        living = "join runs on runs.run_uuid = tags.run_uuid and runs.lifecycle_stage = 'active'"
        found = sorted(name for (name,) in connection.execute(f"select value from tags {living} where key = 'visiontune.name'"))
        assert found == sorted([record.key for record in records] + ["parent"])
        for record in records:
            query = (
                f"select metrics.step, metrics.value from tags {living} join metrics on metrics.run_uuid = tags.run_uuid "
                "where tags.key = 'visiontune.name' and tags.value = ? and metrics.key = 'val_accuracy' order by metrics.step"
            )
            points = [(row["step"], row["val_accuracy"]) for row in run.steps(record.space, record.number)]
            if record.state != "FAIL":
                assert connection.execute(query, (record.key,)).fetchall() == points, record.key


def assert_little_time(run: RunDirectory) -> None:
    """What every session waited for its outbox is next to nothing."""
    said = re.findall(r"the outbox took ([\d.]+) s of ([\d.]+) s", run.log_file.read_text())
    assert said
    assert all(float(part) < SHARE * float(whole) for part, whole in said), said


def test_a_server_that_is_killed_for_the_middle_third_of_a_search(mlflow_server: Server, tmp_path: Path) -> None:
    """Servers are restarted while people search; no trial may be lost, doubled or delayed by it."""
    driver = Driver("run", *SETTINGS, "--trials", 60, "--runs-dir", tmp_path, "--tracking-uri", mlflow_server.uri, log=tmp_path / "log")
    run = RunDirectory(tmp_path / "away")
    driver.wait_for_trials(run.path, 20, patience=600)
    mlflow_server.stop()
    driver.wait_for_trials(run.path, 40, patience=600)
    mlflow_server.start()
    assert driver.end(900) == 0, driver.log
    if "MLflow was not told everything" in driver.log:  # its next try may come after the end
        assert visiontune("sync", "away", "--runs-dir", tmp_path).returncode == 0
    assert_exactly_once(run, mlflow_server.folder / "server.db")
    assert_little_time(run)


@pytest.mark.parametrize("then", ["resume", "sync"])
def test_a_driver_killed_while_the_server_is_down(mlflow_server: Server, tmp_path: Path, then: str) -> None:
    """Both at once, as when a machine room loses power: what is in the outbox must still arrive, once."""
    driver = Driver("run", *SETTINGS, "--trials", 30, "--runs-dir", tmp_path, "--tracking-uri", mlflow_server.uri, log=tmp_path / "log")
    run = RunDirectory(tmp_path / "away")
    driver.wait_for_trials(run.path, 8, patience=600)
    mlflow_server.stop()
    driver.wait_for_trials(run.path, 16, patience=600)
    driver.kill_all()
    mlflow_server.start()
    if then == "resume":
        done = visiontune("resume", "away", "--runs-dir", tmp_path, timeout=900)
        assert done.returncode == 0, done.stderr
    assert visiontune("sync", "away", "--runs-dir", tmp_path).returncode == 0
    assert output("status", "away", "--runs-dir", tmp_path)["tracking"]["waiting"] == 0
    assert_exactly_once(run, mlflow_server.folder / "server.db")


def test_a_database_locked_for_a_minute(tmp_path: Path) -> None:
    """A backup, or somebody's forgotten transaction, holds sqlite; the search goes on beside it."""
    driver = Driver("run", *SETTINGS, "--trials", 40, "--runs-dir", tmp_path, log=tmp_path / "log")
    run = RunDirectory(tmp_path / "away")
    driver.wait_for_trials(run.path, 5, patience=600)
    lock = sqlite3.connect(tmp_path / "mlflow.db", isolation_level=None, timeout=60)
    lock.execute("begin exclusive")
    began, before = time.monotonic(), len(run.records())
    driver.wait_for_trials(run.path, min(before + 5, 40), patience=600)
    time.sleep(max(0.0, 60 - (time.monotonic() - began)))
    lock.execute("rollback")
    lock.close()
    assert driver.end(900) == 0, driver.log
    done = visiontune("sync", "away", "--runs-dir", tmp_path)
    assert done.returncode == 0, done.stderr
    assert_exactly_once(run, tmp_path / "mlflow.db")
    assert_little_time(run)


def test_a_server_that_asks_for_a_password_is_told_everything_once_it_is_given(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Servers that people share ask who comes: a wrong password costs a search nothing, the right one brings everything."""
    users = tmp_path / "auth.ini"
    users.write_text(
        f"[mlflow]\ndefault_permission = READ\ndatabase_uri = sqlite:///{tmp_path / 'auth.db'}\nadmin_username = admin\n"
        "admin_password = right-and-long-enough\nauthorization_function = mlflow.server.auth:authenticate_request_basic_auth\n"
    )
    monkeypatch.setenv("MLFLOW_AUTH_CONFIG_PATH", str(users))
    monkeypatch.setenv("MLFLOW_FLASK_SERVER_SECRET_KEY", "signs what browsers send")
    monkeypatch.setenv("MLFLOW_TRACKING_USERNAME", "admin")
    monkeypatch.setenv("MLFLOW_TRACKING_PASSWORD", "wrong-but-long-enough")
    with server(tmp_path / "server", options=("--app-name", "basic-auth")) as (uri, _):
        done = visiontune("run", *SETTINGS, "--trials", 6, "--runs-dir", tmp_path, "--tracking-uri", uri)
        assert done.returncode == 0, done.stderr
        assert "401" in done.stdout
        assert "visiontune sync away" in done.stdout
        monkeypatch.setenv("MLFLOW_TRACKING_PASSWORD", "right-and-long-enough")
        done = visiontune("sync", "away", "--runs-dir", tmp_path)
        assert done.returncode == 0, done.stderr
        assert_exactly_once(RunDirectory(tmp_path / "away"), tmp_path / "server" / "server.db")
    kept = [path for path in (tmp_path / "away").rglob("*") if path.is_file()]
    assert not [path for path in kept if b"long-enough" in path.read_bytes()]
