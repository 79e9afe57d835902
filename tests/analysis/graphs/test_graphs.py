"""An ensemble of networks as one graph, and the same in 8-bit integers."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hostile import cnn_bundle

from analysis.bundle.bundle import read_bundle, read_facts, write_bundle
from analysis.bundle.classifier import ENSEMBLE
from analysis.bundle.facts import BundleError
from analysis.ensemble.model import EnsembleModel, digest_of, place_of
from analysis.ranking.calibration import Calibration
from trainables.data import Dataset, Images
from trainables.data.dataset import Split


def images(n: int) -> Images:
    """Of several shapes, in colour and in grey."""
    random = np.random.default_rng(0)
    shapes = [(40 + i % 3, 33, 3) if i % 2 else (36, 41) for i in range(n)]
    return Images.from_arrays([random.integers(0, 256, s).astype(np.uint8) for s in shapes])


@pytest.fixture(scope="module")
def ensemble(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A bundle of two networks that see images at other sizes."""
    folder = tmp_path_factory.mktemp("bundles") / "together"
    for number, side in enumerate((32, 40), 1):
        place_of(folder, number).parent.mkdir(parents=True, exist_ok=True)
        cnn_bundle(place_of(folder, number), side)
    members = tuple(read_bundle(place_of(folder, n)) for n in (1, 2))
    seen = members[0].facts.preprocessing.model_copy(update={"size": None, "mean": (), "std": ()})
    curve = ((-1.0, 0.35), (0.0, 0.5), (1.5, 0.9))
    known = Calibration(
        floor=0.01, power=1.5, curve=curve, before=0.1, after=0.0, images=9, truth=()
    )
    facts = members[0].facts.model_copy(
        update={"kind": ENSEMBLE, "space": ENSEMBLE, "config": {}, "preprocessing": seen}
        | {"calibration": known}
    )
    digests = np.stack([digest_of(place_of(folder, n)) for n in (1, 2)])
    write_bundle(folder, EnsembleModel(facts, members, np.array([2, 1]), digests))
    return folder


def test_an_ensemble_is_one_graph_and_a_smaller_one_in_integers(ensemble: Path) -> None:
    """Where only onnxruntime is, it says what the bundle says to 0.0001; and what 8-bit integers
    cost is known before they are used.
    """
    pytest.importorskip("onnxscript", reason="needs visiontune[onnx]")
    from analysis.graphs.judges import judge_of, pixels_of
    from analysis.graphs.onnx import TOLERANCE, scores_by, write_onnx
    from analysis.graphs.quantized import quantize

    assert write_onnx(ensemble) <= TOLERANCE
    model, some = read_bundle(ensemble), images(9)
    given = {f"images_{s}_squash": pixels_of(some, (s, "squash")) for s in (32, 40)}
    wanted = model.scores_of(some)[1]
    full = scores_by(ensemble / "model.onnx", [given])
    assert full == pytest.approx(wanted, abs=TOLERANCE)
    labels = full.argmax(1)
    train = Split(some, labels)
    other = replace(train, labels=(labels + 1) % 3)
    dataset = Dataset("made", model.facts.classes, train, None, other)
    found = quantize(ensemble, dataset, ("val", "train"))
    assert (found.split, found.n, found.full_accuracy) == ("train", 9, 1.0)
    assert found.accuracy == found.alike >= 0.6
    assert quantize(ensemble, dataset, ("val", "test", "train")).full_accuracy == 0.0
    small = scores_by(ensemble / "model-int8.onnx", [given])
    assert not np.array_equal(small, full)
    assert small == pytest.approx(full, abs=0.1)
    assert found.bytes < found.full_bytes
    assert found.milliseconds > 0
    facts = read_facts(ensemble)
    assert facts.quantized is not None
    assert str(facts.quantized) in (ensemble / "README.md").read_text()
    assert {path.name for path in ensemble.iterdir()} == {
        "bundle.json", "members", "model.onnx", "model-int8.onnx", "model.safetensors", "README.md",
    }  # fmt: skip
    assert judge_of(model).views == ((32, "squash"), (40, "squash"))


def test_a_network_that_is_no_graph_is_said_to_be_none_in_a_line(tmp_path: Path) -> None:
    """torch's exporter fails in many ways, of many lines: the reader learns which network, why,
    and that the bundle itself is whole.
    """
    pytest.importorskip("onnxscript", reason="needs visiontune[onnx]")
    import torch

    from analysis.graphs.judges import Judge
    from analysis.graphs.onnx import write_graph

    class Deciding(Judge):
        views = ((8, "squash"),)

        def decision(self, *images: torch.Tensor) -> torch.Tensor:
            means = images[0].float().mean((2, 3))
            return means if means.sum() > 7 else -means

    with pytest.raises(BundleError, match="torch cannot write this network as a graph") as refused:
        write_graph(Deciding(), tmp_path / "model.onnx")
    said = str(refused.value)
    assert str(tmp_path) in said
    assert "the bundle is whole without it" in said
    assert "\n" not in said
    assert len(said) < 500
    assert not list(tmp_path.iterdir())
