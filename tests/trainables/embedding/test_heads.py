"""Classifiers on features: each is what scikit-learn makes of the same vectors, and none sees what
it is judged on.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from sklearn.decomposition import PCA
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis
from sklearn.linear_model import LogisticRegression, RidgeClassifier
from sklearn.svm import LinearSVC
from threadpoolctl import threadpool_limits

from spaces.ours.embedding import HEADS, EmbeddingConfig
from trainables.data.validation import Validation, validation_groups
from trainables.embedding import heads
from trainables.embedding.features import mean_of_views
from trainables.embedding.heads import fit
from trainables.embedding.pipeline import held_out, out_of_fold

CLASSES = 4
CONFIG = EmbeddingConfig(
    backbone="efficientnet-lite0", side=224, crop="squash", views="one", layer="last",
    pooling="average", norm="none", components=0, head="logistic",
)  # fmt: skip


def vectors(count: int = 120, size: int = 30, seed: int = 0) -> tuple[Any, Any]:
    """Positive vectors of classes that overlap a little, and their labels."""
    random = np.random.default_rng(seed)
    labels = np.arange(count) % CLASSES
    centres = np.random.default_rng(7).normal(size=(CLASSES, size))
    found = np.abs(centres[labels] + random.normal(size=(count, size)) * 1.2)
    return found.astype(np.float32), labels


@pytest.mark.parametrize("head", ["logistic", "svm", "ridge"])
def test_a_linear_head_is_scikit_learn_s_on_vectors_of_mean_length_one(head: str) -> None:
    """A bundle holds a matrix and a vector; they must say what the estimator says."""
    features, labels = vectors()
    scale = np.sqrt((features.astype(np.float64) ** 2).sum(axis=1).mean())
    estimator: Any = {
        "logistic": LogisticRegression(C=3.0, max_iter=1000),
        "svm": LinearSVC(C=3.0, tol=1e-3, random_state=0),
        "ridge": RidgeClassifier(alpha=3.0),
    }[head].fit(features.astype(np.float64) / scale, labels)
    other, _ = vectors(seed=1)
    found = fit(replace(CONFIG, head=head, C=3.0, alpha=3.0), features, labels, CLASSES)
    scores = found.scores(other)
    assert (scores.argmax(axis=1) == estimator.predict(other / scale)).all()
    assert scores.sum(axis=1) == pytest.approx(1.0)
    if head == "logistic":
        assert scores == pytest.approx(estimator.predict_proba(other / scale), abs=1e-6)


@pytest.mark.parametrize("shrinkage", [0.01, 0.3, 1.0])
def test_discriminants_are_scikit_learn_s(shrinkage: float) -> None:
    """Ours solve one linear system; theirs are some thirty times slower, and must be the same."""
    features, labels = vectors()
    theirs = LinearDiscriminantAnalysis(solver="lsqr", shrinkage=shrinkage).fit(features, labels)
    other, _ = vectors(seed=1)
    found = fit(replace(CONFIG, head="lda", shrinkage=shrinkage), features, labels, CLASSES)
    assert found.scores(other) == pytest.approx(theirs.predict_proba(other), abs=1e-5)


@pytest.mark.parametrize("size", [20, 300])
def test_components_are_the_principal_ones(size: int) -> None:
    """From the smaller of covariance and Gram matrix; both span what scikit-learn finds."""
    features, labels = vectors(size=size)
    found = fit(replace(CONFIG, components=5), features, labels, CLASSES).arrays["components"]
    theirs = PCA(5, svd_solver="full").fit(features.astype(np.float64)).components_
    assert np.abs(np.asarray(found) @ theirs.T) == pytest.approx(np.eye(5), abs=1e-4)


def test_more_components_than_there_are_leave_vectors_as_they_are() -> None:
    """A fold may have fewer images than the plan asks for."""
    features, labels = vectors(12)
    assert "components" not in fit(replace(CONFIG, components=50), features, labels, CLASSES).arrays


def test_standard_is_of_the_training_vectors_alone() -> None:
    """Statistics of the images that are judged would be a leak."""
    features, labels = vectors()
    found = fit(replace(CONFIG, norm="standard"), features, labels, CLASSES)
    alone, beside = (
        found.scores(features[:1]),
        found.scores(np.vstack([features[:1], features * 9])),
    )
    assert np.allclose(alone[0], beside[0])
    wide = features.astype(np.float64)
    assert found.arrays["mean"] == pytest.approx(wide.mean(axis=0))
    assert found.arrays["deviation"] == pytest.approx(wide.std(axis=0))


@pytest.mark.parametrize("head", HEADS)
def test_a_class_that_no_vector_has_is_never_given(head: str) -> None:
    """A fold may lack a class of few images."""
    features, labels = vectors()
    kept = labels != 2
    found = fit(replace(CONFIG, head=head), features[kept], labels[kept], CLASSES)
    scores = found.scores(features)
    assert scores.shape == (len(features), CLASSES)
    assert 2 not in scores.argmax(axis=1)
    assert (scores.argmax(axis=1)[kept] == labels[kept]).mean() > 0.7


@pytest.mark.parametrize("head", HEADS)
@pytest.mark.parametrize("there", [(1,), (1, 3)])
def test_one_class_or_two_are_classes_too(head: str, there: tuple[int, ...]) -> None:
    """scikit-learn refuses one and has a single boundary for two."""
    features, labels = vectors()
    kept = np.isin(labels, there)
    scores = fit(replace(CONFIG, head=head), features[kept], labels[kept], CLASSES).scores(features)
    assert set(scores.argmax(axis=1)) == set(there)
    right = scores[kept].argmax(axis=1) == labels[kept]
    assert right.mean() > 0.85


@pytest.mark.parametrize("head", HEADS)
def test_an_image_has_no_say_in_how_it_is_classified(
    head: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever label an image of another fold had, it would be given the same class."""
    monkeypatch.setattr("trainables.embedding.pipeline.chosen", lambda features, *pick: features)
    features, labels = vectors(60)
    validation = Validation("k-fold", folds=3, seed=1)
    config = replace(CONFIG, head=head)
    scores = out_of_fold(config, features, labels, CLASSES, validation)
    folds = validation_groups(labels, scheme="k-fold", folds=3, seed=1)
    for fold in range(3):
        own, others = folds == fold, folds != fold
        alone = held_out(config, features[others], labels[others], features[own], CLASSES)
        assert np.array_equal(scores[own], alone)
    assert (scores.argmax(axis=1) == labels).mean() > 0.6


