"""A bundle classifies as the search that chose it did, image for image: the same features, words,
weights, mirror images and vote.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import MakeFolder
from finished import BAG, HARD, TINY, finished
from program import output, refusal
from safetensors.numpy import load_file

from analysis.bundle.bundle import read_bundle, write_bundle
from analysis.bundle.knn import leave_out, make_knn
from search.driver.exports import source_of
from spaces import get_space
from trainables.data import read_dataset
from trainables.data.source import data_source
from trainables.knn.pipeline import evaluate, features_stage, neighbours_stage
from trainables.stages.stage import compute


@pytest.mark.parametrize("validation", ["leave-one-out", "k-fold", "val"])
@pytest.mark.parametrize(
    ("space", "given"),
    [
        ("tiny-image", TINY),
        ("bag-of-sift", BAG),
        ("bag-of-sift", HARD),
        ("tiny-image", TINY | {"mirrored": False, "k": 2}),
    ],
)
def test_a_bundle_gives_each_image_what_the_search_gave_it(
    tmp_path: Path, make_folder: MakeFolder, space: str, given: dict[str, Any], validation: str
) -> None:
    """The accuracy may agree by chance; each image's class does not."""
    splits = {
        "train": {"a": 7, "b": 9, "c": 8},
        "val": {"a": 3, "b": 2, "c": 4},
        "test": {"a": 4, "b": 5, "c": 3},
    }
    spec = f"folder:{make_folder(tmp_path / 'x', splits, side=40)}"
    folder = finished(tmp_path, spec, [(space, given)], validation=validation, folds=3)
    source, (item,) = source_of(folder), folder.records()
    dataset = read_dataset(spec, source.options)
    (tmp_path / "bundle").mkdir()
    write_bundle(tmp_path / "bundle", make_knn(source, item, dataset))
    model = read_bundle(tmp_path / "bundle")
    expected, truth = folder.predictions(item), folder.validation_labels()
    assert dataset.val is not None
    assert dataset.test is not None
    if validation == "val":
        labels, found = dataset.val.labels, model.scores_of(dataset.val.images)[0]
    else:
        labels, found = leave_out(model, source.validation, dataset)  # type: ignore[arg-type]
    np.testing.assert_array_equal(labels, truth)
    np.testing.assert_array_equal(found, expected)
    config = get_space(space).typed(item.config)
    data = data_source(dataset, source.options)
    neighbours = compute(
        neighbours_stage(config, data, "test", source.seed), {data.stage.digest: dataset}, workers=1
    )
    features = compute(
        features_stage(config, data, "test", source.seed), {data.stage.digest: dataset}, workers=1
    )
    np.testing.assert_array_equal(model.features_of(dataset.test.images, workers=1), features)  # type: ignore[attr-defined]
    direct = evaluate(config, neighbours, dataset.train.labels, dataset.test.labels, 3)
    classes, shares = model.scores_of(dataset.test.images)
    np.testing.assert_array_equal(classes, direct.predictions)
    np.testing.assert_allclose(shares.sum(axis=1), 1)
    assert (shares.argmax(axis=1) == classes).all()


def test_an_export_scores_test_images_by_training_images_alone(
    tmp_path: Path, make_folder: MakeFolder
) -> None:
    """The val split chose the configuration: it neither votes nor stands among what is scored
    last.
    """
    splits = {"train": {"a": 6, "b": 6}, "val": {"a": 3, "b": 2}, "test": {"a": 4, "b": 3}}
    spec = f"folder:{make_folder(tmp_path / 'x', splits, side=24)}"
    finished(tmp_path, spec, [("tiny-image", TINY)], name="run")
    exported = output("export", "run", "--runs-dir", tmp_path, "--out", tmp_path / "bundle")
    facts = json.loads((tmp_path / "bundle" / "bundle.json").read_text())
    assert [facts[split]["n"] for split in ("val", "test")] == [5, 7]
    tensors = load_file(tmp_path / "bundle" / "model.safetensors")
    assert tensors["labels"].tolist() == [0] * 6 + [1] * 6 + [0] * 6 + [1] * 6, (
        "and their mirror images"
    )
    assert (
        output("evaluate", tmp_path / "bundle", "--dataset", spec)["accuracy"]
        == exported["test_accuracy"]
        == facts["test"]["accuracy"]
    )


def test_the_model_of_another_bundle_is_refused(tmp_path: Path, make_folder: MakeFolder) -> None:
    """It is a whole file and fits, and every answer would be another trial's under this one's
    figures.
    """
    spec = f"folder:{make_folder(tmp_path / 'x', {'train': {'a': 6, 'b': 6}}, side=24)}"
    finished(
        tmp_path, spec, [("tiny-image", TINY), ("tiny-image", TINY | {"norm": "l2"})], name="run"
    )
    for trial in (0, 1):
        output(
            "export",
            "run",
            "--trial",
            trial,
            "--runs-dir",
            tmp_path,
            "--out",
            tmp_path / f"bundle{trial}",
        )
    (tmp_path / "bundle1" / "model.safetensors").replace(tmp_path / "bundle0" / "model.safetensors")
    assert "SHA-256 differs" in refusal("evaluate", tmp_path / "bundle0", "--dataset", spec)
