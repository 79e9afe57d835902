"""Every storage a plan can name: Optuna's own abstract cases, a search through Ray on it, and
Optuna's dashboard beside it.
"""

from __future__ import annotations

import gc
import json
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import optuna
import pytest
from optuna.storages import BaseStorage
from optuna.testing.pytest_storages import StorageTestCase
from postgres_server import fresh_database, postgres_server
from program import PATIENCE, free_port, output, refusal

from analysis.run.directory import RunDirectory
from analysis.run.records import DriverState
from search.study.storage import close, open_storage, read_trials

pytestmark = pytest.mark.filterwarnings("ignore::optuna.exceptions.ExperimentalWarning")


@pytest.fixture(scope="session")
def postgres() -> Iterator[str]:
    with postgres_server() as url:
        yield url


def opened(tmp_path: Path, url: str) -> BaseStorage:
    folder = RunDirectory(tmp_path / "run")
    folder.path.mkdir()
    folder.write_state(DriverState(id="0123abcd"))
    return open_storage(folder, url)


class TestJournal(StorageTestCase):
    """The default: a journal in the run directory."""

    @pytest.fixture
    def storage(self, tmp_path: Path) -> BaseStorage:
        return opened(tmp_path, "")


class DatabaseTestCase(StorageTestCase):
    """One database for all cases, emptied after each: to make its tables takes a second."""

    @pytest.fixture
    def storage(self, database: BaseStorage) -> Iterator[BaseStorage]:
        yield database
        for study in database.get_all_studies():
            database.delete_study(study._study_id)


class TestSqlite(DatabaseTestCase):
    """A file that other programs can query."""

    @pytest.fixture(scope="class")
    @classmethod
    def database(cls, tmp_path_factory: pytest.TempPathFactory) -> Iterator[BaseStorage]:
        folder = tmp_path_factory.mktemp("sqlite")
        yield from closing(opened(folder, f"sqlite:///{folder / 'study.db'}"))


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
class TestPostgres(DatabaseTestCase):
    """A server that other machines can reach."""

    @pytest.fixture(scope="class")
    @classmethod
    def database(
        cls, tmp_path_factory: pytest.TempPathFactory, postgres: str
    ) -> Iterator[BaseStorage]:
        yield from closing(opened(tmp_path_factory.mktemp("postgres"), fresh_database(postgres)))


def closing(storage: BaseStorage) -> Iterator[BaseStorage]:
    yield storage
    close(storage)
    del storage
    gc.collect()  # Optuna's cases with threads leave theirs' connections: let them be found here


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["sqlite", "postgresql"])
def test_two_searches_share_a_database_and_go_on_in_it(
    tmp_path: Path, kind: str, request: pytest.FixtureRequest
) -> None:
    """A team keeps its studies in one place: each run has its own, by its identity, and extending
    one leaves the other alone.
    """
    url = (
        f"sqlite:///{tmp_path / 'studies.db'}"
        if kind == "sqlite"
        else fresh_database(request.getfixturevalue("postgres"))
    )
    for name in ("one", "two"):
        words = (
            "--space",
            "toy",
            "--trials",
            6,
            "--pruner",
            "median",
            "--storage",
            url,
            "--no-tracking",
        )
        assert output("run", *words, "--name", name, "--runs-dir", tmp_path)["state"] == "finished"
    assert output("extend", "one", "--trials", 3, "--runs-dir", tmp_path)["state"] == "finished"
    counts = {}
    for name in ("one", "two"):
        folder = RunDirectory(tmp_path / name)
        (trials,) = read_trials(folder, url).values()
        counts[name] = len(trials)
        assert {record.number: record.state for record in folder.records()} == {
            trial.number: trial.state.name for trial in trials
        }
        assert not folder.journal.exists(), "there is one study, not two"
        assert output("best", name, "--runs-dir", tmp_path)[0]["val_accuracy"] == max(
            t.value for t in trials if t.state.name == "COMPLETE"
        )
        status = output("status", name, "--runs-dir", tmp_path)
        assert status["trials"]["COMPLETE"] + status["trials"]["PRUNED"] == counts[name]
    assert counts == {"one": 9, "two": 6}
    # by the run's identity: two runs of one name on two machines must not write into one study
    names = {
        f"visiontune/{RunDirectory(tmp_path / name).identity()}/toy" for name in ("one", "two")
    }
    assert (
        set(optuna.get_all_study_names(url.replace("postgresql://", "postgresql+psycopg://")))
        == names
    )


def test_a_database_that_does_not_answer_is_one_line(tmp_path: Path) -> None:
    """A wrong address must not cost more than reading one line."""
    url = f"postgresql://nobody@127.0.0.1:{free_port()}/none"
    line = refusal(
        "run",
        "--space",
        "toy",
        "--trials",
        2,
        "--storage",
        url,
        "--runs-dir",
        tmp_path,
        "--name",
        "no",
        "--no-tracking",
    )
    assert "cannot be opened" in line
    assert "refused" in line


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["journal", "sqlite"])
def test_optunas_dashboard_shows_the_study(tmp_path: Path, kind: str) -> None:
    """What Optuna's own page shows of our study is what it would show of its own: states, values,
    reports, parameters.
    """
    url = f"sqlite:///{tmp_path / 'studies.db'}" if kind == "sqlite" else ""
    words = [
        "--space",
        "toy",
        "--trials",
        10,
        "--pruner",
        "median",
        "--pruner-option",
        "n_startup_trials=2",
        "--max-model-mb",
        40,
    ]
    output(
        "run",
        *words,
        *(["--storage", url] if url else []),
        "--name",
        "seen",
        "--runs-dir",
        tmp_path,
        "--no-tracking",
    )
    folder = RunDirectory(tmp_path / "seen")
    port = free_port()
    program = [
        Path(sys.executable).with_name("optuna-dashboard"),
        "--host",
        "127.0.0.1",
        "--port",
        str(port),
        url or folder.journal,
    ]
    with subprocess.Popen(
        program, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, cwd=tmp_path
    ) as dashboard:
        try:
            end = time.monotonic() + PATIENCE
            while True:
                try:
                    studies = get(port, "studies")
                    break
                except OSError:
                    assert dashboard.poll() is None
                    assert time.monotonic() < end
                    time.sleep(0.3)
            (study,) = studies["study_summaries"]
            shown = get(port, f"studies/{study['study_id']}?after=0")
        finally:
            dashboard.terminate()
    assert shown["name"].endswith("toy")
    (trials,) = read_trials(folder, url).values()
    assert [trial["state"] for trial in shown["trials"]] == [
        {"COMPLETE": "Complete", "PRUNED": "Pruned"}[t.state.name] for t in trials
    ]
    for there, ours in zip(shown["trials"], trials, strict=True):
        assert {
            row["step"]: row["value"] for row in there["intermediate_values"]
        } == ours.intermediate_values
        assert {row["name"] for row in there["params"]} == set(ours.params)
    assert (
        shown["best_trials"][0]["number"]
        == max((t for t in trials if t.state.name == "COMPLETE"), key=lambda t: t.value).number
    )


def get(port: int, path: str) -> Any:
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/api/{path}", timeout=PATIENCE) as answer:
        return json.load(answer)
