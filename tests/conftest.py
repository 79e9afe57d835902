"""Helpers shared by the tests."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from program import output, visiontune

MakeFolder = Callable[[Path, Mapping[str, Mapping[str, int]]], Path]


def write_folder(root: Path, splits: Mapping[str, Mapping[str, int]], *, side: int = 24, seed: int = 0) -> Path:
    """A tree of small random grey images, ``{split: {class: images}}``; the split ``""`` puts classes right under ``root``.

    PNG and JPEG files alternate.
    """
    generator = np.random.default_rng(seed)
    for split, classes in splits.items():
        for name, count in classes.items():
            folder = root / split / name
            folder.mkdir(parents=True, exist_ok=True)
            for number in range(count):
                pixels = generator.integers(0, 256, (side, side), dtype=np.uint8)
                Image.fromarray(pixels).save(folder / f"{number:03d}.{'jpg' if number % 2 else 'png'}")
    return root


@pytest.fixture
def make_folder() -> MakeFolder:
    """``make_folder(root, {split: {class: n}})`` writes real image files and returns ``root``."""
    return write_folder


@pytest.fixture(scope="session")
def digits_runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A runs directory that holds one finished search of both spaces on digits, called ``first``; for reading."""
    runs = tmp_path_factory.mktemp("runs")
    done = visiontune("run", "--space", "tiny-image", "--space", "bag-of-sift", "--trials", 12, "--name", "first", "--runs-dir", runs)
    assert done.returncode == 0, done.stderr
    return runs


@pytest.fixture(scope="session")
def digits_bundle(digits_runs: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The bundle of the best trial of ``first``; for reading."""
    bundle = tmp_path_factory.mktemp("bundles") / "best"
    output("export", "first", "--runs-dir", digits_runs, "--out", bundle)
    return bundle
