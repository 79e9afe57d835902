"""The file that a trained network is kept in: what comes back, and what is refused."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import save

from trainables.cnn.weights import KEY, NetworkUse, WeightsError, pack, read, write

USE = NetworkUse(
    size=48,
    classes=3,
    mean=(1.5, 2.5, 3.5),
    std=(4.0, 5.0, 6.0),
    dtype="bfloat16",
    device="cuda",
    threads=2,
    epoch=7,
)
TENSORS = {"a.weight": torch.arange(6.0).view(2, 3).T, "count": torch.tensor(5)}


def test_what_is_written_comes_back_to_the_bit_with_all_that_its_use_needs(tmp_path: Path) -> None:
    """A mean in the wrong place, or another epoch's number, would be used without a word."""
    write(tmp_path / "new" / "x.safetensors", TENSORS, USE)
    tensors, use = read(tmp_path / "new" / "x.safetensors")
    assert use == USE
    assert set(tensors) == set(TENSORS)
    assert all(
        torch.equal(tensors[name], tensor) and tensors[name].dtype is tensor.dtype
        for name, tensor in TENSORS.items()
    )


FACTS = {
    "size": 48,
    "classes": 3,
    "mean": [1.0],
    "std": [1.0],
    "dtype": "float32",
    "device": "cpu",
    "threads": 1,
    "epoch": 1,
}
WHOLE = pack(TENSORS, USE)
DAMAGED = {
    "empty": b"",
    "cut": WHOLE[:-10],
    "a header that is too long": (1 << 40).to_bytes(8, "little") + WHOLE[8:],
    "no facts": save({"a": torch.zeros(1)}),
    "facts of somebody else": save({"a": torch.zeros(1)}, metadata={"other": "{}"}),
    "facts that are no JSON": save({"a": torch.zeros(1)}, metadata={KEY: "{"}),
    "a list of facts": save({"a": torch.zeros(1)}, metadata={KEY: "[]"}),
    "a fact too few": save(
        {"a": torch.zeros(1)},
        metadata={KEY: json.dumps({k: v for k, v in FACTS.items() if k != "epoch"})},
    ),
    "a fact too many": save(
        {"a": torch.zeros(1)}, metadata={KEY: json.dumps({**FACTS, "code": "x"})}
    ),
    "a mean that is none": save(
        {"a": torch.zeros(1)}, metadata={KEY: json.dumps({**FACTS, "mean": 3})}
    ),
}


@pytest.mark.parametrize("content", DAMAGED.values(), ids=list(DAMAGED))
def test_damaged_weights_are_refused_in_one_line(tmp_path: Path, content: bytes) -> None:
    """They come from disks and buckets, and whatever they hold, the program says so and ends."""
    (tmp_path / "x.safetensors").write_bytes(content)
    with pytest.raises(WeightsError) as caught:
        read(tmp_path / "x.safetensors")
    assert str(caught.value).startswith(f"{tmp_path / 'x.safetensors'}: damaged weights: ")
    assert "\n" not in str(caught.value)


def test_weights_that_are_not_there_or_cannot_be_read_are_told_apart(tmp_path: Path) -> None:
    """Who mistyped a path looks elsewhere than who may not read it."""
    with pytest.raises(WeightsError, match=r"x\.safetensors: no such weights"):
        read(tmp_path / "x.safetensors")
    with pytest.raises(WeightsError, match="cannot be read: "):
        read(tmp_path)
