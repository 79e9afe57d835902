"""Export: the chosen configuration as a bundle, checked after it is written, scored on the test images once."""

from __future__ import annotations

import importlib.metadata
import json
import platform
import shutil
import time
import uuid
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from analysis import figures
from analysis.bundle import FORMAT, BundleError, BundleFacts, Measured, Model, Preprocessing, read_bundle, write_bundle, write_facts
from analysis.confusion import display_order
from analysis.leaderboard import short_config
from analysis.records import RunDirectory, RunError, TrialRecord, read_json, write_whole
from spaces import BagOfSiftConfig
from trainables.data import Dataset, ReadOptions, read_dataset
from trainables.knn.neighbours import nearest_neighbours
from trainables.knn.pipeline import CONFIG_TYPES, Validation, data_source, gallery_stage, validation_groups, weights_stage, words_stage
from trainables.scores import confusion, score
from trainables.stages import NO_CACHE, Cache, compute

Int64 = npt.NDArray[np.int64]
PACKAGES = ("numpy", "scipy", "scikit-learn", "pillow", "cyvlfeat", "safetensors")
"""What a bundle's answers depend on; their versions are written into it."""


@dataclass(frozen=True)
class Exported:
    """What an export made."""

    bundle: Path
    trial: str
    val_accuracy: float
    test_accuracy: float | None


@dataclass(frozen=True)
class Source:
    """Where an exported trial comes from: its run, how it read its images, and how it was validated."""

    run: RunDirectory
    options: ReadOptions
    validation: Validation
    seed: int
    class_order: Sequence[str] = ()
    cache: Cache = NO_CACHE


def export(source: Source, record: TrialRecord, out: Path, score_test: bool = True) -> Exported:
    """Write the bundle of a trial to ``out``; it appears whole or not at all.

    Args:
        record: a COMPLETE trial.
        score_test: score the dataset's test split, if it has one. The run counts how often.

    Raises:
        RunError: if ``out`` exists, the trial did not complete, or the images have changed.
        BundleError: if the written bundle does not give the recorded validation accuracy.
    """
    if out.exists():
        raise RunError(f"{out} exists already; give another --out or remove it")
    if record.state != "COMPLETE":
        raise RunError(f"trial {record.key} is {record.state}; only COMPLETE trials can be exported")
    if record.space not in CONFIG_TYPES:
        raise RunError(f"trial {record.key} has no classifier: only trials of {', '.join(CONFIG_TYPES)} can be exported")
    facts = source.run.data()
    dataset = read_dataset(facts.spec, source.options)
    if dataset.fingerprint != facts.fingerprint:
        raise RunError(f"{facts.spec} is not what it was when run {source.run.name} began; put the images back, or run the search again")
    temporary = out.with_name(f".{out.name}.{uuid.uuid4().hex[:8]}")
    temporary.mkdir(parents=True)
    try:
        test = _fill(temporary, source, record, dataset, score_test)
        temporary.rename(out)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
    return Exported(out, record.key, record.metrics["val_accuracy"], test.accuracy if test else None)


def _fill(folder: Path, source: Source, record: TrialRecord, dataset: Dataset, score_test: bool) -> Measured | None:
    write_bundle(folder, _model(source, record, dataset))
    model = read_bundle(folder)  # what follows is said by the written files, not by what made them
    truth, predictions = _validate(model, source.validation, dataset)
    measured = _measured(model, truth, predictions, model.facts.val.split, model.facts.val.scheme)
    if measured.accuracy != record.metrics["val_accuracy"]:
        raise BundleError(
            f"the bundle gives validation accuracy {measured.accuracy!r}, but trial {record.key} recorded "
            f"{record.metrics['val_accuracy']!r}; package versions may differ from the search's"
        )
    _draw(folder / "confusion.png", model, truth, predictions, source.class_order, "validation")
    chosen = {record.key: int(record.config["k"])}
    write_whole(folder / "curves.png", figures.to_png(figures.accuracy_by_k({record.key: record.accuracy_by_k}, chosen, {})))
    test = None
    if score_test and dataset.test is not None:
        predictions, _ = model.scores_of(dataset.test.images)
        test = _measured(model, dataset.test.labels, predictions, "test", "all training images vote")
        _draw(folder / "confusion-test.png", model, dataset.test.labels, predictions, source.class_order, "test")
        _count_test_score(source.run, record, test)
    facts = model.facts.model_copy(update={"val": measured, "test": test, "test_evaluations": len(test_scores(source.run))})
    write_facts(folder, facts)
    write_whole(folder / "README.md", model_card(facts))
    return test


