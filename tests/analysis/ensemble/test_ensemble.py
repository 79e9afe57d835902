"""An ensemble of a run's trials: how it is chosen, judged, exported and used."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from finished import TINY, finished
from program import refused, typed

from analysis.bundle.bundle import read_bundle
from analysis.bundle.classifier import Calibrated
from analysis.ranking.ensemble import choose_ensemble
from analysis.ranking.leaderboard import ranked
from analysis.ranking.shares import shares_of
from analysis.run.directory import RunDirectory
from trainables.data import read_dataset

OTHERS = (
    {"size": 4},
    {"size": 4, "metric": "euclidean", "norm": "none", "k": 1},
    {"size": 4, "k": 9, "resampling": "nearest"},
    {"size": 3, "centring": True, "metric": "euclidean", "norm": "l2", "vote": "uniform"},
)
"""Weak ones, which differ in their mistakes."""


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> RunDirectory:
    """A finished search of four kNN classifiers of the digits."""
    trials = [("tiny-image", TINY | other) for other in OTHERS]
    return finished(tmp_path_factory.mktemp("runs"), "digits", trials)


@pytest.fixture(scope="module")
def bundle(run: RunDirectory) -> Path:
    """The ensemble of it."""
    out = run.path.parent / "together"
    words = ("export", run.path, "--ensemble", 3, "--out", out, "--no-test", "--json")
    told = json.loads(typed(*words).stdout)
    assert told["trial"].startswith("ensemble of ")
    assert "on new images val_accuracy" in told["notes"][-1]
    return out


def test_members_are_chosen_that_are_better_together(run: RunDirectory) -> None:
    """It has at least as many validation images right as the best alone, and is judged by images
    that did not choose its members.
    """
    order = ranked(run.records())
    found = choose_ensemble(run, order, 3)
    assert not isinstance(found, str), found
    assert 2 <= len(found.members) <= 3
    assert found.worth.raw >= order[0].metrics["val_accuracy"]
    assert found.worth.low <= found.worth.estimate <= found.worth.raw + 0.005
    labels = run.validation_labels()
    assert labels is not None
    given = [shares_of(run, record, len(labels), 10) for record in found.members]
    mean = sum(t * g for t, g in zip(found.times, given, strict=True)) / sum(found.times)
    assert np.allclose(mean, found.shares, atol=1e-6)
    assert found.worth.raw == float((mean.argmax(axis=1) == labels).mean())


def test_an_ensemble_is_one_bundle_that_predicts_and_evaluates(
    run: RunDirectory, bundle: Path
) -> None:
    """What it gives is the mean of what its members give, each as often as it was taken."""
    model = read_bundle(bundle)
    assert isinstance(model, Calibrated)
    dataset = read_dataset("digits", run.plan().read_options())
    assert dataset.test is not None
    images = dataset.test.images[:40]
    times = [int(count) for count in model.facts.config.values()]
    members = [read_bundle(bundle / "members" / str(n)) for n in range(1, len(times) + 1)]
    wanted = sum(t * m.scores_of(images)[1] for t, m in zip(times, members, strict=True))
    assert np.allclose(model.inner.scores_of(images)[1], wanted / sum(times))
    said = json.loads(typed("evaluate", bundle, "--dataset", "digits", "--json").stdout)
    assert said["accuracy"] > 0.8
    card = (bundle / "README.md").read_text()
    assert "Mean of several classifiers" in card
    assert "is to be expected" in card


def test_a_member_that_was_changed_is_refused(bundle: Path) -> None:
    """Its digest stands in the ensemble; so does that of the ensemble itself."""
    for file in (bundle / "members" / "1" / "bundle.json", bundle / "model.safetensors"):
        content = file.read_bytes()
        try:
            file.write_bytes(content.replace(b"1", b"2", 1))
            assert str(bundle) in refused("evaluate", bundle, "--dataset", "digits")
        finally:
            file.write_bytes(content)


def test_a_run_that_kept_no_shares_says_so_and_what_to_do(tmp_path: Path) -> None:
    """Older versions kept predictions alone."""
    old = finished(tmp_path, "digits", [("tiny-image", TINY | other) for other in OTHERS[:2]])
    for path in old.path.glob("trials/*/*/result.json"):
        said = json.loads(path.read_text())
        said["digests"].pop("shares.npy")
        said.pop("sha256", None)
        path.write_text(json.dumps(said))
    why = refused("export", old.path, "--ensemble", 2, "--out", tmp_path / "out")
    assert "was kept of 0 of 2 only (older versions kept none" in why
    assert "search again" in why
    assert not (tmp_path / "out").exists()
