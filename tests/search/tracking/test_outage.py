"""MLflow goes away or lets nobody in: the search does not notice, and MLflow has everything
afterwards.
"""

from __future__ import annotations

import re
import sqlite3
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import boto3
import mlflow
import pytest
import sqlalchemy
from postgres_server import fresh_database, postgres_server
from program import Driver, free_port, output, visiontune
from s3_server import BUCKET, s3_here

from analysis.run.directory import RunDirectory
from benchmarks.tracking import server

pytestmark = pytest.mark.slow
SHARE = 0.02
"""Of the driver's time that telling MLflow may take."""
SETTINGS = (
    "--space",
    "toy",
    "--pruner",
    "median",
    "--set",
    "pause=0.05",
    "--set",
    "steps=6",
    "--name",
    "away",
)


class Server:
    """An MLflow server that goes away and comes back at the same address, with what it knew."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.port = folder, free_port()
        self.uri, self.database = (
            f"http://127.0.0.1:{self.port}",
            f"sqlite:///{folder / 'server.db'}",
        )
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


def assert_exactly_once(run: RunDirectory, database: str) -> None:
    """Every trial is one child, and every point of its objective is there once."""
    records = run.records()
    assert [record for record in records if record.state != "FAIL"]
    living = "join runs on runs.run_uuid = tags.run_uuid and runs.lifecycle_stage = 'active'"
    names = sqlalchemy.text(f"select value from tags {living} where key = 'visiontune.name'")
    series = sqlalchemy.text(
        f"select metrics.step, metrics.value from tags {living} join metrics on "
        "metrics.run_uuid = tags.run_uuid "
        "where tags.key = 'visiontune.name' and tags.value = :name and metrics.key = "
        "'val_accuracy' order by metrics.step"
    )
    engine = sqlalchemy.create_engine(database)
    with engine.connect() as connection:
        assert sorted(connection.execute(names).scalars()) == sorted(
            [record.key for record in records] + ["parent"]
        )
        for record in records:
            points = [
                (row["step"], row["val_accuracy"]) for row in run.steps(record.space, record.number)
            ]
            if record.state != "FAIL":
                assert [
                    tuple(row) for row in connection.execute(series, {"name": record.key})
                ] == points, record.key
    engine.dispose()


def assert_little_time(run: RunDirectory) -> None:
    """What every session waited for its outbox is next to nothing."""
    said = re.findall(r"the outbox took ([\d.]+) s of ([\d.]+) s", run.log_file.read_text())
    assert said
    assert all(float(part) < SHARE * float(whole) for part, whole in said), said


def test_a_server_that_is_killed_for_the_middle_third_of_a_search(
    mlflow_server: Server, tmp_path: Path
) -> None:
    """Servers are restarted while people search; no trial may be lost, doubled or delayed by it."""
    driver = Driver(
        "run",
        *SETTINGS,
        "--trials",
        60,
        "--runs-dir",
        tmp_path,
        "--tracking-uri",
        mlflow_server.uri,
        log=tmp_path / "log",
    )
    run = RunDirectory(tmp_path / "away")
    driver.wait_for_trials(run.path, 20)
    mlflow_server.stop()
    driver.wait_for_trials(run.path, 40)
    mlflow_server.start()
    assert driver.end() == 0, driver.log
    if "MLflow was not told everything" in driver.log:  # its next try may come after the end
        assert visiontune("sync", "away", "--runs-dir", tmp_path).returncode == 0
    assert_exactly_once(run, mlflow_server.database)
    assert_little_time(run)


@pytest.mark.parametrize("then", ["resume", "sync"])
def test_a_driver_killed_while_the_server_is_down(
    mlflow_server: Server, tmp_path: Path, then: str
) -> None:
    """Both at once, as when a machine room loses power: what is in the outbox must still arrive,
    once.
    """
    driver = Driver(
        "run",
        *SETTINGS,
        "--trials",
        30,
        "--runs-dir",
        tmp_path,
        "--tracking-uri",
        mlflow_server.uri,
        log=tmp_path / "log",
    )
    run = RunDirectory(tmp_path / "away")
    driver.wait_for_trials(run.path, 8)
    mlflow_server.stop()
    driver.wait_for_trials(run.path, 16)
    driver.kill_all()
    mlflow_server.start()
    if then == "resume":
        done = visiontune("resume", "away", "--runs-dir", tmp_path)
        assert done.returncode == 0, done.stderr
    assert visiontune("sync", "away", "--runs-dir", tmp_path).returncode == 0
    assert output("status", "away", "--runs-dir", tmp_path)["tracking"]["waiting"] == 0
    assert_exactly_once(run, mlflow_server.database)


def test_a_database_locked_for_a_minute(tmp_path: Path) -> None:
    """A backup, or somebody's forgotten transaction, holds sqlite; the search goes on beside it."""
    driver = Driver("run", *SETTINGS, "--trials", 40, "--runs-dir", tmp_path, log=tmp_path / "log")
    run = RunDirectory(tmp_path / "away")
    driver.wait_for_trials(run.path, 5)
    lock = sqlite3.connect(tmp_path / "mlflow.db", isolation_level=None, timeout=60)
    lock.execute("begin exclusive")
    began, before = time.monotonic(), len(run.records())
    driver.wait_for_trials(run.path, min(before + 5, 40))
    time.sleep(max(0.0, 60 - (time.monotonic() - began)))
    lock.execute("rollback")
    lock.close()
    assert driver.end() == 0, driver.log
    done = visiontune("sync", "away", "--runs-dir", tmp_path)
    assert done.returncode == 0, done.stderr
    assert_exactly_once(run, f"sqlite:///{tmp_path / 'mlflow.db'}")
    assert_little_time(run)


