"""Bags of words in a search: mirror images, streamed descriptors, and all of it in a bundle."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from one_ray import OneRay
from program import output
from safetensors.numpy import load_file
from sklearn.model_selection import StratifiedKFold

from spaces import BagOfSiftConfig, TinyImageConfig
from trainables.data import ReadOptions, read_dataset
from trainables.data.source import data_source
from trainables.data.validation import Validation
from trainables.knn import pipeline
from trainables.knn.pipeline import gallery_stage, validation_stage
from trainables.stages.stage import compute

TINY = TinyImageConfig("cityblock", 8, "box", False, "l1", 3, "uniform", mirrored=True)
BAG = BagOfSiftConfig(
    8,
    4,
    True,
    "root",
    8,
    12,
    "cityblock",
    "l1",
    3,
    "distance",
    scales=2,
    assignment="soft",
    regions="pyramid",
    idf=True,
    mirrored=True,
)


@pytest.mark.parametrize("config", [TINY, BAG], ids=["tiny-image", "bag-of-sift"])
@pytest.mark.parametrize("scheme", ["leave-one-out", "k-fold"])
def test_an_image_left_out_is_not_judged_by_its_own_mirror_image(
    config: Any, scheme: Any, tmp_path: Path, make_folder: Any
) -> None:
    """A symmetric image would find itself in the mirror, and the score would be a lie."""
    dataset = read_dataset(f"folder:{make_folder(tmp_path, {'train': {'a': 8, 'b': 8}}, side=40)}")
    data, memo = data_source(dataset, ReadOptions()), {}
    neighbours = compute(validation_stage(config, data, Validation(scheme, 4), 0), memo, workers=1)
    alone = np.arange(16)
    if scheme == "k-fold":
        for fold, (_, rows) in enumerate(
            StratifiedKFold(4, shuffle=True, random_state=0).split(alone, dataset.train.labels)
        ):
            alone[rows] = fold
    assert (np.tile(alone, 2)[neighbours["indices"]] != alone[:, None]).all(), (
        "number 16 + i is the mirror image of number i"
    )
    assert (neighbours["indices"] >= 16).any(), "mirror images vote"
    gallery = compute(gallery_stage(config, data, 0), memo, workers=1)
    assert len(gallery) == 32
    assert not np.array_equal(gallery[:16], gallery[16:])


def test_descriptors_too_many_to_keep_are_streamed(
    tmp_path: Path, make_folder: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """At step 1 they would fill any memory; the neighbours must be the same either way."""
    dataset = read_dataset(f"folder:{make_folder(tmp_path, {'train': {'a': 6, 'b': 6}}, side=40)}")
    data = data_source(dataset, ReadOptions())
    found = []
    for limit, name in ((10**9, "dense_descriptors"), (10, "streamed_word_counts")):
        monkeypatch.setattr(pipeline, "SHARED_BYTES", limit)
        stage = validation_stage(BAG, data, Validation("leave-one-out"), 0)
        assert name in _names(stage)
        found.append(compute(stage, workers=1))
    assert found[0]["distances"].tobytes() == found[1]["distances"].tobytes()


def _names(stage: Any) -> set[str]:
    return {stage.name}.union(*(_names(upstream) for upstream in stage.inputs))


def test_everything_at_once_is_searched_exported_and_used(
    tmp_path: Path, make_folder: Any, one_ray: OneRay
) -> None:
    """The bundle is re-evaluated exactly as it is written: idf, mirror images, regions and soft
    words must all be in it.
    """
    fixed = {
        "scales": 2, "assignment": "soft", "regions": "2x2", "idf": "true", "mirrored": "true",
        "step": 8, "bin_size": 3,
        "vocabulary_size": 20, "metric": "cityblock", "norm": "l1", "k": 3, "vote": "distance",
        "transform": "root",
    }  # fmt: skip
    settings = [part for name, value in fixed.items() for part in ("--set", f"{name}={value}")]
    counts = {"train": {"a": 30, "b": 30}, "test": {"a": 9, "b": 9}}
    images = f"folder:{make_folder(tmp_path / 'images', counts, side=40)}"
    done = one_ray.typed(
        "run", "--space", "bag-of-sift", "--dataset", images, "--trials", 2, "--name", "all",
        "--runs-dir", tmp_path, "--no-tracking",
        "--validation", "k-fold", *settings,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    exported = output("export", "all", "--out", tmp_path / "bundle", "--runs-dir", tmp_path)
    tensors = load_file(tmp_path / "bundle" / "model.safetensors")
    assert tensors["features"].shape == (2 * 60, 80)
    assert tensors["weights"].shape == (20,)
    assert (
        output("evaluate", tmp_path / "bundle", "--dataset", images)["accuracy"]
        == exported["test_accuracy"]
    )
