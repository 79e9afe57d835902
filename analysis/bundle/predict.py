"""Predict: a class and a score per class for each image file, or for every image in a folder."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

from PIL import Image

from analysis.bundle.bundle import read_bundle
from analysis.bundle.classifier import BatchCallback, spans
from analysis.bundle.export import read_options
from spaces.errors import DatasetError
from trainables.data import Images
from trainables.data.names import on_disk, passed_over
from trainables.images.deep import FORMATS
from trainables.images.image_file import read_images


def predict(
    folder: Path,
    paths: Iterable[Path],
    skip_unreadable: bool = False,
    say: BatchCallback = lambda done, of: None,
) -> tuple[list[dict[str, Any]], list[str]]:
    """What the bundle in ``folder`` says of each image, read and classified a batch at a time.

    Args:
        paths: image files, and folders, of which every image file below is taken, in the order of
            their paths.
        skip_unreadable: leave out files that cannot be read, instead of refusing them.
        say: told after each batch.

    Returns:
        A row {path, class, scores} an image (scores are the classes' shares of the vote, or
        probabilities, and sum to 1), and why files were left out, a line each.

    Raises:
        BundleError: if the bundle cannot be read.
        DatasetError: naming the first file that is no readable image, or a folder without images.
    """
    model = read_bundle(folder)
    options, names = read_options(model), model.facts.classes
    files = [file for path in paths for file in _files(path)]
    rows: list[dict[str, Any]] = []
    skipped: list[str] = []
    for start, stop in spans(len(files), model.batch):
        outcomes = list(
            zip(
                files[start:stop],
                read_images(files[start:stop], options.color, options.max_side, options.rule),
                strict=True,
            )
        )
        bad = [outcome for _, outcome in outcomes if isinstance(outcome, DatasetError)]
        if bad and not skip_unreadable:
            raise DatasetError(f"{bad[0]}, or pass --skip-unreadable")
        skipped += [str(reason) for reason in bad]
        good = [(path, image) for path, image in outcomes if not isinstance(image, DatasetError)]
        if good:
            classes, shares = model.scores_of(Images.from_arrays([image for _, image in good]))
            rows += [
                {
                    "path": on_disk(path),
                    "class": names[int(label)],
                    "scores": dict(zip(names, map(float, row), strict=True)),
                }
                for (path, _), label, row in zip(good, classes, shares, strict=True)
            ]
        say(stop, len(files))
    return rows, skipped


def _files(path: Path) -> list[Path]:
    """``path`` itself, or the image files below it; hidden ones are passed over, and so are those
    of other kinds.
    """
    if not path.is_dir():
        return [path]
    Image.init()
    endings = {ending for ending, kind in Image.EXTENSION.items() if kind in FORMATS}
    below = [
        file
        for file in sorted(path.rglob("*"))
        if file.suffix.lower() in endings and file.is_file()
    ]
    found = [file for file in below if not any(map(passed_over, file.relative_to(path).parts))]
    if not found:
        raise DatasetError(
            f"{path}: no image files in this folder; read are {', '.join(sorted(endings))}"
        )
    return found
