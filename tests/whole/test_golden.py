"""What a released version wrote is read, gone on with, exported and used by every command."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from golden_runs import BUNDLES, GOLDEN, RUNS, golden_runs
from PIL import Image
from program import output, refused, tracked, typed

from analysis.run.directory import RunDirectory
from analysis.run.notes import taken
from search.ledger.ledger import Ledger
from search.study.storage import read_trials

ENDED = {
    "database": (2, 8, 2), "killed": (6, 0, 0), "knn": (6, 0, 0), "networks": (2, 1, 1),
    "replicas": (4, 0, 0), "toy": (3, 7, 2),
}  # fmt: skip
"""COMPLETE, PRUNED and FAIL trials of each run."""


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """All of them; for reading, and for what writes only a report."""
    return golden_runs(tmp_path_factory.mktemp("golden"))


def files(folder: Path) -> dict[str, bytes]:
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file()
    }


@pytest.mark.parametrize("name", RUNS)
def test_a_run_of_old_is_read_without_a_word_and_without_a_trace(runs: Path, name: str) -> None:
    """Who updates the program must find every figure as it was."""
    before = files(runs / name)
    status = output("status", name, "--runs-dir", runs)
    assert tuple(status["trials"][state] for state in ("COMPLETE", "PRUNED", "FAIL")) == ENDED[name]
    assert status["state"] == ("interrupted" if name == "killed" else "finished")
    for words in (("best", "--top", 3), ("leaderboard",), ("importance",)):
        done = typed(words[0], name, *words[1:], "--runs-dir", runs, "--json")
        assert (done.returncode, done.stderr) == (0, ""), words
    best = output("best", name, "--runs-dir", runs)
    assert best[0]["trial"] == status["best"]["trial"]
    if name in ("knn", "networks", "replicas"):
        assert best[0]["interval"][0] < best[0]["val_accuracy"] < best[0]["interval"][1]
    if name == "replicas":
        assert best[0]["replicas"]["seeds"] == [4, 5, 6]
    assert files(runs / name) == before


@pytest.mark.parametrize("name", RUNS)
def test_a_report_is_made_of_a_run_of_old(runs: Path, name: str) -> None:
    """With its confusion matrix, its curves and every look at the test images."""
    done = typed("report", name, "--runs-dir", runs)
    assert (done.returncode, done.stderr) == (0, "")
    page = (runs / name / "report" / "report.html").read_text()
    if name in ("knn", "networks"):
        assert (runs / name / "report" / "confusion.csv").is_file()
        assert typed("confusion", name, "--runs-dir", runs).returncode == 0
        assert "Test" in page
    if name == "networks":
        assert typed("curves", name, "--runs-dir", runs).returncode == 0


def test_a_run_of_old_that_has_ended_is_not_stopped(runs: Path) -> None:
    """The command must know a dead driver's note from a live one."""
    assert "is not running" in refused("stop", "killed", "--runs-dir", runs)


@pytest.mark.parametrize("name", ["knn", "networks"])
def test_a_run_of_old_is_exported_and_its_looks_are_counted_on(tmp_path: Path, name: str) -> None:
    """The same figure, to the last bit where the device is the same; and not the first look."""
    runs = golden_runs(tmp_path / "runs", name)
    done = output("export", name, "--out", tmp_path / "out", "--runs-dir", runs)
    assert done["val_accuracy"] == output("best", name, "--runs-dir", runs)[0]["val_accuracy"]
    assert json.loads((tmp_path / "out" / "bundle.json").read_bytes())["test_evaluations"] == 2


@pytest.mark.parametrize("name", BUNDLES)
def test_a_bundle_of_old_scores_and_predicts(tmp_path: Path, name: str) -> None:
    """A classifier in use outlives the version that made it."""
    bundle = Path(shutil.copytree(GOLDEN / "bundles" / name, tmp_path / name))
    test = json.loads((bundle / "bundle.json").read_bytes())["test"]
    found = output("evaluate", bundle, "--dataset", "digits")
    assert found["n"] == test["n"]
    assert abs(found["accuracy"] - test["accuracy"]) <= 0.005
    Image.fromarray(np.zeros((32, 32), np.uint8)).save(tmp_path / "black.png")
    assert len(output("predict", bundle, tmp_path / "black.png")) == 1


@pytest.mark.parametrize("name", RUNS)
def test_a_run_of_old_is_opened_again_as_it_was(tmp_path: Path, name: str) -> None:
    """Its study agrees with its trials, nothing is run again, and from now on a file says who it
    is.
    """
    folder = RunDirectory(golden_runs(tmp_path, name) / name)
    plan, before = (
        folder.plan(),
        {k: v for k, v in files(folder.path).items() if k.startswith("trials/")},
    )
    state = json.loads((folder.path / "state.json").read_bytes())
    taken()
    ledger = Ledger(folder, plan)
    assert taken() == []
    assert (
        tuple(ledger.tally.counts[kind] for kind in ("COMPLETE", "PRUNED", "FAIL")) == ENDED[name]
    )
    assert folder.identity() == f"{name}-{state['id']}"
    assert (ledger.propose() is None) == (name != "killed")
    after = files(folder.path)
    assert {k: after[k] for k in before} == before
    trials = read_trials(folder, plan.storage)
    (folder.path / "study.journal").unlink(missing_ok=True)
    (tmp_path / "studies.db").unlink(missing_ok=True)
    Ledger(folder, plan)
    again = read_trials(folder, plan.storage)
    for space, every in trials.items():
        # what had only begun, and left nothing, is drawn anew
        found = [trial for trial in every if trial.state.is_finished()]
        assert [
            (t.number, t.state, t.values, t.params, t.intermediate_values)
            for t in again[space]
            if t.state.is_finished()
        ] == [(t.number, t.state, t.values, t.params, t.intermediate_values) for t in found]


def test_a_killed_run_of_old_that_was_renamed_is_one_run_for_mlflow(tmp_path: Path) -> None:
    """What MLflow was told before the update is added to, not told again."""
    runs = golden_runs(tmp_path, "killed")
    before = tracked(runs)
    (runs / "killed").rename(runs / "renamed")
    done = typed("sync", "renamed", "--runs-dir", runs)
    assert done.returncode == 0, done.stderr
    after = tracked(runs)
    assert (before.parents, after.parents) == (1, 1)
    assert set(before.names) <= set(after.names)
    assert len(after.names) == len(set(after.names))


@pytest.mark.slow
@pytest.mark.parametrize("name", RUNS)
def test_a_run_of_old_is_extended(tmp_path: Path, name: str) -> None:
    """With what was asked for in between: a trial again, a configuration added."""
    runs = golden_runs(tmp_path, name)
    before = {k: v for k, v in files(runs / name).items() if k.endswith("result.json")}
    if name == "toy":
        assert typed("enqueue", name, "--set", "quality=0.5", "--runs-dir", runs).returncode == 0
        assert typed("retry", name, "--runs-dir", runs).returncode == 0
    words = (
        ("resume", name)
        if name == "killed"
        else ("replicate", name, "--top", 1)
        if name == "knn"
        else ("extend", name, "--trials", 2)
    )
    done = output(*words, "--runs-dir", runs, timeout=600)
    assert done["state"] in ("finished", "failed")
    after = files(runs / name)
    assert {k: after[k] for k in before} == before
