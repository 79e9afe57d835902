"""A whole search as a user runs it: real Ray, real Optuna, real MLflow, on the digits."""

from __future__ import annotations

import csv
import json
import re
from pathlib import Path

import numpy as np
import pytest
import yaml
from program import output, refusal, tracked, typed, visiontune

import search
from analysis.run.directory import RunDirectory
from search.study.storage import read_trials


def test_a_search_leaves_exactly_its_trials_everywhere(digits_runs: Path) -> None:
    """Study, trial folders and MLflow must tell one story."""
    status = output("status", "first", "--runs-dir", digits_runs)
    assert status["state"] == "finished"
    assert status["trials"] == {"COMPLETE": 12, "PRUNED": 0, "FAIL": 0, "RUNNING": 0, "WAITING": 0}
    assert status["budget"] == 12
    assert status["tracking"] == {"waiting": 0, "error": ""}
    folder = RunDirectory(digits_runs / "first")
    values = {
        f"{space}/{t.number}": t.value
        for space, trials in read_trials(folder).items()
        for t in trials
    }
    assert values == {record.key: record.metrics["val_accuracy"] for record in folder.records()}
    assert tracked(digits_runs).points == {key: [value] for key, value in values.items()}


def test_the_best_is_the_highest_validation_accuracy(digits_runs: Path) -> None:
    """The leaderboard is what a user acts on."""
    table = output("best", "first", "--top", 100, "--runs-dir", digits_runs)
    accuracies = [row["val_accuracy"] for row in table]
    assert len(table) == 12
    assert accuracies == sorted(accuracies, reverse=True)
    assert (
        accuracies[0]
        == output("status", "first", "--runs-dir", digits_runs)["best"]["val_accuracy"]
        > 0.9
    )
    assert {row["space"] for row in table} == {"tiny-image", "bag-of-sift"}
    assert not any("test_accuracy" in row for row in table), (
        "nothing but an explicit export or evaluate looks at test images"
    )


def test_one_trial_shows_its_log(digits_runs: Path) -> None:
    """The first question about a trial is what it did."""
    shown = typed("status", "first", "--trial", "bag-of-sift/0", "--runs-dir", digits_runs)
    assert "trial bag-of-sift/0: {'step': " in shown.stdout
    assert "val_accuracy" in shown.stdout
    assert "no finished trial 'bag-of-sift/99'" in refusal(
        "status", "first", "--trial", "bag-of-sift/99", "--runs-dir", digits_runs
    )
    line = refusal("status", "first", "--trial", "0", "--runs-dir", digits_runs)
    assert re.search(
        r"is in several spaces; ask for (tiny-image/0 or bag-of-sift/0|bag-of-sift/0 or "
        r"tiny-image/0)$",
        line,
    ), line


def test_the_report_holds_tables_pictures_and_the_answer(digits_runs: Path) -> None:
    """The report is one file that opens anywhere: no address of another host in it."""
    folder = RunDirectory(digits_runs / "first")
    page = (folder.report / "report.html").read_text()
    best = output("best", "first", "--runs-dir", digits_runs)[0]
    assert f"{best['val_accuracy']:.4f}" in page
    assert page.count("data:image/png;base64,") == 4, (
        "accuracy against k, how the search went, the confusion matrix, what shares are worth"
    )
    assert "http://" not in page
    assert "https://" not in page
    rows = list(csv.DictReader((folder.report / "leaderboard.csv").read_text().splitlines()))
    assert len(rows) == 12
    assert float(rows[0]["val_accuracy"]) == best["val_accuracy"]
    assert json.loads((folder.report / "leaderboard.json").read_text())[0]["trial"] == best["trial"]
    counts = [
        [int(n) for n in row[1:]]
        for row in list(csv.reader((folder.report / "confusion.csv").read_text().splitlines()))[1:]
    ]
    assert np.trace(counts) / np.sum(counts) == best["val_accuracy"], (
        "the matrix is the best trial's own"
    )