def test_a_server_that_asks_for_a_password_is_told_everything_once_it_is_given(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Servers that people share ask who comes: a wrong password costs a search nothing, the right
    one brings everything.
    """
    users = tmp_path / "auth.ini"
    users.write_text(
        "[mlflow]\ndefault_permission = READ\ndatabase_uri = "
        f"sqlite:///{tmp_path / 'auth.db'}\nadmin_username = admin\n"
        "admin_password = right-and-long-enough\nauthorization_function = "
        "mlflow.server.auth:authenticate_request_basic_auth\n"
    )
    monkeypatch.setenv("MLFLOW_AUTH_CONFIG_PATH", str(users))
    monkeypatch.setenv("MLFLOW_FLASK_SERVER_SECRET_KEY", "signs what browsers send")
    monkeypatch.setenv("MLFLOW_TRACKING_USERNAME", "admin")
    monkeypatch.setenv("MLFLOW_TRACKING_PASSWORD", "wrong-but-long-enough")
    with server(tmp_path / "server", options=("--app-name", "basic-auth")) as (uri, _):
        done = visiontune(
            "run", *SETTINGS, "--trials", 6, "--runs-dir", tmp_path, "--tracking-uri", uri
        )
        assert done.returncode == 0, done.stderr
        assert "401" in done.stdout
        assert "visiontune sync away" in done.stdout
        monkeypatch.setenv("MLFLOW_TRACKING_PASSWORD", "right-and-long-enough")
        done = visiontune("sync", "away", "--runs-dir", tmp_path)
        assert done.returncode == 0, done.stderr
        assert_exactly_once(
            RunDirectory(tmp_path / "away"), f"sqlite:///{tmp_path / 'server' / 'server.db'}"
        )
    kept = [path for path in (tmp_path / "away").rglob("*") if path.is_file()]
    assert not [path for path in kept if b"long-enough" in path.read_bytes()]


def test_a_team_s_server_on_postgres_with_an_artifact_store(tmp_path: Path) -> None:
    """What MLflow's documentation tells teams to run: runs in PostgreSQL, files in a bucket that
    only the server knows.
    """
    with s3_here() as bucket, postgres_server() as postgres:
        database = fresh_database(postgres).replace("postgresql://", "postgresql+psycopg://")
        places = ("--backend-store-uri", database, "--artifacts-destination", f"{bucket}/mlflow")
        with server(tmp_path / "server", options=places) as (uri, _):
            done = visiontune(
                "run", *SETTINGS, "--trials", 6, "--runs-dir", tmp_path, "--tracking-uri", uri
            )
            assert done.returncode == 0, done.stderr
            assert "MLflow was not told everything" not in done.stdout
            assert_exactly_once(RunDirectory(tmp_path / "away"), database)
            client = mlflow.MlflowClient(uri)
            (experiment,) = client.search_experiments(filter_string="name = 'visiontune'")
            (parent,) = client.search_runs(
                [experiment.experiment_id], "tags.`visiontune.name` = 'parent'"
            )
            page = Path(
                client.download_artifacts(parent.info.run_id, "report/report.html", str(tmp_path))
            ).read_text()
            assert (
                page
                == (RunDirectory(tmp_path / "away").path / "report" / "report.html").read_text()
            )
        files = boto3.client("s3").list_objects_v2(Bucket=BUCKET, Prefix="mlflow/")["Contents"]
        assert [file["Key"] for file in files if file["Key"].endswith("/report/report.html")]
