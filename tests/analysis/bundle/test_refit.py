"""A network trained again for export: on which images, from which seed, for how long, and what is
written of it.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import fading
import numpy as np
import pytest
import torch

from analysis.bundle.bundle import read_bundle, write_bundle
from analysis.bundle.export_cnn import refit_cnn
from analysis.bundle.facts import BundleError, write_facts
from analysis.bundle.source import Source
from analysis.plan.complaints import PlanError
from analysis.plan.plan import make_plan
from analysis.run.directory import RunDirectory
from analysis.run.records import TrialRecord
from search.driver.networks import keep_start, start_warning, training_settings, with_start
from spaces import CnnConfig
from trainables.cnn import weights
from trainables.cnn.data import CnnData
from trainables.cnn.images import stack
from trainables.cnn.models import build
from trainables.cnn.precision import DTYPES
from trainables.cnn.run import make_run
from trainables.cnn.training import CnnRun
from trainables.cnn.weights import mean_over_views
from trainables.contract.assignment import TrainingSettings
from trainables.data import Dataset, ReadOptions, read_dataset
from trainables.data.validation import Validation, comes_in

CONFIG = CnnConfig(**fading.SETTINGS)
FIGURES = {"val_accuracy": 0.7, "balanced_accuracy": 0.6, "macro_f1": 0.5, "val_loss": 1.0}
RECORD = TrialRecord(
    space="cnn",
    number=2,
    state="COMPLETE",
    config=asdict(CONFIG),
    metrics=FIGURES,
    started=0.0,
    seconds=1.0,
)


@pytest.fixture(autouse=True)
def one_core(monkeypatch: pytest.MonkeyPatch) -> None:
    """A refit takes every core it may have; here it may have one, as others work beside."""
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: {0})


@pytest.fixture
def dataset(tmp_path: Path) -> Dataset:
    return read_dataset(
        fading.write(tmp_path / "images.npz", (40, 30, 20)), ReadOptions(color="rgb", keep_val=True)
    )


@pytest.fixture
def source(tmp_path: Path) -> Source:
    told = TrainingSettings(2, 32, 1, False, False, 0.0, "val_accuracy", True)
    return Source(
        RunDirectory(tmp_path / "made"), ReadOptions(color="rgb"), Validation("val"), 3, told
    )


def trained(data: CnnData, epochs: int, **more: Any) -> CnnRun:
    threads, device = len(os.sched_getaffinity(0)), "cuda" if torch.cuda.is_available() else "cpu"
    how = {"epochs": epochs, "seed": 3, "device": device, "threads": threads, **more}
    run = CnnRun(CONFIG, data, classes=3, **how)
    while not run.done:
        run.step()
    return run


@pytest.mark.parametrize("wanted", [None, 8])
def test_a_refit_of_a_population_s_winner_has_the_values_of_each_epoch(
    dataset: Dataset, source: Source, wanted: int | None, tmp_path: Path
) -> None:
    """Its last values alone never trained a network like it; and a winner that others went on from
    is trained as far as it was.
    """
    told = TrainingSettings(4, 32, 1, False, False, 0.0, "val_accuracy", True)
    source = replace(source, population=True, settings=told)
    other = replace(CONFIG, learning_rate=0.01, momentum=0.5)
    records = [
        RECORD.model_copy(update={"number": 0, "steps": 1}),
        RECORD.model_copy(
            update={"number": 1, "steps": 3, "parent": 0, "config": asdict(other)},
        ),
    ]
    source.run.path.mkdir()
    for record in records:
        source.run.write_record(record, "", None, None)
    epochs: list[int] = []
    made = refit_cnn(source, records[1], dataset, wanted, lambda epoch, *_: epochs.append(epoch))
    scale = (wanted or 4) // 4
    assert epochs == list(range(1, 3 * scale + 1))
    assert dataset.val is not None
    data = CnnData(
        np.concatenate([stack(dataset.train.images, 32), stack(dataset.val.images, 32)]),
        np.concatenate([dataset.train.labels, dataset.val.labels]),
    )
    runs = [
        CnnRun(one, data, classes=3, epochs=4 * scale, seed=3, device="cpu", threads=1)
        for one in (CONFIG, other)
    ]
    for _ in range(scale):
        runs[0].step()
    runs[0].save(tmp_path / "between")
    runs[1].load(tmp_path / "between", changing=True)
    for _ in range(2 * scale):
        runs[1].step()
    tensors, use = weights.parse(made.file, "the refit")
    assert use.epoch == 3 * scale
    for name, tensor in runs[1].judged.state_dict().items():
        assert torch.equal(tensors[name], tensor.cpu()), name


@pytest.mark.parametrize("wanted", [None, 3])
def test_a_refit_is_the_training_on_the_training_and_validation_images_and_no_others(
    dataset: Dataset, source: Source, wanted: int | None
) -> None:
    """With the test images among them its test accuracy would be a lie; without the validation
    images it would be a lesser network.
    """
    told: list[tuple[int, int]] = []

    def say(epoch: int, epochs: int, metrics: Mapping[str, float]) -> None:
        assert metrics["train_loss"] > 0
        told.append((epoch, epochs))

    made = refit_cnn(source, RECORD, dataset, wanted, say)
    epochs = wanted or 2
    assert dataset.val is not None
    assert dataset.test is not None
    images = np.concatenate([stack(dataset.train.images, 32), stack(dataset.val.images, 32)])
    assert images.shape == (70, 3, 32, 32)
    expected = trained(
        CnnData(images, np.concatenate([dataset.train.labels, dataset.val.labels])), epochs
    )
    tensors, use = weights.parse(made.file, "the refit")
    for name, tensor in expected.judged.state_dict().items():
        assert torch.equal(tensors[name], tensor.cpu()), name
    assert use == expected.use
    assert use.epoch == epochs
    assert told == [(epoch + 1, epochs) for epoch in range(epochs)]
    assert made.facts.refit
    assert made.facts.val.accuracy == 0.7
    assert made.facts.val.scheme == "before it was trained again on these images too"
    assert [row["step"] for row in made.facts.history] == list(range(epochs))
    assert [row["train_loss"] for row in made.facts.history] == [
        row["train_loss"] for row in expected.history
    ]


def test_a_refit_sees_parts_of_the_images_first_as_the_search_did(
    dataset: Dataset, source: Source
) -> None:
    """Trained otherwise than what was chosen, it would be another network."""
    assert source.settings is not None
    told = replace(source.settings, parts=(0.5, 1.0))
    made = refit_cnn(replace(source, settings=told), RECORD, dataset, None, lambda *_: None)
    assert dataset.val is not None
    images = np.concatenate([stack(dataset.train.images, 32), stack(dataset.val.images, 32)])
    labels = np.concatenate([dataset.train.labels, dataset.val.labels])
    data = CnnData(images, labels, order=comes_in(labels, seed=3))
    run = trained(data, 2, shares=(0.5, 1.0))
    assert run.course.steps == (4, 7)
    tensors, _ = weights.parse(made.file, "the refit")
    for name, tensor in run.judged.state_dict().items():
        assert torch.equal(tensors[name], tensor.cpu()), name


def test_no_test_image_changes_a_refit(dataset: Dataset, source: Source) -> None:
    """Not a bit, whatever they show and however many they are."""
    others = read_dataset(
        fading.write(source.run.path.parent / "others.npz", (40, 30, 50)),
        ReadOptions(color="rgb", keep_val=True),
    )
    files = [
        refit_cnn(source, RECORD, one, 1, lambda *_: None).file
        for one in (dataset, replace(dataset, test=others.test), replace(dataset, test=None))
    ]
    assert files[0] == files[1] == files[2]


@pytest.mark.parametrize(
    ("told_apart", "kept"),
    [(("left", "middle", "right"), True), (("middle", "left", "right"), False)],
)
def test_the_head_of_a_network_to_start_from_is_kept_only_for_the_same_classes(
    dataset: Dataset, source: Source, tmp_path: Path, told_apart: tuple[str, ...], kept: bool
) -> None:
    """Of other classes, or in another order, it would begin with certainty in what is wrong."""
    data = CnnData.from_dataset(dataset)
    before = trained(data, 1)
    place = tmp_path / "start.safetensors"
    weights.write(place, before.judged.state_dict(), before.use)
    assert source.settings is not None
    told = replace(source.settings, start=str(place), start_classes=told_apart)
    run = make_run(
        replace(CONFIG, whiten=True), data, told, dataset.classes, seed=4, device="cpu", threads=1
    )
    fresh = make_run(
        replace(CONFIG, whiten=True),
        data,
        replace(told, start=""),
        dataset.classes,
        seed=4,
        device="cpu",
        threads=1,
    )
    for name, tensor in run.net.state_dict().items():
        expected = before.judged if kept or not name.startswith("fc.") else fresh.net
        assert torch.equal(tensor, expected.state_dict()[name].cpu()), name


def test_a_search_that_starts_from_a_bundle_keeps_it_and_is_warned_if_it_has_seen_the_images(
    dataset: Dataset, source: Source, tmp_path: Path
) -> None:
    """A network judged on images that it learned by heart would look like a discovery."""
    made = refit_cnn(source, RECORD, dataset, 1, lambda *_: None)
    write_bundle(tmp_path / "bundle", made)
    plan = make_plan(
        {
            "spaces": "cnn",
            "dataset": dataset.spec,
            "training": {"start_from": str(tmp_path / "bundle")},
        }
    )
    folder = RunDirectory(tmp_path / "run")
    keep_start(plan, folder)
    for name in ("bundle.json", "model.safetensors"):
        assert (folder.start / name).read_bytes() == (tmp_path / "bundle" / name).read_bytes()
    assert "its figures say little" in start_warning(plan, folder, dataset.fingerprint)
    assert start_warning(plan, folder, "0" * 64) == ""
    write_facts(folder.start, made.facts.model_copy(update={"refit": False}))
    assert start_warning(plan, folder, dataset.fingerprint) == ""
    told = training_settings(plan, folder)
    assert (told.start, told.start_classes) == (
        str(folder.start / "model.safetensors"),
        dataset.classes,
    )
    narrowed = with_start(plan)
    assert narrowed.set == {"model": "fastnet", **CONFIG.tweaks()}
    assert narrowed.training.image_size == 32


def test_a_bundle_is_used_with_the_views_that_its_network_was_judged_with(
    dataset: Dataset, source: Source, tmp_path: Path
) -> None:
    """Else its accuracy is another than the one that chose it."""
    config = replace(CONFIG, test_flip=True, test_shift=2)
    write_bundle(
        tmp_path / "bundle",
        refit_cnn(
            source,
            RECORD.model_copy(update={"config": asdict(config)}),
            dataset,
            1,
            lambda *_: None,
        ),
    )
    model = read_bundle(tmp_path / "bundle")
    tensors, use = weights.read(tmp_path / "bundle" / "model.safetensors")
    net = build(config.model, 3, 32, config.tweaks())
    net.load_state_dict(tensors)
    assert dataset.test is not None
    pixels = torch.tensor(stack(dataset.test.images, 32))
    mean, std = (torch.tensor(values).view(3, 1, 1) for values in (use.mean, use.std))
    with torch.no_grad(), torch.autocast("cpu", DTYPES[use.dtype], enabled=use.dtype != "float32"):
        scores = mean_over_views(net.eval(), (pixels - mean) / std, True, 2)
    labels, shares = model.scores_of(dataset.test.images)
    assert shares == pytest.approx(
        scores.softmax(1).numpy(), abs=1e-3 if use.dtype == "float32" else 0.05
    )
    assert labels.tolist() == shares.argmax(1).tolist()
    with torch.no_grad():
        alone = net((pixels - mean) / std).softmax(1).numpy()
    assert np.abs(shares - alone).max() > np.abs(shares - scores.softmax(1).numpy()).max()


@pytest.mark.parametrize("changes", [{"classes": ("left", "middle", "right", "top")}, {"size": 48}])
def test_a_bundle_whose_facts_are_of_another_network_is_refused(
    dataset: Dataset, source: Source, tmp_path: Path, changes: dict[str, Any]
) -> None:
    """The digest is of the weights alone: classes with other names, or images of another size,
    would be answered with confidence.
    """
    made = refit_cnn(source, RECORD, dataset, 1, lambda *_: None)
    write_bundle(tmp_path / "bundle", made)
    facts = read_bundle(tmp_path / "bundle").facts
    if "size" in changes:
        changes = {"preprocessing": facts.preprocessing.model_copy(update=changes)}
    write_facts(tmp_path / "bundle", facts.model_copy(update=changes))
    with pytest.raises(BundleError, match=r"does not fit bundle.json"):
        read_bundle(tmp_path / "bundle")


def test_a_plan_that_says_otherwise_than_the_network_to_start_from_is_refused(
    dataset: Dataset, source: Source, tmp_path: Path
) -> None:
    """Its weights fit one architecture and were learned on images of one size."""
    write_bundle(tmp_path / "bundle", refit_cnn(source, RECORD, dataset, 1, lambda *_: None))
    start = {"start_from": str(tmp_path / "bundle")}
    with pytest.raises(
        PlanError,
        match=r"training.image_size is 64, but the network to start from sees 32; leave it out",
    ):
        with_start(
            make_plan(
                {"spaces": "cnn", "dataset": "digits", "training": {**start, "image_size": 64}}
            )
        )
    with pytest.raises(
        PlanError, match=r"set.width is 0.5, but the network to start from has 0.125; leave it out"
    ):
        with_start(
            make_plan(
                {"spaces": "cnn", "dataset": "digits", "training": start, "set": {"width": 0.5}}
            )
        )
    with pytest.raises(
        PlanError, match="is for networks, but the plan searches tiny-image; leave it out"
    ):
        with_start(make_plan({"spaces": "tiny-image", "dataset": "digits", "training": start}))
    assert (
        with_start(
            make_plan(
                {"spaces": "cnn", "dataset": "digits", "training": {**start, "image_size": 32}}
            )
        ).training.image_size
        == 32
    )
