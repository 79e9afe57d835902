"""Weights are what they are said to be, and what lies in a file is read as tensors or refused."""

from __future__ import annotations

import json
import pickle
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import timm
import torch
from program import output, refused
from safetensors.torch import save_file
from small_network import SMALL, of, saved, small

from trainables.io.files import sha256
from trainables.pretrained.facts import BackboneError, Weights
from trainables.pretrained.network import (
    own_side,
    with_arrays,
    with_tensors,
)
from trainables.pretrained.packaged import BACKBONES
from trainables.pretrained.weights import absolute, architecture_of, find, find_again

LITE0 = "efficientnet-lite0"
TIMMS = "test_resnet.r160_in1k"


@pytest.mark.parametrize("file", ["w.safetensors", "w.pth", "pytorch_model.bin"])
def test_a_file_gives_the_network_that_timm_makes_of_it(file: str, tmp_path: Path) -> None:
    """Whatever the form, these are the tensors, and the file's SHA-256 is what they are known
    by.
    """
    place = saved(tmp_path / file)
    weights, found = find(f"{SMALL}@{place}")
    assert (found, weights.sha256, weights.architecture) == (place, sha256(place), SMALL)
    arrays = of(f"{SMALL}@{place}")
    assert set(arrays) == set(small())
    assert all(np.array_equal(arrays[name], tensor) for name, tensor in small().items())
    net = with_arrays(weights, arrays, 64)
    whole: torch.nn.Module = timm.create_model(SMALL)
    whole.load_state_dict(small())
    images = torch.randn(2, 3, 64, 64)
    with torch.inference_mode():
        expected = whole.eval().forward_features(images)  # type: ignore[operator]
        assert torch.allclose(net.forward_features(images), expected, atol=1e-5)  # type: ignore[operator]


def test_networks_of_other_classes_in_wrappers_and_halves_are_read_too(tmp_path: Path) -> None:
    """As training leaves them: with 7 classes, below ``state_dict``, under DDP's names, without a
    classifier, in half precision.
    """
    seven = {f"module.{name}": tensor for name, tensor in small(7).items()}
    bare = {name: tensor for name, tensor in small().items() if not name.startswith("fc.")}
    half = {n: t.half() if t.is_floating_point() else t for n, t in small().items()}
    for number, (content, whole) in enumerate(
        (
            ({"state_dict": seven, "epoch": 3}, small(7)),
            (bare, small()),
            ({"model_ema": half, "model": seven}, small()),
        )
    ):
        torch.save(content, tmp_path / f"{number}.pth")
        arrays = of(f"{SMALL}@{tmp_path}/{number}.pth")
        for name, array in arrays.items():
            assert array == pytest.approx(whole[name].numpy(), abs=2e-3)
            assert array.dtype in (np.float32, np.int64)


def test_a_folder_of_the_hub_s_says_whose_weights_it_holds(tmp_path: Path) -> None:
    """``config.json`` has the network, its normalisation and the licence; without it one must
    say.
    """
    place = saved(tmp_path / "model.safetensors")
    with pytest.raises(BackboneError, match=r"whose weights are these.*resnet18@model.safetensors"):
        find(str(place))
    told = {"mean": [0.1, 0.2, 0.3], "std": [0.4, 0.5, 0.6], "license": "mit"}
    config = {"architecture": SMALL, "pretrained_cfg": told}
    (tmp_path / "config.json").write_text(json.dumps(config))
    weights, _ = find(str(place))
    assert (weights.mean, weights.std, weights.licence) == ((0.1, 0.2, 0.3), (0.4, 0.5, 0.6), "mit")
    for wrong in ({"mean": [0, 0]}, {"std": [0, 1, 1]}, {"std": "wide"}, {"mean": [1e999] * 3}):
        (tmp_path / "config.json").write_text(
            json.dumps({**config, "pretrained_cfg": {**told, **wrong}})
        )
        with pytest.raises(BackboneError, match=r"config.json: .*mean and std"):
            find(str(place))


class Harmful:
    """What a pickle may do to whoever opens it."""

    def __reduce__(self) -> Any:
        return exec, ("raise SystemExit('a pickle ran')",)


