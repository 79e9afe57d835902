"""Use of a bundle: what it says of image files, and how well it does on a dataset."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from analysis.bundle.bundle import read_bundle
from analysis.bundle.classifier import (
    BatchCallback,
    Float64,
    Int64,
    Model,
    scores_in_batches,
    spans,
)
from analysis.bundle.export import not_leaked, scored
from analysis.bundle.facts import BundleError, BundleFacts, write_facts
from analysis.ranking.calibration import Calibration
from analysis.run.records import Measured
from spaces.errors import DatasetError
from trainables.data import Images, ReadOptions, read_dataset
from trainables.data.dataset import UInt8, few
from trainables.data.fetched import own_place
from trainables.data.names import lookalike, on_disk, passed_over
from trainables.data.scores import confusion
from trainables.images.deep import FORMATS
from trainables.images.image_file import read_images


@dataclass(frozen=True)
class Evaluated:
    """How a bundle does on a dataset: in all, and (n,) true classes, (n,) given ones and (n,
    classes) scores of each image.

    Attributes:
        notes: what is to be known of the images, a line each.
        whole: on all images, where ``measured`` and ``confusion`` leave out test images that are
            also training images.
    """

    split: str
    measured: Measured
    confusion: Int64
    labels: Int64
    predictions: Int64
    scores: Float64
    notes: tuple[str, ...] = ()
    whole: Measured | None = None


def evaluate(
    folder: Path,
    spec: str,
    skip_unreadable: bool = False,
    say: BatchCallback = lambda done, of: None,
    drop_leaked: bool = False,
) -> Evaluated:
    """Score a bundle on the test split of a dataset (else its val split, else its images); ``say``
    is told after each batch.

    On the test images of the run it comes from, the bundle counts one more look.

    Raises:
        BundleError: if the bundle cannot be read, or the dataset has classes it does not know.
    """
    model = read_bundle(folder)
    dataset = read_dataset(spec, read_options(model, skip_unreadable))
    name, part = next(
        (n, p) for n in ("test", "val", "train") if (p := dataset.splits().get(n)) is not None
    )
    unknown = sorted(set(dataset.classes) - set(model.facts.classes))
    if unknown:
        alike = next(
            (said for name in unknown if (said := lookalike(name, model.facts.classes))), ""
        )
        told = (
            f"{alike}: give both the same name"
            if alike
            else f"it has {few(model.facts.classes, 20)}"
        )
        raise BundleError(f"{spec} has a class that the bundle has not: {few(unknown)}; {told}")
    place = {name: i for i, name in enumerate(model.facts.classes)}
    index = np.array([place[name] for name in dataset.classes], np.int64)
    truth = index[part.labels]
    predictions, scores = scores_in_batches(model, part.images, say)
    if part.fingerprint == model.facts.test_fingerprint:
        write_facts(
            folder,
            model.facts.model_copy(update={"test_evaluations": model.facts.test_evaluations + 1}),
        )
    measured, whole = scored(model, truth, predictions, name, model.how_tested), None
    counted, given = truth, predictions
    if (kept := not_leaked(dataset, name, drop_leaked)) is not None:
        counted, given, whole = truth[kept], predictions[kept], measured
        measured = scored(model, counted, given, name, model.how_tested)
    return Evaluated(
        name,
        measured,
        confusion(counted, given, len(model.facts.classes)),
        truth,
        predictions,
        scores,
        dataset.notes,
        whole,
    )


def read_options(model: Model, skip_unreadable: bool = False) -> ReadOptions:
    """How images are read for this model: as its training images were."""
    preprocessing = model.facts.preprocessing
    return ReadOptions(
        color=preprocessing.color,
        max_side=preprocessing.max_side,
        skip_unreadable=skip_unreadable,
        rule=preprocessing.rule,
        judged_only=True,
        shards=str(own_place() / "shards"),
        square=preprocessing.size,
    )


def predict(
    folder: Path,
    paths: Iterable[Path],
    skip_unreadable: bool = False,
    say: BatchCallback = lambda done, of: None,
    coverage: float | None = None,
) -> tuple[list[dict[str, Any]], list[str]]:
    """What the bundle in ``folder`` says of each image, read and classified a batch at a time.

    Args:
        paths: image files, and folders, of which every image file below is taken, in the order of
            their paths.
        skip_unreadable: leave out files that cannot be read, instead of refusing them.
        say: told after each batch.
        coverage: how often the ``set`` of an image is to hold its class.

    Returns:
        A row {path, class, scores} an image, with ``set``, a list of classes, where a coverage is
        asked (scores are probabilities, or the classes' shares of the vote, and sum to 1), and why
        files were left out, a line each.

    Raises:
        BundleError: if the bundle cannot be read.
        DatasetError: naming the first file that is no readable image, or a folder without images.
    """
    model = read_bundle(folder)
    options, names = read_options(model), model.facts.classes
    least = None if coverage is None else calibration_of(model.facts).threshold(coverage)
    files = [file for path in paths for file in _files(path)]
    rows: list[dict[str, Any]] = []
    skipped: list[str] = []
    for start, stop in spans(len(files), model.batch):
        good, bad = _read(files[start:stop], options, skip_unreadable)
        skipped += bad
        if good:
            classes, shares = model.scores_of(Images.from_arrays([image for _, image in good]))
            rows += [
                {
                    "path": on_disk(path),
                    "class": names[int(label)],
                    "scores": dict(zip(names, map(float, row), strict=True)),
                    **({} if least is None else {"set": _likely(names, row, least)}),
                }
                for (path, _), label, row in zip(good, classes, shares, strict=True)
            ]
        say(stop, len(files))
    return rows, skipped


def read_pictures(
    model: Model, paths: Iterable[Path], skip_unreadable: bool, most: int
) -> tuple[list[tuple[Path, UInt8]], list[str]]:
    """At most ``most`` images, as ``predict`` takes them, and why files were left out.

    Raises:
        BundleError: if there are more.
        DatasetError: as ``predict``.
    """
    files = [file for path in paths for file in _files(path)]
    if len(files) > most:
        raise BundleError(f"at most {most:,} images are explained at once, but got {len(files):,}")
    return _read(files, read_options(model), skip_unreadable)


def _read(
    files: Sequence[Path], options: ReadOptions, skip_unreadable: bool
) -> tuple[list[tuple[Path, UInt8]], list[str]]:
    found = read_images(files, options.color, options.max_side, options.rule)
    outcomes = list(zip(files, found, strict=True))
    bad = [str(outcome) for _, outcome in outcomes if isinstance(outcome, DatasetError)]
    if bad and not skip_unreadable:
        raise DatasetError(f"{bad[0]}, or pass --skip-unreadable")
    return [(path, one) for path, one in outcomes if not isinstance(one, DatasetError)], bad


def calibration_of(facts: BundleFacts) -> Calibration:
    """What makes probabilities of a bundle's scores.

    Raises:
        BundleError: if it has none.
    """
    if facts.calibration is None:
        raise BundleError(
            "this bundle's scores are not calibrated, so --coverage cannot be promised: its run "
            "kept nothing for that (older versions did not), or it was refitted; search and export "
            "again"
        )
    return facts.calibration


def _likely(names: Sequence[str], scores: Float64, least: float) -> list[str]:
    order = np.argsort(-scores, kind="stable")
    return [names[int(one)] for one in order if scores[one] >= least]


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
