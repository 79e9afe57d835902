"""A database of studies that is locked for a while, or restarts, makes a search wait and costs it
nothing.
"""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import optuna
import pytest
from postgres_server import PostgresServer, fresh_database, postgres_that_restarts
from program import Driver, output
from samples import run_with

from analysis.run.directory import RunDirectory, RunError
from search.study.database import Database
from search.study.storage import close, read_trials
from spaces.errors import FailedError

HOLD = """
import sqlite3, sys, time
held = sqlite3.connect(sys.argv[1], isolation_level=None, timeout=60)
held.execute("begin exclusive")
print("held", flush=True)
time.sleep(float(sys.argv[2]))
held.execute("rollback")
"""


@contextmanager
def locked(database: Path, seconds: float) -> Iterator[None]:
    """Another process holds the database for so long, from the beginning of the block on."""
    with subprocess.Popen(
        [sys.executable, "-c", HOLD, database, str(seconds)], stdout=subprocess.PIPE
    ) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == b"held\n"
        try:
            yield
        finally:
            holder.kill()


def opened(url: str, said: list[str], patience: float = 60.0) -> Database:
    return Database(url, said.append, patience)


def test_every_word_to_a_locked_database_is_said_when_it_is_free(tmp_path: Path) -> None:
    """A backup holds a database for longer than sqlite waits: Optuna then speaks of an "exceeding
    max length" and gives up.
    """
    said: list[str] = []
    path = tmp_path / "studies.db"
    storage = opened(f"sqlite:///{path}", said)
    study = optuna.create_study(storage=storage)
    trial = study.ask()
    with locked(path, 7):
        trial.suggest_int("x", 0, 9)
        study.tell(trial, 0.5)
    with locked(path, 2.5):
        assert opened(f"sqlite:///{path}", said).get_all_studies()
    (kept,) = study.get_trials(deepcopy=False)
    close(storage)
    assert (kept.state.name, kept.value, list(kept.params)) == ("COMPLETE", 0.5, ["x"])
    assert f"sqlite:///{path}, is locked by another program: waiting for it" in said[0]
    assert "answers again after" in said[1]


def test_a_database_that_stays_locked_is_one_line(tmp_path: Path) -> None:
    """Whoever holds it has to end: nothing else helps."""
    path = tmp_path / "studies.db"
    storage = opened(f"sqlite:///{path}", [], 1.0)
    study = optuna.create_study(storage=storage)
    with (
        locked(path, 60),
        pytest.raises(
            FailedError, match="is locked by another program, and so for 1 s; end what holds it"
        ),
    ):
        study.ask()
    close(storage)


def test_what_no_waiting_helps_is_not_waited_for(tmp_path: Path) -> None:
    """A file that is no database, or is gone, would be waited for in vain."""
    path = tmp_path / "studies.db"
    path.write_text("no database, but long enough to be read as one" * 99)
    run_with(tmp_path, {}, plan=f"storage: sqlite:///{path}\n")
    began = time.monotonic()
    with pytest.raises(RunError, match="cannot be opened"):
        read_trials(RunDirectory(tmp_path / "made"), f"sqlite:///{path}")
    assert time.monotonic() - began < 25


@pytest.mark.slow
def test_a_search_whose_database_is_locked_for_25_seconds_loses_nothing(tmp_path: Path) -> None:
    """Trials that run while it is locked are the ones that would be lost."""
    path = tmp_path / "studies.db"
    words = (
        "--space",
        "toy",
        "--set",
        "pause=0.1",
        "--set",
        "steps=5",
        "--pruner",
        "median",
        "--no-tracking",
    )
    driver = Driver(
        "run",
        *words,
        "--trials",
        30,
        "--name",
        "held",
        "--storage",
        f"sqlite:///{path}",
        "--runs-dir",
        tmp_path,
        log=tmp_path / "log",
    )
    run = RunDirectory(tmp_path / "held")
    driver.wait_for_trials(run.path, 5, patience=600)
    with locked(path, 25):
        time.sleep(25)
    assert driver.end(600) == 0, driver.log
    assert "is locked by another program" in driver.log
    check_all_there(run, f"sqlite:///{path}")


@pytest.mark.slow
def test_a_search_whose_postgresql_restarts_loses_nothing(tmp_path: Path) -> None:
    """Servers are updated while people search."""
    with postgres_that_restarts() as server:
        url = fresh_database(server.url)
        words = (
            "--space",
            "toy",
            "--set",
            "pause=0.1",
            "--set",
            "steps=5",
            "--pruner",
            "median",
            "--no-tracking",
        )
        driver = Driver(
            "run",
            *words,
            "--trials",
            30,
            "--name",
            "held",
            "--storage",
            url,
            "--runs-dir",
            tmp_path,
            log=tmp_path / "log",
        )
        run = RunDirectory(tmp_path / "held")
        driver.wait_for_trials(run.path, 5, patience=600)
        restart(server)
        driver.wait_for_trials(run.path, 15, patience=600)
        restart(server)
        assert driver.end(600) == 0, driver.log
        check_all_there(run, url)


def restart(server: PostgresServer) -> None:
    server.stop()
    time.sleep(5)
    server.start()


def check_all_there(run: RunDirectory, url: str) -> None:
    """Every trial that was begun has ended, in the study as on disk, and none twice."""
    (trials,) = read_trials(run, url).values()
    assert {record.number: record.state for record in run.records()} == {
        trial.number: trial.state.name for trial in trials
    }
    assert len(trials) == 30
    assert output("status", run.name, "--runs-dir", run.path.parent)["state"] == "finished"
