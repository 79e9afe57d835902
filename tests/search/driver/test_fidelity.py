"""Searches whose trials are judged on parts of the training images first."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Mapping
from dataclasses import fields
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest
from one_ray import OneRay
from sklearn.datasets import load_digits

from analysis.plan.plan import Plan, make_plan
from analysis.run.directory import RunDirectory
from analysis.run.records import DataFacts, TrialRecord
from search.driver.beginning import create
from search.driver.reporting import write_report
from search.ledger.ledger import Ledger
from search.ledger.status import read_status
from search.ledger.trial_source import Proposal
from trainables.contract.learner import Trial
from trainables.data import read_dataset
from trainables.data.source import data_source
from trainables.learners import LEARNERS, Assignment, Shared
from trainables.stages.stage import compute

PARTS = (0.2, 0.5, 1.0)
SAID = "0.2, 0.5 and 1 of the training images"


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> str:
    """150 digits to learn from, and 20 to be scored once."""
    shown, labels = load_digits(return_X_y=True)
    pixels = (shown.reshape(-1, 8, 8) * 15).astype(np.uint8)
    path = tmp_path_factory.mktemp("images") / "few.npz"
    parts = {"train": slice(150), "test": slice(150, 170)}
    arrays = {
        f"{letter}_{name}": array[rows]
        for name, rows in parts.items()
        for letter, array in (("x", pixels), ("y", labels))
    }
    np.savez(path, classes=np.array(list("0123456789")), **arrays)
    return f"npz:{path}"


def plan_of(images: str, **settings: Any) -> Plan:
    asked = {
        "spaces": "tiny-image", "dataset": images, "name": "steps", "trials": 14,
        "sampler": "random", "pruner": "median", "pruner_options": {"n_startup_trials": 2},
        "fidelity": "images", "rungs": PARTS, "tracking": {"enabled": False}, "audit": "off",
    }  # fmt: skip
    return make_plan({**asked, **settings})


class Here(Assignment):
    """A trial whose stages are computed in this process, each once."""

    memo: ClassVar[dict[str, Any]] = {}

    def fetch(self, *stages: Any) -> tuple[list[Any], bool]:
        return [compute(stage, self.memo, workers=1) for stage in stages], False


class Search:
    """A search of one space in this process, without Ray."""

    def __init__(self, runs: Path, plan: Plan) -> None:
        options = plan.read_options()
        dataset = read_dataset(plan.dataset, options)
        data = data_source(dataset, options, plan.parts)
        Here.memo[data.stage.digest] = dataset
        self.folder, self.plan = RunDirectory(runs / plan.name), plan
        judged = plan.validation_for(data.sizes)
        self._shared = Shared(seed=plan.seed, data=data, validation=judged)
        facts = DataFacts(
            spec=plan.dataset, classes=data.classes, sizes=data.sizes, fingerprint=data.fingerprint
        )
        if not self.folder.path.exists():
            os.close(create(self.folder, plan, facts, dataset.train.labels))
        self.ledger = Ledger(self.folder, plan)

    def trial(self, proposal: Proposal) -> Trial:
        space = proposal.space
        given = LEARNERS[space].assign(self._shared, "", proposal.number, proposal.config, seed=0)
        return given.make(Here(**{one.name: getattr(given, one.name) for one in fields(given)}))

    def step(self, proposal: Proposal, run: Trial) -> Mapping[str, Any] | None:
        """The next step; None if the trial has ended."""
        result = {**run.step(), "seconds": 0.5}
        if result["done"]:
            self.ledger.end(proposal.key, result)
        return None if self.ledger.report(proposal.key, result) else result

    def go_on(self) -> None:
        while proposal := self.ledger.propose():
            run = self.trial(proposal)
            while self.step(proposal, run):
                pass


def by_state(folder: RunDirectory) -> dict[str, list[TrialRecord]]:
    found: dict[str, list[TrialRecord]] = {}
    for record in folder.records():
        found.setdefault(record.state, []).append(record)
    return found


@pytest.fixture(scope="module")
def runs(images: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A runs directory with a finished search; for reading."""
    runs = tmp_path_factory.mktemp("runs")
    Search(runs, plan_of(images)).go_on()
    return runs


