"""Small bundles made by hand, and what a stranger might put into one."""

from __future__ import annotations

import hashlib
import json
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch

from analysis.bundle.bundle import write_bundle
from analysis.bundle.cnn import CnnModel
from analysis.bundle.facts import BundleFacts, Preprocessing
from analysis.bundle.knn import KnnModel
from analysis.run.records import Measured
from spaces.ours.cnn import CnnConfig
from trainables.cnn import weights
from trainables.cnn.models import build
from trainables.cnn.use import NetworkUse

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
    facts = facts_of("knn", "tiny-image", TINY, Preprocessing(color="grey", max_side=512))
    folder.mkdir()
    write_bundle(folder, KnnModel(facts, features, np.array([0, 0, 1, 1, 2, 2]), None))
    return folder


def cnn_bundle(folder: Path) -> Path:
    """A bundle of a small network that has learned nothing."""
    config = CnnConfig(model="fastnet", width=0.125, test_flip=False)
    torch.manual_seed(0)
    net = build(config.model, len(CLASSES), 32, config.tweaks()).eval()
    use = NetworkUse(
        size=32,
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
        Preprocessing(color="rgb", max_side=512, size=32, mean=use.mean, std=use.std),
    )
    folder.mkdir()
    write_bundle(folder, CnnModel(facts, weights.pack(net.state_dict(), use), net, use))
    return folder


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
