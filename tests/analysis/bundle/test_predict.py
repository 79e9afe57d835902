"""Bundles used on folders and datasets, a batch at a time, with a table of what each image was
given.
"""

from __future__ import annotations

import csv
import json
from pathlib import Path

import numpy as np
import pytest
from conftest import MakeFolder
from PIL import Image
from program import typed

from analysis.bundle import predict as predicting
from analysis.bundle.bundle import read_bundle
from analysis.bundle.classifier import scores_in_batches, spans
from analysis.bundle.knn import KnnModel
from analysis.bundle.predict import read_options
from trainables.data import read_dataset


def test_a_folder_is_classified_whole_and_written_as_csv_and_json(
    digits_bundle: Path, tmp_path: Path, make_folder: MakeFolder
) -> None:
    """Who has a folder of pictures wants a table, which a spreadsheet or a program can read."""
    root = make_folder(tmp_path / "x", {"inner/a": {"": 2}, "b": {"": 1}}, side=32)
    (root / "note.txt").write_text("no picture, and not one of these")
    (root / ".hidden.png").write_bytes(b"")
    for name in ("t.csv", "t.json"):
        done = typed("predict", digits_bundle, root, "--out", tmp_path / name)
        assert done.returncode == 0, done.stderr
    with open(tmp_path / "t.csv", newline="") as file:
        table = list(csv.DictReader(file))
    rows = json.loads((tmp_path / "t.json").read_text())
    assert (
        [row["path"] for row in table]
        == [row["path"] for row in rows]
        == sorted(row["path"] for row in rows)
    )
    assert len(rows) == 3
    assert [float(table[0][f"score {name}"]) for name in "0123456789"] == list(
        rows[0]["scores"].values()
    )
    assert {row["path"]: row["class"] for row in rows} == {
        row["path"]: row["class"] for row in table
    }


def test_what_cannot_be_read_is_refused_or_left_out_and_told(
    digits_bundle: Path, tmp_path: Path, make_folder: MakeFolder
) -> None:
    """One damaged file among ten thousand must not be passed over in silence, nor cost the
    others.
    """
    root = make_folder(tmp_path / "x", {"a": {"": 2}}, side=32)
    (root / "a" / "broken.png").write_bytes(b"no")
    refused = typed("predict", digits_bundle, root, "--out", tmp_path / "t.csv")
    assert (refused.returncode, (tmp_path / "t.csv").exists()) == (2, False)
    assert "broken.png: not an image" in refused.stderr
    assert "--skip-unreadable" in refused.stderr
    done = typed("predict", digits_bundle, root, "--skip-unreadable", "--json")
    assert len(json.loads(done.stdout)) == 2
    assert "left out: " in done.stderr
    (tmp_path / "empty").mkdir()
    assert (
        "no image files in this folder"
        in typed("predict", digits_bundle, tmp_path / "empty").stderr
    )
    assert (
        "--out must end with .csv or .json"
        in typed("predict", digits_bundle, root, "--out", "t.xlsx").stderr
    )


def test_batches_change_no_bit_and_are_told(
    digits_bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A progress bar is no reason for another answer."""
    model = read_bundle(digits_bundle)
    images = read_dataset("digits", read_options(model)).train.images[:600]
    told: list[tuple[int, int]] = []
    classes, scores = scores_in_batches(model, images, lambda done, of: told.append((done, of)))
    assert told == [(512, 600), (600, 600)]
    whole = model.scores_of(images)
    assert np.array_equal(classes, whole[0])
    assert np.array_equal(scores, whole[1])
    for row in range(5):
        Image.fromarray(images[row]).save(tmp_path / f"{row}.png")
    monkeypatch.setattr(KnnModel, "batch", 2)
    rows, _ = predicting.predict(digits_bundle, [tmp_path])
    assert [row["class"] for row in rows] == [model.facts.classes[label] for label in classes[:5]]
    assert list(spans(5, 2)) == [(0, 2), (2, 4), (4, 5)]


def test_evaluate_says_what_each_image_was_given(own_bundle: Path, tmp_path: Path) -> None:
    """An accuracy alone does not show which images to look at."""
    done = typed(
        "evaluate", own_bundle, "--dataset", "digits", "--out", tmp_path / "t.csv", "--json"
    )
    found = json.loads(done.stdout)
    with open(tmp_path / "t.csv", newline="") as file:
        table = list(csv.DictReader(file))
    assert len(table) == found["n"] == 360
    assert sum(row["true"] == row["class"] for row in table) / 360 == pytest.approx(
        found["accuracy"]
    )


def test_a_folder_of_test_images_alone_is_enough_to_evaluate(
    own_bundle: Path, tmp_path: Path, make_folder: MakeFolder
) -> None:
    """Who has new labelled pictures has no training images to put beside them."""
    root = make_folder(tmp_path / "x", {"test": {"3": 2, "7": 1}}, side=32)
    done = typed("evaluate", own_bundle, "--dataset", f"folder:{root}", "--json")
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert (found["split"], found["n"]) == ("test", 3)
