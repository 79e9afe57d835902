"""Predict: a class and a score per class for each image file."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

from analysis.bundle import read_bundle
from analysis.export import read_options
from trainables.data import Images
from trainables.data.image_file import read_image


def predict(folder: Path, paths: Iterable[Path]) -> list[dict[str, Any]]:
    """What the bundle in ``folder`` says of each image.

    Returns:
        A row {path, class, scores} an image; scores are the classes' shares of the vote and sum to 1.

    Raises:
        BundleError: if the bundle cannot be read.
        DatasetError: naming the first file that is no readable image.
    """
    model = read_bundle(folder)
    options = read_options(model)
    paths = list(paths)
    images = Images.from_arrays([read_image(path, options.color, options.max_side) for path in paths])
    classes, shares = model.scores_of(images)
    names = model.facts.classes
    return [
        {"path": str(path), "class": names[int(label)], "scores": dict(zip(names, (float(s) for s in row), strict=True))}
        for path, label, row in zip(paths, classes, shares, strict=True)
    ]
