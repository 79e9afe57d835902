"""Export: the chosen configuration as a bundle, checked after it is written, scored on the test
images once.
"""

from __future__ import annotations

import contextlib
import os
import shutil
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from analysis.bundle.bundle import read_bundle, write_bundle
from analysis.bundle.classifier import (
    CLASSIFIERS,
    Classifier,
    Int64,
    Model,
)
from analysis.bundle.facts import TOLERANCE, BundleError, BundleFacts, Replicated, write_facts
from analysis.bundle.model_card import model_card
from analysis.bundle.source import ExportRequest, Source
from analysis.figures import drawing as figures
from analysis.figures.curves import learning_curves
from analysis.ranking.calibration import Calibration, before_and_after, calibrate
from analysis.ranking.confusion import display_order
from analysis.ranking.corrected import corrected_of
from analysis.ranking.leaderboard import replicas
from analysis.ranking.looks import count_look, looks
from analysis.ranking.shares import shares_of
from analysis.run.directory import RunError
from analysis.run.records import Measured, TrialRecord
from trainables.data import Dataset, read_dataset
from trainables.data.remarks import leaked
from trainables.data.scores import confusion, score
from trainables.data.validation import Validation
from trainables.io.files import hold, left_behind, remove, temporary_name, write_whole
from trainables.learners import LEARNERS

if TYPE_CHECKING:
    from matplotlib.figure import Figure


@dataclass(frozen=True)
class Exported:
    """What an export made, and what is to be known of its images, a line each; the accuracy on the
    whole test too, where images were left out of it.
    """

    bundle: Path
    trial: str
    val_accuracy: float
    test_accuracy: float | None
    notes: tuple[str, ...] = ()
    whole_test_accuracy: float | None = None


def export(
    source: Source, record: TrialRecord, out: Path, request: ExportRequest | None = None
) -> Exported:
    """Write the bundle of a trial to ``out``; it appears whole or not at all.

    Args:
        record: a COMPLETE trial.

    Raises:
        RunError: if ``out`` exists, the trial did not complete, or the images have changed.
        BundleError: if the written bundle does not give the recorded validation accuracy.
    """
    request = request or ExportRequest()
    if record.state != "COMPLETE":
        raise RunError(
            f"trial {record.key} is {record.state}; only COMPLETE trials can be exported"
        )
    kind = LEARNERS[record.space].classifier
    if not kind:
        names = ", ".join(one.name for one in LEARNERS.values() if one.classifier)
        raise RunError(
            f"trial {record.key} has no classifier: only trials of {names} can be exported"
        )
    if not CLASSIFIERS[kind].epochs and (request.refit or request.epoch != "last"):
        raise RunError(
            f"trial {record.key} trains no network, so there is no --refit and no --epoch; "
            "leave them out"
        )
    request.check([record])
    with appearing(out) as temporary:
        dataset = images_of(source)
        made = fill(temporary, source, record, dataset, request)
    test, whole = (found.accuracy if found else None for found in (made.test, made.test_all))
    return Exported(out, record.key, made.val.accuracy, test, dataset.notes, whole)


def images_of(source: Source) -> Dataset:
    """The images of a run, as they were when it began.

    Raises:
        RunError: if they have changed.
    """
    facts = source.run.data()
    looks(source.run)  # what cannot be read is to be known before the work, not after it
    dataset = read_dataset(facts.spec, source.options)
    if dataset.fingerprint != facts.fingerprint:
        raise RunError(
            f"{facts.spec} is not what it was when run {source.run.name} began; put the images "
            "back, or run the search again"
        )
    return dataset


@contextlib.contextmanager
def appearing(out: Path) -> Iterator[Path]:
    """A folder to fill, which becomes ``out`` when that is done, and is gone where it fails.

    Raises:
        RunError: if ``out`` exists.
    """
    if out.exists():
        raise RunError(f"{out} exists already; give another --out or remove it")
    for path in left_behind(out.parent, of=out):
        remove(path)
    temporary = temporary_name(out)
    temporary.mkdir(parents=True)
    marked = os.open(temporary, os.O_RDONLY | os.O_CLOEXEC)
    try:
        hold(marked)
        yield temporary
        temporary.rename(out)
    finally:
        os.close(marked)
        shutil.rmtree(temporary, ignore_errors=True)


