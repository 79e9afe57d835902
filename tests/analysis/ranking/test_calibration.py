"""Probabilities that mean something."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from finished import TINY, finished
from program import refused, typed

from analysis.bundle.bundle import read_bundle, read_facts
from analysis.ranking.calibration import calibrate, calibration_error, fitted
from analysis.run.directory import RunDirectory
from trainables.data import read_dataset


def drawn(n: int, seed: int, sharpness: float) -> tuple[np.ndarray, np.ndarray]:
    """Labels drawn by probabilities, and shares that are those, sharpened: too sure of themselves
    above 1.
    """
    random = np.random.default_rng(seed)
    logits = random.normal(size=(n, 5)) * 1.5
    truth = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
    labels = np.array([random.choice(5, p=row) for row in truth])
    shares = truth**sharpness
    return shares / shares.sum(1, keepdims=True), labels


@pytest.mark.parametrize("sharpness", [0.4, 1.0, 3.0])
def test_the_temperature_is_found_again(sharpness: float) -> None:
    """What was sharpened by a power is put right by its inverse, and honest shares are left."""
    shares, labels = drawn(3000, 0, sharpness)
    _, power = fitted(shares, labels)
    assert power * sharpness == pytest.approx(1, abs=0.15)
    found = calibrate(shares, labels)
    others, truth = drawn(3000, 1, sharpness)
    assert (found.of(others).argmax(1) == others.argmax(1)).all(), "no class changes"
    assert calibration_error(found.of(others), truth) < 0.02
    assert found.after < 0.03
    assert found.before == calibration_error(shares, labels)


def test_one_neighbour_is_no_certainty() -> None:
    """The vote of one is 1 for its class: what is right in 80 % has 0.8."""
    random = np.random.default_rng(0)
    labels = random.integers(0, 4, 2000)
    given = np.where(random.random(2000) < 0.8, labels, (labels + random.integers(1, 4, 2000)) % 4)
    found = calibrate(np.eye(4)[given], labels)
    assert found.before == pytest.approx(float((given != labels).mean()))
    assert found.after < 0.02
    assert found.of(np.eye(4)).max(1) == pytest.approx(0.8, abs=0.03)
    assert (found.of(np.eye(4)).max(1) >= found.threshold(0.7)).all(), "whatever rounding does"


@pytest.mark.parametrize("kind", ["three neighbours", "long tails"])
def test_what_no_temperature_puts_right_a_curve_does(kind: str) -> None:
    """Three neighbours know four shares, and discriminant analysis is far too sure of most images
    and unsure of others: on other images the error is at most half, or small, and sets hold the
    true class as often as was asked though shares are kept in half precision.
    """
    random = np.random.default_rng(0)

    def shares(n: int) -> tuple[np.ndarray, np.ndarray]:
        labels = random.integers(0, 6, n)
        if kind == "three neighbours":
            hard = random.random(n) < 0.3
            right = random.random((n, 3)) < np.where(hard, 0.3, 0.97)[:, None]
            votes = np.where(right, labels[:, None], random.integers(0, 6, (n, 3)))
            return np.stack([(votes == c).mean(1) for c in range(6)], 1), labels
        far = np.where(random.random(n) < 0.7, 9.0, 0.3) * random.gamma(1.0, 1.0, n)
        logits = random.normal(size=(n, 6)) * 2
        logits[np.arange(n), labels] += far
        found = np.exp(4 * (logits - logits.max(1, keepdims=True)))
        return found / found.sum(1, keepdims=True), labels

    given, labels = shares(1500)
    kept = given.astype(np.float16).astype(np.float32)
    found = calibrate(kept / kept.sum(1, keepdims=True), labels)
    others, truth = shares(3000)
    probabilities = found.of(others)
    assert np.allclose(probabilities.sum(1), 1)
    rows = np.arange(3000)
    assert (probabilities[rows, others.argmax(1)] >= probabilities.max(1) * (1 - 1e-6)).all()
    before, after = (calibration_error(one, truth) for one in (others, probabilities))
    assert after <= max(0.02, before / 2), (before, after)
    if kind == "long tails":
        assert found.curve
        plain = found.model_copy(update={"curve": ()}).of(others)
        assert after < calibration_error(plain, truth)
    held = (probabilities[rows, truth] >= found.threshold(0.95)).mean()
    assert held >= 0.93


def test_sets_hold_the_true_class_as_often_as_was_asked() -> None:
    """On images that chose no threshold."""
    shares, labels = drawn(2000, 2, 2.0)
    found = calibrate(shares, labels)
    others, truth = drawn(4000, 3, 2.0)
    given = found.of(others)
    for coverage in (0.8, 0.9, 0.95):
        held = given[np.arange(4000), truth] >= found.threshold(coverage)
        assert held.mean() == pytest.approx(coverage, abs=0.03)
        assert found.seen(coverage) == pytest.approx(coverage, abs=0.03)
    few = calibrate(shares[:5], labels[:5])
    assert few.threshold(0.99) == 0, "five images cannot tell: every class is in the set"


def test_sets_hold_as_many_as_was_asked_where_a_curve_stands_still() -> None:
    """Whatever is above some share is right in 97 %: a curve says so of all of those, and the sets
    of eight images of ten must still be told from the others.
    """
    random = np.random.default_rng(0)

    def shares(n: int) -> tuple[np.ndarray, np.ndarray]:
        labels, other = random.integers(0, 4, n), random.integers(1, 4, n)
        sure = random.random(n)
        right = random.random(n) < np.where(sure > 0.1, 0.97, 0.4)
        given = np.full((n, 4), 0.1 * (1 - sure)[:, None])
        given[np.arange(n), np.where(right, labels, (labels + other) % 4)] += 0.3 + sure**3
        return given / given.sum(1, keepdims=True), labels

    given, labels = shares(2000)
    found = calibrate(given.astype(np.float16).astype(np.float32), labels)
    assert found.curve
    others, truth = shares(10_000)
    probabilities = found.of(others)[np.arange(10_000), truth]
    for coverage in (0.5, 0.8, 0.9):
        held = (probabilities >= found.threshold(coverage)).mean()
        assert held == pytest.approx(coverage, abs=0.03)


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> RunDirectory:
    """A finished search of one kNN classifier."""
    return finished(tmp_path_factory.mktemp("runs"), "digits", [("tiny-image", TINY | {"k": 8})])


def test_a_bundle_s_scores_are_calibrated(run: RunDirectory, tmp_path: Path) -> None:
    """They predict as before, mean more, and are told as sets with the coverage that was seen."""
    out = tmp_path / "out"
    typed("export", run.path, "--out", out, "--no-test")
    facts = read_facts(out)
    assert facts.calibration is not None
    assert facts.calibration.after <= facts.calibration.before
    assert (out / "reliability.png").stat().st_size > 1000
    assert "calibrated probabilities" in (out / "README.md").read_text()
    test = read_dataset("digits", run.plan().read_options()).test
    assert test is not None
    given, scores = read_bundle(out).scores_of(test.images)
    assert (scores.argmax(1) == given).all()
    assert calibration_error(scores, test.labels) < 0.03
    from PIL import Image

    paths = [tmp_path / f"{n}.png" for n in range(3)]
    for path, pixels in zip(paths, test.images, strict=False):
        Image.fromarray(pixels).save(path)
    done = typed("predict", out, *paths, "--coverage", 0.95)
    assert "validation images, for 95.0% that were asked" in done.stderr
    assert done.stdout.count("{") == 3
    rows = json.loads(typed("predict", out, *paths, "--coverage", 0.95, "--json").stdout)
    least = facts.calibration.threshold(0.95)
    for row in rows:
        assert set(row["set"]) == {name for name, s in row["scores"].items() if s >= least}


def test_a_bundle_that_is_not_calibrated_promises_no_coverage() -> None:
    """Bundles of older versions are used as before, and say why they give no sets."""
    from golden_runs import GOLDEN

    knn = GOLDEN / "bundles" / "knn"
    why = refused("predict", knn, GOLDEN / "bundles" / "knn" / "confusion.png", "--coverage", 0.9)
    assert "scores are not calibrated" in why
    assert "search and export again" in why