@pytest.mark.parametrize("head", HEADS)
@pytest.mark.parametrize("components", [0, 64])
def test_a_head_is_the_same_to_the_bit_on_any_number_of_cores(head: str, components: int) -> None:
    """A trial has some of a machine's cores, and the export all of another's: an image near a tie
    would be given another class than was recorded, and the bundle be refused.
    """
    features, labels = vectors(1200, 400)
    config = replace(CONFIG, head=head, components=components)
    found = []
    for threads in (1, 2):
        with threadpool_limits(threads):
            fitted = fit(config, features, labels, CLASSES)
            found.append((fitted.arrays, fitted.scores(features)))
    (one, of_one), (two, of_two) = found
    assert all(np.array_equal(one[name], two[name]) for name in one)
    assert np.array_equal(of_one, of_two)


def test_views_count_alike() -> None:
    """The mean of an image's features and of its mirror image's."""
    one, other = (np.random.default_rng(n).random((3, 5), np.float32) for n in (0, 1))
    (mean,) = mean_of_views({"last average": one}, {"last average": other}).values()
    assert mean == pytest.approx((one + other) / 2)
    assert mean.dtype == np.float32


def test_what_is_scaled_is_scaled_back() -> None:
    """A penalty means the same in any unit, so the classes are the same in any unit."""
    features, labels = vectors()
    found = [
        fit(replace(CONFIG, C=0.5), features * unit, labels, CLASSES).scores(features * unit)
        for unit in (1.0, 255.0)
    ]
    assert found[0] == pytest.approx(found[1], abs=1e-3)
    assert heads.LEAST_DEVIATION > 0
