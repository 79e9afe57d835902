"""Where MLflow and the studies are is decided once, when a search begins, and what can never work
is refused then.
"""

from __future__ import annotations

import os
import sqlite3
import warnings
from pathlib import Path

import mlflow
import pytest
from program import output, refused, typed
from samples import record, run_with

from analysis.plan.addresses import Tracking, check_tracking, sqlite_file
from analysis.plan.plan import make_plan, read_plan
from search.ledger.outbox import Outbox, trial_fact
from spaces.errors import UserError

pytestmark = pytest.mark.filterwarnings("ignore::Warning")  # MLflow's own, of its own dependencies
TOY = ("run", "--space", "toy", "--trials", 2)


@pytest.mark.parametrize(
    "given",
    [
        "sqlite:///rel.db",
        "sqlite:///sub/rel.db?timeout=3",
        "sqlite:///~/rel.db",
        "sqlite:////abs/rel.db",
    ],
)
@pytest.mark.parametrize("setting", ["tracking", "storage"])
def test_a_relative_database_is_that_of_the_directory_where_the_search_begins(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, given: str, setting: str
) -> None:
    """sync, resume and status from another directory would make a second one."""
    monkeypatch.chdir(tmp_path)
    settings = {"tracking": {"uri": given}} if setting == "tracking" else {"storage": given}
    plan = make_plan({"spaces": "toy", **settings}, "here")
    kept = str(plan.tracking.uri if setting == "tracking" else plan.storage)
    file = sqlite_file(kept)
    assert file is not None
    assert file.is_absolute(), "it means the same everywhere"
    assert file.is_relative_to(tmp_path) == given.startswith(("sqlite:///rel", "sqlite:///sub"))
    monkeypatch.chdir("/")
    again = tmp_path / "plan.yaml"
    again.write_text(plan.to_yaml())
    assert read_plan(again) == plan


@pytest.mark.parametrize(
    "uri",
    [
        None,
        "http://host:5000",
        "postgresql://host/db",
        "databricks",
        "sqlite://",
        "sqlite:///:memory:",
    ],
)
def test_what_is_no_file_stays_as_it_is(uri: str | None) -> None:
    """Only a path has a directory that it is relative to."""
    assert Tracking(uri=uri).uri == uri


def waiting(folder: Path, plan: str) -> None:
    """A run in ``folder``/made with a fact to send."""
    folder.mkdir(parents=True)
    run = run_with(folder, {}, plan=plan)
    Outbox(run.outbox).append(trial_fact(record(1), []))


@pytest.mark.parametrize("there", ["begun", "here"])
def test_a_relative_database_that_an_earlier_version_kept_is_found(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, there: str
) -> None:
    """It was that of the directory in which the search began: the one that holds the runs
    directory, or else the one where it is.
    """
    waiting(tmp_path / "project" / "runs", "tracking: {uri: 'sqlite:///rel.db'}\n")
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    monkeypatch.chdir(elsewhere)
    database = {"begun": tmp_path / "project" / "rel.db", "here": elsewhere / "rel.db"}[there]
    sqlite3.connect(database).close()
    done = typed("sync", "made", "--runs-dir", tmp_path / "project" / "runs")
    assert done.returncode == 0, done.stderr
    assert str(database) in done.stdout
    assert [path for path in tmp_path.rglob("*.db") if path.stat().st_size] == [database]