def test_weak_trials_end_on_a_part_and_only_the_whole_counts(runs: Path) -> None:
    """It is what the steps are for: a weak trial is stopped sooner, and none that saw a part alone
    is ranked or the best.
    """
    folder = RunDirectory(runs / "steps")
    found = by_state(folder)
    assert set(found) == {"COMPLETE", "PRUNED"}
    assert {one.steps for one in found["PRUNED"]} <= {1, 2}
    assert {one.steps for one in found["COMPLETE"]} == {3}
    assert {one.seconds for one in found["COMPLETE"]} == {1.5}
    labels = folder.validation_labels()
    assert labels is not None
    assert len(labels) == 150
    for record in folder.records():
        rows = folder.steps(record.space, record.number)
        assert [row["step"] for row in rows] == list(range(record.steps))
        given = folder.predictions(record)
        assert (given is not None) == (record.state == "COMPLETE")
        if given is not None:
            assert np.mean(given == labels) == pytest.approx(record.metrics["val_accuracy"])
    write_report(folder, folder.plan())
    table = json.loads((folder.report / "leaderboard.json").read_text())
    assert {row["trial"] for row in table} == {one.key for one in found["COMPLETE"]}
    assert f"Trials saw {SAID}" in (folder.report / "report.html").read_text()
    said = read_status(folder)
    assert said["fidelity"] == SAID
    assert said["best"]["trial"] == table[0]["trial"]


def test_a_trial_comes_to_what_it_would_have_come_to_at_once(
    runs: Path, images: str, tmp_path: Path
) -> None:
    """Searches with steps and without would else find other winners of the same configurations."""
    best = max(
        by_state(RunDirectory(runs / "steps"))["COMPLETE"],
        key=lambda one: one.metrics["val_accuracy"],
    )
    changes = {"fidelity": "epochs", "rungs": (), "pruner": "none", "pruner_options": {}}
    search = Search(tmp_path, plan_of(images, **changes))
    result = search.trial(Proposal("tiny-image", 0, dict(best.config), 0, goes_on=False)).step()
    assert result["done"]
    for name in ("val_accuracy", "balanced_accuracy", "macro_f1"):
        assert result[name] == best.metrics[name]
    assert tuple(result["accuracy_by_k"]) == best.accuracy_by_k


def test_a_driver_that_died_on_a_part_goes_on_from_there(
    runs: Path, images: str, tmp_path: Path
) -> None:
    """What a part came to is neither lost nor told the pruner twice."""
    shutil.copytree(runs, tmp_path / "runs")
    plan = plan_of(images, trials=16, pruner_options={"n_startup_trials": 50})
    died = Search(tmp_path / "runs", plan)
    proposal = died.ledger.propose()
    assert proposal is not None
    run = died.trial(proposal)
    died.step(proposal, run)
    run.save(tmp_path / "kept")
    again = Search(tmp_path / "runs", plan)
    there = again.ledger.propose()
    assert there is not None
    assert there.goes_on
    assert there.key == proposal.key
    run = again.trial(there)
    run.load(tmp_path / "kept")
    while again.step(there, run):
        pass
    again.go_on()
    folder = again.folder
    assert len(folder.records()) == 16
    assert [row["step"] for row in folder.steps(*there.key)] == [0, 1, 2]
    assert folder.record(*there.key).state == "COMPLETE"  # type: ignore[union-attr]


@pytest.mark.slow
def test_a_search_in_steps_on_ray_its_export_and_its_best_again(
    one_ray: OneRay, images: str, tmp_path: Path
) -> None:
    """The same through Tune; a bundle must give the recorded accuracy, and other seeds are judged
    as results are: on all images at once.
    """
    asked = ("--pruner", "median", "--pruner-option", "n_startup_trials=2", "--sampler", "random")
    words = ("run", "--space", "tiny-image", "--dataset", images, "--no-tracking", *asked)
    parts = ("--fidelity", "images,0.2,0.5,1", "--name", "steps", "--trials", 10)
    runs = tmp_path / "runs"
    best = one_ray.output(*words, *parts, "--runs-dir", runs)["best"]
    found = by_state(RunDirectory(runs / "steps"))
    assert {one.steps for one in found["PRUNED"]} <= {1, 2}
    assert {one.steps for one in found["COMPLETE"]} == {3}
    done = one_ray.typed("export", "steps", "--runs-dir", runs, "--out", tmp_path / "bundle")
    assert done.returncode == 0, done.stderr
    facts = json.loads((tmp_path / "bundle" / "bundle.json").read_text())
    assert facts["val"]["accuracy"] == pytest.approx(best["metrics"]["val_accuracy"])
    for typed in (("extend", "--trials", 3), ("replicate", "--top", 1, "--seeds", 1)):
        done = one_ray.typed(typed[0], "steps", *typed[1:], "--runs-dir", runs)
        assert done.returncode == 0, done.stderr
    run = RunDirectory(runs / "steps")
    assert len(run.records()) == 13
    [again] = run.replicas.records()
    first = max(run.records(), key=lambda one: len(one.replicas))
    assert again.metrics["val_accuracy"] == first.metrics["val_accuracy"]  # no seed matters here
