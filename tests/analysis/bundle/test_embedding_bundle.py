"""A bundle of each head on a pretrained network's features: read back it gives the same scores, in
ONNX nearly, and it says whose weights are in it.
"""

from __future__ import annotations

import functools
import re
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from sklearn.datasets import load_sample_image

from analysis.bundle import embedding
from analysis.bundle.bundle import read_bundle, write_bundle
from analysis.bundle.embedding import KEPT, EmbeddingModel, LastSeen, left_out
from analysis.bundle.facts import FORMAT, BundleError, BundleFacts, Preprocessing, write_facts
from analysis.bundle.model_card import model_card
from analysis.ensemble.model import EnsembleModel
from analysis.explain.reasons import why
from analysis.graphs.onnx import TOLERANCE, check_onnx, write_onnx
from analysis.run.directory import RunError
from analysis.run.records import Measured, TrialRecord
from spaces.ours.embedding import HEADS, EmbeddingConfig
from trainables.data import Dataset, Images
from trainables.data.dataset import Split
from trainables.data.validation import Validation
from trainables.embedding.features import chosen, maps_of, square
from trainables.embedding.heads import Fitted, fit
from trainables.pretrained.network import read_arrays, with_arrays
from trainables.pretrained.weights import find

CONFIG = EmbeddingConfig(
    backbone="efficientnet-lite0", side=64, crop="squash", views="mirrored", layer="both",
    pooling="gem", norm="l2", components=0, head="logistic",
)  # fmt: skip
CLASSES = ("china", "flower", "grey")
FOLDS = Validation("k-fold", folds=3)


@functools.cache
def pieces() -> tuple[Images, Any]:
    """(30 pieces of photographs, their classes)."""
    random, images = np.random.default_rng(0), []
    for label in range(30):
        whole = load_sample_image("flower.jpg" if label % 3 == 1 else "china.jpg")
        top, left = (random.integers(0, length - 90) for length in whole.shape[:2])
        piece = whole[top : top + 90, left : left + 80]
        images.append(piece.mean(2).astype(np.uint8) if label % 3 == 2 else piece.copy())
    return Images.from_arrays(images), np.arange(30) % 3


@functools.cache
def arrays() -> Any:
    weights, place = find(CONFIG.backbone)
    return read_arrays(facts={**weights.content, "name": weights.name}, place=str(place))


def made(config: EmbeddingConfig) -> EmbeddingModel:
    """The classifier of a configuration, as an export would make it."""
    weights, _ = find(config.backbone)
    measured = Measured(
        split="train", n=30, scheme="k-fold", accuracy=1, balanced_accuracy=1, macro_f1=1
    )
    facts = BundleFacts(
        format=FORMAT, kind="embedding", space="embedding", config=asdict(config), classes=CLASSES,
        preprocessing=Preprocessing(color="rgb", max_side=512), val=measured, test=None,
        test_evaluations=0, seed=0, versions={}, dataset="folder:x", fingerprint="f",
        test_fingerprint=None, trial="run: embedding/0", model_sha256="", weights=weights,
    )  # fmt: skip
    images, labels = pieces()
    model = EmbeddingModel(
        facts, with_arrays(weights, arrays(), config.side), Fitted(config, len(CLASSES), {})
    )
    vectors = chosen(model.features_of(images), config.layer, config.pooling)
    return replace(model, head=fit(config, vectors, labels, len(CLASSES)))


def record(config: EmbeddingConfig) -> TrialRecord:
    return TrialRecord(
        space="embedding", number=0, state="COMPLETE", config=asdict(config), started=0, seconds=1
    )


WAYS = {
    "logistic": {"C": 10.0},
    "svm": {"norm": "standard", "components": 8, "views": "one", "layer": "last"},
    "ridge": {"norm": "none", "pooling": "average", "crop": "centre"},
    "lda": {"components": 8, "pooling": "own", "layer": "last"},
    "knn": {"norm": "standard", "crop": "pad"},
}


def test_heads_on_one_network_look_at_an_image_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """A network takes a thousand times as long as a head: members of an ensemble that share what it
    sees see it once, and those that see otherwise, or other images, never meet another's.
    """
    images = pieces()[0][:12]
    models = [
        made(replace(CONFIG, **changed))
        for changed in ({}, {"head": "lda", "layer": "last"}, {"side": 96}, {"views": "one"})
    ]
    alone = [model.scores_of(images.take(np.arange(12)))[1] for model in models]
    runs: list[tuple[int, int]] = []
    before: Any = embedding.features_of

    def seen(net: Any, weights: Any, run: Images, side: int, *rest: Any) -> Any:
        runs.append((side, len(run)))
        return before(net, weights, run, side, *rest)

    monkeypatch.setattr(embedding, "features_of", seen)
    facts = models[0].facts
    together = EnsembleModel(
        facts, tuple(models), np.array([1, 2, 1, 1]), np.zeros((4, 32), np.uint8)
    )
    for rows in (np.arange(12), np.arange(12), np.arange(11, 3, -1)):
        runs.clear()
        _, scores = together.scores_of(images.take(rows))
        wanted = (alone[0] + 2 * alone[1] + alone[2] + alone[3])[rows] / 5
        np.testing.assert_allclose(scores, wanted, atol=1e-9)
        counts = [sum(n for side, n in runs if side == wanted) for wanted in (64, 96)]
        assert counts == [2 * len(rows), 2 * len(rows)]