@pytest.mark.parametrize(
    ("uri", "said"),
    [
        ("localhost:5000", "type --tracking-uri http://localhost:5000"),
        ("127.0.0.1:5000/mlflow", "type --tracking-uri http://127.0.0.1:5000/mlflow"),
        ("mlflow.example.org:80", "type --tracking-uri http://mlflow.example.org:80"),
        ("./mlruns", "is a folder"),
        ("mlruns", "is a folder"),
        ("/srv/mlruns", "is a folder"),
        ("file:///srv/mlruns", "is a folder"),
        ("file:mlruns", "is a folder"),
        ("sqlite://", "names no file"),
        ("sqlite://rel.db", "names no file"),
        ("sqlite:rel.db", "names no file"),
        ("sqlite:///:memory:", "names no file"),
        ("http://", "names no host"),
        ("http:///mlflow", "names no host"),
        ("http://host:port", "names no host, or no port"),
        ("http://host:99999", "names no host, or no port"),
        ("ftp://host/mlflow", "begins with ftp://"),
        ("mongodb://host/mlflow", "begins with mongodb://"),
        ("postgres://host/mlflow", "type postgresql://host/mlflow"),
        ("postgresql+nodriver://host/mlflow", "cannot be used"),
        ("sqlite:////nowhere/sub/mlflow.db", "there is no folder /nowhere/sub"),
        ("sqlite:////etc", "is a folder"),
        ("sqlite:////etc/hostname/mlflow.db", "is no folder"),
    ],
)
@pytest.mark.parametrize("more", [(), ("--dry-run",)], ids=["run", "dry"])
def test_an_mlflow_that_can_never_work_is_refused_before_anything_starts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, uri: str, said: str, more: tuple[str, ...]
) -> None:
    """Hours later is too late to hear that nothing was tracked."""
    monkeypatch.chdir(tmp_path)
    line = refused(*TOY, "--tracking-uri", uri, *more)
    assert said in line
    assert list(tmp_path.iterdir()) == []


def test_a_file_that_is_no_database_or_cannot_be_written_is_refused(tmp_path: Path) -> None:
    """The default lies among the runs, where anything may lie."""
    (tmp_path / "mlflow.db").write_text("not a database, but long enough to be taken for one" * 50)
    with pytest.raises(UserError, match="is none"):
        check_tracking(Tracking(), tmp_path)
    check_tracking(Tracking(enabled=False, uri="./mlruns"), tmp_path)
    if os.getuid():
        (tmp_path / "mlflow.db").chmod(0o400)
        with pytest.raises(UserError, match="cannot be written"):
            check_tracking(Tracking(), tmp_path)


@pytest.mark.parametrize(
    "uri",
    ["http://127.0.0.1:9", "https://mlflow.example.org/sub", "http://[::1]:5000", "databricks"],
)
def test_a_server_that_may_be_away_is_not_refused(tmp_path: Path, uri: str) -> None:
    """A search never waits for MLflow: it is told when it is back."""
    check_tracking(Tracking(uri=uri), tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_a_deleted_experiment_is_named_with_what_to_do(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """MLflow itself says of every run that it "must be in the active state"."""
    monkeypatch.chdir(tmp_path)
    waiting(tmp_path / "runs", "")
    assert typed("sync", "made").returncode == 0
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        client = mlflow.MlflowClient(f"sqlite:///{tmp_path / 'runs' / 'mlflow.db'}")
        experiment = client.get_experiment_by_name("visiontune").experiment_id
        client.delete_experiment(experiment)
        for words in (TOY, ("sync", "made")):
            line = refused(*words)
            assert "experiment 'visiontune'" in line
            assert f"mlflow experiments restore --experiment-id {experiment}" in line
        client.restore_experiment(experiment)
    assert typed("sync", "made").returncode == 0


@pytest.mark.parametrize("words", [("--no-tracking",), ()], ids=["untracked", "tracked"])
def test_the_ui_is_named_only_where_it_has_something_to_show(
    tmp_path: Path, words: tuple[str, ...]
) -> None:
    """A search that told MLflow nothing has no page there."""
    from search.cli.search import say_ended
    from search.ledger.status import Summary

    run = run_with(
        tmp_path, {1: [0] * 5 + [1] * 5}, plan="tracking: {enabled: false}\n" if words else ""
    )
    summary = Summary(run, "finished", "", {"COMPLETE": 1, "FAIL": 0}, None, 1.0, "")
    import contextlib
    import io

    with contextlib.redirect_stdout(io.StringIO()) as out:
        say_ended(summary, False)
    assert ("visiontune ui" in out.getvalue()) == (not words)
    assert output("status", "made", "--runs-dir", tmp_path)["tracking"]["waiting"] == 0