def _model(source: Source, record: TrialRecord, dataset: Dataset) -> Model:
    """The trial's classifier, made again from the training images."""
    config = CONFIG_TYPES[record.space](**record.config)  # type: ignore[arg-type]
    data = data_source(dataset, source.options)
    memo = {data.stage.digest: dataset}
    features = compute(gallery_stage(config, data, source.seed), memo, cache=source.cache)
    vocabulary = weights = None
    if isinstance(config, BagOfSiftConfig):
        vocabulary = compute(words_stage(config, data, source.seed), memo, cache=source.cache)
        weights = compute(weights_stage(config, data, source.seed), memo, cache=source.cache) if config.idf else None
    scheme, split = source.validation.scheme, source.validation.split
    facts = BundleFacts(
        format=FORMAT,
        kind="knn",
        space=record.space,
        config=record.config,
        classes=dataset.classes,
        preprocessing=Preprocessing(color=source.options.color, max_side=source.options.max_side),
        val=Measured(split=split, n=data.sizes[split], scheme=scheme, accuracy=record.metrics["val_accuracy"], **_others(record)),
        test=None,
        test_evaluations=0,
        seed=source.seed,
        versions={"python": platform.python_version()} | {name: importlib.metadata.version(name) for name in PACKAGES},
        dataset=dataset.spec,
        fingerprint=dataset.fingerprint,
        test_fingerprint=dataset.test.fingerprint if dataset.test else None,
        trial=f"{source.run.name}: {record.key}",
        model_sha256="",
    )
    labels = np.tile(dataset.train.labels, len(features) // len(dataset.train.labels))  # mirror images have their image's
    return Model(facts, features, labels, vocabulary, weights)


def _others(record: TrialRecord) -> dict[str, float]:
    return {name: record.metrics[name] for name in ("balanced_accuracy", "macro_f1")}


def _validate(model: Model, validation: Validation, dataset: Dataset) -> tuple[Int64, Int64]:
    """True and predicted classes of the validation images, from the bundle's own arrays."""
    if validation.scheme == "val":
        assert dataset.val is not None  # the search ran on it
        return dataset.val.labels, model.scores_of(dataset.val.images)[0]
    n = len(dataset.train)
    groups = validation_groups(model.labels[:n], **asdict(validation), copies=len(model.labels) // n)
    neighbours = nearest_neighbours(model.features[:n], model.features, groups, metric=model.config.metric, most=model.config.k)
    return model.labels[:n], model.vote(neighbours)[0]


def _measured(model: Model, truth: Int64, predictions: Int64, split: str, scheme: str) -> Measured:
    scores = score(truth, predictions, len(model.facts.classes))
    return Measured(split=split, n=len(truth), scheme=scheme, **asdict(scores))


def _draw(path: Path, model: Model, truth: Int64, predictions: Int64, class_order: Sequence[str], part: str) -> None:
    classes = model.facts.classes
    order = display_order(classes, class_order)
    counts = confusion(truth, predictions, len(classes))[order][:, order]
    title = f"{model.facts.space}, {part} accuracy {np.mean(truth == predictions):.4f} (n = {len(truth):,})"
    write_whole(path, figures.to_png(figures.confusion(counts, [classes[i] for i in order], title)))


def test_scores(run: RunDirectory) -> list[dict[str, object]]:
    """Every time the test split of this run was scored, oldest first."""
    path = run.path / "test_scores.json"
    return list(read_json(path)) if path.is_file() else []


def _count_test_score(run: RunDirectory, record: TrialRecord, test: Measured) -> None:
    entry = {"trial": record.key, "time": time.time(), "accuracy": test.accuracy}
    write_whole(run.path / "test_scores.json", json.dumps([*test_scores(run), entry], indent=1))


@dataclass(frozen=True)
class Evaluated:
    """How a bundle does on a dataset."""

    split: str
    measured: Measured
    confusion: Int64


def evaluate(folder: Path, spec: str, skip_unreadable: bool = False) -> Evaluated:
    """Score a bundle on the test split of a dataset (else its val split, else its images).

    On the test images of the run it comes from, the bundle counts one more look.

    Raises:
        BundleError: if the bundle cannot be read, or the dataset has classes it does not know.
    """
    model = read_bundle(folder)
    dataset = read_dataset(spec, read_options(model, skip_unreadable))
    name, part = next((n, p) for n in ("test", "val", "train") if (p := dataset.splits().get(n)) is not None)
    unknown = sorted(set(dataset.classes) - set(model.facts.classes))
    if unknown:
        raise BundleError(f"{spec} has a class that the bundle has not: {', '.join(unknown)}; it has {', '.join(model.facts.classes)}")
    index = np.array([model.facts.classes.index(c) for c in dataset.classes], np.int64)
    truth = index[part.labels]
    predictions, _ = model.scores_of(part.images)
    if part.fingerprint == model.facts.test_fingerprint:
        write_facts(folder, model.facts.model_copy(update={"test_evaluations": model.facts.test_evaluations + 1}))
    measured = _measured(model, truth, predictions, name, "all training images vote")
    return Evaluated(name, measured, confusion(truth, predictions, len(model.facts.classes)))


def read_options(model: Model, skip_unreadable: bool = False) -> ReadOptions:
    """How images are read for this model: as its training images were."""
    preprocessing = model.facts.preprocessing
    return ReadOptions(color=preprocessing.color, max_side=preprocessing.max_side, skip_unreadable=skip_unreadable)


def model_card(facts: BundleFacts) -> str:
    """README.md of a bundle: what it is, how good, how chosen, and how to use it."""
    lines = [
        f"# {facts.space} classifier of {len(facts.classes)} classes",
        "",
        f"k-nearest-neighbour classifier exported by visiontune from trial `{facts.trial}`.",
        "",
        "| split | images | accuracy | balanced accuracy | macro F1 | how |",
        "|---|---|---|---|---|---|",
    ]
    for measured in (facts.val, facts.test):
        if measured:
            figures_ = f"{measured.accuracy:.4f} | {measured.balanced_accuracy:.4f} | {measured.macro_f1:.4f}"
            lines.append(f"| {measured.split} | {measured.n:,} | {figures_} | {measured.scheme} |")
    lines += [
        "",
        "The first row chose this configuration among others, so it is optimistic.",
        f"The test split of the run was scored {facts.test_evaluations} time(s) up to this export.",
        "",
        f"- configuration: `{short_config(facts.config)}`",
        f"- classes: {', '.join(facts.classes)}",
        f"- training images: `{facts.dataset}`, fingerprint `{facts.fingerprint[:16]}`",
        f"- images are read as {facts.preprocessing.color}, at most {facts.preprocessing.max_side} pixels a side",
        f"- made with: {', '.join(f'{name} {version}' for name, version in facts.versions.items())}",
        "",
        "```",
        "visiontune predict THIS_FOLDER picture.jpg",
        "visiontune evaluate THIS_FOLDER --dataset folder:DIR",
        "```",
        "",
        "Nothing in this folder is executed: it holds JSON, safetensors and pictures.",
        "",
    ]
    return "\n".join(lines)
