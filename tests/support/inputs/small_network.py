"""A small network of timm's, and its weights in files, for tests."""

from __future__ import annotations

import functools
from pathlib import Path
from typing import Any

import timm
import torch
from safetensors.torch import save_file

from trainables.pretrained.network import read_arrays
from trainables.pretrained.weights import find

SMALL = "test_resnet"


@functools.cache
def small(classes: int = 1000) -> dict[str, torch.Tensor]:
    """Tensors of a small network of timm's."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        net: torch.nn.Module = timm.create_model(SMALL, num_classes=classes)
    return net.state_dict()


def saved(path: Path, classes: int = 1000) -> Path:
    """A file of them, in the form that its ending says."""
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.suffix == ".safetensors":
        save_file(small(classes), path)
    else:
        torch.save(small(classes), path)
    return path


def of(name: str) -> Any:
    """What is read of the weights of that name."""
    weights, place = find(name)
    return read_arrays(facts={**weights.content, "name": name}, place=str(place))
