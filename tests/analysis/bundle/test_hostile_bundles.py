"""Bundles that were damaged or made to do harm: refused in one short line, and never a crash or a
class that means nothing.
"""

from __future__ import annotations

import json
import random
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hostile import cnn_bundle, knn_bundle, with_facts, with_header, with_model, with_use
from PIL import Image
from program import refusal, typed
from safetensors.numpy import save

from analysis.bundle.bundle import read_bundle
from analysis.bundle.facts import BundleError

DEEP = "[" * 200_000


@pytest.fixture(scope="module")
def picture(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("pictures") / "one.png"
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (40, 40, 3), dtype=np.uint8)).save(
        path
    )
    return path


def config(**changes: object) -> Callable[[Path], None]:
    return lambda bundle: with_facts(bundle, lambda facts: facts["config"].update(changes))


def preprocessing(**changes: object) -> Callable[[Path], None]:
    return lambda bundle: with_facts(bundle, lambda facts: facts["preprocessing"].update(changes))


def use(**changes: object) -> Callable[[Path], None]:
    return lambda bundle: with_use(bundle, **changes)


def tensors(**named: Any) -> Callable[[Path], None]:
    return lambda bundle: with_model(
        bundle, save({name: np.ascontiguousarray(array) for name, array in named.items()})
    )


def manifest(text: str) -> Callable[[Path], None]:
    return lambda bundle: (bundle / "bundle.json").write_text(text) and None  # type: ignore[return-value]


def facts(**changes: object) -> Callable[[Path], None]:
    return lambda bundle: with_facts(bundle, lambda found: found.update(changes))


LABELS = np.array([0, 0, 1, 1, 2, 2])
KNN = {
    "fewer columns": tensors(features=np.zeros((6, 9)), labels=LABELS),
    "more columns": tensors(features=np.zeros((6, 17)), labels=LABELS),
    "no columns": tensors(features=np.zeros((6, 0)), labels=LABELS),
    "features of NaN": tensors(features=np.full((6, 16), np.nan), labels=LABELS),
    "another configuration": config(size=8),
    "a size out of range": config(size=100_000),
    "k out of range": config(k=0),
    "an unknown metric": config(metric="x" * 100_000),
    "a side of 0": preprocessing(max_side=0),
    "a side without end": preprocessing(max_side=10**12),
    "an accuracy that is none": facts(
        val={
            "split": "x",
            "n": 6,
            "scheme": "y",
            "accuracy": 7,
            "balanced_accuracy": 0,
            "macro_f1": 0,
        }
    ),
    "looks below none": facts(test_evaluations=-1),
    "a seed of many digits": facts(seed=int("9" * 4000)),
    "a huge setting": config(size=int("9" * 4000)),
    "one class": facts(classes=["cat"]),
    "a class that is no text": facts(classes=["cat", 1, None]),
    "a deep manifest": manifest(DEEP),
    "a list for a manifest": manifest("[]"),
    "an empty manifest": manifest(""),
    "an empty model": lambda bundle: with_model(bundle, b""),
    "a header without end": lambda bundle: with_model(bundle, struct.pack("<Q", 2**60) + b"{}"),
    "a deep header": lambda bundle: with_model(
        bundle, struct.pack("<Q", len(DEEP)) + DEEP.encode()
    ),
}
CNN = {
    "a million threads": use(threads=1_000_000),
    "no thread": use(threads=0),
    "threads that are text": use(threads="many"),
    "a deviation of 0": use(std=[0.0, 60.0, 60.0]),
    "a negative deviation": use(std=[-1.0, 60.0, 60.0]),
    "a mean without measure": use(mean=[1e308, 0.0, 0.0]),
    "a mean of NaN": use(mean=[float("nan"), 0.0, 0.0]),
    "two channels": use(mean=[1.0, 1.0]),
    "another size": use(size=64),
    "a size without measure": use(size=10**9),
    "other classes": use(classes=1000),
    "a kind of number that is none": use(dtype="complex128"),
    "a device that is none": use(device="abacus"),
    "a use that is more": use(run="x"),
    "a use too deep": lambda bundle: with_header(
        bundle, lambda header: header["__metadata__"].update(visiontune=DEEP)
    ),
    "no use": lambda bundle: with_header(
        bundle, lambda header: header.pop("__metadata__") and None
    ),
    "a mean out of range in the manifest": preprocessing(mean=[1e308, 0, 0]),
    "a deviation of 0 in the manifest": preprocessing(std=[0, 0, 0]),
    "a width out of range": config(width=1e9),
    "another network": config(model="resnet18"),
}


def check_refused(bundle: Path, picture: Path) -> None:
    line = refusal("predict", bundle, picture)
    assert str(bundle) in line
    assert len(line) <= 500
    assert "pydantic.dev" not in line


@pytest.mark.parametrize("kind", KNN)
def test_a_knn_bundle_that_makes_no_sense_is_refused(
    tmp_path: Path, picture: Path, kind: str
) -> None:
    """A class that was computed from nonsense looks like any other."""
    bundle = knn_bundle(tmp_path / "bundle")
    KNN[kind](bundle)
    check_refused(bundle, picture)


@pytest.mark.parametrize("kind", CNN)
def test_a_network_s_bundle_that_makes_no_sense_is_refused(
    tmp_path: Path, picture: Path, kind: str
) -> None:
    """A number in a stranger's file must neither end the process nor give scores that are no
    numbers.
    """
    bundle = cnn_bundle(tmp_path / "bundle")
    CNN[kind](bundle)
    check_refused(bundle, picture)


@pytest.mark.parametrize("spoilt", [np.nan, np.inf])
def test_weights_that_are_no_numbers_are_refused(
    tmp_path: Path, picture: Path, spoilt: float
) -> None:
    """A network of NaN gives the first class to every image."""
    bundle = cnn_bundle(tmp_path / "bundle")
    content = bytearray((bundle / "model.safetensors").read_bytes())
    content[-4:] = struct.pack("<f", spoilt)
    with_model(bundle, bytes(content))
    check_refused(bundle, picture)


@pytest.mark.parametrize("make", [knn_bundle, cnn_bundle])
def test_a_bundle_as_earlier_versions_wrote_it_is_read(
    tmp_path: Path, picture: Path, make: Callable[[Path], Path]
) -> None:
    """They had no digest of bundle.json; and the refusals above are worth something only if an
    unspoilt one is accepted.
    """
    bundle = make(tmp_path / "bundle")
    before = typed("predict", bundle, picture, "--json").stdout
    with_facts(bundle, lambda found: None)
    after = typed("predict", bundle, picture, "--json")
    assert after.returncode == 0
    assert json.loads(before) == json.loads(after.stdout)


def test_no_bit_of_a_manifest_turns_unseen(tmp_path: Path) -> None:
    """Configuration, classes and preprocessing decide what a model says; their file must answer for
    itself.
    """
    bundle = knn_bundle(tmp_path / "bundle")
    whole = (bundle / "bundle.json").read_bytes()
    assert read_bundle(bundle).facts.classes == ("cat", "dog", "owl")
    for bit in random.Random(0).sample(range(8 * len(whole)), 400):
        turned = bytearray(whole)
        turned[bit // 8] ^= 1 << bit % 8
        (bundle / "bundle.json").write_bytes(turned)
        with pytest.raises(BundleError):
            read_bundle(bundle)
