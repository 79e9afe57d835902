"""A learner of somebody's own, with one result a trial and a classifier, like any of ours."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from program import Driver, output, refusal, visiontune

MEAN = '''
import time

import numpy as np

from analysis.bundle.arrays import of_arrays
from spaces import Space
from spaces.domain import Choice, Float, Parameter
from trainables.data.scores import judged, score
from trainables.learners import Learner, Trial


class Means:
    """The mean image of each class."""

    def __init__(self, means):
        self.means = means

    def scores(self, images):
        pixels = np.stack([image.ravel() for image in images]).astype(np.float64)
        distances = ((pixels[:, None] - self.means) ** 2).sum(2)
        weights = np.exp((distances.min(1, keepdims=True) - distances) / 1000)
        return weights / weights.sum(1, keepdims=True)

    def arrays(self):
        return {"means": self.means}


def fit(config, train, classes, seed):
    pixels = np.stack([image.ravel() for image in train.images]).astype(np.float64)
    means = np.stack([pixels[train.labels == one].mean(0) for one in range(classes)])
    return Means((1 - config["shrink"]) * means + config["shrink"] * pixels.mean(0))


class MeanTrial(Trial):
    def __init__(self, given):
        self.given = given

    def step(self):
        given = self.given
        time.sleep(given.config["pause"])
        (dataset,), _ = given.fetch(given.data.stage)
        classes = len(dataset.classes)
        scores = fit(given.config, dataset.train, classes, given.seed).scores(dataset.val.images)
        predictions = scores.argmax(1)
        labels = dataset.val.labels
        found = judged(score(labels, predictions, classes), labels, predictions, classes)
        return {**found, "predictions": predictions.astype(np.uint16), "done": True}


SHRINK = Parameter("shrink", Float(0.0, 0.5), "how far means are drawn together")
PAUSE = Parameter("pause", Choice((0.0,)), "sleep, seconds", allowed=Float(0.0, 60.0))


def register(add):
    space = Space("nearest-mean", "nearest class mean", (SHRINK, PAUSE))
    add(Learner(space, MeanTrial, classifier="nearest-mean"))
    add(of_arrays("nearest-mean", "nearest class mean", fit, lambda c, a, n: Means(a["means"])))
'''


@pytest.fixture
def mine(tmp_path: Path) -> Path:
    path = tmp_path / "mine.py"
    path.write_text(MEAN)
    return path


def test_a_learner_of_somebody_s_own_is_searched_exported_and_used(mine: Path) -> None:
    """A third image space with one result was a KeyError in the driver."""
    at, plug = ("--runs-dir", mine.parent), ("--plugin", mine)
    run = output(
        "run", "--space", "nearest-mean", *plug, "--dataset", "digits", "--trials", 3,
        "--no-tracking", "--name", "own", "--json", *at,
    )  # fmt: skip
    assert run["trials"]["COMPLETE"] == 3
    assert run["best"]["metrics"]["val_accuracy"] > 0.8
    bundle = mine.parent / "bundle"
    said = output("export", "own", *at, *plug, "--out", bundle)
    assert said["val_accuracy"] == run["best"]["metrics"]["val_accuracy"]
    assert said["test_accuracy"] > 0.8
    assert "nearest class mean exported by" in (bundle / "README.md").read_text()
    judged = output("evaluate", bundle, *plug, "--dataset", "digits")
    assert judged["accuracy"] == said["test_accuracy"]
    picture = mine.parent / "x.png"
    Image.fromarray(np.full((32, 32), 60, np.uint8)).save(picture)
    (answer,) = output("predict", bundle, *plug, picture)
    assert sum(answer["scores"].values()) == pytest.approx(1.0)
    assert "needs plug-in mine" in refusal("predict", bundle, picture)
    Image.fromarray(np.full((9, 9), 60, np.uint8)).save(mine.parent / "small.png")
    failed = visiontune("predict", bundle, *plug, mine.parent / "small.png")
    assert failed.returncode == 1
    assert "the nearest-mean classifier fails on these images (ValueError: " in failed.stderr
    assert "trains no network" in refusal(
        "export", "own", *at, *plug, "--refit", "--out", mine.parent / "other"
    )


@pytest.mark.slow
def test_a_killed_search_with_a_learner_of_somebody_s_own_goes_on(mine: Path) -> None:
    """Beside one of ours, which it shares the cores with."""
    at, plug = ("--runs-dir", mine.parent / "runs"), ("--plugin", mine)
    driver = Driver(
        "run", "--space", "nearest-mean", "--space", "tiny-image", *plug, "--dataset", "digits",
        "--trials", 12, "--set", "pause=0.5", "--no-tracking", "--name", "own", *at,
        log=mine.parent / "log",
    )  # fmt: skip
    driver.wait_for_trials(mine.parent / "runs" / "own", 3)
    driver.kill_all()
    done = visiontune("resume", "own", *at, *plug)
    assert done.returncode == 0, done.stderr
    assert output("status", "own", *at, *plug)["trials"]["COMPLETE"] == 12
