"""Classes with few images among classes with many: weights and sampling that make them count."""

from __future__ import annotations

from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from cnn_run import small_run
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis
from sklearn.linear_model import LogisticRegression, RidgeClassifier
from sklearn.svm import LinearSVC

from spaces import CNN, EMBEDDING
from spaces.ours.cnn import CnnConfig
from spaces.ours.embedding import EmbeddingConfig
from trainables.cnn import checkpoint as files
from trainables.cnn.steps.optimizer import balanced_weights, drawn_order, loss_of
from trainables.data.scores import score
from trainables.embedding.heads import fit

HEAD = EmbeddingConfig(
    backbone="efficientnet-lite0", side=224, crop="squash", views="one", layer="last",
    pooling="average", norm="none", components=0, head="logistic",
)  # fmt: skip
LABELS = torch.tensor([0] * 60 + [1] * 6 + [3] * 30)


def unbalanced(seed: int = 0) -> tuple[Any, Any]:
    """(n, 8) vectors of three classes that overlap, one with a tenth of the images of another."""
    random = np.random.default_rng(seed)
    labels = np.repeat(np.arange(3), (200, 20, 60))
    centres = np.random.default_rng(7).normal(size=(3, 8))
    return (centres[labels] + random.normal(size=(len(labels), 8)) * 1.3).astype(np.float32), labels


@pytest.mark.parametrize("head", ["logistic", "svm", "ridge", "lda"])
def test_a_weighed_head_is_scikit_learn_s_and_hears_small_classes(head: str) -> None:
    """The weight must reach the estimator, and small classes must be found by it."""
    features, labels = unbalanced()
    scale = np.sqrt((features.astype(np.float64) ** 2).sum(axis=1).mean())
    estimator: Any = {
        "logistic": LogisticRegression(C=3.0, max_iter=1000, class_weight="balanced"),
        "svm": LinearSVC(C=3.0, tol=1e-3, random_state=0, class_weight="balanced"),
        "ridge": RidgeClassifier(alpha=3.0, class_weight="balanced"),
        "lda": LinearDiscriminantAnalysis(solver="lsqr", shrinkage=0.1, priors=[1 / 3] * 3),
    }[head].fit(features.astype(np.float64) / scale, labels)
    other, truth = unbalanced(1)
    asked = replace(HEAD, head=head, C=3.0, alpha=3.0, shrinkage=0.1)
    weighed = fit(replace(asked, class_weight="balanced"), features, labels, 3).scores(other)
    given = weighed.argmax(axis=1)
    assert (given == estimator.predict(other / scale)).mean() > 0.98
    plain = fit(asked, features, labels, 3).scores(other).argmax(axis=1)
    better = score(truth, given, 3).balanced_accuracy - score(truth, plain, 3).balanced_accuracy
    assert better > 0.03


def test_weights_make_all_classes_weigh_the_same() -> None:
    """A class without images has no weight, and the mean image weighs 1."""
    weights = balanced_weights(LABELS, 4)
    sums = torch.zeros(4).index_add(0, LABELS, weights[LABELS])
    assert torch.allclose(sums, torch.tensor([32.0, 32.0, 0.0, 32.0]))
    scores, labels = torch.randn(96, 4), LABELS
    loss = loss_of(CnnConfig(class_weight="balanced", label_smoothing=0.0), LABELS, 4)
    expected = torch.nn.functional.cross_entropy(scores, labels, weight=weights)
    assert torch.equal(loss(scores, labels), expected)


def test_balanced_sampling_draws_all_classes_alike_and_the_same_each_time() -> None:
    """An epoch has as many images as before, and a resumed training the same ones."""

    def drawn() -> torch.Tensor:
        order = torch.Generator().manual_seed(3)
        rows = [drawn_order(CnnConfig(sampling="balanced"), LABELS, 4, order) for _ in range(100)]
        assert {len(one) for one in rows} == {len(LABELS)}
        return torch.cat(rows)

    counts = torch.bincount(LABELS[drawn()], minlength=4) / (100 * len(LABELS))
    assert counts[2] == 0
    assert torch.allclose(counts[[0, 1, 3]], torch.tensor(1 / 3), atol=0.03)
    assert torch.equal(drawn(), drawn())


def test_networks_train_with_both_and_resume_to_the_bit(tmp_path: Path) -> None:
    """What is drawn and weighed belongs to what a checkpoint must bring back."""
    changes = {"class_weight": "balanced", "sampling": "balanced"}
    whole, first, then = (small_run(epochs=2, **changes) for _ in range(3))
    for _ in range(2):
        whole.step()
    first.step()
    first.save(tmp_path / "c")
    then.load(tmp_path / "c")
    then.step()
    for name, tensor in whole.net.state_dict().items():
        assert torch.equal(tensor, then.net.state_dict()[name]), name


def test_a_checkpoint_of_a_version_without_the_parameters_is_gone_on_with(tmp_path: Path) -> None:
    """A search that was killed before an update is resumed after it."""
    run = small_run(epochs=2)
    run.step()
    run.save(tmp_path / "new")
    found = files.read(tmp_path / "new")
    facts = dict(found.facts)
    facts["config"] = {
        name: value
        for name, value in facts["config"].items()
        if name not in ("class_weight", "sampling")
    }
    files.write(files.Checkpoint(found.tensors, facts), tmp_path / "old")
    again = small_run(epochs=2)
    again.load(tmp_path / "old")
    assert again.epoch == 1
    facts["config"]["batch_size"] = 7
    files.write(files.Checkpoint(found.tensors, facts), tmp_path / "other")
    with pytest.raises(files.CheckpointError, match="checkpoint of another run"):
        small_run(epochs=2).load(tmp_path / "other")


@pytest.mark.parametrize("space", [CNN, EMBEDDING])
def test_they_are_searched_where_somebody_asks_and_nowhere_else(space: Any) -> None:
    """Balanced data gain nothing by them, and each parameter costs trials."""
    names = {parameter.name for parameter in space.asked().parameters}
    assert not names & {"class_weight", "sampling"}
    asked = space.narrow({"class_weight": ["none", "balanced"]}).asked()
    assert "class_weight" in {parameter.name for parameter in asked.parameters}
    assert asdict(CnnConfig())["class_weight"] == "none"