def test_features_go_with_their_images() -> None:
    """They take gigabytes, and a server that has answered would hold them until it is asked again;
    those of many networks together are no more than are kept.
    """
    kept, images = LastSeen(), pieces()[0][:2]
    features = {"last": np.zeros((2, KEPT // 80))}
    first = kept.of(images, ("a",), lambda: features)
    assert kept.of(images, ("a",), dict) is first
    kept.of(images, ("b",), lambda: features)
    kept.of(images, ("c",), lambda: features)
    kept.of(images, ("d",), lambda: {"last": np.broadcast_to(0.0, (2, KEPT // 16))})
    assert list(kept.found) == [("d",)]
    del images
    assert kept.found == {}


def test_what_another_saw_is_believed_where_the_written_network_sees_the_same() -> None:
    """An export need not look at all images again, yet it is the written file that is judged."""
    images, labels = pieces()
    model = made(replace(CONFIG, views="one"))
    dataset = Dataset("folder:x", CLASSES, Split(images, labels))
    wanted = left_out(model, FOLDS, dataset)
    right = model.features_of(images)
    others = images.take(np.arange(30))
    model.seen(others, lambda: {name: values[::-1] for name, values in right.items()})
    again = left_out(model, FOLDS, replace(dataset, train=Split(others, labels)))
    assert np.array_equal(again, wanted)
    assert (wanted[0] == wanted[1]).mean() > 0.5  # so that features in disorder would show


@pytest.mark.parametrize("head", HEADS)
def test_a_head_read_back_gives_the_same_scores(head: str, tmp_path: Path) -> None:
    """What a search found is what is used, to the bit."""
    model = made(replace(CONFIG, head=head, **WAYS[head]))  # type: ignore[arg-type]
    images, labels = pieces()
    classes, scores = model.scores_of(images)
    assert (classes == labels).mean() > 0.7
    write_bundle(tmp_path, model)
    assert np.array_equal(read_bundle(tmp_path).scores_of(images)[1], scores)


@pytest.mark.parametrize(
    "head",
    ["svm", *(pytest.param(head, marks=pytest.mark.slow) for head in ("logistic", "ridge", "lda"))],
)
def test_a_linear_head_and_its_network_are_one_graph_in_onnx(head: str, tmp_path: Path) -> None:
    """Where only onnxruntime is, they give the same scores to 0.0001."""
    onnxruntime = pytest.importorskip("onnxruntime")
    config = replace(CONFIG, head=head, **WAYS[head])  # type: ignore[arg-type]
    check_onnx([record(config)], "--onnx")
    model = made(config)
    write_bundle(tmp_path, model)
    assert write_onnx(tmp_path) <= TOLERANCE
    session = onnxruntime.InferenceSession(
        str(tmp_path / "model.onnx"), providers=["CPUExecutionProvider"]
    )
    images, _ = pieces()
    pixels = np.stack([square(image, 64, config.crop) for image in images]).transpose(0, 3, 1, 2)
    (given,) = session.run(["scores"], {"images": np.ascontiguousarray(pixels)})
    assert given == pytest.approx(model.scores_of(images)[1], abs=TOLERANCE)


def test_a_map_of_a_linear_head_is_its_weights_on_the_last_places() -> None:
    """Of averaged features, class activation is known in closed form (Zhou et al., 2016); a map of
    anything else would be a picture and no reason.
    """
    config = replace(
        CONFIG, head="ridge", side=128, pooling="average", norm="none", layer="last", views="one"
    )
    model = made(config)
    image = pieces()[0][1]
    (reason,) = why(model, image, 1)
    assert reason.heat is not None
    pixels = square(image, 128, "squash")
    assert np.array_equal(reason.heat.seen, pixels)
    mean, std = (
        torch.tensor(v).view(3, 1, 1) * 255 for v in (model.weights.mean, model.weights.std)
    )
    batch = ((torch.from_numpy(pixels.copy()).permute(2, 0, 1) - mean) / std)[None]
    with torch.no_grad():
        last = maps_of(model.net, batch)[0][0].double().numpy()
    wanted = (model.head.arrays["weights"][1] @ last).reshape(4, 4).clip(0)  # type: ignore[operator]
    assert reason.heat.places == pytest.approx(wanted / wanted.max(), abs=1e-4)


def test_nearest_neighbours_are_no_graph_which_is_said_before_anything_is_written() -> None:
    """One line, and what it is about."""
    config = replace(CONFIG, head="knn")
    with pytest.raises(RunError, match="has head knn, which looks among all training images"):
        check_onnx([record(config)], "--onnx")


def test_the_card_says_whose_weights_and_by_which_licence(tmp_path: Path) -> None:
    """Weights are somebody's work: who passes the bundle on must know the terms."""
    card = model_card(made(CONFIG).facts)
    said = re.search(r"^- weights: (.*)$", card, re.MULTILINE)
    assert said
    weights, _ = find(CONFIG.backbone)
    for word in (weights.name, "Apache-2.0", weights.sha256, weights.source):
        assert word in said[1]


def test_an_older_bundle_knows_its_weights_by_their_name_and_others_must_say(
    tmp_path: Path,
) -> None:
    """Bundles said nothing of weights while only packages had any, and held a classifier more."""
    model = made(CONFIG)
    before = replace(model, facts=model.facts.model_copy(update={"weights": None}))
    write_bundle(tmp_path, before)
    assert '"weights"' not in (tmp_path / "bundle.json").read_text()
    images, _ = pieces()
    assert np.array_equal(read_bundle(tmp_path).scores_of(images)[1], model.scores_of(images)[1])
    write_facts(
        tmp_path,
        read_bundle(tmp_path).facts.model_copy(
            update={"config": {**asdict(CONFIG), "backbone": "resnet18.a1_in1k"}}
        ),
    )
    with pytest.raises(BundleError, match=r"says nothing of the weights of resnet18.a1_in1k"):
        read_bundle(tmp_path)
