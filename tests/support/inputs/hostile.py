"""Small bundles made by hand, and what a stranger might put into one."""

from __future__ import annotations

import hashlib
import json
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import timm
import torch
from safetensors.numpy import load, save

from analysis.bundle.bundle import read_bundle, write_bundle
from analysis.bundle.classifier import ENSEMBLE
from analysis.bundle.cnn import CnnModel
from analysis.bundle.embedding import EmbeddingModel
from analysis.bundle.facts import BundleFacts, Preprocessing
from analysis.bundle.knn import KnnModel
from analysis.ensemble.model import EnsembleModel, digest_of, place_of
from analysis.ranking.calibration import Calibration
from analysis.run.records import Measured
from spaces.ours.cnn import CnnConfig
from spaces.ours.embedding import EmbeddingConfig
from trainables.cnn import weights
from trainables.cnn.models import build
from trainables.cnn.use import NetworkUse
from trainables.embedding.heads import Fitted
from trainables.pretrained.facts import Weights
from trainables.pretrained.network import with_tensors

TINY = {
    "metric": "euclidean",
    "size": 4,
    "resampling": "box",
    "centring": False,
    "norm": "none",
    "k": 1,
    "vote": "uniform",
    "mirrored": False,
}
CLASSES = ("cat", "dog", "owl")
SEEN = Preprocessing(color="grey", max_side=512)
SCORES = Measured(
    split="train", n=6, scheme="leave-one-out", accuracy=0.5, balanced_accuracy=0.5, macro_f1=0.5
)


def facts_of(
    kind: str, space: str, config: dict[str, Any], preprocessing: Preprocessing
) -> BundleFacts:
    return BundleFacts(
        format=1, kind=kind, space=space, config=config, classes=CLASSES,
        preprocessing=preprocessing, val=SCORES, test=None,
        test_evaluations=0, seed=0, versions={}, dataset="folder:/x", fingerprint="f" * 64,
        test_fingerprint=None,
        trial=f"{space}/0", model_sha256="",
    )  # type: ignore[arg-type]  # fmt: skip


def knn_bundle(folder: Path) -> Path:
    """A kNN bundle of six tiny images of three classes."""
    features = np.random.default_rng(0).random((6, 16)) * 255
    facts = facts_of("knn", "tiny-image", TINY, SEEN)
    folder.mkdir()
    write_bundle(folder, KnnModel(facts, features, np.array([0, 0, 1, 1, 2, 2]), None))
    return folder


def cnn_bundle(folder: Path, side: int = 32) -> Path:
    """A bundle of a small network that has learned nothing, and sees images at ``side`` pixels."""
    config = CnnConfig(model="fastnet", width=0.125, test_flip=False)
    torch.manual_seed(0)
    net = build(config.model, len(CLASSES), side, config.tweaks()).eval()
    use = NetworkUse(
        size=side,
        classes=3,
        mean=(120.0, 120.0, 120.0),
        std=(60.0, 60.0, 60.0),
        dtype="float32",
        device="cpu",
        threads=1,
        epoch=1,
    )
    facts = facts_of(
        "cnn",
        "cnn",
        vars(config),
        Preprocessing(color="rgb", max_side=512, size=side, mean=use.mean, std=use.std),
    )
    folder.mkdir()
    write_bundle(folder, CnnModel(facts, weights.pack(net.state_dict(), use), net, use))
    return folder


def embedding_bundle(folder: Path) -> Path:
    """A bundle of a linear head on a small network that has learned nothing."""
    torch.manual_seed(0)
    half = (0.5, 0.5, 0.5)
    weights = Weights("test_resnet.r160_in1k", "test_resnet", "0" * 64, half, half)
    config = EmbeddingConfig(
        backbone=weights.name, side=64, crop="squash", views="one", layer="last",
        pooling="average", norm="standard", components=0, head="logistic",
    )  # fmt: skip
    tensors = timm.create_model("test_resnet").state_dict()
    net = with_tensors(weights, tensors, config.side, resampled=True)
    generator, columns = np.random.default_rng(0), net.num_features
    head = Fitted(
        config,
        len(CLASSES),
        {
            "mean": generator.random(columns),
            "deviation": generator.random(columns) + 0.1,
            "weights": generator.random((len(CLASSES), columns)),
            "bias": generator.random(len(CLASSES)),
        },
    )
    seen = Preprocessing(color="rgb", max_side=512)
    facts = facts_of("embedding", "embedding", vars(config), seen)
    facts = facts.model_copy(update={"weights": weights})
    folder.mkdir()
    write_bundle(folder, EmbeddingModel(facts, net, head))
    return folder


def ensemble_bundle(folder: Path) -> Path:
    """A bundle of two kNN bundles, with probabilities."""
    (folder / "members").mkdir(parents=True)
    places = [knn_bundle(place_of(folder, number)) for number in (1, 2)]
    digests = np.stack([digest_of(place) for place in places])
    members = tuple(read_bundle(place) for place in places)
    known = Calibration(
        floor=0.1, power=2.0, before=0.3, after=0.1, images=6, truth=(0.5, 0.6, 0.7, 0.8, 0.9, 1.0)
    )
    facts = facts_of(ENSEMBLE, ENSEMBLE, {"k: tiny-image/0": 1, "k: tiny-image/1": 2}, SEEN)
    facts = facts.model_copy(update={"calibration": known})
    write_bundle(folder, EnsembleModel(facts, members, np.array([1, 2]), digests))
    return folder


def with_member(bundle: Path, number: int) -> None:
    """Another member than was exported, and an ensemble that knows it."""
    tensors = load((bundle / "model.safetensors").read_bytes())
    tensors["digests"][number - 1] = digest_of(place_of(bundle, number))
    with_model(bundle, save(tensors))


def with_facts(bundle: Path, change: Callable[[dict[str, Any]], None]) -> None:
    """Change bundle.json as somebody would who also leaves out its digest, as earlier versions
    did.
    """
    found = json.loads((bundle / "bundle.json").read_bytes())
    found.pop("facts_sha256", None)
    change(found)
    (bundle / "bundle.json").write_text(json.dumps(found))


def with_model(bundle: Path, content: bytes) -> None:
    """Another model file, with its digest in bundle.json."""
    (bundle / "model.safetensors").write_bytes(content)
    with_facts(bundle, lambda facts: facts.update(model_sha256=hashlib.sha256(content).hexdigest()))


def with_header(bundle: Path, change: Callable[[dict[str, Any]], Any]) -> None:
    """Change the header of the model file."""
    content = (bundle / "model.safetensors").read_bytes()
    (length,) = struct.unpack("<Q", content[:8])
    header = json.loads(content[8 : 8 + length])
    text = json.dumps(change(header) or header).encode()
    with_model(bundle, struct.pack("<Q", len(text)) + text + content[8 + length :])


def with_use(bundle: Path, **changes: object) -> None:
    """Change what a weights file says of its network."""

    def change(header: dict[str, Any]) -> None:
        use = json.loads(header["__metadata__"][weights.KEY])
        header["__metadata__"][weights.KEY] = json.dumps({**use, **changes})

    with_header(bundle, change)
