"""A task on which more training does worse: the labels of its validation and test images are those
of another class.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

SETTINGS: dict[str, Any] = {
    "model": "fastnet", "width": 0.125, "fastnet_convolutions": 2, "whiten": False,
    "dropout_place": "none", "flip": 0.0, "rotation": 0.0,
    "crop": 0, "cutout": 0, "jitter": 0.0, "mixup": 0.0, "cutmix": 0.0, "first_side": 1.0,
    "batch_size": 10, "optimizer": "sgd",
    "learning_rate": 0.03, "momentum": 0.8, "weight_decay": 0.0005, "schedule": "one-cycle",
    "ema": 0.9, "test_flip": False,
    "test_shift": 0, "label_smoothing": 0.0,
}  # fmt: skip
"""Of a network that learns slowly enough for its epochs to differ, and whose averaged weights are
not its own.
"""
CLASSES = ("left", "middle", "right")


@dataclass(frozen=True)
class Part:
    """(n, 32, 32, 3) uint8 images and (n,) labels."""

    images: np.ndarray[Any, Any]
    labels: np.ndarray[Any, Any]


def part(count: int, seed: int, *, wrong: bool) -> Part:
    """Bars on noise, on the left, in the middle or on the right; labelled as the next class if
    ``wrong``.
    """
    draw = np.random.default_rng(seed)
    shown = np.arange(count) % len(CLASSES)
    images = draw.integers(0, 160, (count, 32, 32, 3), dtype=np.uint8)
    for image, label in zip(images, shown, strict=True):
        image[:, 8 * label + 4 : 8 * label + 12] += 60
    return Part(images, (shown + wrong) % len(CLASSES))


def words() -> list[str]:
    """``SETTINGS`` as they are typed."""
    return [
        word
        for name, value in SETTINGS.items()
        for word in ("--set", f"{name}={json.dumps(value).strip(chr(34))}")
    ]


def write(path: Path, counts: tuple[int, int, int] = (120, 90, 60)) -> str:
    """Write it as an npz file; what ``--dataset`` takes."""
    names = ("train", "val", "test")
    parts = {
        name: part(count, seed, wrong=name != "train")
        for seed, (name, count) in enumerate(zip(names, counts, strict=True))
    }
    arrays = {
        f"{letter}_{name}": array
        for name, one in parts.items()
        for letter, array in (("x", one.images), ("y", one.labels))
    }
    np.savez(path, classes=np.array(CLASSES), **arrays)
    return f"npz:{path}"