def damaged(kind: str, folder: Path) -> Path:
    whole = saved(folder / "whole.safetensors").read_bytes()
    path = folder / ("w.safetensors" if kind in ("cut", "header", "other", "nan") else "w.pth")
    if kind == "cut":
        path.write_bytes(whole[: len(whole) // 2])
    elif kind == "header":
        path.write_bytes((2**62).to_bytes(8, "little") + whole[8:])
    elif kind == "other":
        save_file({"weight": torch.zeros(3)}, path)
    elif kind == "nan":
        save_file({name: tensor * torch.nan for name, tensor in small().items()}, path)
    elif kind == "cut pickle":
        path.write_bytes(saved(folder / "whole.pth").read_bytes()[:-900])
    elif kind == "another network's":
        torch.save(timm.create_model("test_vit").state_dict(), path)
    elif kind == "numbers":
        torch.save(dict.fromkeys(small(), 1.0), path)
    elif kind == "a list":
        torch.save([1, 2], path)
    else:
        content = {"code": pickle.dumps(Harmful()), "code within": pickle.dumps({"a": Harmful()})}
        path.write_bytes(content.get(kind, b""))
    return path


@pytest.mark.parametrize(
    "kind",
    [
        "cut", "header", "other", "nan", "cut pickle", "another network's", "numbers", "a list",
        "code", "code within", "empty",
    ],
)  # fmt: skip
def test_what_is_no_network_s_weights_is_refused_in_a_line(kind: str, tmp_path: Path) -> None:
    """A cut download, a turned header, another network's, a pickle that would run code: nothing of
    it is run, and nothing is guessed.
    """
    place = damaged(kind, tmp_path)
    with pytest.raises(BackboneError, match=f"{place}: (not the )?weights of {SMALL}@") as refused:
        of(f"{SMALL}@{place}")
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("resnet19", "unknown backbone 'resnet19'.*alike: resnet"),
        ("resnet18.of_mine", "unknown backbone 'resnet18.of_mine'"),
        ("hf-hub:timm/resnet18", "unknown backbone 'hf-hub:timm/resnet18'"),
        ("local-dir:/tmp", "unknown backbone"),
        ("", "unknown backbone ''"),
        ("resnet18@/etc/hostname", "weights are read from .safetensors"),
        ("resnet18@none.pth", "none.pth: there is no such file of weights"),
        ("hf-hub:timm/x@FILE", "unknown backbone 'hf-hub:timm/x'"),
        ("legacy_senet154", "timm names no weights .* https://.*; give a file: legacy_senet154@"),
    ],
)
def test_a_name_that_is_none_says_what_is(name: str, said: str, tmp_path: Path) -> None:
    """timm itself would look for some of these on the network, or read any folder."""
    place = saved(tmp_path / "w.safetensors")
    with pytest.raises(BackboneError, match=said):
        find(name.replace("FILE", str(place)))


def test_files_are_named_from_wherever_a_search_is_gone_on_with(tmp_path: Path) -> None:
    """A plan is read again in another folder, and a bundle where there is no file."""
    assert absolute("resnet18@w.pth") == f"resnet18@{Path.cwd()}/w.pth"
    place = saved(tmp_path / "model.safetensors")
    (tmp_path / "config.json").write_text(json.dumps({"architecture": SMALL}))
    assert absolute(f"{tmp_path}/x/../{place.name}") == f"{SMALL}@{place}"
    assert absolute(TIMMS) == TIMMS
    for name in (TIMMS, f"{SMALL}@/no/such/file.pth"):
        assert architecture_of(name) == SMALL
    with pytest.raises(BackboneError, match="there is no such file"):
        absolute("none.bin")


def test_a_pretrained_network_is_described_without_its_weights(tmp_path: Path) -> None:
    """What it gives and costs, and whose weights are where."""
    found = output("describe", LITE0, "--size", 64)
    assert found["sha256"] == BACKBONES[LITE0].weights.sha256
    assert found["features"]["last average"] == 1280
    assert found["bytes_an_image"] == 12800
    assert (found["licence"], found["side"]) == ("Apache-2.0", 64)
    place = saved(tmp_path / "w.safetensors")
    own = output("describe", f"{SMALL}@{place}")
    assert (own["sha256"], own["side"]) == (sha256(place), 160)
    assert output("describe", "test_vit")["weights"] == "not on this machine"
    assert "--set side=224" in refused("describe", "mixer_s32_224", "--size", 100)


def test_weights_that_changed_since_are_refused_by_name(tmp_path: Path) -> None:
    """Who goes on with others compares what cannot be compared."""
    place = saved(tmp_path / "w.safetensors")
    before, _ = find(f"{SMALL}@{place}")
    assert find_again(before, "run x began") == place
    saved(place, classes=9)
    with pytest.raises(BackboneError, match=f"{SMALL}@{place} have changed since run x began"):
        find_again(before, "run x began")


def test_facts_that_no_weights_can_have_are_refused() -> None:
    """A bundle or a plan may say anything."""
    right = find(LITE0)[0]
    for wrong in (
        {"mean": (0.5, 0.5)},
        {"std": (0.5, 0.5, 0.0)},
        {"std": (0.5, float("nan"), 1)},
        {"sha256": "abc"},
        {"architecture": "hf-hub:timm/resnet18"},
    ):
        with pytest.raises(ValueError, match=r"weights|network"):
            replace(right, **wrong)  # type: ignore[arg-type]
    assert replace(right, mean=[0.5] * 3) == right  # type: ignore[arg-type]
    with pytest.raises(BackboneError, match=r"weights are not those of efficientnet-lite0"):
        with_tensors(right, dict(small()), 64)
    with pytest.raises(BackboneError, match="has no network 'toString'"):
        with_tensors(Weights("x", "toString", "0" * 64, right.mean, right.std), {}, 64)


@pytest.mark.parametrize("name", ["test_maxvit", "test_vit_relpos", "levit_128s"])
@pytest.mark.parametrize("resampled", [False, True])
def test_what_a_network_computes_for_itself_is_there_beside_its_weights(
    name: str, resampled: bool
) -> None:
    """Indices of relative positions stand in no file of weights; without them there is no image
    that such a network can see. Of a network with two classifiers both are left out.
    """
    whole: torch.nn.Module = timm.create_model(name).eval()
    tensors = dict(whole.state_dict())
    whole.reset_classifier(0)  # type: ignore[operator]
    facts = Weights(name, name, "0" * 64, (0.5,) * 3, (0.5,) * 3)
    side = own_side(whole)
    net = with_tensors(facts, tensors, side, resampled)
    pixels = torch.rand(2, 3, side, side)
    with torch.inference_mode():
        assert torch.allclose(net(pixels), whole(pixels), atol=1e-5)