def fill(
    folder: Path, source: Source, record: TrialRecord, dataset: Dataset, request: ExportRequest
) -> BundleFacts:
    kind = CLASSIFIERS[LEARNERS[record.space].classifier]
    made = kind.make(source, record, dataset, request)
    recorded = made.facts.val.accuracy
    write_bundle(folder, made, unfinished=True)
    # what follows is said by the written files, not by what made them
    model = read_bundle(folder, whole=False)
    facts = model.facts
    if request.refit:
        _check_same(made, model, dataset)
    else:
        truth, predictions = _validate(kind, model, source.validation, dataset)
        measured = scored(model, truth, predictions, facts.val.split, facts.val.scheme)
        # a GPU rounds otherwise than the cores that judge it here
        allowed = max(model.tolerance, TOLERANCE if record.device else 0.0)
        if abs(measured.accuracy - recorded) > allowed:
            raise BundleError(
                f"the bundle gives validation accuracy {measured.accuracy!r}, but trial "
                f"{record.key} recorded {recorded!r}; "
                "package versions may differ from the search's"
            )
        facts = facts.model_copy(update={"val": measured})
        draw(folder / "confusion.png", model, truth, predictions, source.class_order, "validation")
    if curves := _curves(facts, record):
        write_whole(folder / "curves.png", figures.to_png(curves))
    facts = facts.model_copy(update=score_test(folder, model, source, record, dataset, request))
    if request.calibrate and not request.refit and request.epoch == "last":
        shares = shares_of(source.run, record, facts.val.n, len(facts.classes))
        facts = facts.model_copy(update=calibrated(folder, source, shares))
    again = replicas(record, "val_accuracy")
    told = {
        "unfinished": False,
        "test_evaluations": len(looks(source.run)),
        "replicas": Replicated(**again) if again else None,
        "corrected": corrected_of(source.run, record),
    }
    facts = facts.model_copy(update=told)
    write_facts(folder, facts)
    write_whole(folder / "README.md", model_card(facts))
    return facts


def score_test(
    folder: Path,
    model: Model,
    source: Source,
    record: TrialRecord,
    dataset: Dataset,
    request: ExportRequest,
) -> dict[str, Measured | None]:
    """What a bundle has on the test images, which the run counts; nothing if that is not asked."""
    if not request.score_test or dataset.test is None:
        return {}
    predictions, _ = model.scores_of(dataset.test.images)
    truth, whole = dataset.test.labels, None
    test = scored(model, truth, predictions, "test", model.how_tested)
    kept = not_leaked(dataset, "test", request.drop_leaked)
    if kept is not None:
        truth, predictions, whole = truth[kept], predictions[kept], test
        test = scored(model, truth, predictions, "test", model.how_tested)
    drawn = folder / "confusion-test.png"
    draw(drawn, model, truth, predictions, source.class_order, "test")
    count_look(source.run, record, test, whole)
    return {"test": test, "test_all": whole}


def calibrated(
    folder: Path, source: Source, shares: npt.NDArray[np.float32] | None
) -> dict[str, Calibration]:
    """What makes probabilities of (n, classes) shares of the validation images, drawn as
    reliability.png; nothing where they were not kept.
    """
    labels = source.run.validation_labels()
    if shares is None or labels is None:
        return {}
    found = calibrate(shares, labels)
    drawn = before_and_after(found, shares, labels)
    write_whole(folder / "reliability.png", figures.to_png(figures.reliability(drawn)))
    return {"calibration": found}


def not_leaked(dataset: Dataset, split: str, drop_leaked: bool) -> npt.NDArray[np.bool_] | None:
    """Which test images are no training images; None where all are to be counted.

    Raises:
        BundleError: if none is left.
    """
    if not drop_leaked or split != "test" or not (copies := leaked(dataset)).any():
        return None
    if copies.all():
        raise BundleError(
            f"{dataset.spec}: all test images are also training images; without --drop-leaked "
            "they are scored"
        )
    return np.asarray(~copies)


def _validate(
    kind: Classifier, model: Model, validation: Validation, dataset: Dataset
) -> tuple[Int64, Int64]:
    """True and predicted classes of the validation images, from the bundle's own arrays."""
    if validation.scheme != "val":
        assert kind.left_out is not None  # the search was judged so
        return kind.left_out(model, validation, dataset)
    assert dataset.val is not None  # the search ran on it
    return dataset.val.labels, model.scores_of(dataset.val.images)[0]


def _check_same(made: Model, written: Model, dataset: Dataset) -> None:
    """That what no validation images can judge any more classifies as it did before it was written.

    Raises:
        BundleError: if it does not.
    """
    some = dataset.train.images[:1000]
    if not np.array_equal(made.scores_of(some)[1], written.scores_of(some)[1]):
        raise BundleError(
            "the written network classifies otherwise than the trained one; export it again"
        )


def _curves(facts: BundleFacts, record: TrialRecord) -> Figure | None:
    if facts.history:
        return learning_curves({record.key: facts.history}, {})
    if not record.accuracy_by_k:
        return None
    return figures.accuracy_by_k(
        {record.key: record.accuracy_by_k}, {record.key: int(record.config["k"])}, {}
    )


def scored(model: Model, truth: Int64, predictions: Int64, split: str, scheme: str) -> Measured:
    scores = score(truth, predictions, len(model.facts.classes))
    return Measured(split=split, n=len(truth), scheme=scheme, **asdict(scores))


def draw(
    path: Path,
    model: Model,
    truth: Int64,
    predictions: Int64,
    class_order: Sequence[str],
    part: str,
) -> None:
    classes = model.facts.classes
    order = display_order(classes, class_order)
    counts = confusion(truth, predictions, len(classes))[order][:, order]
    title = (
        f"{model.facts.space}, {part} accuracy {np.mean(truth == predictions):.4f} (n = "
        f"{len(truth):,})"
    )
    write_whole(path, figures.to_png(figures.confusion(counts, [classes[i] for i in order], title)))
