"""A small search of networks, for tests."""

from __future__ import annotations

from pathlib import Path

SMALL = {
    "model": "fastnet",
    "width": 0.125,
    "flip": 0.0,
    "test_flip": "false",
    "cutout": 0,
    "jitter": 0.0,
    "mixup": 0.0,
    "cutmix": 0.0,
    "batch_size": 128,
}
"""Settings of a network that learns digits in seconds."""


def arguments(
    runs: Path,
    name: str,
    trials: int,
    epochs: int,
    *more: object,
    dataset: str = "digits",
    **settings: object,
) -> tuple[object, ...]:
    """What to type after ``visiontune`` for a search."""
    words = [
        word for key, value in {**SMALL, **settings}.items() for word in ("--set", f"{key}={value}")
    ]
    plan = (
        "run",
        "--space",
        "cnn",
        "--dataset",
        dataset,
        "--trials",
        trials,
        "--epochs",
        epochs,
        "--no-tracking",
    )
    return (*plan, "--name", name, "--runs-dir", runs, *words, *more)