def test_accuracy_by_k_agrees_with_the_trial_at_its_own_k(digits_runs: Path) -> None:
    """The curve and the score come from one neighbour ordering."""
    records = RunDirectory(digits_runs / "first").records()
    assert len(records) == 12
    for record in records:
        assert record.accuracy_by_k[int(record.config["k"]) - 1] == record.metrics["val_accuracy"]


def test_resuming_a_finished_search_runs_nothing(own_runs: Path) -> None:
    """A script may resume without asking first whether there is anything to do."""
    before = {r.key: r for r in RunDirectory(own_runs / "first").records()}
    assert len(before) == 12
    assert output("resume", "first", "--runs-dir", own_runs)["state"] == "finished"
    assert {r.key: r for r in RunDirectory(own_runs / "first").records()} == before


def test_a_trial_that_fails_is_recorded_with_its_cause_and_the_search_goes_on(
    tmp_path: Path,
) -> None:
    """A vocabulary of 4,096 words cannot be made from so few descriptors; its neighbours of 100
    words can.

    Nor may asking for far too many trials at a time leave no core for their stages.
    """
    fixed = (
        "vocabulary_size=100,4096",
        "step=8",
        "bin_size=8",
        "vocabulary_step=16",
        "metric=cosine",
        "k=1",
        "transform=raw",
    )
    fixed += ("scales=1", "regions=none", "idf=false", "mirrored=false")
    settings = [word for setting in fixed for word in ("--set", setting)]
    plan = (
        "--space",
        "bag-of-sift",
        "--trials",
        4,
        "--sampler",
        "grid",
        "--concurrency",
        500,
        "--name",
        "mixed",
    )
    done = visiontune("run", *plan, "--runs-dir", tmp_path, *settings)
    assert done.returncode == 0, done.stderr
    status = output("status", "mixed", "--runs-dir", tmp_path)
    assert status["trials"]["COMPLETE"] == 1
    assert status["trials"]["FAIL"] == 1
    failed = next(r for r in RunDirectory(tmp_path / "mixed").records() if r.state == "FAIL")
    shown = typed("status", "mixed", "--trial", failed.number, "--runs-dir", tmp_path).stdout
    assert "a vocabulary of 4096 words needs as many descriptors" in shown
    assert "Traceback" in shown
    assert (
        "a vocabulary of 4096 words" in (tmp_path / "mixed" / "report" / "report.html").read_text()
    )


def test_python_runs_the_same_search_with_a_val_split_and_folds(
    tmp_path: Path, make_folder
) -> None:  # type: ignore[no-untyped-def]
    """What the command line does, a notebook must be able to do; with three splits, val selects."""
    root = make_folder(
        tmp_path / "images",
        {"train": {"a": 12, "b": 12}, "val": {"a": 4, "b": 4}, "test": {"a": 4, "b": 4}},
    )
    plan = search.Plan(
        spaces=("tiny-image",),
        dataset=f"folder:{root}",
        trials=3,
        sampler="random",
        tracking={"enabled": False},
    )  # type: ignore[arg-type]
    summary = search.run(plan, tmp_path / "runs")
    assert summary.state == "finished"
    assert len(summary.run.validation_labels()) == 8  # type: ignore[arg-type]
    assert yaml.safe_load(summary.run.plan_file.read_text())["name"] == "tiny-image-images"
    folds = search.run(
        plan.model_copy(update={"validation": "k-fold", "folds": 3}), tmp_path / "runs"
    )
    assert folds.run.name == "tiny-image-images-2"
    assert len(folds.run.validation_labels()) == 24  # type: ignore[arg-type]
    for run in (summary.run.name, folds.run.name):
        exported = output(
            "export", run, "--runs-dir", tmp_path / "runs", "--out", tmp_path / f"bundle-{run}"
        )
        assert exported["test_accuracy"] is not None


@pytest.mark.parametrize("name", ["first"])
def test_a_name_that_is_taken_is_refused_before_anything_starts(
    digits_runs: Path, name: str
) -> None:
    """A second search must never write into the first one's directory."""
    assert "there is a run 'first'" in refusal(
        "run", "--space", "tiny-image", "--name", name, "--runs-dir", digits_runs
    )
