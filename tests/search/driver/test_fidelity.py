"""Searches whose trials are judged on parts of the training images first."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from one_ray import OneRay

from analysis.run.directory import RunDirectory

KEPT = ("--no-tracking", "--pruner", "median", "--pruner-option", "n_startup_trials=2")
WORDS = ("run", "--space", "tiny-image", "--dataset", "digits", "--sampler", "random", *KEPT)


@pytest.fixture(scope="module")
def searched(one_ray: OneRay, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Any]:
    """The runs directory of a search in steps, and of the same without."""
    runs = tmp_path_factory.mktemp("runs")
    asked = (*WORDS, "--trials", 14, "--runs-dir", runs)
    found = one_ray.output(*asked, "--name", "steps", "--fidelity", "images,0.2,0.5,1")
    return runs, found


def test_weak_trials_end_on_a_part_and_only_the_whole_counts(
    one_ray: OneRay, searched: tuple[Path, Any]
) -> None:
    """It is what the steps are for: a weak trial is stopped sooner, and none that saw a part alone
    is ranked, exported or the best.
    """
    runs, found = searched
    run = RunDirectory(runs / "steps")
    records = run.records()
    pruned = [one for one in records if one.state == "PRUNED"]
    whole = [one for one in records if one.state == "COMPLETE"]
    assert pruned
    assert whole
    assert len(pruned) + len(whole) == 14
    assert {one.steps for one in pruned} <= {1, 2}
    assert {one.steps for one in whole} == {3}
    assert found["best"]["number"] in {one.number for one in whole}
    table = json.loads((run.report / "leaderboard.json").read_text())
    assert {row["trial"] for row in table} == {one.key for one in whole}
    said = "0.2, 0.5 and 1 of the training images"
    assert said in (run.report / "report.html").read_text()
    assert one_ray.output("status", "steps", "--runs-dir", runs)["fidelity"] == said
    for record in records:
        rows = run.steps(record.space, record.number)
        assert [row["step"] for row in rows] == list(range(record.steps))
        predictions = run.predictions(record)
        assert (predictions is None) == (record.state == "PRUNED")
    labels = run.validation_labels()
    assert labels is not None
    best = max(whole, key=lambda one: one.metrics["val_accuracy"])
    told = run.predictions(best)
    assert told is not None
    assert np.mean(told == labels) == pytest.approx(best.metrics["val_accuracy"])


def test_a_bundle_of_such_a_trial_gives_what_was_recorded(
    one_ray: OneRay, searched: tuple[Path, Any], tmp_path: Path
) -> None:
    """Export judges the configuration on all images again, and refuses another accuracy."""
    runs, found = searched
    done = one_ray.typed("export", "steps", "--runs-dir", runs, "--out", tmp_path / "bundle")
    assert done.returncode == 0, done.stderr
    facts = json.loads((tmp_path / "bundle" / "bundle.json").read_text())
    assert facts["val"]["accuracy"] == pytest.approx(found["best"]["metrics"]["val_accuracy"])


def test_a_search_in_steps_goes_on_and_its_best_run_again_at_once(
    one_ray: OneRay, searched: tuple[Path, Any]
) -> None:
    """What ended before counts on, and other seeds are judged as results are: on all images."""
    runs, _ = searched
    done = one_ray.typed("extend", "steps", "--trials", 3, "--runs-dir", runs)
    assert done.returncode == 0, done.stderr
    done = one_ray.typed("replicate", "steps", "--top", 1, "--seeds", 1, "--runs-dir", runs)
    assert done.returncode == 0, done.stderr
    run = RunDirectory(runs / "steps")
    assert len(run.records()) == 17
    best = max(run.records(), key=lambda one: len(one.replicas))
    assert len(best.replicas) == 1
    [again] = run.replicas.records()
    assert again.metrics["val_accuracy"] == best.metrics["val_accuracy"]  # nothing is drawn here
